#include "pgdata/control_file.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <bit>
#include <ctime>

#include "base/crc32c.h"
#include "base/error.h"

namespace pgrejoin {
namespace {

// Far from every version PostgreSQL uses (major * 100) and no multiple of 65536, which the server
// would report as a byte-order mismatch.
constexpr uint32_t kFencedControlVersion = 99'999'990;

constexpr double kFloatFormat = 1234567.0;
constexpr uint32_t kWalSegmentBytesMin = 1 << 20;
constexpr uint32_t kWalSegmentBytesMax = 1 << 30;

bool PowerOfTwoWithin(uint32_t value, uint32_t low, uint32_t high) {
  return std::has_single_bit(value) && value >= low && value <= high;
}

[[noreturn]] void Damaged(std::string_view whose, const std::string& what) {
  throw Error(ErrorKind::kTargetFailed, fmt::format("{} control file is damaged: {}", whose, what),
              "Do not delete it. Restore the directory from a backup or clone it anew.");
}

[[noreturn]] void Unsupported(std::string_view whose, const std::string& what) {
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("{} cluster is not supported: {}", whose, what));
}

void CheckLayout(const ControlFile& control, std::string_view whose) {
  if (LoadLe32(control.raw(), 204) != 8) {
    Unsupported(whose, fmt::format("maximum data alignment {}", LoadLe32(control.raw(), 204)));
  }
  if (LoadLe<double>(control.raw(), 208) != kFloatFormat) {
    Unsupported(whose, "floating-point format");
  }
  if (control.block_size() != 8192 || control.wal_block_size() != 8192) {
    Unsupported(whose, fmt::format("block size {} or WAL block size {} is not 8192",
                                   control.block_size(), control.wal_block_size()));
  }
  if (control.blocks_per_segment() == 0 || control.blocks_per_segment() > (1u << 24)) {
    Unsupported(whose, fmt::format("{} blocks a relation segment", control.blocks_per_segment()));
  }
  if (!PowerOfTwoWithin(control.wal_segment_size(), kWalSegmentBytesMin, kWalSegmentBytesMax)) {
    Unsupported(whose, fmt::format("WAL segment size {}", control.wal_segment_size()));
  }
  if (LoadLe32(control.raw(), 16) > 6) {
    Unsupported(whose, fmt::format("database state {}", LoadLe32(control.raw(), 16)));
  }
}

}  // namespace

CheckPoint LoadCheckPoint(Bytes bytes) {
  CheckPoint checkpoint;
  checkpoint.redo = {LoadLe64(bytes, 0)};
  checkpoint.timeline = LoadLe32(bytes, 8);
  checkpoint.previous_timeline = LoadLe32(bytes, 12);
  checkpoint.full_page_writes = LoadU8(bytes, 16) != 0;
  checkpoint.next_full_xid = LoadLe64(bytes, 24);
  return checkpoint;
}

ControlFile ControlFile::Parse(Bytes bytes, std::string_view whose) {
  if (bytes.size() != kControlFileBytes) {
    Damaged(whose, fmt::format("{} bytes instead of {}", bytes.size(), kControlFileBytes));
  }
  ControlFile control;
  std::memcpy(control.raw_.data(), bytes.data(), bytes.size());
  const uint32_t catalog_version = LoadLe32(bytes, 12);
  control.version_ = FindPgVersion(catalog_version);
  if (control.version_ == nullptr) {
    // Either another major, whose CRC is at a place we do not know, or damage.
    for (const size_t offset : {288, 292, 308}) {
      if (ComputeCrc32c(bytes.first(offset)) == LoadLe32(bytes, offset)) {
        Unsupported(whose,
                    fmt::format("control version {}, catalog version {} (14 to 18 are known)",
                                LoadLe32(bytes, 8), catalog_version));
      }
    }
    Damaged(whose,
            fmt::format("unknown catalog version {} and no valid checksum", catalog_version));
  }
  const size_t crc_offset = control.version_->control_crc_offset;
  if (ComputeCrc32c(bytes.first(crc_offset)) != LoadLe32(bytes, crc_offset)) {
    Damaged(whose, "checksum does not match");
  }
  if (const uint32_t stated = LoadLe32(bytes, 8);
      stated != control.version_->control_version && !control.fenced()) {
    Unsupported(whose,
                fmt::format("control version {} with catalog version {}", stated, catalog_version));
  }
  CheckLayout(control, whose);
  return control;
}

bool ControlFile::fenced() const { return LoadLe32(raw(), 8) == kFencedControlVersion; }

TimelineId ControlFile::timeline() const {
  return std::max(checkpoint().timeline, min_recovery_point_timeline());
}

std::array<ServerLimit, 5> ControlFile::limits() const {
  return {{{"max_connections", LoadLe32(raw(), 180)},
           {"max_worker_processes", LoadLe32(raw(), 184)},
           {"max_wal_senders", LoadLe32(raw(), 188)},
           {"max_prepared_transactions", LoadLe32(raw(), 192)},
           {"max_locks_per_transaction", LoadLe32(raw(), 196)}}};
}

void ControlFile::Seal() {
  const size_t crc_offset = version_->control_crc_offset;
  StoreLe<uint32_t>(std::as_writable_bytes(std::span(raw_)), crc_offset,
                    ComputeCrc32c(raw().first(crc_offset)));
}

ControlFile ControlFile::Fenced() const {
  ControlFile fenced = *this;
  StoreLe<uint32_t>(std::as_writable_bytes(std::span(fenced.raw_)), 8, kFencedControlVersion);
  fenced.Seal();
  return fenced;
}

ControlFile ControlFile::AsStandby(Lsn min_recovery_point, TimelineId timeline) const {
  ControlFile standby = *this;
  const MutableBytes bytes = std::as_writable_bytes(std::span(standby.raw_));
  StoreLe<uint32_t>(bytes, 16, static_cast<uint32_t>(DatabaseState::kArchiveRecovery));
  StoreLe<int64_t>(bytes, 24, static_cast<int64_t>(std::time(nullptr)));
  StoreLe<uint64_t>(bytes, 136, min_recovery_point.value);
  StoreLe<uint32_t>(bytes, 144, timeline);
  standby.Seal();
  return standby;
}

void CheckCompatible(const ControlFile& target, const ControlFile& source) {
  const auto refuse = [](const std::string& what) {
    throw Error(
        ErrorKind::kNotRewindable, what,
        "Only copies of one cluster can be rewound onto each other; clone the target anew.");
  };
  if (target.system_identifier() != source.system_identifier()) {
    refuse(
        fmt::format("source and target clusters are from different systems (target {}, source {})",
                    target.system_identifier(), source.system_identifier()));
  }
  if (target.version().major != source.version().major) {
    refuse(fmt::format("target is PostgreSQL {}, source is PostgreSQL {}", target.version().major,
                       source.version().major));
  }
  if (target.blocks_per_segment() != source.blocks_per_segment() ||
      target.wal_segment_size() != source.wal_segment_size()) {
    refuse("source and target differ in relation or WAL segment size");
  }
  if (target.data_checksum_version() != source.data_checksum_version()) {
    refuse(fmt::format("data checksums are {} on the target and {} on the source",
                       target.data_checksum_version() != 0 ? "on" : "off",
                       source.data_checksum_version() != 0 ? "on" : "off"));
  }
}

}  // namespace pgrejoin
