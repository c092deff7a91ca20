#include "report/progress_meter.h"

#include <gtest/gtest.h>

#include <vector>

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kMegabyte = 1024 * 1024;

class ProgressMeterTest : public testing::Test {
 protected:
  ProgressMeter Make(bool terminal) {
    return {terminal, [this](const std::string& text) { shown_.push_back(text); }};
  }
  std::vector<std::string> shown_;
  const ProgressMeter::Clock::time_point begin_{seconds(1000)};
};

TEST_F(ProgressMeterTest, PercentBytesRateAndTimeLeft) {
  ProgressMeter meter = Make(false);
  meter.Update({"copying", 0, 100 * kMegabyte}, begin_);
  meter.Update({"copying", 25 * kMegabyte, 100 * kMegabyte}, begin_ + seconds(5));
  ASSERT_EQ(shown_.size(), 2u);
  EXPECT_EQ(shown_[0], "copying: 0% (0 bytes of 100 MB)");
  EXPECT_EQ(shown_[1], "copying: 25% (25 MB of 100 MB), 5.0 MB/s, ETA 0:15");
}

TEST_F(ProgressMeterTest, LogsStayShort) {
  ProgressMeter meter = Make(false);
  for (int i = 0; i <= 100; ++i) {
    meter.Update({"copying", i * kMegabyte, 1000 * kMegabyte}, begin_ + milliseconds(i * 100));
  }
  EXPECT_EQ(shown_.size(), 3u);  // at 0, 5 and 10 seconds
}

TEST_F(ProgressMeterTest, PhaseAndCompletionAreShownAtOnceAndOnce) {
  ProgressMeter meter = Make(false);
  meter.Update({"reading WAL", 0, 0}, begin_);
  meter.Update({"copying", 0, 10}, begin_ + milliseconds(1));
  meter.Update({"copying", 10, 10}, begin_ + milliseconds(2));
  meter.Update({"copying", 10, 10}, begin_ + milliseconds(3));
  ASSERT_EQ(shown_.size(), 3u);
  EXPECT_EQ(shown_[0], "reading WAL");
  EXPECT_TRUE(shown_[2].starts_with("copying: 100% (10 bytes of 10 bytes)")) << shown_[2];
}

TEST_F(ProgressMeterTest, TerminalLineIsRewrittenAndCoversTheOneBefore) {
  ProgressMeter meter = Make(true);
  meter.Update({"a rather long phase", 0, 0}, begin_);
  meter.Update({"short", 0, 0}, begin_ + milliseconds(1));
  meter.Update({"short", 1, 0}, begin_ + milliseconds(2));  // too soon
  meter.Finish();
  meter.Finish();
  ASSERT_EQ(shown_.size(), 3u);
  EXPECT_EQ(shown_[0], "\ra rather long phase");
  EXPECT_EQ(shown_[1], "\rshort              ");
  EXPECT_EQ(shown_[2], "\n");
}

TEST_F(ProgressMeterTest, MoreThanAnnouncedIsNotMoreThanAll) {
  ProgressMeter meter = Make(false);
  meter.Update({"copying", 20, 10}, begin_);
  EXPECT_TRUE(shown_[0].starts_with("copying: 100%")) << shown_[0];
}

TEST(FormatBytesTest, ReadableAtEverySize) {
  EXPECT_EQ(FormatBytes(0), "0 bytes");
  EXPECT_EQ(FormatBytes(1023), "1023 bytes");
  EXPECT_EQ(FormatBytes(1024), "1.0 kB");
  EXPECT_EQ(FormatBytes(20 * kMegabyte), "20 MB");
  EXPECT_EQ(FormatBytes(kMegabyte * 1024 * 3 / 2), "1.5 GB");
  EXPECT_EQ(FormatBytes(UINT64_MAX), "16384 PB");
}

}  // namespace
}  // namespace pgrejoin
