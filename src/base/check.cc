#include "base/check.h"

#include <string>

#include "base/error.h"

namespace pgrejoin {

void CheckFailed(std::string_view what) {
  throw Error(ErrorKind::kInternal, "internal check failed: " + std::string(what),
              "Please report this as a bug; the data directory was kept as it is.");
}

}  // namespace pgrejoin
