#include "report/discard_note.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

DiscardNote Sample() {
  DiscardNote note;
  note.rewind.outcome = RewindOutcome::kRewound;
  note.rewind.target_timeline = 1;
  note.rewind.source_timeline = 2;
  note.rewind.fork_lsn = {0x4000};
  note.rewind.target_end = {0x5000};
  note.rewind.discarded_transactions = 3;
  note.rewind.discarded_bytes = 0x1000;
  note.rewind.discarded_from = "2026-11-22T10:00:00Z";
  note.rewind.discarded_to = "2026-11-22T10:00:01Z";
  note.rewind.bytes_copied = 77;
  note.control_crc = 0xffffffff;
  note.told = 1;
  note.reported = true;
  return note;
}

TEST(DiscardNote, IsReadAsItWasWritten) {
  const std::string text = DiscardNoteText(Sample());
  const auto read = ParseDiscardNote(text);
  ASSERT_TRUE(read);
  EXPECT_EQ(DiscardNoteText(*read), text);
  EXPECT_EQ(read->rewind.outcome, RewindOutcome::kRewound);
  EXPECT_TRUE(IsSameRewind(read->rewind, Sample().rewind));
}

TEST(DiscardNote, WhatIsNoneIsNotRead) {
  const std::string text = DiscardNoteText(Sample());
  for (size_t length = 0; length + 2 < text.size(); ++length) {
    EXPECT_FALSE(ParseDiscardNote(text.substr(0, length))) << length;
  }
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    return changed.replace(changed.find(from), from.size(), to);
  };
  EXPECT_FALSE(ParseDiscardNote(with(R"("schema":1)", R"("schema":2)")));
  EXPECT_FALSE(ParseDiscardNote(with(R"("told":1)", R"("told":-1)")));
  EXPECT_FALSE(ParseDiscardNote(with(R"("told":1)", R"("told":"1")")));
  EXPECT_FALSE(ParseDiscardNote(with("4294967295", "4294967296")));
  EXPECT_FALSE(ParseDiscardNote(with(R"("reported":true)", R"("reported":1)")));
  EXPECT_FALSE(ParseDiscardNote(with(R"("discardedTo")", R"("discarded")")));
  EXPECT_FALSE(ParseDiscardNote("[]"));
}

TEST(DiscardNote, IsToldUntilItWasReportedAndAServerRan) {
  DiscardNote note = Sample();
  EXPECT_TRUE(IsToBeTold(note, note.control_crc)) << "no server has run";
  EXPECT_FALSE(IsToBeTold(note, 1));
  note.reported = false;
  EXPECT_TRUE(IsToBeTold(note, 1));
  note.told = 2;
  EXPECT_FALSE(IsToBeTold(note, 1)) << "nobody lets us annotate pods";
}

// A file that ends with its own CRC-32C has the same one as all others that do.
TEST(DiscardNote, EveryChangeOfAControlFileIsSeen) {
  const testing::ScratchDirectory scratch;
  const auto crc_of = [&](char state, char last) {
    std::string control(288, '\1');
    control[16] = state;
    control[255] = last;
    std::string crc(4, '\0');
    StoreLe<uint32_t>(std::as_writable_bytes(std::span(crc)), 0, ComputeCrc32c(AsBytes(control)));
    testing::WriteText(scratch.root() / "global/pg_control",
                       control + crc + std::string(7900, '\0'));
    return ControlCrc(scratch.root().string());
  };
  std::filesystem::create_directory(scratch.root() / "global");
  const uint32_t before = crc_of(1, 1);
  EXPECT_EQ(crc_of(1, 1), before);
  EXPECT_NE(crc_of(5, 1), before);
  EXPECT_NE(crc_of(1, 2), before);
}

TEST(DiscardNote, LaterRewindsAreAdded) {
  RewindResult later;
  later.outcome = RewindOutcome::kRewound;
  later.target_timeline = 2;
  later.source_timeline = 3;
  later.fork_lsn = {0x8000};
  later.discarded_transactions = 4;
  later.discarded_bytes = 8;
  RewindResult sum = Sum(Sample().rewind, later);
  EXPECT_EQ(sum.discarded_transactions, 7u);
  EXPECT_EQ(sum.discarded_bytes, 0x1008u);
  EXPECT_EQ(sum.fork_lsn, later.fork_lsn);
  EXPECT_EQ(sum.discarded_from, Sample().rewind.discarded_from);
  EXPECT_EQ(sum.discarded_to, Sample().rewind.discarded_to);
  later.discarded_from = later.discarded_to = "2026-11-23T00:00:00Z";
  sum = Sum(Sample().rewind, later);
  EXPECT_EQ(sum.discarded_from, Sample().rewind.discarded_from);
  EXPECT_EQ(sum.discarded_to, later.discarded_to);
  EXPECT_FALSE(IsSameRewind(Sample().rewind, later));
}

}  // namespace
}  // namespace pgrejoin
