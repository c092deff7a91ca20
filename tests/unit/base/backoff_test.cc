#include "base/backoff.h"

#include <gtest/gtest.h>

#include <thread>

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, DoublesUpToTheLongestWithAQuarterOfJitter) {
  Backoff backoff(milliseconds(100), milliseconds(1000));
  for (const int64_t full : {100, 200, 400, 800, 1000, 1000}) {
    const auto pause = backoff.Next().count();
    EXPECT_LE(pause, full);
    EXPECT_GE(pause, full * 3 / 4);
  }
}

TEST(SleepFor, EndsAtOnceWhenStopped) {
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(milliseconds(30));
    stop.request_stop();
  });
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_FALSE(SleepFor(milliseconds(60'000), stop.get_token()));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, milliseconds(20'000));
  EXPECT_FALSE(SleepFor(milliseconds(1), stop.get_token()));
  EXPECT_TRUE(SleepFor(milliseconds(1), {}));
}

}  // namespace
}  // namespace pgrejoin
