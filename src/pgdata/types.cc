#include "pgdata/types.h"

#include <cinttypes>
#include <cstdio>

#include "base/parse_number.h"

namespace pgrejoin {
namespace {

std::optional<uint64_t> ParseHexWord(std::string_view text) {
  if (text.size() > 8) return std::nullopt;
  return ParseNumber<uint32_t>(text, 16);
}

}  // namespace

std::string Lsn::ToString() const {
  char text[20];
  std::snprintf(text, sizeof(text), "%" PRIX64 "/%" PRIX64, value >> 32, value & 0xffffffff);
  return text;
}

std::optional<Lsn> Lsn::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto high = ParseHexWord(text.substr(0, slash));
  const auto low = ParseHexWord(text.substr(slash + 1));
  if (!high || !low) return std::nullopt;
  return Lsn{(*high << 32) | *low};
}

std::string RelFileLocator::ToString() const {
  return std::to_string(tablespace) + "/" + std::to_string(database) + "/" + std::to_string(number);
}

}  // namespace pgrejoin
