#include "rewind/wal_scan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/pgdata/control_builder.h"
#include "unit/wal/wal_builder.h"

namespace pgrejoin {
namespace {

using testing::ControlSpec;
using testing::ParseControl;
using testing::Put;
using testing::WalBuilder;
using testing::WalVersion;

constexpr uint32_t kSegment = 1 << 20;
constexpr uint64_t kPage = 8192;
constexpr Lsn kStart{kSegment};

// --- the source's side: only what was flushed counts ---

class SourceScanTest : public ::testing::Test {
 protected:
  SourceScan Scan(WalBuilder& wal, Lsn flush) {
    WalReader reader(wal, wal.layout());
    DatabaseCopies copies;
    return ScanSourceWal(reader, kStart, flush, WalVersion(15), &copies, nullptr);
  }
  // The file as it is staged: zeros behind flush.
  static WalBuilder UpTo(const WalBuilder& wal, Lsn flush) {
    WalBuilder staged = wal;
    staged.ZeroFrom(flush);
    std::vector<uint64_t> later;
    for (const auto& [segment, bytes] : staged.files()) {
      if (segment > flush.value / kSegment) later.push_back(segment);
    }
    for (const uint64_t segment : later) staged.Remove(segment);
    return staged;
  }
  WalBuilder wal_{WalVersion(15), kStart};
};

// A busy server flushes in the middle of records, mostly at page boundaries: wherever that is,
// nothing is missing, and the end is the end of the last whole record.
TEST_F(SourceScanTest, EveryFlushPositionInsideALargeRecordIsComplete) {
  for (int i = 0; i < 5; ++i) wal_.AppendOfSize(100);
  const Lsn before = wal_.end();
  wal_.AppendOfSize(300'000);
  const Lsn behind = wal_.end();
  for (Lsn flush = before + 8; flush < behind; flush = flush + 8) {
    // All positions near page boundaries, a few of the others.
    const uint64_t offset = flush.value % kPage;
    if (offset > 64 && offset < kPage - 64 && offset % 1024 != 0) continue;
    WalBuilder staged = UpTo(wal_, flush);
    const SourceScan scan = Scan(staged, flush);
    ASSERT_TRUE(scan.complete) << flush.ToString();
    ASSERT_EQ(scan.end, before) << flush.ToString();
  }
  EXPECT_EQ(Scan(wal_, behind).end, behind);
}

// The remainder on the last page may be smaller than the page headers in between.
TEST_F(SourceScanTest, FlushAtTheLastPageBoundaryOfARecordWithAShortRemainder) {
  for (const uint64_t remainder : {8u, 64u, 400u, 800u}) {
    WalBuilder wal(WalVersion(15), kStart);
    wal.AppendOfSize(104);
    const Lsn before = wal.end();
    uint64_t bytes = kPage - before.value % kPage;
    for (int page = 0; page < 35; ++page) bytes += kPage - 24;
    wal.AppendOfSize(bytes + remainder);
    const Lsn boundary{wal.end().value / kPage * kPage};
    WalBuilder staged = UpTo(wal, boundary);
    const SourceScan scan = Scan(staged, boundary);
    EXPECT_TRUE(scan.complete) << remainder;
    EXPECT_EQ(scan.end, before);
  }
}

TEST_F(SourceScanTest, FlushBehindAPageHeaderOnly) {
  wal_.FillPageUntil(0);
  const Lsn boundary = wal_.end();
  wal_.AppendOfSize(100);
  for (const uint64_t past : {0u, 24u}) {
    WalBuilder staged = UpTo(wal_, boundary + past);
    const SourceScan scan = Scan(staged, boundary + past);
    EXPECT_TRUE(scan.complete);
    EXPECT_EQ(scan.end, boundary);
  }
}

TEST_F(SourceScanTest, RecordsBehindFlushAreNotTaken) {
  wal_.AppendOfSize(100);
  const Lsn flush = wal_.AppendOfSize(100);
  const SourceScan scan = Scan(wal_, flush);
  EXPECT_EQ(scan.end, flush);
  EXPECT_TRUE(scan.complete);
  EXPECT_EQ(Scan(wal_, flush + 40).end, flush);
}

TEST_F(SourceScanTest, MissingOrDamagedWalIsNotComplete) {
  for (int i = 0; i < 300; ++i) wal_.AppendOfSize(4000);
  const Lsn flush = wal_.end();
  ASSERT_TRUE(Scan(wal_, flush).complete);
  for (const uint64_t at : {100'000u, 500'001u, 900'000u, 1'100'000u}) {
    WalBuilder damaged = wal_;
    damaged.Xor(kStart + at, 0x10);
    EXPECT_FALSE(Scan(damaged, flush).complete) << at;
  }
  WalBuilder zeroed = wal_;
  zeroed.ZeroFrom(kStart + 600'000);
  EXPECT_FALSE(Scan(zeroed, flush).complete);
  WalBuilder cut = wal_;
  cut.Remove(2);
  EXPECT_FALSE(Scan(cut, flush).complete);
}

class ContinuedScan : public SourceScanTest {
 protected:
  ContinuedScan() {
    for (uint32_t i = 0; i < 400; ++i) {
      if (i % 20 == 0) AppendDatabaseCopy(i);
      wal_.AppendOfSize(100 + i * 37 % 6000);
    }
  }
  void AppendDatabaseCopy(uint32_t database) {
    std::string data;
    for (const uint32_t oid : {database, 1663u, 1u, 1663u}) Put(&data, oid);
    wal_.Append({.rmgr = kRmgrDbase, .main_data = data});
  }
  SourceScan Continue(WalBuilder& wal, const SourceScan& known, Lsn flush) {
    WalReader reader(wal, wal.layout());
    return ContinueSourceScan(reader, known, kStart, flush, WalVersion(15), &copies_);
  }
  DatabaseCopies copies_;
};

TEST_F(ContinuedScan, InAnyStepsIsTheWholeAndCountsOnce) {
  const SourceScan whole = Scan(wal_, wal_.end());
  for (const uint64_t step : {5'000u, 100'000u, 300'000u, 700'000u, 5'000'000u}) {
    copies_ = {};
    SourceScan scan;
    for (Lsn flush = kStart; flush < wal_.end();) {
      flush = std::min(flush + step, wal_.end());
      WalBuilder staged = UpTo(wal_, flush);
      scan = Continue(staged, scan, flush);
      ASSERT_TRUE(scan.complete) << step << ' ' << flush.ToString();
    }
    EXPECT_EQ(scan.end, whole.end);
    EXPECT_EQ(scan.last_record, whole.last_record);
    EXPECT_EQ(copies_.copies.size(), 20u) << step;
  }
}

// Fetching more writes the page again on which the last scan ended.
TEST_F(ContinuedScan, WhatMayHaveBeenWrittenAgainIsProvenAgain) {
  for (const uint64_t bytes : {600'000u, 800'000u, 1'000'000u}) {
    const Lsn first = kStart + bytes;
    WalBuilder staged = UpTo(wal_, first);
    const SourceScan known = Continue(staged, {}, first);
    for (const uint64_t back : {uint64_t{0}, first.value % kPage, 2 * kPage}) {
      WalBuilder damaged = wal_;
      damaged.Xor(Lsn{first.value - back + 30}, 0x10);
      const SourceScan scan = Continue(damaged, known, wal_.end());
      EXPECT_FALSE(scan.complete) << bytes << ' ' << back;
      EXPECT_LE(scan.end.value, first.value - back + 30);
    }
  }
}

TEST_F(ContinuedScan, GoesOnWhereADamagedOneStopped) {
  const Lsn first = kStart + 900'000;
  WalBuilder staged = UpTo(wal_, first);
  const SourceScan known = Continue(staged, {}, first);
  WalBuilder damaged = wal_;
  damaged.Xor(Lsn{first.value - 20'000}, 0x10);
  const SourceScan broken = Continue(damaged, known, wal_.end());
  ASSERT_FALSE(broken.complete);
  EXPECT_EQ(Continue(wal_, broken, wal_.end()).end, wal_.end());
}

TEST_F(SourceScanTest, AnAbsurdLengthDoesNotHideWhatIsMissing) {
  for (int i = 0; i < 100; ++i) wal_.AppendOfSize(4000);
  const Lsn victim = wal_.AppendOfSize(4000);
  for (int i = 0; i < 100; ++i) wal_.AppendOfSize(4000);
  wal_.Set<uint32_t>(victim, 900'000'000);
  EXPECT_FALSE(Scan(wal_, wal_.end()).complete);
}

TEST_F(SourceScanTest, RelationsCreatedAndFullPageWrites) {
  std::string create;
  for (const Oid oid : {1663u, 5u, 16500u}) Put<uint32_t>(&create, oid);
  Put<int32_t>(&create, 0);
  wal_.Append({.rmgr = 2, .info = 0x11, .main_data = create});
  EXPECT_EQ(Scan(wal_, wal_.end()).created, (std::set<RelFileLocator>{{1663, 5, 16500}}));
  wal_.Append({.rmgr = 0, .info = 0x80, .main_data = "\1"});
  EXPECT_NO_THROW(Scan(wal_, wal_.end()));
  wal_.Append({.rmgr = 0, .info = 0x80, .main_data = std::string(1, '\0')});
  EXPECT_THROW(Scan(wal_, wal_.end()), Error);
}

// --- the target's side ---

class TargetScanTest : public ::testing::Test {
 protected:
  const RewindFacts& Scan(uint32_t checksums = 1) {
    facts_.emplace(ParseControl({.data_checksum_version = checksums}));
    facts_->fork = {1, fork_};
    WalReader reader(wal_, wal_.layout());
    ScanTargetWal(reader, kStart, wal_.end(), &*facts_);
    return *facts_;
  }
  static std::string Locator(Oid number) {
    std::string bytes;
    for (const Oid oid : {1663u, 5u, number}) Put<uint32_t>(&bytes, oid);
    return bytes;
  }
  void Create(Oid number) {
    std::string payload = Locator(number);
    Put<int32_t>(&payload, 0);
    wal_.Append({.rmgr = 2, .info = 0x11, .main_data = payload});
  }
  void Truncate(Oid number, BlockNumber blocks) {
    std::string payload;
    Put<uint32_t>(&payload, blocks);
    payload += Locator(number);
    Put<int32_t>(&payload, 7);
    wal_.Append({.rmgr = 2, .info = 0x21, .main_data = payload});
  }
  void End(TransactionId xid, bool commit, const std::vector<TransactionId>& children = {},
           PgTimestamp time = 0) {
    std::string payload;
    Put<PgTimestamp>(&payload, time);
    Put<uint32_t>(&payload, 2);
    Put<uint32_t>(&payload, static_cast<uint32_t>(children.size()));
    for (const TransactionId child : children) Put<uint32_t>(&payload, child);
    const int info = 0x80 | (commit ? 0x00 : 0x20);
    wal_.Append({.rmgr = 1, .info = static_cast<uint8_t>(info), .xid = xid, .main_data = payload});
  }
  void ForkHere() { fork_ = wal_.end(); }

  WalBuilder wal_{WalVersion(15), kStart};
  Lsn fork_ = kStart;
  std::optional<RewindFacts> facts_;
};

TEST_F(TargetScanTest, BlocksOfTheMainForkFromBothSidesOfTheFork) {
  wal_.Append({.blocks = {{.block = 1}}});
  ForkHere();
  wal_.Append({.blocks = {{.block = 2}, {.block = 9, .fork = ForkNumber::kVisibilityMap}}});
  Scan();
  const BlockBitmap* bitmap = facts_->blocks.Find({{1663, 5, 16384}, 0});
  ASSERT_NE(bitmap, nullptr);
  EXPECT_TRUE(bitmap->Test(1));
  EXPECT_TRUE(bitmap->Test(2));
  EXPECT_EQ(bitmap->Count(), 2u);
}

TEST_F(TargetScanTest, OnlyWhatWasCreatedBehindTheForkIsTheTargetsOwn) {
  Create(16390);
  ForkHere();
  Create(16391);
  Scan();
  EXPECT_EQ(facts_->created, (std::set<RelFileLocator>{{1663, 5, 16391}}));
}

TEST_F(TargetScanTest, TheShortestTruncationCounts) {
  Truncate(16384, 10);
  Truncate(16384, 4);
  ForkHere();
  Truncate(16384, 7);
  Scan();
  EXPECT_EQ(facts_->truncated.at({1663, 5, 16384}), 4u);
}

TEST_F(TargetScanTest, DiscardedIsWhatWasCommittedBehindTheFork) {
  End(700, true, {}, 5);
  ForkHere();
  End(701, true, {}, 40);
  End(702, false, {}, 10);
  End(703, true, {}, 30);  // backends write their times in any order
  Scan();
  EXPECT_EQ(facts_->discarded_transactions, 2u);
  ASSERT_TRUE(facts_->discarded_times);
  EXPECT_EQ(facts_->discarded_times->first, 30);
  EXPECT_EQ(facts_->discarded_times->last, 40);
}

TEST_F(TargetScanTest, TheOldestDecidedCountsChildrenAndAborts) {
  End(600, true);
  ForkHere();
  End(710, true, {711, 705});
  End(708, false);
  EXPECT_EQ(Scan().oldest_decided, 705u);
}

TEST_F(TargetScanTest, AnAbortMayBeTheOldest) {
  ForkHere();
  End(710, true);
  End(704, false);
  EXPECT_EQ(Scan().oldest_decided, 704u);
}

TEST_F(TargetScanTest, OldestIsModuloTwoToTheThirtyTwo) {
  ForkHere();
  End(5, true);
  End(0xfffffff0, true);
  EXPECT_EQ(Scan().oldest_decided, 0xfffffff0u);
}

TEST_F(TargetScanTest, AnEndOfRecoveryMeansItWasAStandby) {
  ForkHere();
  EXPECT_FALSE(Scan().was_standby);
  std::string payload(8, '\0');
  Put<uint32_t>(&payload, 2);
  Put<uint32_t>(&payload, 1);
  wal_.Append({.rmgr = 0, .info = 0x90, .main_data = payload});
  EXPECT_TRUE(Scan().was_standby);
}

TEST_F(TargetScanTest, DatabaseCopiesByWhereTheyAre) {
  std::string payload;
  for (const Oid oid : {16999u, 1663u, 4u, 1663u}) Put<uint32_t>(&payload, oid);
  wal_.Append({.rmgr = 4, .info = 0x01, .main_data = payload});
  ForkHere();
  std::string later;
  for (const Oid oid : {17000u, 16400u, 4u, 1663u}) Put<uint32_t>(&later, oid);
  wal_.Append({.rmgr = 4, .info = 0x01, .main_data = later});
  Scan();
  ASSERT_EQ(facts_->copies.copies.size(), 1u) << "only what the target will replay";
  EXPECT_EQ(facts_->copies.copies[0].database, 16999u);
  EXPECT_EQ(facts_->copied_databases, (std::set<std::pair<Oid, Oid>>{{16400, 17000}}));
}

TEST_F(TargetScanTest, WalThatDoesNotReachItsEndIsRefused) {
  for (int i = 0; i < 10; ++i) wal_.AppendOfSize(4000);
  wal_.Xor(kStart + 20'000, 1);
  EXPECT_THROW(Scan(), Error);
}

TEST_F(TargetScanTest, SettingsThatHideChanges) {
  std::string on(20, '\0');
  Put<int32_t>(&on, 1);
  Put<uint16_t>(&on, 1);
  wal_.Append({.rmgr = 0, .info = 0x60, .main_data = on});
  EXPECT_NO_THROW(Scan(/*checksums=*/1));
  EXPECT_THROW(Scan(/*checksums=*/0), Error);
  wal_.Append({.rmgr = 0, .info = 0x80, .main_data = std::string(1, '\0')});
  EXPECT_THROW(Scan(/*checksums=*/1), Error);
}

TEST(TransactionIdPrecedes, AsTheServerCompares) {
  EXPECT_TRUE(TransactionIdPrecedes(3, 4));
  EXPECT_FALSE(TransactionIdPrecedes(4, 4));
  EXPECT_TRUE(TransactionIdPrecedes(0xffffffff, 3));
  EXPECT_FALSE(TransactionIdPrecedes(3, 0xffffffff));
}

TEST(DatabaseCopies, TheTemplateMustStayAsItWas) {
  WalRecord change;
  change.rmgr = 10;
  change.blocks.push_back({.locator = {1663, 5, 16384}});
  WalRecord hint = change;
  hint.rmgr = 0;
  hint.info = 0xa0;
  const CreateDatabaseByCopyEffect copy{16999, 1663, 5, 1663};
  {
    DatabaseCopies copies;
    copies.Visit({}, copy);
    copies.Visit(hint, {});
    EXPECT_NO_THROW(copies.CheckTemplatesUntouched());
    copies.Visit(change, {});
    EXPECT_THROW(copies.CheckTemplatesUntouched(), Error);
  }
  {
    DatabaseCopies copies;  // dropped behind the copy: replay would find nothing to copy
    copies.Visit({}, copy);
    copies.Visit({}, DropDatabaseEffect{5});
    EXPECT_THROW(copies.CheckTemplatesUntouched(), Error);
  }
  {
    DatabaseCopies copies;  // changed before it, in the range that is replayed
    copies.Visit(change, {});
    copies.Visit({}, copy);
    EXPECT_THROW(copies.CheckTemplatesUntouched(), Error);
  }
}

}  // namespace
}  // namespace pgrejoin
