#include "source/wal_presence.h"

#include <spdlog/fmt/fmt.h>

#include <bit>

#include "base/error.h"
#include "base/parse_number.h"
#include "pgdata/wal_segment_name.h"

namespace pgrejoin {
namespace {

constexpr uint32_t kSegmentBytesMin = 1 << 20;
constexpr uint32_t kSegmentBytesMax = 1 << 30;

uint32_t SegmentSizeOf(const ConnectOptions& server) {
  const std::string text = RunSql(
      server, "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))");
  const auto bytes = ParseNumber<uint32_t>(text);
  if (!bytes || !std::has_single_bit(*bytes) || *bytes < kSegmentBytesMin ||
      *bytes > kSegmentBytesMax) {
    throw Error(ErrorKind::kUnavailable,
                fmt::format("the server says its wal_segment_size is \"{}\"", Printable(text)));
  }
  return *bytes;
}

// The newest timeline that reaches into the segment: its file begins with the older one's part.
TimelineId TimelineOfFile(const TimelineHistory& line, uint64_t segment, uint32_t segment_size) {
  const Lsn end{(segment + 1) * segment_size};
  TimelineId timeline = line.entries().front().tli;
  for (const TimelineEntry& entry : line.entries()) {
    if (entry.begin < end) timeline = entry.tli;
  }
  return timeline;
}

}  // namespace

bool KeepsWalFrom(const ConnectOptions& server, const TimelineHistory& line, Lsn lsn) {
  const uint32_t segment_size = SegmentSizeOf(server);
  const uint64_t segment = lsn.value / segment_size;
  const WalSegmentName name{TimelineOfFile(line, segment, segment_size), segment};
  const std::string size =
      RunSql(server, fmt::format("SELECT (pg_catalog.pg_stat_file('pg_wal/{}', true)).size",
                                 name.ToString(segment_size)));
  return !size.empty();
}

}  // namespace pgrejoin
