#include "source/source_control.h"

#include <chrono>
#include <thread>

#include "base/error.h"

namespace pgrejoin {
namespace {
constexpr int kTornRetries = 10;
constexpr std::chrono::milliseconds kTornPause{20};
}  // namespace

ControlFile ReadSourceControl(const std::function<std::optional<std::string>()>& read) {
  for (int attempt = 0;; ++attempt) {
    const auto content = read();
    if (!content) throw Error(ErrorKind::kNotRewindable, "the source has no control file");
    try {
      ControlFile control = ControlFile::Parse(AsBytes(*content), "source");
      // No server runs on such a directory.
      if (control.fenced()) {
        throw Error(ErrorKind::kNotRewindable, "the source has the control file of a rewind");
      }
      return control;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kTargetFailed) throw;
      if (attempt == kTornRetries) throw Error(ErrorKind::kNotRewindable, error.message());
    }
    std::this_thread::sleep_for(kTornPause);
  }
}

}  // namespace pgrejoin
