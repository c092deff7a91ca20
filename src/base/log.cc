#include "base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/utc_time.h"

namespace pgrejoin {
namespace {

LogFormat g_format = LogFormat::kText;

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "info";
}

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("pg-rejoin",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%d %H:%M:%S.%e %v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *logger;
}

std::string JsonLine(LogLevel level, std::string_view message,
                     std::initializer_list<LogField> fields) {
  nlohmann::ordered_json line;
  line["time"] = FormatUtc(UnixMicrosecondsNow(), 3);
  line["level"] = LevelName(level);
  line["message"] = message;
  for (const auto& [key, value] : fields) {
    line[std::string(key)] = value;
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string TextLine(LogLevel level, std::string_view message,
                     std::initializer_list<LogField> fields) {
  std::string line = level == LogLevel::kInfo ? std::string(message)
                                              : fmt::format("{}: {}", LevelName(level), message);
  for (const auto& [key, value] : fields) {
    line += fmt::format(" {}={}", key, value);
  }
  return line;
}

}  // namespace

void InitLog(LogFormat format, LogLevel lowest) {
  g_format = format;
  Logger().set_level(ToSpdlog(lowest));
  if (format == LogFormat::kJson) {
    Logger().set_pattern("%v");
  }
}

bool LogEnabled(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  const std::string line = g_format == LogFormat::kJson ? JsonLine(level, message, fields)
                                                        : TextLine(level, message, fields);
  Logger().log(ToSpdlog(level), "{}", line);
}

}  // namespace pgrejoin
