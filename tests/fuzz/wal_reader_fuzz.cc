// Pages of WAL to records. Input: major, whether to repair checksums, pages. Where they lie and
// whose they are, the first page says itself.
#include <algorithm>
#include <bit>
#include <optional>
#include <vector>

#include "base/crc32c.h"
#include "fuzz/fuzz.h"
#include "wal/record_effects.h"
#include "wal/wal_reader.h"

namespace pgrejoin::fuzz {
namespace {

constexpr uint64_t kPage = 8192;

// The bytes of the input at start; zeros before them, nothing behind.
class Pages : public WalFiles {
 public:
  Pages(Bytes bytes, Lsn start, uint32_t segment_size)
      : bytes_(bytes), start_(start), segment_size_(segment_size) {}

  size_t Read(uint64_t segment, uint32_t offset, MutableBytes out) override {
    const uint64_t begin = segment * segment_size_ + offset;
    const uint64_t end = start_.value + bytes_.size();
    if (begin >= end) return 0;
    const size_t count = std::min<uint64_t>(out.size(), end - begin);
    for (size_t i = 0; i < count;) {
      if (begin + i < start_.value) {
        const size_t zeros = std::min<uint64_t>(count - i, start_.value - begin - i);
        std::fill_n(out.begin() + static_cast<long>(i), zeros, std::byte{});
        i += zeros;
      } else {
        std::copy_n(bytes_.begin() + static_cast<long>(begin + i - start_.value), count - i,
                    out.begin() + static_cast<long>(i));
        i = count;
      }
    }
    return count;
  }

 private:
  Bytes bytes_;
  Lsn start_;
  uint32_t segment_size_;
};

size_t HeaderBytes(Bytes page) { return (LoadLe16(page, 2) & 0x0002) != 0 ? 40 : 24; }
size_t AlignUp8(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

// Offset of the first record that begins on the first page.
size_t FirstRecord(Bytes page) {
  const size_t header = HeaderBytes(page);
  if ((LoadLe16(page, 2) & 0x0001) == 0) return header;
  return header + AlignUp8(LoadLe32(page, 16));
}

// Without this no changed record would get past its checksum.
void RepairChecksums(MutableBytes bytes) {
  size_t at = FirstRecord(bytes);
  while (at + 24 <= bytes.size()) {
    if (at % kPage == 0) {
      at += HeaderBytes(Bytes(bytes).subspan(at));
      continue;
    }
    const uint32_t length = LoadLe32(bytes, at);
    if (length < 24 || length > kPage - at % kPage || at + length > bytes.size()) return;
    Crc32c crc;
    crc.Update(Bytes(bytes).subspan(at + 24, length - 24));
    crc.Update(Bytes(bytes).subspan(at, 20));
    StoreLe<uint32_t>(bytes, at + 20, crc.Finish());
    at += AlignUp8(length);
  }
}

struct Seen {
  Lsn start;
  Lsn end;
  uint32_t crc = 0;
};

std::optional<Seen> ReadAll(WalReader& reader, Lsn from, Lsn limit, const PgVersion& version) {
  std::optional<Seen> last;
  Lsn position = from;
  reader.Seek(from);
  while (true) {
    const auto next = reader.Next();
    if (const auto* end = std::get_if<EndOfWal>(&next)) {
      Require(end->lsn == position, "WAL ends where its last record does");
      Require(end->checked_to >= end->lsn, "what is checked reaches to the end");
      Require(!HasControlCharacter(end->reason), "a reason is printable");
      return last;
    }
    const WalRecord& record = *std::get<const WalRecord*>(next);
    Require(record.start >= position && record.end > record.start && record.end <= limit,
            "records follow each other within the input");
    Require(record.main_data.size() <= record.end - record.start, "main data is in its record");
    Require(record.blocks.size() <= 33, "at most 33 blocks");
    Accepts([&] { EffectOf(record, version); });
    last = Seen{record.start, record.end, record.crc};
    position = record.end;
  }
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const PgVersion& version = kPgVersions[input.Take<uint8_t>() % kPgVersions.size()];
  const bool repair = input.Take<uint8_t>() % 2 == 1;
  std::string pages(input.Rest());
  if (pages.size() < 40) return 0;
  const MutableBytes bytes = std::as_writable_bytes(std::span(pages));
  if (repair) RepairChecksums(bytes);

  WalLayout layout{&version, LoadLe64(bytes, 24), 1 << 20};
  if (const uint32_t stated = LoadLe32(bytes, 32);
      std::has_single_bit(stated) && stated >= 1 << 20 && stated <= 1 << 30) {
    layout.segment_size = stated;
  }
  // Not near the end of all positions: a fork is never behind the target's own WAL.
  const Lsn start{LoadLe64(bytes, 8) & ~(kPage - 1) & ~(uint64_t{1} << 63)};
  const uint64_t segment = layout.segment_size;
  const Lsn limit{(start.value + pages.size() + segment - 1) / segment * segment};
  Pages files(bytes, start, layout.segment_size);

  std::optional<Seen> last;
  Accepts([&] {
    WalReader reader(files, layout);
    last = ReadAll(reader, start + FirstRecord(bytes), limit, version);
  });
  if (!last) return 0;
  WalReader again(files, layout);
  const WalRecord& record = ReadRecordAt(again, last->start);
  Require(record.crc == last->crc && record.end == last->end,
          "a record is the same when read alone");
  return 0;
}
