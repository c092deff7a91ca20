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

int64_t UnixSecondsNow() { return UnixMicrosecondsNow() / kMicroseconds; }

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

std::optional<int64_t> ParseUtc(std::string_view text) {
  static constexpr std::string_view kForm = "0000-00-00T00:00:00Z";
  if (text.size() != kForm.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == '0' ? !digit : text[i] != kForm[i]) return std::nullopt;
  }
  const auto number = [&](size_t begin, size_t digits) {
    int value = 0;
    for (const char digit : text.substr(begin, digits)) value = value * 10 + (digit - '0');
    return value;
  };
  const std::chrono::year_month_day date{std::chrono::year(number(0, 4)),
                                         std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                         std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  const int hour = number(11, 2);
  const int minute = number(14, 2);
  const int second = number(17, 2);
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const std::chrono::microseconds time = std::chrono::sys_days(date).time_since_epoch() +
                                         std::chrono::hours(hour) + std::chrono::minutes(minute) +
                                         std::chrono::seconds(second);
  return time.count();
}

}  // namespace pgrejoin
