#include "rewind/recovery_conf.h"

#include <cctype>

#include "base/error.h"

namespace pgrejoin {
namespace {

constexpr const char* kAutoConf = "postgresql.auto.conf";
constexpr size_t kAutoConfBytesMax = 16 << 20;

// The name of the setting in a line of a configuration file, lower case.
std::string SettingName(std::string_view line) {
  const size_t begin = line.find_first_not_of(" \t\r");  // as guc-file.l
  if (begin == std::string_view::npos) return {};
  std::string name;
  for (const char c : line.substr(begin)) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) == 0 && c != '_' && c != '.' && byte < 0x80) break;
    name += static_cast<char>(std::tolower(byte));
  }
  return name;
}

// escape_single_quotes_ascii(): quotes and backslashes doubled.
std::string Quote(const std::string& value) {
  std::string quoted = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') quoted += c;
    quoted += c;
  }
  return quoted + '\'';
}

}  // namespace

std::string WithPrimaryConninfo(std::string_view content, const std::string& primary_conninfo) {
  if (primary_conninfo.find('\n') != std::string::npos) {
    throw Error(ErrorKind::kUsage, "the connection string of the source has a line break",
                "A password with a line break has to be in a passfile.");
  }
  const std::string wanted = "primary_conninfo = " + Quote(primary_conninfo) + "\n";
  std::string result;
  bool written = primary_conninfo.empty();
  while (!content.empty()) {
    const size_t newline = content.find('\n');
    const std::string_view line = content.substr(0, newline);
    content.remove_prefix(newline == std::string_view::npos ? content.size() : newline + 1);
    const std::string name = SettingName(line);
    if (name == "primary_conninfo" && !primary_conninfo.empty()) {
      if (!written) result += wanted;
      written = true;
    } else if (!name.starts_with("recovery_target")) {
      result += std::string(line) + "\n";
    }
  }
  if (!written) result += wanted;
  return result;
}

void PreviewRecoveryConf(const TargetDirectory& target, const std::string& primary_conninfo) {
  if (primary_conninfo.empty()) return;
  try {
    target.ReadFile(kAutoConf, kAutoConfBytesMax);
  } catch (const Error& error) {
    throw Error(ErrorKind::kNotRewindable, error.message(), error.hint());
  }
}

void WriteRecoveryConf(TargetDirectory& target, const std::string& primary_conninfo,
                       bool create_standby_signal) {
  if (!primary_conninfo.empty() || create_standby_signal) {
    const std::string content = target.ReadFile(kAutoConf, kAutoConfBytesMax).value_or("");
    const std::string changed = WithPrimaryConninfo(content, primary_conninfo);
    if (changed != content) target.ReplaceFile(kAutoConf, AsBytes(changed));
  }
  if (create_standby_signal && !target.Exists("standby.signal")) {
    target.ReplaceFile("standby.signal", {});
  }
}

}  // namespace pgrejoin
