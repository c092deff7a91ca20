#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace pgrejoin {
namespace {

// RFC 3720, B.4.
TEST(Crc32c, KnownValues) {
  EXPECT_EQ(ComputeCrc32c({}), 0u);
  EXPECT_EQ(ComputeCrc32c(AsBytes("123456789")), 0xe3069283u);
  EXPECT_EQ(ComputeCrc32c(AsBytes(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(ComputeCrc32c(AsBytes(std::string(32, '\xff'))), 0x62a8ab43u);
}

TEST(Crc32c, PiecesAreTheWhole) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7);
  for (size_t cut = 0; cut <= text.size(); cut += 37) {
    Crc32c crc;
    crc.Update(AsBytes(text).first(cut));
    crc.Update(AsBytes(text).subspan(cut));
    EXPECT_EQ(crc.Finish(), ComputeCrc32c(AsBytes(text)));
  }
}

// A bit at a time, as the polynomial has it.
uint32_t Slowly(const std::string& text) {
  uint32_t state = 0xffffffff;
  for (const char c : text) {
    state ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) {
      state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78u : 0u);
    }
  }
  return ~state;
}

// Short and long inputs go different ways.
TEST(Crc32c, EveryLength) {
  std::string text;
  for (int i = 0; i < 1100; ++i) {
    EXPECT_EQ(ComputeCrc32c(AsBytes(text)), Slowly(text)) << i;
    text += static_cast<char>(i * 7 + i / 256);
  }
}

// Wherever it begins.
TEST(Crc32c, EveryAlignment) {
  std::string text;
  for (int i = 0; i < 700; ++i) text += static_cast<char>(i * 13);
  for (size_t from = 0; from < 70; ++from) {
    EXPECT_EQ(ComputeCrc32c(AsBytes(text).subspan(from)), Slowly(text.substr(from)));
  }
}

}  // namespace
}  // namespace pgrejoin
