#include "base/parse_number.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace pgrejoin {
namespace {

TEST(ParseNumber, TheWholeTextIsANumberThatFits) {
  EXPECT_EQ(ParseNumber<uint32_t>("0"), 0);
  EXPECT_EQ(ParseNumber<uint32_t>("4294967295"), 4294967295);
  EXPECT_EQ(ParseNumber<int64_t>("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(ParseNumber<uint64_t>("fF", 16), 255);
  EXPECT_EQ(ParseNumber<double>("3.25"), 3.25);
}

TEST(ParseNumber, AnythingElseIsNone) {
  for (const char* text : {"", " 1", "1 ", "1x", "x1", "+1", "-1", "0x1", "4294967296", "1\n"}) {
    EXPECT_EQ(ParseNumber<uint32_t>(text), std::nullopt) << text;
  }
  EXPECT_EQ(ParseNumber<uint32_t>(std::string_view("1\0", 2)), std::nullopt);
  EXPECT_EQ(ParseNumber<uint64_t>("fg", 16), std::nullopt);
}

}  // namespace
}  // namespace pgrejoin
