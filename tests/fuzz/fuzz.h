// What the fuzz targets share. A target is one function of bytes; it returns after every input,
// throws nothing but Error, and states with Require() what must hold for what was accepted
// (README.md here).
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace pgrejoin::fuzz {

// A violated property ends the process: the input is a finding.
inline void Require(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "property violated: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// What a terminal would act on instead of showing it.
inline bool HasControlCharacter(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return true;
  }
  return false;
}

// False when parse refused its input. Everything but an Error about the input is a finding.
template <typename Parse>
bool Accepts(Parse parse) {
  try {
    parse();
    return true;
  } catch (const Error& error) {
    Require(error.kind() != ErrorKind::kInternal, error.message());
    Require(!HasControlCharacter(error.message()), "a message holds control characters");
    return false;
  }
}

// Takes choices from the front of an input; zeros when it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  template <typename T>
  T Take() {
    char bytes[sizeof(T)] = {};
    const std::string_view taken = TakeText(sizeof(T));
    taken.copy(bytes, sizeof(T));
    return LoadLe<T>(std::as_bytes(std::span(bytes)), 0);
  }
  std::string_view TakeText(size_t bytes_max) {
    const std::string_view taken = rest_.substr(0, bytes_max);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view TakeLine() {
    const size_t newline = rest_.find('\n');
    const std::string_view line = TakeText(newline);
    TakeText(newline == std::string_view::npos ? 0 : 1);
    return line;
  }
  std::string_view Rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace pgrejoin::fuzz
