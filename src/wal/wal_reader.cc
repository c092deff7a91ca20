#include "wal/wal_reader.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/crc32c.h"
#include "base/error.h"

namespace pgrejoin {
namespace {

constexpr size_t kPageBytes = 8192;
constexpr size_t kChunkBytes = 256 * 1024;
constexpr size_t kShortHeaderBytes = 24;
constexpr size_t kLongHeaderBytes = 40;
constexpr uint32_t kRecordBytesMax = 1020u * 1024 * 1024;

constexpr uint16_t kFirstIsContrecord = 0x0001;
constexpr uint16_t kLongHeader = 0x0002;
constexpr uint16_t kFirstIsOverwriteContrecord = 0x0008;
constexpr uint16_t kAllFlags = 0x000f;

constexpr uint8_t kXlogSwitch = 0x40;

uint16_t PageInfo(Bytes page) { return LoadLe16(page, 2); }
size_t HeaderBytes(Bytes page) {
  return (PageInfo(page) & kLongHeader) != 0 ? kLongHeaderBytes : kShortHeaderBytes;
}
Lsn PageOf(Lsn lsn) { return {lsn.value & ~static_cast<uint64_t>(kPageBytes - 1)}; }
constexpr uint64_t AlignUp8(uint64_t value) { return (value + 7) & ~uint64_t{7}; }

}  // namespace

WalReader::WalReader(WalFiles& files, const WalLayout& layout)
    : files_(files), layout_(layout), chunk_(kChunkBytes) {}

void WalReader::Seek(Lsn lsn) {
  next_ = lsn;
  last_record_ = {};
  latest_page_ = {};
  latest_page_tli_ = 0;
  has_valid_page_ = false;
}

const std::byte* WalReader::LoadPage(Lsn page_start) {
  checked_to_ = page_start;
  const bool cached = chunk_loaded_ && page_start >= chunk_start_ &&
                      page_start - chunk_start_ + kPageBytes <= chunk_bytes_;
  if (!cached) {
    const Lsn start{page_start.value & ~static_cast<uint64_t>(kChunkBytes - 1)};
    const uint64_t segment = start.value / layout_.segment_size;
    chunk_bytes_ =
        files_.Read(segment, static_cast<uint32_t>(start.value % layout_.segment_size), chunk_);
    chunk_start_ = start;
    chunk_loaded_ = true;
    has_valid_page_ = false;
    if (page_start - start + kPageBytes > chunk_bytes_) {
      chunk_loaded_ = false;
      page_problem_ = chunk_bytes_ == 0 ? files_.Missing(segment) : "";
      if (page_problem_.empty()) page_problem_ = fmt::format("no WAL at {}", page_start.ToString());
      return nullptr;
    }
  }
  const Bytes page = Bytes(chunk_).subspan(page_start - chunk_start_, kPageBytes);
  if (!has_valid_page_ || valid_page_ != page_start) {
    if (!ValidatePageHeader(page, page_start)) return nullptr;
    valid_page_ = page_start;
    has_valid_page_ = true;
  }
  return page.data();
}

bool WalReader::ValidatePageHeader(Bytes page, Lsn page_start) {
  const auto problem = [&](const std::string& what) {
    page_problem_ = fmt::format("{} in WAL page {}", what, page_start.ToString());
    return false;
  };
  const uint16_t magic = LoadLe16(page, 0);
  if (magic != layout_.version->wal_page_magic) {
    return problem(fmt::format("magic number {:04X} instead of {:04X}", magic,
                               layout_.version->wal_page_magic));
  }
  if ((PageInfo(page) & ~kAllFlags) != 0) {
    return problem(fmt::format("unknown flags {:04X}", PageInfo(page)));
  }
  const bool first_of_segment = page_start.value % layout_.segment_size == 0;
  if ((PageInfo(page) & kLongHeader) != 0) {
    if (LoadLe64(page, 24) != layout_.system_identifier) return problem("other system identifier");
    if (LoadLe32(page, 32) != layout_.segment_size) return problem("other WAL segment size");
    if (LoadLe32(page, 36) != kPageBytes) return problem("other WAL block size");
  } else if (first_of_segment) {
    return problem("short header on the first page of a segment");
  }
  // A recycled segment keeps its old content until it is overwritten: the usual end of WAL.
  if (LoadLe64(page, 8) != page_start.value) {
    return problem(fmt::format("page address {}", Lsn{LoadLe64(page, 8)}.ToString()));
  }
  const TimelineId tli = LoadLe32(page, 4);
  if (!layout_.timelines.empty() && !std::ranges::count(layout_.timelines, tli)) {
    return problem(fmt::format("unexpected timeline {}", tli));
  }
  if (page_start > latest_page_ && tli < latest_page_tli_) {
    return problem(fmt::format("timeline {} after {}", tli, latest_page_tli_));
  }
  if (page_start > latest_page_) {
    latest_page_ = page_start;
    latest_page_tli_ = tli;
  }
  return true;
}

bool WalReader::HeaderIsPlausible(Bytes header, Lsn start) {
  const Lsn prev{LoadLe64(header, 8)};
  if (last_record_.valid() ? prev != last_record_ : prev >= start) {
    page_problem_ = fmt::format("record at {} has incorrect previous link {}", start.ToString(),
                                prev.ToString());
    return false;
  }
  return true;
}

WalReader::Assembly WalReader::AssembleRecord(Lsn start, uint32_t total_bytes, Lsn* next) {
  Lsn page_start = PageOf(start);
  const size_t first_bytes = kPageBytes - (start - page_start);
  const std::byte* first = LoadPage(page_start);
  assembled_.assign(first + (start - page_start), first + (start - page_start) + first_bytes);
  bool header_checked = false;
  while (true) {
    if (!header_checked && assembled_.size() >= kWalRecordHeaderBytes) {
      if (!HeaderIsPlausible(assembled_, start)) return Assembly::kBroken;
      header_checked = true;
    }
    if (assembled_.size() == total_bytes) return Assembly::kWhole;
    page_start = page_start + kPageBytes;
    const std::byte* data = LoadPage(page_start);
    if (data == nullptr) return Assembly::kBroken;
    const Bytes page(data, kPageBytes);
    if ((PageInfo(page) & kFirstIsOverwriteContrecord) != 0) {
      *next = page_start;
      return Assembly::kOverwritten;
    }
    const uint64_t left = total_bytes - assembled_.size();
    if ((PageInfo(page) & kFirstIsContrecord) == 0 || LoadLe32(page, 16) != left) {
      page_problem_ = fmt::format("no continuation of the record at {}", start.ToString());
      return Assembly::kBroken;
    }
    const size_t header = HeaderBytes(page);
    const size_t take = std::min<uint64_t>(left, kPageBytes - header);
    assembled_.insert(assembled_.end(), data + header, data + header + take);
    *next = page_start + header + AlignUp8(take);
  }
}

std::variant<const WalRecord*, EndOfWal> WalReader::Next() {
  Lsn start = next_;
  while (true) {
    const Lsn page_start = PageOf(start);
    const std::byte* data = LoadPage(page_start);
    if (data == nullptr) return End(page_problem_);
    const Bytes page(data, kPageBytes);
    if (start == page_start) {
      if ((PageInfo(page) & kFirstIsContrecord) != 0) {
        return End(fmt::format("a continuation instead of a record at {}", start.ToString()));
      }
      start = start + HeaderBytes(page);
    } else if (start - page_start < HeaderBytes(page) || start.value % 8 != 0) {
      return End(fmt::format("{} is not the start of a record", start.ToString()));
    }
    const size_t offset = start - page_start;
    const uint32_t total_bytes = LoadLe32(page, offset);
    if (total_bytes < kWalRecordHeaderBytes || total_bytes > kRecordBytesMax) {
      return End(fmt::format("invalid record length {} at {}", total_bytes, start.ToString()));
    }
    Bytes bytes;
    Lsn next = start + AlignUp8(total_bytes);
    if (offset + total_bytes <= kPageBytes) {
      bytes = page.subspan(offset, total_bytes);
      if (!HeaderIsPlausible(bytes, start)) return End(page_problem_, total_bytes);
    } else {
      const Assembly assembly = AssembleRecord(start, total_bytes, &next);
      if (assembly == Assembly::kBroken) return End(page_problem_, total_bytes);
      if (assembly == Assembly::kOverwritten) {
        // What follows links to the last whole record, not to the lost one.
        start = next;
        continue;
      }
      bytes = assembled_;
    }
    Crc32c crc;
    crc.Update(bytes.subspan(kWalRecordHeaderBytes));
    crc.Update(bytes.first(20));
    if (crc.Finish() != LoadLe32(bytes, 20)) {
      checked_to_ = next;
      return End(fmt::format("incorrect checksum in record at {}", start.ToString()), total_bytes);
    }
    record_.start = start;
    DecodeWalRecord(bytes, *layout_.version, &record_);
    if (record_.rmgr == kRmgrXlog && record_.rmgr_info() == kXlogSwitch) {
      const uint64_t size = layout_.segment_size;
      next = {(next.value + size - 1) / size * size};
    }
    record_.end = next;
    next_ = next;
    last_record_ = start;
    return &record_;
  }
}

const WalRecord& ReadRecordAt(WalReader& reader, Lsn lsn) {
  reader.Seek(lsn);
  const auto next = reader.Next();
  if (const auto* end = std::get_if<EndOfWal>(&next)) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("could not read WAL record at {}: {}", lsn.ToString(), end->reason));
  }
  return *std::get<const WalRecord*>(next);
}

}  // namespace pgrejoin
