#include "base/directory_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;
using testing::ScratchDirectory;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLong{60'000};

milliseconds Since(Clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
}

TEST(DirectoryWatch, WakesWhenAFileIsRenamedIntoIt) {
  const ScratchDirectory directory;
  DirectoryWatch watch(directory.root().string());
  std::ofstream(directory.root().string() + "/new") << "text";
  const auto begin = Clock::now();
  const std::jthread writer([&] {
    std::this_thread::sleep_for(milliseconds(20));
    std::filesystem::rename(directory.root().string() + "/new",
                            directory.root().string() + "/request");
  });
  EXPECT_TRUE(watch.Wait(kLong, {}));
  EXPECT_LT(Since(begin), kLong);
}

TEST(DirectoryWatch, KnowsWhatHappenedBeforeItWaited) {
  const ScratchDirectory directory;
  DirectoryWatch watch(directory.root().string());
  for (const char* name : {"one", "two"}) {
    std::ofstream(directory.root().string() + "/new") << "text";
    std::filesystem::rename(directory.root().string() + "/new",
                            directory.root().string() + "/" + name);
  }
  auto begin = Clock::now();
  EXPECT_TRUE(watch.Wait(kLong, {}));
  EXPECT_LT(Since(begin), kLong);
  begin = Clock::now();
  EXPECT_TRUE(watch.Wait(milliseconds(30), {})) << "both were told by the first";
  EXPECT_GE(Since(begin), milliseconds(30));
}

TEST(DirectoryWatch, EndsAtOnceWhenStopped) {
  const ScratchDirectory directory;
  DirectoryWatch watch(directory.root().string());
  std::stop_source stop;
  const std::jthread stopper([&] {
    std::this_thread::sleep_for(milliseconds(20));
    stop.request_stop();
  });
  const auto begin = Clock::now();
  EXPECT_FALSE(watch.Wait(kLong, stop.get_token()));
  EXPECT_FALSE(watch.Wait(kLong, stop.get_token()));
  EXPECT_LT(Since(begin), kLong);
}

TEST(DirectoryWatch, WithoutADirectoryTheTimePasses) {
  DirectoryWatch watch("/nowhere/at/all");
  const auto begin = Clock::now();
  EXPECT_TRUE(watch.Wait(milliseconds(30), {}));
  EXPECT_GE(Since(begin), milliseconds(30));
}

}  // namespace
}  // namespace pgrejoin
