#include "rewind/progress.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace pgrejoin {
namespace {

TEST(Progress, PhasesAreToldAtOnce) {
  std::vector<RewindProgress> told;
  ProgressReporter reporter([&](const RewindProgress& progress) { told.push_back(progress); });
  reporter.Phase("reading WAL");
  reporter.Expect(1000);
  reporter.Phase("copying");
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].phase, "reading WAL");
  EXPECT_EQ(told[0].bytes_total, 0u);
  EXPECT_EQ(told[1].phase, "copying");
  EXPECT_EQ(told[1].bytes_total, 1000u);
}

TEST(Progress, BytesAreNotToldTooOften) {
  std::atomic<int> told{0};
  ProgressReporter reporter([&](const RewindProgress&) { ++told; });
  reporter.Phase("copying");
  for (int i = 0; i < 100'000; ++i) reporter.Done(1);
  EXPECT_EQ(reporter.bytes_done(), 100'000u);
  EXPECT_LT(told, 100);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  const int before = told;
  reporter.Done(1);
  EXPECT_EQ(told, before + 1);
}

TEST(Progress, WorkersNeverCallBackAtOnce) {
  std::atomic<int> inside{0};
  std::atomic<bool> overlapped{false};
  ProgressReporter reporter([&](const RewindProgress&) {
    if (++inside > 1) overlapped = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --inside;
  });
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 8; ++i) {
      workers.emplace_back([&] {
        for (int n = 0; n < 50; ++n) {
          reporter.Done(2);
          reporter.Phase("copying");
        }
      });
    }
  }
  EXPECT_FALSE(overlapped);
  EXPECT_EQ(reporter.bytes_done(), 800u);
}

TEST(Progress, NobodyHasToListen) {
  ProgressReporter reporter(nullptr);
  reporter.Phase("copying");
  reporter.Done(5);
  EXPECT_EQ(reporter.bytes_done(), 5u);
}

}  // namespace
}  // namespace pgrejoin
