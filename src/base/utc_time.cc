#include "base/utc_time.h"

#include <spdlog/fmt/fmt.h>

#include <chrono>
#include <ctime>

namespace pgrejoin {
namespace {
constexpr int64_t kMicroseconds = 1'000'000;
}  // namespace

int64_t UnixMicrosecondsNow() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string FormatUtc(int64_t unix_microseconds, int decimals) {
  int64_t micros = unix_microseconds % kMicroseconds;
  if (micros < 0) micros += kMicroseconds;
  const std::time_t seconds = (unix_microseconds - micros) / kMicroseconds;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  const std::string fraction = decimals > 0 ? fmt::format(".{:06}", micros) : "";
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     fraction.substr(0, decimals > 0 ? static_cast<size_t>(decimals) + 1 : 0));
}

}  // namespace pgrejoin
