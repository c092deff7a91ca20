// global/pg_control: src/include/catalog/pg_control.h, docs/explanation/formats.md.
//
// The 8192 bytes are kept as they are read; only named fields are ever changed, so padding and what
// this program does not know survive.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "pgdata/types.h"
#include "pgdata/versions.h"

namespace pgrejoin {

inline constexpr size_t kControlFileBytes = 8192;
inline constexpr const char* kControlFilePath = "global/pg_control";

// DBState
enum class DatabaseState : uint32_t {
  kStartup = 0,
  kShutDown = 1,
  kShutDownInRecovery = 2,
  kShuttingDown = 3,
  kCrashRecovery = 4,
  kArchiveRecovery = 5,
  kInProduction = 6,
};

struct CheckPoint {
  Lsn redo;
  TimelineId timeline = 0;
  TimelineId previous_timeline = 0;
  bool full_page_writes = false;
  uint64_t next_full_xid = 0;
};

// The checkpoint at the beginning of bytes: the copy in pg_control or a WAL record's main data.
// bytes must hold 88 bytes.
CheckPoint LoadCheckPoint(Bytes bytes);
inline constexpr size_t kCheckPointBytes = 88;

// A setting of which a hot standby must have at least as much as its primary.
struct ServerLimit {
  const char* name;
  uint32_t value;
};

class ControlFile {
 public:
  // Validates size, version, CRC and every limit that later arithmetic relies on. whose ("target",
  // "source") begins the messages of the Error(kNotRewindable), or kTargetFailed for damage.
  static ControlFile Parse(Bytes bytes, std::string_view whose);

  const PgVersion& version() const { return *version_; }
  uint64_t system_identifier() const { return LoadLe64(raw(), 0); }
  // True for a pg_control that Fenced() made: no server accepts it.
  bool fenced() const;
  DatabaseState state() const { return DatabaseState{LoadLe32(raw(), 16)}; }
  Lsn checkpoint_lsn() const { return {LoadLe64(raw(), 32)}; }
  CheckPoint checkpoint() const { return LoadCheckPoint(raw().subspan(40)); }
  Lsn min_recovery_point() const { return {LoadLe64(raw(), 136)}; }
  TimelineId min_recovery_point_timeline() const { return LoadLe32(raw(), 144); }
  Lsn backup_start_point() const { return {LoadLe64(raw(), 152)}; }
  bool wal_log_hints() const { return LoadU8(raw(), 176) != 0; }
  // CheckRequiredParameterValues(), as the server had them when it ran.
  std::array<ServerLimit, 5> limits() const;
  uint32_t block_size() const { return LoadLe32(raw(), 216); }
  uint32_t blocks_per_segment() const { return LoadLe32(raw(), 220); }
  uint32_t wal_block_size() const { return LoadLe32(raw(), 224); }
  uint32_t wal_segment_size() const { return LoadLe32(raw(), 228); }
  uint32_t data_checksum_version() const { return LoadLe32(raw(), 252); }
  uint32_t crc() const { return LoadLe32(raw(), version_->control_crc_offset); }

  // The timeline the server was on: right after a promotion only the minimum recovery point's
  // timeline tells (PostgreSQL 16's pg_rewind, commit 009eeee).
  TimelineId timeline() const;
  // Whether a server would start this directory as a standby that was in recovery.
  bool in_recovery() const {
    return state() == DatabaseState::kShutDownInRecovery ||
           state() == DatabaseState::kArchiveRecovery;
  }
  bool clean_shutdown() const {
    return state() == DatabaseState::kShutDown || state() == DatabaseState::kShutDownInRecovery;
  }

  Bytes raw() const { return std::as_bytes(std::span(raw_)); }

  // The same content under a version that no server knows: refused at start, while pg_controldata
  // and everything else that reads it still finds the system identifier.
  ControlFile Fenced() const;
  // What a standby of this source starts from: state "in archive recovery", consistent at
  // min_recovery_point.
  ControlFile AsStandby(Lsn min_recovery_point, TimelineId timeline) const;

 private:
  ControlFile() = default;
  void Seal();  // recomputes the CRC

  std::array<char, kControlFileBytes> raw_{};
  const PgVersion* version_ = nullptr;
};

// Both describe clusters whose files may be mixed: same system, major and physical layout.
// Throws Error(kNotRewindable) that names the first difference.
void CheckCompatible(const ControlFile& target, const ControlFile& source);

}  // namespace pgrejoin
