// Writes WAL the way a server does (pages, long and short headers, records that cross pages and
// segments, right checksums) and then damages it: a small language for reader tests.
//
//   WalBuilder wal(VersionOf(15), Lsn{0x100000});
//   const Lsn a = wal.Append({.rmgr = 10, .blocks = {{.number = 16384, .block = 7}}});
//   wal.Xor(a + 30, 0x01);
//   WalReader reader(wal, wal.layout());
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "pgdata/types.h"
#include "pgdata/versions.h"
#include "pgdata/wal_segment_name.h"
#include "wal/wal_files.h"
#include "wal/wal_reader.h"

namespace pgrejoin::testing {

inline const PgVersion& WalVersion(unsigned major) {
  for (const PgVersion& version : kPgVersions) {
    if (version.major == major) return version;
  }
  throw std::out_of_range("no such major");
}

enum class Image { kNone, kWhole, kWithHole, kCompressed, kCompressedWithHole };

struct BlockSpec {
  Oid tablespace = 1663;
  Oid database = 5;
  Oid number = 16384;
  BlockNumber block = 0;
  ForkNumber fork = ForkNumber::kMain;
  bool same_relation = false;
  bool will_init = false;
  Image image = Image::kNone;
  bool image_applied = true;
  uint16_t data_bytes = 0;
};

struct RecordSpec {
  uint8_t rmgr = 10;  // heap
  uint8_t info = 0;
  TransactionId xid = 0;
  std::string main_data = {};
  std::vector<BlockSpec> blocks = {};
  bool origin = false;
  bool top_level_xid = false;
};

template <typename T>
void Put(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Header fields other than length, prev and CRC, and everything behind the header.
inline std::string EncodeRecord(const RecordSpec& spec, const PgVersion& version) {
  std::string headers;
  std::string bodies;
  uint8_t id = 0;
  for (const BlockSpec& block : spec.blocks) {
    const bool has_image = block.image != Image::kNone;
    const int flags = static_cast<int>(block.fork) | (has_image ? 0x10 : 0) |
                      (block.data_bytes > 0 ? 0x20 : 0) | (block.will_init ? 0x40 : 0) |
                      (block.same_relation ? 0x80 : 0);
    Put<uint8_t>(&headers, id++);
    Put<uint8_t>(&headers, static_cast<uint8_t>(flags));
    Put<uint16_t>(&headers, block.data_bytes);
    if (has_image) {
      const bool hole =
          block.image == Image::kWithHole || block.image == Image::kCompressedWithHole;
      const bool compressed =
          block.image == Image::kCompressed || block.image == Image::kCompressedWithHole;
      const uint16_t bytes = compressed ? 1000 : hole ? 8192 - 512 : 8192;
      // 14: hole 1, pglz 2, apply 4. 15 on: hole 1, apply 2, pglz 4.
      const int pglz = version.major <= 14 ? 0x02 : 0x04;
      const int apply = version.major <= 14 ? 0x04 : 0x02;
      const int bits = (hole ? 1 : 0) | (compressed ? pglz : 0) | (block.image_applied ? apply : 0);
      Put<uint16_t>(&headers, bytes);
      Put<uint16_t>(&headers, hole ? 100 : 0);
      Put<uint8_t>(&headers, static_cast<uint8_t>(bits));
      if (hole && compressed) Put<uint16_t>(&headers, 512);
      bodies.append(bytes, '\x5a');
    }
    if (!block.same_relation) {
      Put<uint32_t>(&headers, block.tablespace);
      Put<uint32_t>(&headers, block.database);
      Put<uint32_t>(&headers, block.number);
    }
    Put<uint32_t>(&headers, block.block);
    bodies.append(block.data_bytes, '\x3c');
  }
  if (spec.origin) {
    Put<uint8_t>(&headers, 253);
    Put<uint16_t>(&headers, 1);
  }
  if (spec.top_level_xid) {
    Put<uint8_t>(&headers, 252);
    Put<uint32_t>(&headers, 700);
  }
  if (spec.main_data.size() > 255) {
    Put<uint8_t>(&headers, 254);
    Put<uint32_t>(&headers, static_cast<uint32_t>(spec.main_data.size()));
  } else if (!spec.main_data.empty()) {
    Put<uint8_t>(&headers, 255);
    Put<uint8_t>(&headers, static_cast<uint8_t>(spec.main_data.size()));
  }
  std::string record;
  Put<uint32_t>(&record,
                static_cast<uint32_t>(24 + headers.size() + bodies.size() + spec.main_data.size()));
  Put<uint32_t>(&record, spec.xid);
  Put<uint64_t>(&record, 0);
  Put<uint8_t>(&record, spec.info);
  Put<uint8_t>(&record, spec.rmgr);
  Put<uint16_t>(&record, 0);
  Put<uint32_t>(&record, 0);
  return record + headers + bodies + spec.main_data;
}

// Sets prev and the checksum of a whole record.
inline void SealRecord(std::string* record, Lsn prev) {
  const MutableBytes bytes = std::as_writable_bytes(std::span(*record));
  StoreLe<uint64_t>(bytes, 8, prev.value);
  Crc32c crc;
  crc.Update(Bytes(bytes).subspan(24));
  crc.Update(Bytes(bytes).first(20));
  StoreLe<uint32_t>(bytes, 20, crc.Finish());
}

class WalBuilder : public WalFiles {
 public:
  static constexpr uint64_t kPage = 8192;

  explicit WalBuilder(const PgVersion& version, Lsn start, uint32_t segment_size = 1 << 20,
                      TimelineId timeline = 1,
                      uint64_t system_identifier = 7'300'000'000'000'000'001)
      : version_(&version),
        segment_size_(segment_size),
        timeline_(timeline),
        system_identifier_(system_identifier),
        next_(start) {}

  WalLayout layout() const { return {version_, system_identifier_, segment_size_}; }
  // Where the next record will start, not counting a page header there.
  Lsn end() const { return next_; }
  Lsn last() const { return last_; }
  uint32_t segment_size() const { return segment_size_; }
  void SetTimeline(TimelineId timeline) { timeline_ = timeline; }

  // Returns the record's start.
  Lsn Append(const RecordSpec& spec) { return AppendBytes(EncodeRecord(spec, *version_)); }
  Lsn AppendBytes(std::string record) {
    const Lsn start = BeginRecord();
    SealRecord(&record, last_);
    Write(record);
    Finish(start);
    return start;
  }
  // A record of exactly this many bytes (26 at least).
  Lsn AppendOfSize(size_t bytes) {
    const size_t data = bytes - 24;
    std::string main;
    if (data - 2 <= 255) {
      main.assign(data - 2, 'x');
    } else {
      main.assign(data - 5, 'x');
    }
    return Append({.main_data = std::move(main)});
  }
  // Records until this many bytes of the page are left.
  void FillPageUntil(uint64_t left) {
    BeginRecord();
    while (kPage - next_.value % kPage > left + 1024) AppendOfSize(512);
    const uint64_t rest = kPage - next_.value % kPage - left;
    AppendOfSize(rest);
  }
  // XLOG_SWITCH: the rest of the segment is zeros without page headers.
  Lsn Switch() {
    const Lsn start = Append({.rmgr = 0, .info = 0x40});
    next_ = {(next_.value + segment_size_ - 1) / segment_size_ * segment_size_};
    return start;
  }
  // Writes only the first pages of the record and leaves the cursor behind them, as a server that
  // crashed in the middle of it. Returns where the record starts.
  Lsn AppendPartly(const RecordSpec& spec, int pages) {
    std::string record = EncodeRecord(spec, *version_);
    const Lsn start = BeginRecord();
    SealRecord(&record, last_);
    size_t done = 0;
    for (int page = 0; page < pages; ++page) {
      if (page > 0) StartPage(0x0001, static_cast<uint32_t>(record.size() - done));
      const size_t room = kPage - next_.value % kPage;
      const size_t take = std::min(room, record.size() - done);
      WriteHere(std::string_view(record).substr(done, take));
      done += take;
    }
    return start;
  }
  // What a restarted server does behind such a record: the next page says so, and its first record
  // is XLOG_OVERWRITE_CONTRECORD.
  Lsn OverwriteContrecord(Lsn lost) {
    next_ = {(next_.value + kPage - 1) / kPage * kPage};
    StartPage(0x0008, 0);
    std::string payload;
    Put<uint64_t>(&payload, lost.value);
    Put<int64_t>(&payload, 0);
    return Append({.rmgr = 0, .info = 0xd0, .main_data = payload});
  }

  // --- damage ---
  void Xor(Lsn at, uint8_t bits) { At(at) ^= std::byte{bits}; }
  uint8_t Byte(Lsn at) { return static_cast<uint8_t>(At(at)); }
  template <typename T>
  void Set(Lsn at, T value) {
    std::memcpy(&At(at), &value, sizeof(value));
  }
  // Recomputes the checksum of a record that lies within one page.
  void FixCrc(Lsn record) {
    const auto length = LoadLe32(Bytes(&At(record), 4), 0);
    const Bytes bytes(&At(record), length);
    Crc32c crc;
    crc.Update(bytes.subspan(24));
    crc.Update(bytes.first(20));
    Set<uint32_t>(record + 20, crc.Finish());
  }
  // The segment file ends at this position.
  void Truncate(Lsn at) { files_[at.value / segment_size_].resize(at.value % segment_size_); }
  void Remove(uint64_t segment) { files_.erase(segment); }
  // The file of from under the name of to, as a server recycles it.
  void Recycle(uint64_t from, uint64_t to) { files_[to] = files_.at(from); }
  void ZeroFrom(Lsn at) {
    auto& file = files_.at(at.value / segment_size_);
    std::fill(file.begin() + static_cast<long>(at.value % segment_size_), file.end(), std::byte{});
  }

  const std::map<uint64_t, std::vector<std::byte>>& files() const { return files_; }

  size_t Read(uint64_t segment, uint32_t offset, MutableBytes out) override {
    const auto file = files_.find(segment);
    if (file == files_.end() || offset >= file->second.size()) return 0;
    const size_t count = std::min<size_t>(out.size(), file->second.size() - offset);
    std::copy_n(file->second.begin() + offset, count, out.begin());
    return count;
  }

 private:
  std::byte& At(Lsn at) {
    auto& file = files_[at.value / segment_size_];
    if (file.empty()) file.resize(segment_size_);
    return file.at(at.value % segment_size_);
  }
  void WriteHere(std::string_view bytes) {
    if (bytes.empty()) return;
    auto& file = files_[next_.value / segment_size_];
    if (file.empty()) file.resize(segment_size_);
    std::memcpy(&file.at(next_.value % segment_size_), bytes.data(), bytes.size());
    next_ = next_ + bytes.size();
  }
  void StartPage(uint16_t flags, uint32_t rem_len) {
    const bool is_long = next_.value % segment_size_ == 0;
    std::string header;
    Put<uint16_t>(&header, version_->wal_page_magic);
    Put<uint16_t>(&header, static_cast<uint16_t>(flags | (is_long ? 0x0002 : 0)));
    Put<uint32_t>(&header, timeline_);
    Put<uint64_t>(&header, next_.value);
    Put<uint32_t>(&header, rem_len);
    Put<uint32_t>(&header, 0);
    if (is_long) {
      Put<uint64_t>(&header, system_identifier_);
      Put<uint32_t>(&header, segment_size_);
      Put<uint32_t>(&header, kPage);
    }
    WriteHere(header);
  }
  Lsn BeginRecord() {
    if (next_.value % kPage == 0) StartPage(0, 0);
    return next_;
  }
  void Write(std::string_view bytes) {
    while (!bytes.empty()) {
      if (next_.value % kPage == 0) StartPage(0x0001, static_cast<uint32_t>(bytes.size()));
      const size_t room = kPage - next_.value % kPage;
      const size_t take = std::min(room, bytes.size());
      WriteHere(bytes.substr(0, take));
      bytes.remove_prefix(take);
    }
  }
  void Finish(Lsn start) {
    last_ = start;
    next_ = {(next_.value + 7) / 8 * 8};
  }

  const PgVersion* version_;
  uint32_t segment_size_;
  TimelineId timeline_;
  uint64_t system_identifier_;
  Lsn next_;
  Lsn last_;
  std::map<uint64_t, std::vector<std::byte>> files_;
};

}  // namespace pgrejoin::testing
