#include "report/progress_meter.h"

#include <spdlog/fmt/fmt.h>

#include <array>

namespace pgrejoin {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(200);
constexpr auto kLogInterval = std::chrono::seconds(5);

std::string FormatDuration(uint64_t seconds) {
  if (seconds >= 3600) {
    return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

}  // namespace

std::string FormatBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits{"bytes", "kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, value < 10 ? 1 : 0, kUnits[unit]);
}

ProgressMeter::ProgressMeter(bool terminal, Output output)
    : terminal_(terminal), output_(std::move(output)) {}

void ProgressMeter::Update(const RewindProgress& progress, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const bool new_phase = progress.phase != phase_;
  if (new_phase) {
    phase_ = progress.phase;
    phase_begin_ = now;
    phase_bytes_at_begin_ = progress.bytes_done;
    complete_shown_ = false;
  }
  const bool complete = progress.bytes_total != 0 && progress.bytes_done >= progress.bytes_total;
  const Clock::duration interval = terminal_ ? Clock::duration(kTerminalInterval) : kLogInterval;
  const bool due = new_phase || now - last_shown_ >= interval || (complete && !complete_shown_);
  if (!due) return;
  last_shown_ = now;
  complete_shown_ = complete;
  std::string line = Line(progress, now);
  if (terminal_) {
    const size_t width = line.size();
    if (width < width_shown_) line.append(width_shown_ - width, ' ');
    width_shown_ = width;
    line.insert(0, 1, '\r');
  }
  output_(line);
}

void ProgressMeter::Finish() {
  const std::lock_guard lock(mutex_);
  if (terminal_ && width_shown_ > 0) output_("\n");
  width_shown_ = 0;
}

std::string ProgressMeter::Line(const RewindProgress& progress, Clock::time_point now) const {
  std::string line = progress.phase;
  if (progress.bytes_total != 0) {
    const double share =
        static_cast<double>(progress.bytes_done) / static_cast<double>(progress.bytes_total);
    line += fmt::format(": {:.0f}% ({} of {})", std::min(share, 1.0) * 100,
                        FormatBytes(progress.bytes_done), FormatBytes(progress.bytes_total));
  } else if (progress.bytes_done != 0) {
    line += ": " + FormatBytes(progress.bytes_done);
  }
  const double seconds = std::chrono::duration<double>(now - phase_begin_).count();
  const uint64_t moved = progress.bytes_done - std::min(progress.bytes_done, phase_bytes_at_begin_);
  if (seconds <= 0 || moved == 0) return line;
  const double rate = static_cast<double>(moved) / seconds;
  line += fmt::format(", {}/s", FormatBytes(static_cast<uint64_t>(rate)));
  if (progress.bytes_total > progress.bytes_done) {
    const double left = static_cast<double>(progress.bytes_total - progress.bytes_done) / rate;
    line += fmt::format(", ETA {}", FormatDuration(static_cast<uint64_t>(left + 0.5)));
  }
  return line;
}

}  // namespace pgrejoin
