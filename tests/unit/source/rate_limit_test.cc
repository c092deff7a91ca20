#include "source/rate_limit.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

TEST(RateLimitTest, BytesTakeTheirTime) {
  RateLimit limit(1'000'000);
  const auto begin = Clock::now();
  for (int i = 0; i < 10; ++i) limit.Take(20'000, {});
  EXPECT_GE(Clock::now() - begin, milliseconds(200));
}

// The limit is one for all connections.
TEST(RateLimitTest, ThreadsShareIt) {
  RateLimit limit(1'000'000);
  const auto begin = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { limit.Take(50'000, {}); });
    }
  }
  EXPECT_GE(Clock::now() - begin, milliseconds(200));
}

TEST(RateLimitTest, ARestIsNotMadeUpFor) {
  RateLimit limit(1'000'000);
  limit.Take(1, {});
  std::this_thread::sleep_for(milliseconds(100));
  const auto begin = Clock::now();
  limit.Take(100'000, {});
  EXPECT_GE(Clock::now() - begin, milliseconds(100));
}

TEST(RateLimitTest, ZeroIsNoLimit) {
  RateLimit limit(0);
  const auto begin = Clock::now();
  limit.Take(uint64_t{1} << 60, {});
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(60));
}

TEST(RateLimitTest, AStopEndsTheWait) {
  RateLimit limit(1);
  std::stop_source stop;
  std::jthread other([&] {
    std::this_thread::sleep_for(milliseconds(20));
    stop.request_stop();
  });
  limit.Take(1'000'000, stop.get_token());
  EXPECT_TRUE(stop.stop_requested());
}

}  // namespace
}  // namespace pgrejoin
