#include "base/utc_time.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

constexpr int64_t kSeconds = 1'000'000;

TEST(UtcTime, WritesAsManyDecimalsAsAskedFor) {
  const int64_t time = 1'795'300'200 * kSeconds + 123'987;
  EXPECT_EQ(FormatUtc(time, 0), "2026-11-21T22:30:00Z");
  EXPECT_EQ(FormatUtc(time, 3), "2026-11-21T22:30:00.123Z");
  EXPECT_EQ(FormatUtc(time, 6), "2026-11-21T22:30:00.123987Z");
}

TEST(UtcTime, BeforeTheEpochAndAtItsLimits) {
  EXPECT_EQ(FormatUtc(0, 0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatUtc(-1, 6), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(FormatUtc(253'402'300'799 * kSeconds, 0), "9999-12-31T23:59:59Z");
}

TEST(UtcTime, ReadsWhatItWrites) {
  for (const int64_t seconds : {int64_t{0}, int64_t{-1}, int64_t{951'782'400},
                                int64_t{1'795'300'200}, int64_t{253'402'300'799}}) {
    EXPECT_EQ(ParseUtc(FormatUtc(seconds * kSeconds, 0)), seconds * kSeconds);
  }
}

TEST(UtcTime, ReadsNothingElse) {
  for (const char* text :
       {"", "yesterday", "2026-11-21T22:30:00", "2026-11-21 22:30:00Z", "2026-11-21T22:30:00.1Z",
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z",
        "-026-01-01T00:00:00Z", "2026-01-01T00:00:0 Z", "2026-01-01T00:00:00Z "}) {
    EXPECT_EQ(ParseUtc(text), std::nullopt) << text;
  }
}

TEST(UtcTime, NowIsAfterThisWasWritten) {
  EXPECT_GT(UnixMicrosecondsNow(), 1'795'000'000 * kSeconds);
}

}  // namespace
}  // namespace pgrejoin
