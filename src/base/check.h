// Check() states what our own logic guarantees. It stays on in release builds, because a wrong
// write is worse than a crash. Never use it on foreign bytes: malformed input is an Error.
#pragma once

#include <string_view>

namespace pgrejoin {

[[noreturn]] void CheckFailed(std::string_view what);

inline void Check(bool condition, std::string_view what) {
  if (!condition) [[unlikely]] {
    CheckFailed(what);
  }
}

}  // namespace pgrejoin
