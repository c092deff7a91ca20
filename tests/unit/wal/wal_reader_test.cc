#include "wal/wal_reader.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/wal/wal_builder.h"

namespace pgrejoin {
namespace {

using testing::Image;
using testing::WalBuilder;
using testing::WalVersion;

constexpr uint32_t kSegment = 1 << 20;
constexpr uint64_t kPage = 8192;
constexpr Lsn kStart{kSegment};  // the first record is at kStart + 40

struct Walk {
  std::vector<Lsn> starts;
  std::vector<Lsn> ends;
  EndOfWal end;
};

Walk ReadAll(WalBuilder& wal, Lsn from) {
  WalReader reader(wal, wal.layout());
  reader.Seek(from);
  Walk walk;
  while (true) {
    const auto next = reader.Next();
    if (const auto* end = std::get_if<EndOfWal>(&next)) {
      walk.end = *end;
      return walk;
    }
    walk.starts.push_back(std::get<const WalRecord*>(next)->start);
    walk.ends.push_back(std::get<const WalRecord*>(next)->end);
  }
}

class ReaderOfMajor : public ::testing::TestWithParam<unsigned> {
 protected:
  WalBuilder wal_{WalVersion(GetParam()), kStart};
};
INSTANTIATE_TEST_SUITE_P(Majors, ReaderOfMajor, ::testing::Values(14u, 15u, 16u, 17u, 18u));

TEST_P(ReaderOfMajor, ReadsBackWhatWasWritten) {
  const Lsn a = wal_.Append({.rmgr = 10,
                             .info = 0x20,
                             .xid = 740,
                             .main_data = "abc",
                             .blocks = {{.number = 16384, .block = 7, .data_bytes = 5},
                                        {.block = 8, .same_relation = true, .will_init = true}}});
  const Lsn b = wal_.Append({.rmgr = 0, .info = 0xb0, .blocks = {{.database = 0, .number = 1262}}});
  WalReader reader(wal_, wal_.layout());
  reader.Seek(kStart);
  auto next = reader.Next();
  ASSERT_TRUE(std::holds_alternative<const WalRecord*>(next));
  const WalRecord& first = *std::get<const WalRecord*>(next);
  EXPECT_EQ(first.start, a);
  EXPECT_EQ(first.start, kStart + 40);
  EXPECT_EQ(first.end, b);
  EXPECT_EQ(first.xid, 740u);
  EXPECT_EQ(first.rmgr, 10);
  EXPECT_EQ(first.rmgr_info(), 0x20);
  EXPECT_EQ(AsText(first.main_data), "abc");
  ASSERT_EQ(first.blocks.size(), 2u);
  EXPECT_EQ(first.blocks[0].locator, (RelFileLocator{1663, 5, 16384}));
  EXPECT_EQ(first.blocks[0].block, 7u);
  EXPECT_EQ(first.blocks[1].locator, first.blocks[0].locator);
  EXPECT_EQ(first.blocks[1].block, 8u);
  EXPECT_TRUE(first.blocks[1].will_init);
  next = reader.Next();
  const WalRecord& second = *std::get<const WalRecord*>(next);
  EXPECT_EQ(second.start, b);
  EXPECT_EQ(second.prev, a);
  next = reader.Next();
  ASSERT_TRUE(std::holds_alternative<EndOfWal>(next));
  EXPECT_EQ(std::get<EndOfWal>(next).lsn, wal_.end());
}

// One bit read wrongly shifts what follows: each kind of image, with data behind it, decodes.
TEST_P(ReaderOfMajor, ImagesOfEveryKind) {
  for (const Image image :
       {Image::kWhole, Image::kWithHole, Image::kCompressed, Image::kCompressedWithHole}) {
    for (const bool applied : {true, false}) {
      WalBuilder wal(WalVersion(GetParam()), kStart);
      wal.Append(
          {.main_data = "tail",
           .blocks = {{.block = 3, .image = image, .image_applied = applied, .data_bytes = 9},
                      {.block = 4, .same_relation = true, .data_bytes = 1}}});
      WalReader reader(wal, wal.layout());
      reader.Seek(kStart);
      const auto next = reader.Next();
      ASSERT_TRUE(std::holds_alternative<const WalRecord*>(next));
      const WalRecord& record = *std::get<const WalRecord*>(next);
      ASSERT_EQ(record.blocks.size(), 2u);
      EXPECT_TRUE(record.blocks[0].has_image);
      EXPECT_EQ(record.blocks[0].image_applied, applied);
      EXPECT_FALSE(record.blocks[1].has_image);
      EXPECT_EQ(AsText(record.main_data), "tail");
    }
  }
}

TEST_P(ReaderOfMajor, OriginAndTopLevelTransactionAreSkipped) {
  wal_.Append({.main_data = "m", .origin = true, .top_level_xid = true});
  EXPECT_EQ(ReadAll(wal_, kStart).starts.size(), 1u);
}

TEST_P(ReaderOfMajor, OtherMajorsPagesAreTheEnd) {
  wal_.Append({.main_data = "x"});
  WalBuilder other(WalVersion(GetParam() == 18 ? 14 : GetParam() + 1), kStart);
  other.Append({.main_data = "x"});
  WalReader reader(other, wal_.layout());
  reader.Seek(kStart);
  const auto next = reader.Next();
  ASSERT_TRUE(std::holds_alternative<EndOfWal>(next));
  EXPECT_NE(std::get<EndOfWal>(next).reason.find("magic"), std::string::npos);
}

class Reader : public ::testing::Test {
 protected:
  WalBuilder wal_{WalVersion(15), kStart};
};

TEST_F(Reader, RecordsOfEverySizeAroundThePage) {
  for (size_t size = 26; size < 300; size += 1) wal_.AppendOfSize(size);
  for (size_t size = 8100; size < 8260; size += 3) wal_.AppendOfSize(size);
  for (const size_t size : {20'000u, 100'000u, 262'144u}) wal_.AppendOfSize(size);
  const Walk walk = ReadAll(wal_, kStart);
  EXPECT_EQ(walk.starts.size(), 274u + 54u + 3u);
  EXPECT_EQ(walk.end.lsn, wal_.end());
}

TEST_F(Reader, ARecordLargerThanASegment) {
  wal_.AppendOfSize(100);
  const Lsn giant = wal_.AppendOfSize(3 * kSegment + 12'345);
  wal_.AppendOfSize(40);
  const Walk walk = ReadAll(wal_, kStart);
  ASSERT_EQ(walk.starts.size(), 3u);
  EXPECT_EQ(walk.starts[1], giant);
  EXPECT_EQ(walk.end.lsn, wal_.end());
}

// A header may be split: only its length is sure to be on the first page.
TEST_F(Reader, SplitRecordHeaders) {
  for (const uint64_t left : {8u, 16u, 24u}) {
    WalBuilder wal(WalVersion(15), kStart);
    wal.FillPageUntil(left);
    const Lsn split = wal.AppendOfSize(100);
    EXPECT_EQ(kPage - split.value % kPage, left);
    wal.AppendOfSize(50);
    const Walk walk = ReadAll(wal, kStart);
    ASSERT_GE(walk.starts.size(), 2u);
    EXPECT_EQ(walk.starts[walk.starts.size() - 2], split);
    EXPECT_EQ(walk.end.lsn, wal.end());
    // And from the middle.
    EXPECT_EQ(ReadAll(wal, split).starts.size(), 2u);
  }
}

TEST_F(Reader, ARecordThatEndsOnThePageBoundary) {
  wal_.FillPageUntil(0);
  const Lsn boundary = wal_.end();
  ASSERT_EQ(boundary.value % kPage, 0u);
  // The end of WAL is the boundary, not behind a header that is not there.
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, boundary);
  const Lsn next = wal_.AppendOfSize(50);
  EXPECT_EQ(next, boundary + 24);
  const Walk walk = ReadAll(wal_, boundary);
  ASSERT_EQ(walk.starts.size(), 1u);
  EXPECT_EQ(walk.starts[0], next);
}

TEST_F(Reader, ASegmentBoundaryMeansBehindTheLongHeader) {
  while (wal_.end().value < kStart.value + kSegment - kPage) wal_.AppendOfSize(4000);
  wal_.FillPageUntil(0);
  ASSERT_EQ(wal_.end().value % kSegment, 0u);
  const Lsn boundary = wal_.end();
  const Lsn next = wal_.AppendOfSize(50);
  EXPECT_EQ(next, boundary + 40);
  EXPECT_EQ(ReadAll(wal_, boundary).starts.at(0), next);
}

TEST_F(Reader, APositionInsideAHeaderOrOffTheGridIsNoRecord) {
  wal_.AppendOfSize(100);
  for (const uint64_t offset : {8u, 16u, 24u, 32u, 41u, 44u}) {
    EXPECT_TRUE(ReadAll(wal_, kStart + offset).starts.empty()) << offset;
  }
  EXPECT_EQ(ReadAll(wal_, kStart + 40).starts.size(), 1u);
}

TEST_F(Reader, SwitchLeadsToTheNextSegment) {
  wal_.AppendOfSize(100);
  const Lsn at = wal_.Switch();
  const Lsn next = wal_.AppendOfSize(60);
  EXPECT_EQ(next, (Lsn{2 * kSegment + 40}));
  const Walk walk = ReadAll(wal_, kStart);
  ASSERT_EQ(walk.starts.size(), 3u);
  EXPECT_EQ(walk.starts[1], at);
  EXPECT_EQ(walk.ends[1], (Lsn{2 * kSegment}));
  EXPECT_EQ(walk.starts[2], next);
}

TEST_F(Reader, SwitchAtTheVeryEndOfASegment) {
  while (wal_.end().value < kStart.value + kSegment - kPage) wal_.AppendOfSize(4000);
  wal_.FillPageUntil(24);
  const Lsn at = wal_.Switch();
  EXPECT_EQ(at + 24, (Lsn{2 * kSegment}));
  const Walk walk = ReadAll(wal_, kStart);
  EXPECT_EQ(walk.starts.back(), at);
  EXPECT_EQ(walk.end.lsn, (Lsn{2 * kSegment}));
}

TEST_F(Reader, SwitchWithoutANextSegmentEndsThere) {
  wal_.Switch();
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, (Lsn{2 * kSegment}));
}

TEST_F(Reader, EveryFlippedByteOfARecordEndsTheWalThere) {
  wal_.AppendOfSize(100);
  const Lsn victim = wal_.AppendOfSize(120);
  wal_.AppendOfSize(100);
  for (uint64_t i = 0; i < 120; ++i) {
    wal_.Xor(victim + i, 0x04);
    const Walk walk = ReadAll(wal_, kStart);
    EXPECT_EQ(walk.starts.size(), 1u) << "byte " << i;
    EXPECT_EQ(walk.end.lsn, victim) << "byte " << i;
    wal_.Xor(victim + i, 0x04);
  }
  EXPECT_EQ(ReadAll(wal_, kStart).starts.size(), 3u);
}

TEST_F(Reader, EveryFlippedByteOfAPageHeaderEndsTheWalBeforeIt) {
  wal_.FillPageUntil(0);
  const Lsn boundary = wal_.end();
  wal_.AppendOfSize(100);
  const size_t before = ReadAll(wal_, kStart).starts.size() - 1;
  for (uint64_t i = 0; i < 16; ++i) {
    wal_.Xor(boundary + i, 0x80);
    // A larger timeline is a switch of timeline, which a reader cannot tell from damage.
    const bool timeline = i >= 4 && i < 8;
    if (!timeline) {
      const Walk walk = ReadAll(wal_, kStart);
      EXPECT_EQ(walk.starts.size(), before) << "byte " << i;
      EXPECT_EQ(walk.end.lsn, boundary) << "byte " << i;
    }
    wal_.Xor(boundary + i, 0x80);
  }
}

TEST_F(Reader, LongHeadersAreChecked) {
  wal_.AppendOfSize(100);
  struct Case {
    uint64_t offset;
    const char* reason;
  };
  for (const Case& c :
       {Case{24, "system identifier"}, Case{32, "segment size"}, Case{36, "block size"}}) {
    wal_.Xor(kStart + c.offset, 0x01);
    const Walk walk = ReadAll(wal_, kStart);
    EXPECT_TRUE(walk.starts.empty());
    EXPECT_NE(walk.end.reason.find(c.reason), std::string::npos) << walk.end.reason;
    wal_.Xor(kStart + c.offset, 0x01);
  }
  wal_.Xor(kStart + 2, 0x02);  // a short header on the first page of a segment
  EXPECT_TRUE(ReadAll(wal_, kStart).starts.empty());
}

TEST_F(Reader, ARecycledSegmentIsTheEnd) {
  while (wal_.end().value < kStart.value + kSegment + 5000) wal_.AppendOfSize(4000);
  wal_.Recycle(1, 2);
  const Walk walk = ReadAll(wal_, kStart);
  EXPECT_LE(walk.end.lsn.value, 2 * uint64_t{kSegment});
  EXPECT_NE(walk.end.reason.find("page address"), std::string::npos) << walk.end.reason;
}

// Inside of a page that was rewritten, the rest of a recycled page is still the old records, each
// with a right checksum: only their previous-record links tell.
TEST_F(Reader, OldRecordsBehindTheEndAreNotRead) {
  for (int i = 0; i < 20; ++i) wal_.AppendOfSize(104);
  WalBuilder young(WalVersion(15), kStart);
  const Lsn only = young.AppendOfSize(208);
  for (uint64_t i = 0; i < 208; ++i) wal_.Set<uint8_t>(only + i, young.Byte(only + i));
  const Walk walk = ReadAll(wal_, kStart);
  ASSERT_EQ(walk.starts.size(), 1u);
  EXPECT_EQ(walk.end.lsn, only + 208);
  EXPECT_NE(walk.end.reason.find("previous link"), std::string::npos) << walk.end.reason;
}

TEST_F(Reader, TimelinesMayGrowAndNeverShrink) {
  wal_.FillPageUntil(0);
  wal_.SetTimeline(3);
  wal_.FillPageUntil(0);
  const Lsn boundary = wal_.end();
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, boundary);
  wal_.SetTimeline(2);
  wal_.AppendOfSize(100);
  const Walk walk = ReadAll(wal_, kStart);
  EXPECT_EQ(walk.end.lsn, boundary);
  EXPECT_NE(walk.end.reason.find("timeline"), std::string::npos) << walk.end.reason;
}

TEST_F(Reader, ZerosAreTheEnd) {
  wal_.AppendOfSize(100);
  const Walk walk = ReadAll(wal_, kStart);
  EXPECT_EQ(walk.end.lsn, wal_.end());
  EXPECT_EQ(walk.end.record_bytes, 0u);
  EXPECT_NE(walk.end.reason.find("length 0"), std::string::npos) << walk.end.reason;
}

TEST_F(Reader, ATruncatedFileEndsWhereAWholePageIsMissing) {
  for (int i = 0; i < 10; ++i) wal_.AppendOfSize(4000);
  wal_.Truncate(kStart + 3 * kPage + 100);
  const Walk walk = ReadAll(wal_, kStart);
  EXPECT_LE(walk.end.lsn, kStart + 3 * kPage);
  EXPECT_GT(walk.starts.size(), 3u);
  wal_.Remove(1);
  EXPECT_TRUE(ReadAll(wal_, kStart).starts.empty());
}

TEST_F(Reader, AContinuationInAMissingOrRecycledSegmentIsTheEnd) {
  while (wal_.end().value < kStart.value + kSegment - 4000) wal_.AppendOfSize(1000);
  const Lsn last = wal_.end();
  wal_.AppendOfSize(20'000);
  ASSERT_GT(wal_.end().value, 2 * uint64_t{kSegment});
  Walk walk = ReadAll(wal_, kStart);
  EXPECT_EQ(walk.end.lsn, wal_.end());
  wal_.Recycle(1, 2);
  walk = ReadAll(wal_, kStart);
  EXPECT_EQ(walk.end.lsn, last);
  EXPECT_EQ(walk.end.record_bytes, 20'000u);
  wal_.Remove(2);
  walk = ReadAll(wal_, kStart);
  EXPECT_EQ(walk.end.lsn, last);
  EXPECT_EQ(walk.end.record_bytes, 20'000u);
}

TEST_F(Reader, AContinuationOfAnotherLengthIsTheEnd) {
  wal_.FillPageUntil(200);
  const Lsn crossing = wal_.AppendOfSize(1000);
  const Lsn second{(crossing.value / kPage + 1) * kPage};
  wal_.Set<uint32_t>(second + 16, 801);
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, crossing);
  wal_.Set<uint32_t>(second + 16, 800);
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, wal_.end());
  wal_.Set<uint16_t>(second + 2, 0);  // not a continuation at all
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, crossing);
}

TEST_F(Reader, AnOverwrittenRecordIsSkipped) {
  const Lsn before = wal_.AppendOfSize(100);
  wal_.FillPageUntil(400);
  const Lsn lost = wal_.AppendPartly({.main_data = std::string(30'000, 'x')}, 2);
  const Lsn note = wal_.OverwriteContrecord(lost);
  const Lsn after = wal_.AppendOfSize(100);
  const Walk walk = ReadAll(wal_, before);
  ASSERT_GE(walk.starts.size(), 3u);
  EXPECT_EQ(std::count(walk.starts.begin(), walk.starts.end(), lost), 0);
  EXPECT_EQ(walk.starts[walk.starts.size() - 2], note);
  EXPECT_EQ(walk.starts.back(), after);
  EXPECT_EQ(walk.end.lsn, wal_.end());
}

// The crash came between the page header and the record in it.
TEST_F(Reader, AnOverwrittenRecordWithNothingBehindItEndsAtTheLostRecord) {
  wal_.FillPageUntil(400);
  const Lsn lost = wal_.AppendPartly({.main_data = std::string(30'000, 'x')}, 1);
  const Lsn note = wal_.OverwriteContrecord(lost);
  wal_.ZeroFrom(note);
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, lost);
}

// The note must follow the last whole record: a stale one in a recycled page does not count.
TEST_F(Reader, AnOverwriteNoteOfAnotherPastIsTheEnd) {
  wal_.FillPageUntil(400);
  const Lsn lost = wal_.AppendPartly({.main_data = std::string(30'000, 'x')}, 1);
  const Lsn note = wal_.OverwriteContrecord(lost);
  wal_.Set<uint64_t>(note + 8, kStart.value + 40);  // a record, but not the last one
  wal_.FixCrc(note);
  EXPECT_EQ(ReadAll(wal_, kStart).end.lsn, lost);
}

TEST_F(Reader, LengthsThatCannotBe) {
  const Lsn a = wal_.AppendOfSize(100);
  for (const uint32_t length : {0u, 1u, 23u, 0x40000000u, 0xffffffffu}) {
    wal_.Set<uint32_t>(a, length);
    EXPECT_TRUE(ReadAll(wal_, kStart).starts.empty()) << length;
  }
}

TEST_F(Reader, WhatIsWholeButNotUnderstoodIsRefusedNotSkipped) {
  const auto refused = [](WalBuilder& wal) {
    try {
      ReadAll(wal, kStart);
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kNotRewindable;
    }
  };
  {
    WalBuilder wal(WalVersion(15), kStart);
    wal.Append({.rmgr = 22});  // no such resource manager
    EXPECT_TRUE(refused(wal));
  }
  {
    WalBuilder wal(WalVersion(14), kStart);
    wal.Append({.rmgr = 128});  // custom ones exist from 15 on
    EXPECT_TRUE(refused(wal));
  }
  {
    WalBuilder wal(WalVersion(15), kStart);
    wal.Append({.rmgr = 128, .blocks = {{}}});
    EXPECT_FALSE(refused(wal));
  }
  struct Case {
    const char* what;
    uint64_t offset;  // in the record
    uint8_t value;
  };
  for (const Case& c : {Case{"unknown block id", 24, 200}, Case{"unknown fork", 25, 0x05},
                        Case{"data flag without data", 25, 0x20}, Case{"unknown id", 24, 40},
                        Case{"same relation as none", 25, 0x80}}) {
    WalBuilder wal(WalVersion(15), kStart);
    const Lsn at = wal.Append({.main_data = "abc", .blocks = {{}}});
    wal.Set<uint8_t>(at + c.offset, c.value);
    wal.FixCrc(at);
    EXPECT_TRUE(refused(wal)) << c.what;
  }
}

// Whatever the bytes behind a right checksum are: an answer or an Error, never anything else.
TEST_F(Reader, HostileRecordBodies) {
  const Lsn at =
      wal_.Append({.main_data = "abcdefgh",
                   .blocks = {{.image = Image::kCompressedWithHole, .data_bytes = 4}, {}}});
  std::vector<uint8_t> original;
  for (uint64_t i = 0; i < 96; ++i) original.push_back(wal_.Byte(at + i));
  uint32_t random = 12345;
  int understood = 0;
  for (int round = 0; round < 20'000; ++round) {
    for (uint64_t i = 0; i < original.size(); ++i) wal_.Set<uint8_t>(at + i, original[i]);
    for (int i = 0; i < 3; ++i) {
      random = random * 1664525 + 1013904223;
      const uint64_t offset = 24 + (random >> 8) % 60;
      random = random * 1664525 + 1013904223;
      wal_.Set<uint8_t>(at + offset, static_cast<uint8_t>(random >> 16));
    }
    wal_.FixCrc(at);
    try {
      understood += static_cast<int>(ReadAll(wal_, kStart).starts.size());
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kNotRewindable);
    }
  }
  EXPECT_GT(understood, 0);
  EXPECT_LT(understood, 20'000);
}

TEST_F(Reader, SeekForgetsTheRecordBefore) {
  const Lsn a = wal_.AppendOfSize(100);
  const Lsn b = wal_.AppendOfSize(100);
  const Lsn c = wal_.AppendOfSize(100);
  WalReader reader(wal_, wal_.layout());
  EXPECT_EQ(ReadRecordAt(reader, c).prev, b);
  EXPECT_EQ(ReadRecordAt(reader, a).start, a);
  EXPECT_EQ(ReadRecordAt(reader, b).prev, a);
  EXPECT_THROW(ReadRecordAt(reader, wal_.end()), Error);
  EXPECT_THROW(ReadRecordAt(reader, a + 8), Error);
}

TEST_F(Reader, LargerSegments) {
  WalBuilder wal(WalVersion(17), Lsn{uint64_t{16} << 20}, 16 << 20);
  while (wal.end().value < (uint64_t{33} << 20)) wal.AppendOfSize(200'000);
  EXPECT_EQ(ReadAll(wal, Lsn{uint64_t{16} << 20}).end.lsn, wal.end());
}

}  // namespace
}  // namespace pgrejoin
