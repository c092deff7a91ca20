// Exponential back-off with a cap and jitter, against a deadline.
#pragma once

#include <chrono>
#include <random>
#include <stop_token>

namespace pgrejoin {

class Backoff {
 public:
  using Milliseconds = std::chrono::milliseconds;

  Backoff(Milliseconds first, Milliseconds longest) : next_(first), longest_(longest) {}

  // How long to wait now; doubles up to the longest, with up to a quarter of jitter taken off so
  // that many pods do not ask in step.
  Milliseconds Next();

 private:
  Milliseconds next_;
  Milliseconds longest_;
  std::minstd_rand random_{std::random_device{}()};
};

// Sleeps, or returns false at once when stop is requested.
bool SleepFor(std::chrono::milliseconds duration, std::stop_token stop);

}  // namespace pgrejoin
