// Counts what is done and tells it to RewindOptions::on_progress, at most ten times a second, from
// whichever worker happens to be writing. Thread-safe; the callback is never called twice at once.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>

#include "rewind/rewind.h"

namespace pgrejoin {

class ProgressReporter {
 public:
  explicit ProgressReporter(std::function<void(const RewindProgress&)> report)
      : report_(std::move(report)) {}

  void Phase(const std::string& phase);
  void Expect(uint64_t bytes);
  void Done(uint64_t bytes);
  uint64_t bytes_done();

 private:
  void Report();  // mutex_ is held

  std::function<void(const RewindProgress&)> report_;
  std::mutex mutex_;
  RewindProgress progress_;
  std::chrono::steady_clock::time_point last_report_;
};

}  // namespace pgrejoin
