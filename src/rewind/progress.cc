#include "rewind/progress.h"

#include "base/log.h"

namespace pgrejoin {
namespace {
constexpr std::chrono::milliseconds kReportInterval{100};
}  // namespace

void ProgressReporter::Phase(const std::string& phase) {
  LogDebug("phase: {}", phase);
  const std::scoped_lock lock(mutex_);
  progress_.phase = phase;
  Report();
}

void ProgressReporter::Expect(uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  progress_.bytes_total += bytes;
}

void ProgressReporter::Done(uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  progress_.bytes_done += bytes;
  if (std::chrono::steady_clock::now() - last_report_ >= kReportInterval) Report();
}

uint64_t ProgressReporter::bytes_done() {
  const std::scoped_lock lock(mutex_);
  return progress_.bytes_done;
}

void ProgressReporter::Report() {
  last_report_ = std::chrono::steady_clock::now();
  if (report_) report_(progress_);
}

}  // namespace pgrejoin
