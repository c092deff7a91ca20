#include "pgdata/timeline_history.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace pgrejoin {
namespace {

TimelineHistory History(TimelineId own, const std::string& text) {
  return TimelineHistory::Parse(own, text);
}

TEST(TimelineHistory, TimelineOneNeedsNoFile) {
  const TimelineHistory history = History(1, "");
  ASSERT_EQ(history.entries().size(), 1u);
  EXPECT_EQ(history.timeline(), 1u);
  EXPECT_FALSE(history.entries()[0].end.valid());
  EXPECT_EQ(history.ToString(), "1@0/0");
}

TEST(TimelineHistory, ReadsWhatTheServerWrites) {
  const TimelineHistory history =
      History(4,
              "1\t0/3000148\tno recovery target specified\n\n"
              "# a comment\n"
              "2\t0/5000000\tbefore transaction 741 at 2026-01-01 00:00:00\n"
              "  3 1/A0  \r\n");
  ASSERT_EQ(history.entries().size(), 4u);
  EXPECT_EQ(history.entries()[1], (TimelineEntry{2, {0x3000148}, {0x5000000}}));
  EXPECT_EQ(history.entries()[3], (TimelineEntry{4, {0x1'000000a0}, {}}));
  EXPECT_EQ(history.TimelineAt({0x3000147}), 1u);
  EXPECT_EQ(history.TimelineAt({0x3000148}), 2u);
  EXPECT_EQ(history.TimelineAt({0xffff'ffffffff}), 4u);
}

TEST(TimelineHistory, MissingFinalNewlineAndZeroPaddedPositionsAreFine) {
  EXPECT_EQ(History(2, "1\t0/03000148\treason").ToString(), "1@0/0,2@0/3000148");
}

TEST(TimelineHistory, MalformedTextIsRefused) {
  const char* const bad[] = {
      "1\n",                           // no position
      "1\t0/0\n",                      // position zero would mean "no end"
      "1\t3000148\n",                  // no slash
      "1\t0/3000148x\n",               // trash behind the position
      "1\t0/123456789\n",              // nine digits
      "1\t-0/1\n",                     //
      "x\t0/3000148\n",                // no number
      "0\t0/3000148\n",                // no timeline
      "4294967296\t0/3000148\n",       // does not fit
      "3\t0/3000148\n",                // not below its own
      "5\t0/3000148\n",                //
      "2\t0/3000148\n1\t0/4000148\n",  // decreasing
      "1\t0/3000148\n1\t0/4000148\n",  // twice
      "1\t0/3000148\n2\t0/2000148\n",  // going back
  };
  for (const char* text : bad) {
    try {
      History(3, text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kNotRewindable);
    }
  }
}

TEST(TimelineHistory, ForeignBytesAreEscapedInTheMessage) {
  try {
    History(2, "\x1b[31mred\n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message().find('\x1b'), std::string::npos);
  }
}

TEST(TimelineHistory, ContainsABranchWhoseTimelinesBeginAtTheSamePlaces) {
  const auto line = [](const char* text) { return *TimelineHistory::FromString(text); };
  EXPECT_TRUE(line("1@0/0,2@0/30").ContainsBranch(line("1@0/0")));
  EXPECT_TRUE(line("1@0/0,2@0/30").ContainsBranch(line("1@0/0,2@0/30")));
  EXPECT_FALSE(line("1@0/0").ContainsBranch(line("1@0/0,2@0/30")));
  EXPECT_FALSE(line("1@0/0,2@0/30").ContainsBranch(line("1@0/0,2@0/40")));
  EXPECT_FALSE(line("1@0/0,3@0/30").ContainsBranch(line("1@0/0,2@0/30")));
}

TEST(TimelineHistory, AHistoryWithoutEndOfLinesIsBounded) {
  std::string endless;
  for (int i = 1; i <= 100'001; ++i) endless += std::to_string(i) + "\t0/" + "1\n";
  EXPECT_THROW(History(4'000'000, endless), Error);
}

TEST(TimelineHistory, TextRoundTrip) {
  for (const char* text : {"1@0/0", "1@0/0,2@0/3000148", "1@0/0,2@0/3000148,7@1/A0"}) {
    const auto history = TimelineHistory::FromString(text);
    ASSERT_TRUE(history.has_value()) << text;
    EXPECT_EQ(history->ToString(), text);
  }
  EXPECT_EQ(TimelineHistory::FromString("1@0/0,2@0/3000148"), History(2, "1\t0/3000148\tx\n"));
  for (const char* text : {"", "1", "1@", "@0/0", "1@0/5", "1@0/0,", "1@0/0,1@0/5", "1@0/0,2@0/0",
                           "1@0/0,2@0/5,3@0/4", "0@0/0", "1@0/0 ", "1@0/0,,2@0/5"}) {
    EXPECT_FALSE(TimelineHistory::FromString(text).has_value()) << text;
  }
}

struct ForkCase {
  const char* name;
  const char* target;
  const char* source;
  TimelineId tli;
  uint64_t lsn;
};

class Fork : public ::testing::TestWithParam<ForkCase> {};

TEST_P(Fork, IsWhereTheLinesPart) {
  const ForkCase& c = GetParam();
  const auto target = TimelineHistory::FromString(c.target);
  const auto source = TimelineHistory::FromString(c.source);
  ASSERT_TRUE(target && source);
  const auto fork = FindForkPoint(*target, *source);
  ASSERT_TRUE(fork.has_value());
  EXPECT_EQ(fork->tli, c.tli);
  EXPECT_EQ(fork->lsn.value, c.lsn);
  // Where they part does not depend on who asks.
  const auto mirrored = FindForkPoint(*source, *target);
  EXPECT_EQ(mirrored->tli, fork->tli);
  EXPECT_EQ(mirrored->lsn, fork->lsn);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Fork,
    ::testing::Values(ForkCase{"same", "1@0/0", "1@0/0", 1, 0},
                      ForkCase{"source_promoted", "1@0/0", "1@0/0,2@0/3000148", 1, 0x3000148},
                      ForkCase{"target_promoted", "1@0/0,2@0/3000148", "1@0/0", 1, 0x3000148},
                      ForkCase{"both_took_number_two_apart", "1@0/0,2@0/3000148",
                               "1@0/0,2@0/3000200", 1, 0x3000148},
                      ForkCase{"both_took_number_two_at_one_place", "1@0/0,2@0/3000148",
                               "1@0/0,2@0/3000148", 2, 0},
                      ForkCase{"grandchild", "1@0/0", "1@0/0,2@0/3000148,3@0/5000000", 1,
                               0x3000148},
                      ForkCase{"skipped_numbers", "1@0/0,2@0/3000148",
                               "1@0/0,2@0/3000148,5@0/4000000", 2, 0x4000000},
                      ForkCase{"cousins", "1@0/0,2@0/3000148,4@0/6000000",
                               "1@0/0,2@0/3000148,3@0/5000000", 2, 0x5000000},
                      ForkCase{"number_taken_from_another_parent", "1@0/0,3@0/4000000",
                               "1@0/0,2@0/3000148,3@0/4000000", 1, 0x3000148}),
    [](const auto& chosen) { return chosen.param.name; });

TEST(ForkPointOf, StrangersHaveNone) {
  EXPECT_FALSE(FindForkPoint(*TimelineHistory::FromString("2@0/0"),
                             *TimelineHistory::FromString("1@0/0,2@0/5"))
                   .has_value());
}

TEST(TimelineHistory, ContainsWhatWasWrittenBeforeTheFork) {
  const auto old_primary = *TimelineHistory::FromString("1@0/0");
  const auto new_primary = *TimelineHistory::FromString("1@0/0,2@0/3000148");
  EXPECT_TRUE(new_primary.Contains(old_primary, {0x3000148}));
  EXPECT_FALSE(new_primary.Contains(old_primary, {0x3000149}));
  EXPECT_TRUE(new_primary.Contains(new_primary, {0xffffffff}));
  EXPECT_FALSE(old_primary.Contains(new_primary, {0x3000149}));
}

TEST(TimelineHistory, FileName) {
  EXPECT_EQ(TimelineHistoryFileName(2), "00000002.history");
  EXPECT_EQ(TimelineHistoryFileName(0xdeadbeef), "DEADBEEF.history");
}

}  // namespace
}  // namespace pgrejoin
