#include "source/rate_limit.h"

#include <algorithm>
#include <condition_variable>

namespace pgrejoin {

void RateLimit::Take(uint64_t bytes, const std::stop_token& stop) {
  if (bytes_per_second_ == 0) return;
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  never.wait_until(lock, stop, Due(bytes), [&] { return stop.stop_requested(); });
}

RateLimit::Clock::time_point RateLimit::Due(uint64_t bytes) {
  const std::chrono::duration<double> takes(static_cast<double>(bytes) /
                                            static_cast<double>(bytes_per_second_));
  const std::scoped_lock lock(mutex_);
  // Time in which nothing came is not made up for.
  due_ = std::max(due_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(takes);
  return due_;
}

}  // namespace pgrejoin
