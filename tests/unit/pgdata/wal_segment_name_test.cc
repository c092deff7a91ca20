#include "pgdata/wal_segment_name.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

TEST(WalSegmentName, RoundTripForEverySegmentSize) {
  for (uint32_t size = 1u << 20; size <= 1u << 30; size <<= 1) {
    for (const uint64_t position : {uint64_t{0}, uint64_t{size}, uint64_t{0xffffffff},
                                    uint64_t{0x1'00000000}, uint64_t{0xabcd'12345678}}) {
      const WalSegmentName name{7, position / size};
      const std::string text = name.ToString(size);
      ASSERT_EQ(text.size(), WalSegmentName::kLength);
      const auto parsed = WalSegmentName::Parse(text, size);
      ASSERT_TRUE(parsed.has_value()) << text;
      EXPECT_EQ(parsed->tli, 7u);
      EXPECT_EQ(parsed->segment, name.segment);
    }
  }
}

TEST(WalSegmentName, KnownNames) {
  EXPECT_EQ((WalSegmentName{1, 0x100}).ToString(1 << 24), "000000010000000100000000");
  EXPECT_EQ((WalSegmentName{0xa, 0x3}).ToString(1 << 30), "0000000A0000000000000003");
  EXPECT_EQ((WalSegmentName{0xa, 0x4}).ToString(1 << 30), "0000000A0000000100000000");
}

TEST(WalSegmentName, OtherNamesAreRefused) {
  for (const char* text :
       {"", "00000001000000000000000", "0000000100000000000000010", "00000001000000000000000G",
        "00000001000000000000000a", "000000000000000000000001", "000000010000000000000001.partial",
        "00000002.history", " 0000001000000000000000"}) {
    EXPECT_FALSE(WalSegmentName::Parse(text).has_value()) << text;
  }
}

TEST(WalSegmentName, ASegmentNumberThatThisSizeCannotHave) {
  EXPECT_TRUE(WalSegmentName::Parse("0000000100000000000000FF", 1 << 24).has_value());
  EXPECT_FALSE(WalSegmentName::Parse("000000010000000000000100", 1 << 24).has_value());
  EXPECT_FALSE(WalSegmentName::Parse("000000010000000000000004", 1 << 30).has_value());
}

}  // namespace
}  // namespace pgrejoin
