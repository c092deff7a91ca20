#include "pgdata/timestamp.h"

#include <gtest/gtest.h>

#include <limits>

namespace pgrejoin {
namespace {

TEST(Timestamp, IsUtcWithMicroseconds) {
  EXPECT_EQ(FormatTimestamp(0), "2000-01-01T00:00:00.000000Z");
  EXPECT_EQ(FormatTimestamp(1), "2000-01-01T00:00:00.000001Z");
  EXPECT_EQ(FormatTimestamp(-1), "1999-12-31T23:59:59.999999Z");
  EXPECT_EQ(FormatTimestamp(849'294'727'113'200), "2026-11-29T19:12:07.113200Z");
  EXPECT_EQ(FormatTimestamp(68'169'600'000'000), "2002-02-28T00:00:00.000000Z");
}

TEST(Timestamp, WhatNoClockSaysIsUnknown) {
  EXPECT_EQ(FormatTimestamp(std::numeric_limits<PgTimestamp>::max()), "unknown");
  EXPECT_EQ(FormatTimestamp(std::numeric_limits<PgTimestamp>::min()), "unknown");
}

}  // namespace
}  // namespace pgrejoin
