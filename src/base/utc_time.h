// Points in time as people and Kubernetes read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pgrejoin {

// Since 1970.
int64_t UnixMicrosecondsNow();
int64_t UnixSecondsNow();

// "2026-11-21T22:30:00Z"; decimals of the second: 0, 3 or 6, cut off. Years 1 to 9999.
std::string FormatUtc(int64_t unix_microseconds, int decimals);

// What FormatUtc writes without decimals; nullopt for anything else.
std::optional<int64_t> ParseUtc(std::string_view text);

}  // namespace pgrejoin
