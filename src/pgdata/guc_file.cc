#include "pgdata/guc_file.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace pgrejoin {
namespace {

constexpr size_t kShownBytesMax = 30;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHexDigit(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsLetter(char c) {
  return IsAsciiLetter(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool IsLetterOrDigit(char c) { return IsLetter(c) || IsDigit(c); }

// One line, without its line break, from left to right.
class LineScanner {
 public:
  explicit LineScanner(std::string_view line) : rest_(line) {}

  std::string_view rest() const { return rest_; }

  void SkipBlanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\r')) Take(1);
  }
  // Nothing but a comment.
  bool AtEnd() const { return rest_.empty() || rest_[0] == '#'; }
  bool TakeEquals() {
    if (rest_.empty() || rest_[0] != '=') return false;
    Take(1);
    return true;
  }

  // ID or QUALIFIED_ID; empty: something else.
  std::string_view TakeName() {
    size_t length = IdLength(0);
    if (length > 0 && length < rest_.size() && rest_[length] == '.') {
      const size_t second = IdLength(length + 1);
      if (second > 0) length += 1 + second;
    }
    return Take(length);
  }

  // STRING, UNQUOTED_STRING, INTEGER or REAL; nullopt: something else.
  std::optional<std::string> TakeValue() {
    if (!rest_.empty() && rest_[0] == '\'') return TakeQuoted();
    size_t length = UnquotedLength();
    if (length == 0) length = NumberLength();
    if (length == 0) return std::nullopt;
    return std::string(Take(length));
  }

 private:
  std::string_view Take(size_t length) {
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }
  template <typename Accept>
  size_t RunFrom(size_t from, const Accept& accept) const {
    size_t at = from;
    while (at < rest_.size() && accept(rest_[at])) ++at;
    return at - from;
  }
  size_t IdLength(size_t from) const {
    if (from >= rest_.size() || !IsLetter(rest_[from])) return 0;
    return RunFrom(from, IsLetterOrDigit);
  }
  size_t UnquotedLength() const {
    if (rest_.empty() || !IsLetter(rest_[0])) return 0;
    return RunFrom(0, [](char c) {
      return IsLetterOrDigit(c) || c == '-' || c == '.' || c == '_' || c == ':' || c == '/';
    });
  }
  // The longer of INTEGER, which may have a unit, and REAL.
  size_t NumberLength() const {
    const size_t sign = !rest_.empty() && (rest_[0] == '-' || rest_[0] == '+') ? 1 : 0;
    size_t integer = RunFrom(sign, IsDigit);
    if (rest_.substr(sign).starts_with("0x")) {
      const size_t digits = RunFrom(sign + 2, IsHexDigit);
      if (digits > 0) integer = 2 + digits;
    }
    if (integer > 0) integer += sign + RunFrom(sign + integer, IsAsciiLetter);
    const size_t point = sign + RunFrom(sign, IsDigit);
    if (point >= rest_.size() || rest_[point] != '.') return integer;
    size_t real = point + 1 + RunFrom(point + 1, IsDigit);
    if (real < rest_.size() && (rest_[real] == 'e' || rest_[real] == 'E')) {
      size_t digits = real + 1;
      if (digits < rest_.size() && (rest_[digits] == '-' || rest_[digits] == '+')) ++digits;
      const size_t exponent = RunFrom(digits, IsDigit);
      if (exponent > 0) real = digits + exponent;
    }
    return std::max(integer, real);
  }

  // DeescapeQuotedString(): '' is a quote, \b \f \n \r \t what they are in C, up to three octal
  // digits a byte, any other character after \ itself. nullopt: not closed.
  std::optional<std::string> TakeQuoted() {
    std::string value;
    size_t at = 1;
    while (at < rest_.size()) {
      const char c = rest_[at++];
      if (c == '\'') {
        if (at >= rest_.size() || rest_[at] != '\'') {
          Take(at);
          return value;
        }
        ++at;
        value += c;
      } else if (c == '\\') {
        if (at >= rest_.size()) return std::nullopt;
        at += Unescape(at, &value);
      } else {
        value += c;
      }
    }
    return std::nullopt;
  }
  size_t Unescape(size_t at, std::string* value) const {
    const char c = rest_[at];
    if (c >= '0' && c <= '7') {
      unsigned byte = 0;
      size_t digits = 0;
      while (digits < 3 && at + digits < rest_.size() && rest_[at + digits] >= '0' &&
             rest_[at + digits] <= '7') {
        byte = byte * 8 + static_cast<unsigned>(rest_[at + digits] - '0');
        ++digits;
      }
      *value += static_cast<char>(byte);
      return digits;
    }
    constexpr std::string_view kLetters = "bfnrt";
    constexpr std::string_view kMeanings = "\b\f\n\r\t";
    const size_t letter = kLetters.find(c);
    *value += letter == std::string_view::npos ? c : kMeanings[letter];
    return 1;
  }

  std::string_view rest_;
};

std::string LowerCase(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// nullopt: nothing on this line. False in *ok: a syntax error before what scanner has not taken.
std::optional<GucLine> ParseLine(LineScanner* scanner, bool* ok) {
  scanner->SkipBlanks();
  if (scanner->AtEnd()) return std::nullopt;
  GucLine line;
  line.name = LowerCase(scanner->TakeName());
  scanner->SkipBlanks();
  if (scanner->TakeEquals()) scanner->SkipBlanks();
  auto value = line.name.empty() ? std::nullopt : scanner->TakeValue();
  scanner->SkipBlanks();
  *ok = value.has_value() && scanner->AtEnd();
  if (value) line.value = *std::move(value);
  return line;
}

}  // namespace

std::vector<GucLine> ParseGucFile(std::string_view content, std::string_view file_name) {
  std::vector<GucLine> lines;
  for (size_t number = 1; !content.empty(); ++number) {
    const size_t newline = content.find('\n');
    LineScanner scanner(content.substr(0, newline));
    content.remove_prefix(newline == std::string_view::npos ? content.size() : newline + 1);
    bool ok = true;
    auto line = ParseLine(&scanner, &ok);
    if (!ok) {
      const std::string_view near = scanner.rest().substr(0, kShownBytesMax);
      throw Error(ErrorKind::kUsage,
                  fmt::format("syntax error in file \"{}\" line {}, near {}", Printable(file_name),
                              number, near.empty() ? "end of line" : '"' + Printable(near) + '"'),
                  "The server would refuse it as well. Correct the line.");
    }
    if (line) lines.push_back(*std::move(line));
  }
  return lines;
}

}  // namespace pgrejoin
