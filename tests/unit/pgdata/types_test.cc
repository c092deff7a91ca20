#include "pgdata/types.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

TEST(Lsn, TextRoundTrip) {
  for (const uint64_t value :
       {uint64_t{0}, uint64_t{0x3000148}, uint64_t{0x100000000}, uint64_t{0xffffffffffffffff}}) {
    EXPECT_EQ(Lsn::Parse(Lsn{value}.ToString()), Lsn{value});
  }
  EXPECT_EQ((Lsn{0x1'02000028}).ToString(), "1/2000028");
  EXPECT_EQ(Lsn::Parse("1/02000028"), (Lsn{0x1'02000028}));
}

TEST(Lsn, NothingButHexadecimalDigitsAndOneSlash) {
  for (const char* text : {"", "/", "0/", "/0", "0", "0/0/0", " 0/0", "0/0 ", "0x1/0", "-1/0",
                           "+1/0", "g/0", "0/123456789", "123456789/0", "1 /0", "0/\n"}) {
    EXPECT_FALSE(Lsn::Parse(text).has_value()) << "\"" << text << "\"";
  }
  EXPECT_FALSE(Lsn::Parse(std::string_view("0/0\0", 4)).has_value());
}

}  // namespace
}  // namespace pgrejoin
