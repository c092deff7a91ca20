// Holds what all connections together have the source read down to a rate. A server that is not
// read from does not send: its disk and the network rest, too.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <stop_token>

namespace pgrejoin {

class RateLimit {
 public:
  // 0: no limit.
  explicit RateLimit(uint64_t bytes_per_second) : bytes_per_second_(bytes_per_second) {}

  // Returns when these bytes, just received, have had their time, or on stop. Thread-safe.
  void Take(uint64_t bytes, const std::stop_token& stop);

 private:
  using Clock = std::chrono::steady_clock;

  // When everything received so far has had its time.
  Clock::time_point Due(uint64_t bytes);

  const uint64_t bytes_per_second_;
  std::mutex mutex_;
  Clock::time_point due_;  // guarded by mutex_
};

}  // namespace pgrejoin
