// Numbers in foreign text.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace pgrejoin {

// The whole text is a number that fits, written as std::from_chars reads it (no space, no sign but
// '-', no "0x"); nullopt for anything else. base is for whole numbers.
template <typename Number, typename... Base>
std::optional<Number> ParseNumber(std::string_view text, Base... base) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number, base...);
  if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return number;
}

}  // namespace pgrejoin
