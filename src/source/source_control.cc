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
      if (control.fenced()) {
        throw Error(ErrorKind::kNotRewindable, "the source data directory is half rewound itself",
                    "Finish its rewind, start and stop its server, and try again.");
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
