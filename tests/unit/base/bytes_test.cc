#include "base/bytes.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

TEST(Bytes, LittleEndianAtAnyOffset) {
  const std::string raw = "\x01\x02\x03\x04\x05\x06\x07\x08\x09";
  EXPECT_EQ(LoadU8(AsBytes(raw), 8), 9);
  EXPECT_EQ(LoadLe16(AsBytes(raw), 1), 0x0302);
  EXPECT_EQ(LoadLe32(AsBytes(raw), 1), 0x05040302u);
  EXPECT_EQ(LoadLe64(AsBytes(raw), 1), 0x0908070605040302u);
  std::string out(9, '\0');
  StoreLe<uint32_t>(std::as_writable_bytes(std::span(out)), 3, 0x04030201);
  EXPECT_EQ(out, std::string("\0\0\0\1\2\3\4\0\0", 9));
}

TEST(Hex, RoundTrip) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  std::string back;
  ASSERT_TRUE(FromHex(ToHex(AsBytes(all)), &back));
  EXPECT_EQ(back, all);
  EXPECT_EQ(ToHex(AsBytes(std::string("\0\xff", 2))), "00ff");
  EXPECT_TRUE(FromHex("AbCd", &back));
  EXPECT_EQ(back, "\xab\xcd");
}

TEST(Hex, NothingElseIsHex) {
  std::string out;
  for (const char* text : {"0", "abc", "0g", "g0", " 0", "0x"}) EXPECT_FALSE(FromHex(text, &out));
  EXPECT_TRUE(FromHex("", &out));
  EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace pgrejoin
