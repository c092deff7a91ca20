// Turns RewindProgress into something to look at: percent, bytes, rate and time left. On a terminal
// one line that is rewritten; elsewhere a line every few seconds, so that logs stay short.
// Thread-safe: progress may be reported by any worker.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>

#include "rewind/rewind.h"

namespace pgrejoin {

class ProgressMeter {
 public:
  using Clock = std::chrono::steady_clock;
  using Output = std::function<void(const std::string&)>;

  // On a terminal output gets text with carriage returns; elsewhere whole lines without newline.
  ProgressMeter(bool terminal, Output output);

  void Update(const RewindProgress& progress, Clock::time_point now);
  // Ends the rewritten line of a terminal.
  void Finish();

 private:
  std::string Line(const RewindProgress& progress, Clock::time_point now) const;

  const bool terminal_;
  const Output output_;
  std::mutex mutex_;
  std::string phase_;
  Clock::time_point phase_begin_;
  uint64_t phase_bytes_at_begin_ = 0;
  Clock::time_point last_shown_;
  bool complete_shown_ = false;
  size_t width_shown_ = 0;
};

// "812 kB", "1.4 GB": three significant digits, powers of 1024 as PostgreSQL prints sizes.
std::string FormatBytes(uint64_t bytes);

}  // namespace pgrejoin
