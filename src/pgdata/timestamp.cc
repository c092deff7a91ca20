#include "pgdata/timestamp.h"

#include <spdlog/fmt/fmt.h>

#include <ctime>

namespace pgrejoin {
namespace {
constexpr int64_t kEpochSeconds = 946'684'800;  // 2000-01-01 as Unix time
constexpr int64_t kMicroseconds = 1'000'000;
constexpr int64_t kYear9999Seconds = 252'455'616'000;  // from 2000-01-01 on
}  // namespace

std::string FormatTimestamp(PgTimestamp time) {
  int64_t seconds = time / kMicroseconds;
  int64_t micros = time % kMicroseconds;
  if (micros < 0) {
    micros += kMicroseconds;
    --seconds;
  }
  if (seconds < -kEpochSeconds || seconds >= kYear9999Seconds) return "unknown";
  const std::time_t unix_time = seconds + kEpochSeconds;
  std::tm utc{};
  gmtime_r(&unix_time, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, micros);
}

}  // namespace pgrejoin
