// One line an event, to standard error: text for people, one JSON object a line for machines.
// Thread-safe. Nothing secret is ever passed in here: connection strings are logged by
// RedactedConninfo() only.
#pragma once

#include <spdlog/fmt/fmt.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace pgrejoin {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

using LogField = std::pair<std::string_view, std::string>;

void InitLog(LogFormat format, LogLevel lowest);
bool LogEnabled(LogLevel level);

// fields become members of the JSON object, or " key=value" in text.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

template <typename... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  Log(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogWarning(fmt::format_string<Args...> format, Args&&... args) {
  Log(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogError(fmt::format_string<Args...> format, Args&&... args) {
  Log(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kDebug)) {
    Log(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
  }
}

}  // namespace pgrejoin
