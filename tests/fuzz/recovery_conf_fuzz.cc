// postgresql.auto.conf with a new primary_conninfo. Input: the connection string in a line, the
// file. What comes out is read by the rules of guc-file.l.
#include <cctype>
#include <optional>
#include <vector>

#include "fuzz/fuzz.h"
#include "rewind/recovery_conf.h"

namespace pgrejoin::fuzz {
namespace {

bool IsLetter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0;
}

// Lower case; empty for a comment, an empty line and what no setting begins with.
std::string NameOf(std::string_view line, size_t* behind) {
  size_t at = line.find_first_not_of(" \t\r");
  std::string name;
  while (at < line.size()) {
    const char c = line[at];
    const bool digit = c >= '0' && c <= '9';
    if (!IsLetter(c) && !((digit || c == '.') && !name.empty())) break;
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    ++at;
  }
  *behind = at;
  return name;
}

// GUC_scanstr() for what we write: doubled quotes and backslashes.
std::optional<std::string> Unquote(std::string_view text) {
  if (text.size() < 2 || text.front() != '\'' || text.back() != '\'') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::string value;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\'' || text[at] == '\\') {
      if (at + 1 >= text.size() || text[at + 1] != text[at]) return std::nullopt;
      ++at;
    }
    value += text[at];
  }
  return value;
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t newline = std::min(text.find('\n'), text.size() - 1);
    lines.push_back(text.substr(0, newline + 1));
    text.remove_prefix(newline + 1);
  }
  return lines;
}

void CheckRewritten(std::string_view before, std::string_view after, std::string_view wanted) {
  int found = 0;
  size_t kept = 0;
  for (std::string_view line : Lines(after)) {
    size_t behind = 0;
    const std::string name = NameOf(line, &behind);
    Require(!name.starts_with("recovery_target"), "no recovery target survives");
    if (name != "primary_conninfo") {
      ++kept;
      continue;
    }
    ++found;
    if (wanted.empty()) continue;
    const size_t quote = line.find('\'', behind);
    Require(quote != std::string_view::npos && line.ends_with('\n'), "the setting has a value");
    line.remove_suffix(1);
    Require(Unquote(line.substr(quote)) == wanted, "which is what was asked for");
  }
  if (!wanted.empty()) Require(found == 1, "there is one primary_conninfo");
  size_t others = 0;
  for (const std::string_view line : Lines(before)) {
    size_t behind = 0;
    const std::string name = NameOf(line, &behind);
    if (name != "primary_conninfo" && !name.starts_with("recovery_target")) ++others;
  }
  Require(kept == others, "every other line is kept");
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const std::string conninfo(input.TakeLine());
  const std::string_view before = input.Rest();
  const std::string after = WithPrimaryConninfo(before, conninfo);
  CheckRewritten(before, after, conninfo);
  Require(WithPrimaryConninfo(after, conninfo) == after, "once is enough");
  return 0;
}
