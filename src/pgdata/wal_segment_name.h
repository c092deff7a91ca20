// "000000010000000A000000FF": XLogFileName() in src/include/access/xlog_internal.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pgdata/types.h"

namespace pgrejoin {

struct WalSegmentName {
  static constexpr size_t kLength = 24;

  TimelineId tli = 0;
  uint64_t segment = 0;  // position / wal_segment_size

  // Checks the 24 upper-case hexadecimal digits and reads the timeline; segment stays 0, since it
  // depends on the segment size.
  static std::optional<WalSegmentName> Parse(std::string_view name);
  static std::optional<WalSegmentName> Parse(std::string_view name, uint32_t wal_segment_size);
  std::string ToString(uint32_t wal_segment_size) const;
};

}  // namespace pgrejoin
