// Makes the 8192 bytes of a pg_control for tests. The offsets are written down here a second time,
// from src/include/catalog/pg_control.h, on purpose: the code under test must agree with them.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "pgdata/control_file.h"
#include "pgdata/versions.h"

namespace pgrejoin::testing {

struct ControlSpec {
  unsigned major = 15;
  uint64_t system_identifier = 7'300'000'000'000'000'001;
  DatabaseState state = DatabaseState::kShutDown;
  Lsn checkpoint_lsn{0x2000028};
  Lsn redo{0x2000028};
  TimelineId timeline = 1;
  TimelineId previous_timeline = 1;
  bool full_page_writes = true;
  uint64_t next_full_xid = 740;
  Lsn min_recovery_point = {};
  TimelineId min_recovery_point_timeline = 0;
  bool wal_log_hints = false;
  uint32_t blocks_per_segment = 131072;
  uint32_t wal_segment_size = 1 << 20;
  uint32_t data_checksum_version = 1;
};

inline const PgVersion& VersionOf(unsigned major) {
  for (const PgVersion& version : kPgVersions) {
    if (version.major == major) return version;
  }
  throw std::out_of_range("no such major");
}

inline void SealControl(std::string* raw, unsigned major) {
  const size_t offset = major >= 18 ? 292 : 288;
  const MutableBytes bytes = std::as_writable_bytes(std::span(*raw));
  StoreLe<uint32_t>(bytes, offset, ComputeCrc32c(Bytes(bytes).first(offset)));
}

inline std::string MakeControl(const ControlSpec& spec) {
  std::string raw(8192, '\0');
  const MutableBytes bytes = std::as_writable_bytes(std::span(raw));
  const PgVersion& version = VersionOf(spec.major);
  StoreLe<uint64_t>(bytes, 0, spec.system_identifier);
  StoreLe<uint32_t>(bytes, 8, version.control_version);
  StoreLe<uint32_t>(bytes, 12, version.catalog_version);
  StoreLe<uint32_t>(bytes, 16, static_cast<uint32_t>(spec.state));
  StoreLe<uint64_t>(bytes, 32, spec.checkpoint_lsn.value);
  StoreLe<uint64_t>(bytes, 40, spec.redo.value);
  StoreLe<uint32_t>(bytes, 48, spec.timeline);
  StoreLe<uint32_t>(bytes, 52, spec.previous_timeline);
  StoreLe<uint8_t>(bytes, 56, spec.full_page_writes ? 1 : 0);
  StoreLe<uint64_t>(bytes, 64, spec.next_full_xid);
  StoreLe<uint64_t>(bytes, 136, spec.min_recovery_point.value);
  StoreLe<uint32_t>(bytes, 144, spec.min_recovery_point_timeline);
  StoreLe<uint8_t>(bytes, 176, spec.wal_log_hints ? 1 : 0);
  StoreLe<uint32_t>(bytes, 204, 8);
  StoreLe<double>(bytes, 208, 1234567.0);
  StoreLe<uint32_t>(bytes, 216, 8192);
  StoreLe<uint32_t>(bytes, 220, spec.blocks_per_segment);
  StoreLe<uint32_t>(bytes, 224, 8192);
  StoreLe<uint32_t>(bytes, 228, spec.wal_segment_size);
  StoreLe<uint32_t>(bytes, 252, spec.data_checksum_version);
  // The nonce, so that what is kept verbatim is not all zeros.
  for (size_t i = 0; i < 31; ++i) {
    StoreLe<uint8_t>(bytes, 257 + i, static_cast<uint8_t>(0xc0 + i));
  }
  SealControl(&raw, spec.major);
  return raw;
}

inline ControlFile ParseControl(const ControlSpec& spec) {
  return ControlFile::Parse(AsBytes(MakeControl(spec)), "test");
}

}  // namespace pgrejoin::testing
