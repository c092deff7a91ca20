#include "pgdata/timestamp.h"

#include "base/utc_time.h"

namespace pgrejoin {
namespace {
constexpr int64_t kMicroseconds = 1'000'000;
constexpr PgTimestamp kUnixEpoch = -946'684'800 * kMicroseconds;
constexpr PgTimestamp kYear10000 = 252'455'616'000 * kMicroseconds;
}  // namespace

std::string FormatTimestamp(PgTimestamp time) {
  if (time < kUnixEpoch || time >= kYear10000) return "unknown";
  return FormatUtc(time - kUnixEpoch, 6);
}

}  // namespace pgrejoin
