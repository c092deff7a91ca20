#include "pod/record_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "base/error.h"
#include "unit/topology/fake_api.h"

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

bool Eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + seconds(5);
  while (std::chrono::steady_clock::now() < end) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return false;
}

// Its record has the version that a test sets.
class WatchedApi : public FakeApi {
 public:
  bool AwaitConfigMapChange(const std::string&, const std::string& seen, seconds) override {
    ++watches;
    if (denied) throw Error(ErrorKind::kUnavailable, "403 configmaps is forbidden");
    for (int round = 0; round < 20; ++round) {  // the watch's time
      if (std::to_string(version) != seen) return true;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return false;
  }
  std::atomic<int> version = 1;
  std::atomic<int> watches = 0;
  std::atomic<bool> denied = false;
};

class RecordWatchTest : public testing::Test {
 protected:
  void Start() {
    thread_ = std::jthread([this](const std::stop_token& stop) { watch_.Run(stop); });
  }

  WatchedApi api_;
  RecordWatch watch_{&api_, "db-authority", seconds(0)};
  std::jthread thread_;
};

TEST_F(RecordWatchTest, NothingIsAskedBeforeTheRecordWasRead) {
  Start();
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(api_.watches, 0);
  EXPECT_FALSE(watch_.Works());
}

TEST_F(RecordWatchTest, ChangeIsToldOnce) {
  watch_.Seen("1");
  Start();
  EXPECT_TRUE(Eventually([&] { return watch_.Works(); }));
  EXPECT_FALSE(watch_.TakeNews());
  api_.version = 2;
  EXPECT_TRUE(Eventually([&] { return watch_.TakeNews(); }));
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(watch_.TakeNews());
}

TEST_F(RecordWatchTest, NewsIsNotWatchedAgainUntilItIsRead) {
  watch_.Seen("1");
  api_.version = 2;
  Start();
  EXPECT_TRUE(Eventually([&] { return watch_.TakeNews(); }));
  const int watches = api_.watches;
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(api_.watches, watches);
  watch_.Seen("2");
  EXPECT_TRUE(Eventually([&] { return api_.watches > watches; }));
  api_.version = 3;
  EXPECT_TRUE(Eventually([&] { return watch_.TakeNews(); }));
}

// A server that lags behind, or whatever else tells of news where there is none.
TEST_F(RecordWatchTest, FalseNewsIsNeitherAskedForInALoopNorMakesItDeaf) {
  watch_.Seen("1");
  api_.version = 2;
  Start();
  EXPECT_TRUE(Eventually([&] { return watch_.TakeNews(); }));
  watch_.Seen("1");
  EXPECT_TRUE(Eventually([&] { return watch_.TakeNews(); }));
  watch_.Seen("1");
  EXPECT_TRUE(Eventually([&] { return !watch_.Works(); }));
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(api_.watches, 2);
}

TEST_F(RecordWatchTest, WatchThatIsCutShortIsNotAskedForInALoop) {
  RecordWatch watch(&api_, "db-authority");
  watch.Seen("1");
  std::jthread thread([&](const std::stop_token& stop) { watch.Run(stop); });
  EXPECT_TRUE(Eventually([&] { return api_.watches == 1; }));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(api_.watches, 1);
  EXPECT_FALSE(watch.Works());
}

TEST_F(RecordWatchTest, WithoutTheRightToWatchItSaysSo) {
  api_.denied = true;
  watch_.Seen("1");
  Start();
  EXPECT_TRUE(Eventually([&] { return api_.watches == 1; }));
  EXPECT_FALSE(watch_.Works());
  EXPECT_FALSE(watch_.TakeNews());
}

TEST_F(RecordWatchTest, StopEndsItWhateverItWaitsFor) {
  api_.denied = true;  // it sleeps before it tries again
  watch_.Seen("1");
  Start();
  EXPECT_TRUE(Eventually([&] { return api_.watches == 1; }));
  const auto begin = std::chrono::steady_clock::now();
  thread_.request_stop();
  thread_.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(5));
}

}  // namespace
}  // namespace pgrejoin
