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

}  // namespace
}  // namespace pgrejoin
