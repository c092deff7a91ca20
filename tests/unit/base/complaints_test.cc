#include "base/complaints.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pgrejoin {
namespace {

// How many lines a round with these problems logs.
long LinesOf(Complaints* complaints, std::initializer_list<std::string> problems) {
  ::testing::internal::CaptureStderr();
  complaints->BeginRound();
  for (const std::string& problem : problems) complaints->Say(problem);
  const std::string log = ::testing::internal::GetCapturedStderr();
  return std::ranges::count(log, '\n');
}

TEST(Complaints, EachIsSaidOnceUntilItWasGone) {
  Complaints complaints;
  EXPECT_EQ(LinesOf(&complaints, {"a", "b", "a"}), 2);
  EXPECT_EQ(LinesOf(&complaints, {"b", "a"}), 0);
  EXPECT_EQ(LinesOf(&complaints, {"a", "c"}), 1);
  EXPECT_EQ(LinesOf(&complaints, {"a", "b"}), 1);
  EXPECT_EQ(LinesOf(&complaints, {}), 0);
  EXPECT_EQ(LinesOf(&complaints, {"a"}), 1);
}

}  // namespace
}  // namespace pgrejoin
