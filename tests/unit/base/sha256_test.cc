#include "base/sha256.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

// FIPS 180-2, appendix B.1; of nothing: SELECT sha256('').
TEST(Sha256Test, KnownAnswers) {
  EXPECT_EQ(ToHex(ComputeSha256(AsBytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(ToHex(ComputeSha256({})),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace pgrejoin
