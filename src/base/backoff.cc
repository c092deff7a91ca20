#include "base/backoff.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace pgrejoin {

Backoff::Milliseconds Backoff::Next() {
  const Milliseconds now = next_;
  next_ = std::min(next_ * 2, longest_);
  std::uniform_int_distribution<int64_t> jitter(0, now.count() / 4);
  return now - Milliseconds(jitter(random_));
}

bool SleepFor(std::chrono::milliseconds duration, std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any wakeup;
  std::unique_lock lock(mutex);
  wakeup.wait_for(lock, stop, duration, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace pgrejoin
