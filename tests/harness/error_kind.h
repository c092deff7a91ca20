// With which kind of Error a call ends.
#pragma once

#include <optional>

#include "base/error.h"

namespace pgrejoin::testing {

// nullopt: it returns.
template <typename Call>
std::optional<ErrorKind> KindOf(const Call& call) {
  try {
    call();
    return std::nullopt;
  } catch (const Error& error) {
    return error.kind();
  }
}

}  // namespace pgrejoin::testing
