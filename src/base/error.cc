#include "base/error.h"

#include <spdlog/fmt/fmt.h>

#include <cerrno>
#include <cstring>

namespace pgrejoin {
namespace {
constexpr size_t kPrintableBytesMax = 1000;
}  // namespace

Error::Error(ErrorKind kind, std::string message, std::string hint)
    : kind_(kind), message_(std::move(message)), hint_(std::move(hint)) {}

Error Error::WithContext(std::string_view context) const {
  return Error(kind_, fmt::format("{}: {}", context, message_), hint_);
}

Error SystemError(ErrorKind kind, std::string_view what) {
  const int saved_errno = errno;
  return Error(kind, fmt::format("{}: {}", what, std::strerror(saved_errno)));
}

std::string Printable(std::string_view foreign) {
  std::string out;
  for (const char c : foreign) {
    if (out.size() >= kPrintableBytesMax) {
      out += "...";
      break;
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || byte >= 0x80) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace pgrejoin
