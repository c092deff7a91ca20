#include "rewind/rewind.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <future>

#include "base/error.h"
#include "base/kill_point.h"
#include "harness/error_kind.h"
#include "harness/synthetic_cluster.h"
#include "pgdata/backup_label.h"
#include "rewind/journal.h"
#include "target/wal_archive.h"
#include "wal/wal_reader.h"

namespace pgrejoin {
namespace {

namespace fs = std::filesystem;
using testing::ClusterOptions;
using testing::KindOf;
using testing::Put;
using testing::ReadText;
using testing::RecordSpec;
using testing::ScratchDirectory;
using testing::Snapshot;
using testing::SyntheticCluster;
using testing::WalBuilder;
using testing::WriteText;

using Tree = std::map<std::string, std::string>;

RewindResult RunRewind(const fs::path& data, SyntheticCluster& cluster,
                       const RewindOptions& options) {
  const DirectoryLock lock = DirectoryLock::Acquire(data.string());
  return Rewind(lock, cluster.source, options);
}
RewindResult RunRewind(const fs::path& data, SyntheticCluster& cluster) {
  return RunRewind(data, cluster, cluster.Options());
}

// The tree without what differs between two equal rewinds: the time in the control file and the
// label.
Tree Comparable(const fs::path& data) {
  Tree tree = Snapshot(data);
  if (auto control = tree.find("global/pg_control"); control != tree.end()) {
    control->second.replace(24, 8, 8, '\0');
    control->second.replace(288, 8, 8, '\0');
  }
  if (auto label = tree.find("backup_label"); label != tree.end()) {
    const size_t begin = label->second.find("START TIME:");
    if (begin != std::string::npos) {
      label->second.erase(begin, label->second.find('\n', begin) - begin);
    }
  }
  return tree;
}

Tree WithoutOurs(Tree tree) {
  std::erase_if(tree, [](const auto& entry) {
    return entry.first.starts_with("pg_rejoin") || entry.first.starts_with("pg_wal/pg_rejoin");
  });
  return tree;
}

// Walks the directory's own WAL as the server will, from the label to its end.
EndOfWal Replayable(const fs::path& data, const SyntheticCluster& cluster, Lsn from) {
  LocalWalFiles files(
      (data / "pg_wal").string(),
      [&](const std::string& name) {
        return UniqueFd(::open((data / "pg_wal" / name).c_str(), O_RDONLY | O_CLOEXEC));
      },
      *TimelineHistory::FromString(cluster.source_history()), SyntheticCluster::kSegment);
  WalReader reader(files, cluster.common.layout());
  reader.Seek(from);
  while (true) {
    const auto next = reader.Next();
    if (const auto* end = std::get_if<EndOfWal>(&next)) return *end;
  }
}

std::string BlockOf(const fs::path& data, const std::string& path, size_t block) {
  return ReadText(data / path).substr(block * 8192, 8192);
}

void ExpectPublished(const fs::path& data, const SyntheticCluster& cluster) {
  const std::string raw = ReadText(data / "global/pg_control");
  const ControlFile control = ControlFile::Parse(AsBytes(raw), "result");
  EXPECT_EQ(control.state(), DatabaseState::kArchiveRecovery);
  EXPECT_EQ(control.min_recovery_point(), cluster.source_wal.end());
  EXPECT_EQ(control.min_recovery_point_timeline(), cluster.options.source_timeline);
  const auto label = BackupLabel::Parse(ReadText(data / "backup_label"));
  ASSERT_TRUE(label.has_value());
  EXPECT_TRUE(label->ours);
  EXPECT_EQ(label->start, cluster.checkpoint_b);
  EXPECT_EQ(Replayable(data, cluster, label->checkpoint).lsn, cluster.source_wal.end());
}

void ExpectFollowsSource(const fs::path& data, const SyntheticCluster& cluster) {
  ExpectPublished(data, cluster);
  // Block 0 is named by common WAL behind the start, 3 by the target's own; 5 comes by replay, and
  // 1 was changed before the start.
  const auto block = [&](BlockNumber n) { return BlockOf(data, "base/5/16384", n); };
  EXPECT_EQ(block(0), SyntheticCluster::Block('A', 0));
  EXPECT_EQ(block(3), SyntheticCluster::Block('A', 3));
  EXPECT_EQ(block(5), SyntheticCluster::Block('A', 5));
  EXPECT_EQ(fs::file_size(data / "base/5/16384"), 10 * SyntheticCluster::kBlock);
  for (const char* path : {"base/5/16384_vm", "base/5/16500", "base/6/1", "pg_xact/0000"}) {
    EXPECT_EQ(ReadText(data / path), cluster.source.files.at(path)) << path;
  }
  for (const char* path :
       {"base/5/16400", "pg_xact/0001", "pg_replslot/slot", "pg_rejoin", "pg_wal/pg_rejoin"}) {
    EXPECT_FALSE(fs::exists(data / path)) << path;
  }
  EXPECT_EQ(ReadText(data / "postgresql.conf"), "# mine\n");
  EXPECT_EQ(ReadText(data / "log/old.log"), "evidence\n");
  EXPECT_EQ(ReadText(data / "postgresql.auto.conf"),
            "work_mem = '1MB'\nprimary_conninfo = 'host=source'\n");
  EXPECT_TRUE(fs::exists(data / "standby.signal"));
}

class Rewound : public ::testing::Test {
 protected:
  fs::path data() const { return scratch_ / "data"; }
  ScratchDirectory scratch_;
};

class RewindOfMajor : public Rewound, public ::testing::WithParamInterface<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Majors, RewindOfMajor, ::testing::Values(14u, 15u, 16u, 17u, 18u));

TEST_P(RewindOfMajor, MakesTheTargetAStandbyOfTheSource) {
  SyntheticCluster cluster({.major = GetParam()});
  cluster.WriteTarget(data());
  const RewindResult result = RunRewind(data(), cluster);
  EXPECT_EQ(result.outcome, RewindOutcome::kRewound);
  EXPECT_EQ(result.fork_lsn, cluster.fork());
  EXPECT_EQ(result.start_lsn, cluster.checkpoint_b);
  EXPECT_EQ(result.target_end, cluster.target_wal.end());
  EXPECT_EQ(result.source_end, cluster.source_wal.end());
  EXPECT_EQ(result.discarded_transactions, 1u);
  EXPECT_EQ(result.discarded_bytes, cluster.target_wal.end() - cluster.fork());
  ExpectFollowsSource(data(), cluster);
}

TEST_F(Rewound, ATargetThatWasPromotedItself) {
  for (const TimelineId source_timeline : {1u, 3u}) {
    SyntheticCluster cluster({.target_timeline = 2, .source_timeline = source_timeline});
    cluster.WriteTarget(data());
    EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kRewound);
    ExpectFollowsSource(data(), cluster);
    EXPECT_FALSE(fs::exists(data() / "pg_wal/00000002.history"))
        << "recovery would follow the target's own line";
    fs::remove_all(data());
  }
}

// No file that recovery may pick, also of the old timeline, holds a record behind the fork.
TEST_F(Rewound, NothingOfTheOtherLineCanBeReplayed) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  RunRewind(data(), cluster);
  for (const auto& entry : fs::directory_iterator(data() / "pg_wal")) {
    const auto name =
        WalSegmentName::Parse(entry.path().filename().string(), SyntheticCluster::kSegment);
    if (!name) continue;
    EXPECT_EQ(entry.file_size(), SyntheticCluster::kSegment) << entry.path();
    if (name->tli == 1) {
      EXPECT_LE(name->segment, cluster.fork().value / SyntheticCluster::kSegment);
    }
  }
  const std::string old = ReadText(data() / "pg_wal/000000010000000000000002");
  EXPECT_EQ(old.find_first_not_of('\0', cluster.fork().value % SyntheticCluster::kSegment),
            std::string::npos);
  for (const char* name : {"000000010000000000000002", "000000020000000000000002",
                           "000000020000000000000003", "000000010000000000000001"}) {
    EXPECT_TRUE(fs::exists(data() / "pg_wal/archive_status" / (std::string(name) + ".done")))
        << name << " would be archived by a later promotion";
  }
}

// Replay on the timeline that ends there reads prepared transactions from the file of that name.
TEST_F(Rewound, ATimelineThatEndsInsideASegmentHasItsPartThere) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const uint64_t offset = 200'000;
  const Lsn switched{3 * SyntheticCluster::kSegment + offset};
  auto& files = cluster.source.files;
  auto third = files.extract("pg_wal/000000020000000000000003");
  ASSERT_FALSE(third.empty());
  const std::string segment = third.mapped();
  third.key() = "pg_wal/000000030000000000000003";
  files.insert(std::move(third));
  files["pg_wal/00000003.history"] =
      files["pg_wal/00000002.history"] + "2\t" + switched.ToString() + "\ttest\n";
  cluster.source.identity.history =
      *TimelineHistory::FromString(cluster.source_history() + ",3@" + switched.ToString());
  RunRewind(data(), cluster);
  std::string superseded = segment.substr(0, offset);
  superseded.resize(SyntheticCluster::kSegment);
  EXPECT_EQ(ReadText(data() / "pg_wal/000000020000000000000003"), superseded);
  EXPECT_TRUE(fs::exists(data() / "pg_wal/archive_status/000000020000000000000003.done"));
}

TEST_F(Rewound, ATimelineThatEndsAtASegmentHasNoPartOfTheNext) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  auto& files = cluster.source.files;
  auto third = files.extract("pg_wal/000000020000000000000003");
  ASSERT_FALSE(third.empty());
  third.key() = "pg_wal/000000030000000000000003";
  files.insert(std::move(third));
  const std::string switched = Lsn{3 * SyntheticCluster::kSegment}.ToString();
  files["pg_wal/00000003.history"] =
      files["pg_wal/00000002.history"] + "2\t" + switched + "\ttest\n";
  cluster.source.identity.history =
      *TimelineHistory::FromString(cluster.source_history() + ",3@" + switched);
  RunRewind(data(), cluster);
  EXPECT_FALSE(fs::exists(data() / "pg_wal/000000020000000000000003"));
  EXPECT_TRUE(fs::exists(data() / "pg_wal/000000030000000000000003"));
}

// What is still to be archived may have its only copy here; what is set aside is never archived.
TEST_F(Rewound, SegmentsThatStayAreArchivedAsBeforeAndOthersNever) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const auto status = [&](const char* name) { return data() / "pg_wal/archive_status" / name; };
  for (const char* name : {"000000010000000000000001.ready", "000000010000000000000002.done",
                           "000000010000000000000003.ready", "000000010000000000000004.done"}) {
    WriteText(status(name), "");
  }
  RunRewind(data(), cluster);
  ExpectFollowsSource(data(), cluster);
  EXPECT_TRUE(fs::exists(status("000000010000000000000001.ready")));
  EXPECT_FALSE(fs::exists(status("000000010000000000000001.done")));
  EXPECT_FALSE(fs::exists(status("000000010000000000000003.ready")));
  EXPECT_FALSE(fs::exists(status("000000010000000000000004.done")));
}

// The server archives them, too, as soon as it may remove them.
TEST_F(Rewound, PartialSegmentsAndBackupHistoriesThatStayAreNotArchivedAgain) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const auto status = [&](const std::string& name) {
    return fs::exists(data() / "pg_wal/archive_status" / name);
  };
  const std::string segment = "000000010000000000000001";
  for (const char* suffix : {".partial", ".00000028.backup", ".00000080.backup"}) {
    WriteText(data() / "pg_wal" / (segment + suffix), "");
  }
  WriteText(data() / "pg_wal/archive_status" / (segment + ".00000080.backup.ready"), "");
  RunRewind(data(), cluster);
  EXPECT_TRUE(status(segment + ".partial.done"));
  EXPECT_TRUE(status(segment + ".00000028.backup.done"));
  EXPECT_TRUE(status(segment + ".00000080.backup.ready"));
  EXPECT_FALSE(status(segment + ".00000080.backup.done"));
}

TEST_F(Rewound, FilesOfSeveralRangesAreCopiedWhole) {
  SyntheticCluster cluster;
  std::string& content = cluster.source.files["pg_xact/0000"];
  while (content.size() < 2'500'000) content += std::to_string(content.size());
  cluster.WriteTarget(data());
  RunRewind(data(), cluster);
  ExpectFollowsSource(data(), cluster);
}

// A standby with lower limits than its primary had does not start.
TEST_F(Rewound, LowerLimitsThanTheSourceHasAreWarnedOf) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  std::string& control = cluster.source.files["global/pg_control"];
  StoreLe<uint32_t>(std::as_writable_bytes(std::span(control)), 180, 250);
  testing::SealControl(&control, 15);
  ::testing::internal::CaptureStderr();
  RunRewind(data(), cluster);
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("max_connections was 0 on the target and is 250"), std::string::npos) << log;
  EXPECT_EQ(log.find("max_wal_senders"), std::string::npos) << log;
}

TEST_F(Rewound, WalBehindTheSourcesFlushIsNotTaken) {
  SyntheticCluster cluster;
  // The source has written on, and may lose that: a whole record and half of another one.
  const Lsn flush = cluster.source_wal.end();
  cluster.source_wal.AppendOfSize(5000);
  cluster.source.files["pg_wal/000000020000000000000003"] =
      std::string(AsText(std::as_bytes(std::span(cluster.source_wal.files().at(3)))));
  cluster.source.identity.flush_lsn = flush + 3000;
  cluster.WriteTarget(data());
  EXPECT_EQ(RunRewind(data(), cluster).source_end, flush);
  const std::string last = ReadText(data() / "pg_wal/000000020000000000000003");
  EXPECT_EQ(last.find_first_not_of('\0', (flush.value + 3000) % SyntheticCluster::kSegment),
            std::string::npos);
}

TEST_F(Rewound, DryRunChangesNothing) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  RewindOptions options = cluster.Options();
  options.dry_run = true;
  const RewindResult result = RunRewind(data(), cluster, options);
  EXPECT_EQ(result.outcome, RewindOutcome::kRewound);
  EXPECT_GT(result.bytes_to_copy, 0u);
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(Rewound, MoreThanTheLimitIsNotDiscarded) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  RewindOptions options = cluster.Options();
  options.dry_run = true;
  const uint64_t discarded = RunRewind(data(), cluster, options).discarded_transactions;
  ASSERT_GT(discarded, 0u);
  options.dry_run = false;
  options.discarded_transactions_max = discarded - 1;
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }), ErrorKind::kNotRewindable);
  EXPECT_EQ(Snapshot(data()), before);
  options.discarded_transactions_max = discarded;
  EXPECT_EQ(RunRewind(data(), cluster, options).outcome, RewindOutcome::kRewound);
}

TEST_F(Rewound, ATargetThatOnlyLagsIsNotRewound) {
  SyntheticCluster cluster({.target_lags = true});
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kNothingToDo);
  Tree after = Snapshot(data());
  EXPECT_EQ(after.at("pg_wal/00000002.history"),
            cluster.source.files.at("pg_wal/00000002.history"));
  EXPECT_TRUE(after.contains("standby.signal"));
  for (const char* path : {"pg_wal/00000002.history", "standby.signal", "postgresql.auto.conf"}) {
    after.erase(path);
  }
  Tree expected = before;
  expected.erase("postgresql.auto.conf");
  EXPECT_EQ(after, expected);
}

TEST_F(Rewound, RunningAgainIsHarmless) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  RunRewind(data(), cluster);
  const Tree once = Snapshot(data());
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kNothingToDo);
  EXPECT_EQ(Snapshot(data()), once);
}

// Until the journal goes, it keeps what was discarded: whoever is told may be killed before that.
TEST_F(Rewound, WhatWasDiscardedIsToldBeforeTheJournalGoes) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  RewindOptions options = cluster.Options();
  std::vector<RewindResult> told;
  options.on_published = [&](const RewindResult& result) {
    EXPECT_TRUE(fs::exists(data() / "pg_rejoin/journal"));
    told.push_back(result);
    if (told.size() == 1) throw std::runtime_error("killed");
  };
  EXPECT_THROW(RunRewind(data(), cluster, options), std::runtime_error);
  const RewindResult again = RunRewind(data(), cluster, options);
  EXPECT_EQ(again.outcome, RewindOutcome::kResumed);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_GT(told[0].discarded_bytes, 0u);
  EXPECT_EQ(told[0].discarded_bytes, told[1].discarded_bytes);
  EXPECT_EQ(told[0].target_end, told[1].target_end);
  EXPECT_EQ(told[0].source_timeline, told[1].source_timeline);
  EXPECT_GT(told[0].bytes_copied, 0u);
  EXPECT_EQ(RunRewind(data(), cluster, options).outcome, RewindOutcome::kNothingToDo);
  EXPECT_EQ(told.size(), 2u);
}

// Rewound, never started, and the source loses the next failover: the label is ours, so its start
// counts.
TEST_F(Rewound, ASecondFailoverBeforeTheFirstStart) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  RunRewind(data(), cluster);
  SyntheticCluster other({.source_timeline = 3});
  EXPECT_EQ(RunRewind(data(), other).outcome, RewindOutcome::kRewound);
  ExpectPublished(data(), other);
  EXPECT_FALSE(fs::exists(data() / "pg_wal/00000002.history"));
}

// Rewound onto timeline 2, which timeline 3 has left before its end.
TEST_F(Rewound, AForkOnALaterTimeline) {
  SyntheticCluster cluster;
  WalBuilder third = cluster.source_wal;
  const Lsn switched = third.end();
  while (cluster.source_wal.end().value < 4 * SyntheticCluster::kSegment + 9) {
    cluster.source_wal.AppendOfSize(4000);
  }
  cluster.FlushSourceWal();
  cluster.WriteTarget(data());
  RunRewind(data(), cluster);
  third.SetTimeline(3);
  while (third.end().value < 4 * SyntheticCluster::kSegment + 20'000) third.AppendOfSize(3000);
  auto& files = cluster.source.files;
  for (const uint64_t segment : {3u, 4u}) {
    const auto name = [&](TimelineId timeline) {
      return "pg_wal/" + WalSegmentName{timeline, segment}.ToString(SyntheticCluster::kSegment);
    };
    files.erase(name(2));
    files[name(3)] = std::string(AsText(std::as_bytes(std::span(third.files().at(segment)))));
  }
  files["pg_wal/00000003.history"] =
      files["pg_wal/00000002.history"] + "2\t" + switched.ToString() + "\ttest\n";
  cluster.source.identity.history =
      *TimelineHistory::FromString(cluster.source_history() + ",3@" + switched.ToString());
  cluster.source.identity.flush_lsn = third.end();

  const RewindResult result = RunRewind(data(), cluster);
  EXPECT_EQ(result.outcome, RewindOutcome::kRewound);
  EXPECT_EQ(result.fork_lsn, switched);
  EXPECT_EQ(result.source_end, third.end());
  for (const char* name : {"00000002.history", "00000003.history", "000000030000000000000003"}) {
    EXPECT_TRUE(ReadText(data() / "pg_wal" / name) == files.at(std::string("pg_wal/") + name))
        << name;
  }
  EXPECT_FALSE(fs::exists(data() / "pg_wal/000000020000000000000004"));
  const std::string old = ReadText(data() / "pg_wal/000000020000000000000003");
  EXPECT_EQ(old.find_first_not_of('\0', switched.value % SyntheticCluster::kSegment),
            std::string::npos);
}

// --- hint bits of a standby ---

TEST_F(Rewound, BlocksOfTransactionsDecidedAfterTheForkAreFetchedForAStandby) {
  for (const DatabaseState state :
       {DatabaseState::kArchiveRecovery, DatabaseState::kShutDownInRecovery,
        DatabaseState::kInProduction}) {
    SyntheticCluster cluster({.target_state = state});
    cluster.WriteTarget(data());
    RunRewind(data(), cluster);
    ExpectFollowsSource(data(), cluster);
    // Transaction 745 wrote block 1 before the start of replay and ended after the fork.
    const bool standby = state != DatabaseState::kInProduction;
    EXPECT_EQ(BlockOf(data(), "base/5/16384", 1), SyntheticCluster::Block(standby ? 'A' : 'T', 1));
    fs::remove_all(data());
  }
}

// --- refusals leave the directory as it was ---

struct Refusal {
  const char* name;
  ClusterOptions options;
  std::function<void(SyntheticCluster&)> change;
  ErrorKind kind = ErrorKind::kNotRewindable;
};

std::string ParameterChange(int wal_level, bool hints) {
  std::string payload(20, '\0');
  Put<int32_t>(&payload, wal_level);
  Put<uint8_t>(&payload, hints ? 1 : 0);
  Put<uint8_t>(&payload, 0);
  return payload;
}
std::string DatabaseCopy(Oid database, Oid source) {
  std::string payload;
  for (const Oid oid : {database, 1663u, source, 1663u}) Put<uint32_t>(&payload, oid);
  return payload;
}

class Refused : public Rewound, public ::testing::WithParamInterface<Refusal> {};

TEST_P(Refused, AndNothingIsChanged) {
  SyntheticCluster cluster(GetParam().options);
  cluster.WriteTarget(data());
  if (GetParam().change) GetParam().change(cluster);
  const Tree before = Snapshot(data());
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), GetParam().kind);
  EXPECT_EQ(Snapshot(data()), before);
}

const Refusal kRefusals[] = {
    {"OtherSystem",
     {},
     [](SyntheticCluster& c) {
       std::string& control = c.source.files["global/pg_control"];
       control[0] = static_cast<char>(control[0] ^ 1);
       testing::SealControl(&control, 15);
     }},
    {"SourceWithoutFullPageWrites",
     {},
     [](SyntheticCluster& c) { c.source.identity.full_page_writes = false; }},
    {"FullPageWritesSwitchedOffOnTheSource",
     {.on_source = {.rmgr = 0, .info = 0x80, .main_data = std::string(1, '\0')}},
     {}},
    {"FullPageWritesSwitchedOffOnTheTarget",
     {.on_target = {.rmgr = 0, .info = 0x80, .main_data = std::string(1, '\0')}},
     {}},
    {"NeitherChecksumsNorHints", {.checksums = 0}, {}},
    {"HintsMayHaveBeenOff",
     {.checksums = 0,
      .wal_log_hints = true,
      .on_target = {.rmgr = 0, .info = 0x60, .main_data = ParameterChange(1, true)}},
     {}},
    {"MinimalWal",
     {.on_target = {.rmgr = 0, .info = 0x60, .main_data = ParameterChange(0, false)}},
     {}},
    {"UnknownChangeOfARelation", {.on_target = {.rmgr = 10, .info = 0x01, .main_data = "x"}}, {}},
    {"CopiedDatabaseWhoseTemplateChanged",
     {.on_source = {.rmgr = 4, .info = 0x01, .main_data = DatabaseCopy(16999, 5)}},
     {}},
    {"CopiedDatabaseInCommonWalWhoseTemplateChanged",
     {.in_common = {.rmgr = 4, .info = 0x01, .main_data = DatabaseCopy(16999, 5)}},
     {}},
    {"SourceWithoutWalOfTheFork",
     {},
     [](SyntheticCluster& c) { c.source.files.erase("pg_wal/000000020000000000000002"); }},
    {"SourceWithoutItsLaterWal",
     {},
     [](SyntheticCluster& c) { c.source.files.erase("pg_wal/000000020000000000000003"); }},
    {"SourceWalDamaged",
     {},
     [](SyntheticCluster& c) {
       std::string& wal = c.source.files["pg_wal/000000020000000000000002"];
       wal[500'000] = static_cast<char>(wal[500'000] ^ 1);
     }},
    {"SourceWalWithARecordOfAnAbsurdLength",
     {},
     [](SyntheticCluster& c) {
       const Lsn middle{2 * SyntheticCluster::kSegment + 500'000};
       WalReader reader(c.source_wal, c.source_wal.layout());
       reader.Seek(c.fork());
       Lsn at;
       while (at < middle) at = std::get<const WalRecord*>(reader.Next())->end;
       std::string& wal = c.source.files["pg_wal/000000020000000000000002"];
       StoreLe<uint32_t>(std::as_writable_bytes(std::span(wal)),
                         at.value % SyntheticCluster::kSegment, 900'000'000);
     }},
    {"SourceWhoseCheckpointAfterItsPromotionIsNotDone",
     {},
     [](SyntheticCluster& c) { c.source.files["global/pg_control"] = c.SourceControl(Lsn{40}); },
     ErrorKind::kUnavailable},
    {"NotEnoughDiskSpace",
     {},
     [](SyntheticCluster& c) { c.source.listed_sizes["base/5/16500"] = uint64_t{1} << 50; }},
    {"HistoryFileThatIsNotTheSourcesOwn",
     {.target_lags = true},
     [](SyntheticCluster& c) { c.source.files["pg_wal/00000002.history"] = "1\t0/42\tx\n"; }},
    {"HistoryFileOfAnotherAncestor",
     {.source_timeline = 3, .target_lags = true},
     [](SyntheticCluster& c) {
       c.source.files["pg_wal/00000003.history"] = "2\t" + c.fork().ToString() + "\tx\n";
     }},
    {"HistoryFileWithMoreAncestors",
     {.source_timeline = 3, .target_lags = true},
     [](SyntheticCluster& c) {
       c.source.files["pg_wal/00000003.history"] =
           "1\t" + c.fork().ToString() + "\tx\n2\t" + c.source_wal.end().ToString() + "\tx\n";
     }},
    {"LaggingTargetWhoseWalTheSourceNoLongerHas",
     {.target_lags = true},
     [](SyntheticCluster& c) { c.source.files.erase("pg_wal/000000020000000000000002"); }},
    {"AnotherTimelineOfTheSameNumber", {.target_timeline = 2, .source_timeline = 2}, {}},
    {"SourceBehindTheTargetOnOneTimeline", {.target_timeline = 1, .source_timeline = 1}, {}},
};
INSTANTIATE_TEST_SUITE_P(Cases, Refused, ::testing::ValuesIn(kRefusals),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

TEST_F(Rewound, TargetsThatAreRefused) {
  struct Case {
    const char* what;
    std::function<void(const fs::path&)> change;
    ErrorKind kind;
  };
  const Case cases[] = {
      {"a base backup that was never started",
       [](const fs::path& dir) {
         WriteText(dir / "backup_label",
                   "START WAL LOCATION: 0/100028 (file 000000010000000000000001)\n"
                   "CHECKPOINT LOCATION: 0/100028\nLABEL: base backup\n");
       },
       ErrorKind::kNotRewindable},
      {"no control file", [](const fs::path& dir) { fs::remove(dir / "global/pg_control"); },
       ErrorKind::kTargetFailed},
      {"no WAL", [](const fs::path& dir) { fs::remove(dir / "pg_wal/000000010000000000000001"); },
       ErrorKind::kNotRewindable},
      {"another major's PG_VERSION",
       [](const fs::path& dir) { WriteText(dir / "PG_VERSION", "16\n"); },
       ErrorKind::kTargetFailed},
      {"the fence without its journal",
       [](const fs::path& dir) {
         const std::string raw = ReadText(dir / "global/pg_control");
         WriteText(dir / "global/pg_control",
                   std::string(AsText(ControlFile::Parse(AsBytes(raw), "").Fenced().raw())));
       },
       ErrorKind::kTargetFailed},
      {"a configuration that is a link",
       [](const fs::path& dir) {
         fs::remove(dir / "postgresql.auto.conf");
         fs::create_symlink("elsewhere", dir / "postgresql.auto.conf");
       },
       ErrorKind::kNotRewindable},
  };
  for (const Case& c : cases) {
    SyntheticCluster cluster;
    cluster.WriteTarget(data());
    c.change(data());
    const Tree before = Snapshot(data());
    EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), c.kind) << c.what;
    EXPECT_EQ(Snapshot(data()), before) << c.what;
    fs::remove_all(data());
  }
}

// Also what no Error tells: nothing is left behind.
TEST_F(Rewound, AnyExceptionBeforeTheJournalLeavesTheDirectoryAsItWas) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  cluster.source.on_fetch = [](const FetchRequest& request) {
    if (request.path == "pg_wal/000000020000000000000003") throw std::bad_alloc();
  };
  EXPECT_THROW(RunRewind(data(), cluster), std::bad_alloc);
  EXPECT_EQ(Snapshot(data()), before);
}

// A standby on the source's line whose last record the source has removed: replication will tell.
TEST_F(Rewound, AStandbyMayFollowWithoutACommonRecord) {
  SyntheticCluster cluster(
      {.target_state = DatabaseState::kShutDownInRecovery, .target_lags = true});
  cluster.WriteTarget(data());
  cluster.source.files.erase("pg_wal/000000020000000000000002");
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kNothingToDo);
  EXPECT_TRUE(fs::exists(data() / "standby.signal"));
}

TEST_F(Rewound, DryRunOfATargetThatOnlyLagsChangesNothing) {
  SyntheticCluster cluster({.target_lags = true});
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  RewindOptions options = cluster.Options();
  options.dry_run = true;
  EXPECT_EQ(RunRewind(data(), cluster, options).outcome, RewindOutcome::kNothingToDo);
  EXPECT_EQ(Snapshot(data()), before);
}

// It is fetched by replication then.
TEST_F(Rewound, ASourceWithoutItsHistoryFileGivesNone) {
  for (const bool lags : {true, false}) {
    SyntheticCluster cluster({.target_lags = lags});
    cluster.source.files.erase("pg_wal/00000002.history");
    cluster.WriteTarget(data());
    RunRewind(data(), cluster);
    EXPECT_FALSE(fs::exists(data() / "pg_wal/00000002.history"));
    EXPECT_TRUE(fs::exists(data() / "standby.signal"));
    fs::remove_all(data());
  }
}

// Nobody is ahead of a primary that was never promoted: no history to fetch.
TEST_F(Rewound, ATargetThatLagsOnTheFirstTimeline) {
  SyntheticCluster cluster({.source_timeline = 1, .target_lags = true});
  cluster.WriteTarget(data());
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kNothingToDo);
  EXPECT_FALSE(fs::exists(data() / "pg_wal/00000001.history"));
  EXPECT_TRUE(fs::exists(data() / "standby.signal"));
}

// Recovery would follow the newest history file of pg_wal.
TEST_F(Rewound, ATargetThatOnlyLagsForgetsOtherLines) {
  SyntheticCluster cluster({.target_lags = true});
  cluster.WriteTarget(data());
  WriteText(data() / "pg_wal/00000007.history", "1\t0/200000\tdead\n");
  bool confirmed = false;
  RewindOptions options = cluster.Options();
  options.confirm_source = [&] { confirmed = true; };
  EXPECT_EQ(RunRewind(data(), cluster, options).outcome, RewindOutcome::kNothingToDo);
  EXPECT_TRUE(confirmed);
  EXPECT_FALSE(fs::exists(data() / "pg_wal/00000007.history"));
  EXPECT_TRUE(fs::exists(data() / "pg_wal/00000007.history.foreign"));
  EXPECT_TRUE(fs::exists(data() / "pg_wal/00000002.history"));
}

// Promoted just now, its last checkpoint is an old restartpoint: what it changed since is there by
// replay from that place, and what the target's WAL names since is fetched.
TEST_F(Rewound, AnOlderCheckpointOfTheSourceMovesTheStartBack) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  cluster.source.files["global/pg_control"] = cluster.SourceControl(cluster.checkpoint_a);
  RewindOptions options = cluster.Options();
  options.copy_replayed_blocks = true;
  const RewindResult result = RunRewind(data(), cluster, options);
  EXPECT_EQ(result.start_lsn, cluster.checkpoint_a);
  EXPECT_EQ(BackupLabel::Parse(ReadText(data() / "backup_label"))->start, cluster.checkpoint_a);
  EXPECT_EQ(BlockOf(data(), "base/5/16384", 1), SyntheticCluster::Block('A', 1));
}

// --- ways to make it durable ---

TEST_F(Rewound, EveryWayToSyncEndsInTheSame) {
  for (const bool syncfs : {true, false}) {
    for (const bool sync : {true, false}) {
      for (const auto state : {DatabaseState::kShutDown, DatabaseState::kInProduction}) {
        SyntheticCluster cluster({.target_state = state});
        cluster.WriteTarget(data());
        RewindOptions options = cluster.Options();
        options.sync = sync;
        options.sync_with_syncfs = syncfs;
        RunRewind(data(), cluster, options);
        ExpectFollowsSource(data(), cluster);
        fs::remove_all(data());
      }
    }
  }
}

// --- WAL that only the target's archive has ---

class FromArchive : public Rewound {
 protected:
  // The segment of the start of replay.
  static constexpr const char* kSegmentName = "000000010000000000000001";

  void WriteTargetAndArchive(const SyntheticCluster& cluster) {
    cluster.WriteTarget(data());
    content_ = ReadText(data() / "pg_wal" / kSegmentName);
    WriteText(scratch_ / "archive" / kSegmentName, content_);
    fs::remove(data() / "pg_wal" / kSegmentName);
  }
  RewindResult RunWithArchive(SyntheticCluster* cluster) {
    const DirectoryLock lock = DirectoryLock::Acquire(data().string());
    const std::string from = (scratch_ / "archive").string();
    WalArchive archive(
        lock, {.restore_command = "cp '" + from + "/%f' '%p' 2>&-", .dry_run = false, .stop = {}});
    RewindOptions options = cluster->Options();
    options.archive = [&](const std::string& name) { return archive.Restore(name); };
    return Rewind(lock, cluster->source, options);
  }
  // Behind the fence.
  void Interrupt(SyntheticCluster* cluster) {
    cluster->source.on_fetch = [](const FetchRequest& request) {
      if (request.path == "base/5/16384") throw Error(ErrorKind::kUnavailable, "connection lost");
    };
    EXPECT_EQ(KindOf([&] { RunWithArchive(cluster); }), ErrorKind::kUnavailable);
    cluster->source.on_fetch = nullptr;
  }
  void ExpectInPlace() {
    EXPECT_TRUE(ReadText(data() / "pg_wal" / kSegmentName) == content_);
    EXPECT_TRUE(
        fs::exists(data() / "pg_wal/archive_status" / (std::string(kSegmentName) + ".done")))
        << "it would be archived a second time";
  }
  std::string content_;
};

TEST_F(FromArchive, IsPutWhereReplayFindsIt) {
  SyntheticCluster cluster;
  WriteTargetAndArchive(cluster);
  RunWithArchive(&cluster);
  ExpectFollowsSource(data(), cluster);
  ExpectInPlace();
}

// Who finishes the rewind may know of no archive.
TEST_F(FromArchive, IsThereForTheNextAttemptToo) {
  SyntheticCluster cluster;
  WriteTargetAndArchive(cluster);
  Interrupt(&cluster);
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kResumed);
  ExpectFollowsSource(data(), cluster);
  ExpectInPlace();
}

TEST_F(FromArchive, IsMissedBeforeAServerMisses) {
  SyntheticCluster cluster;
  WriteTargetAndArchive(cluster);
  Interrupt(&cluster);
  fs::remove(data() / "pg_wal/pg_rejoin/restored" / kSegmentName);
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kTargetFailed);
  EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
  RunWithArchive(&cluster);
  ExpectFollowsSource(data(), cluster);
  ExpectInPlace();
}

// --- what recovery would find in the archive ---

using Archive = std::map<std::string, std::string>;

UniqueFd OpenArchived(const Archive& archive, const std::string& name) {
  const auto file = archive.find(name);
  if (file == archive.end()) return UniqueFd();
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC));
  const auto written = ::pwrite(fd.get(), file->second.data(), file->second.size(), 0);
  EXPECT_EQ(written, static_cast<ssize_t>(file->second.size()));
  return fd;
}

// Of a timeline 3 that leaves the source's there.
std::string NextHistory(const SyntheticCluster& cluster, Lsn switched) {
  return "1\t" + cluster.fork().ToString() + "\tx\n2\t" + switched.ToString() + "\tx\n";
}

struct ArchiveCase {
  const char* name;
  std::function<void(const SyntheticCluster&, Archive*)> change;
};

class ArchiveTest : public Rewound, public ::testing::WithParamInterface<ArchiveCase> {
 protected:
  // What the source itself has archived.
  static Archive OfSource(const SyntheticCluster& cluster) {
    Archive archive;
    for (const char* name :
         {"000000020000000000000002", "000000020000000000000003", "00000002.history"}) {
      archive[name] = cluster.source.files.at(std::string("pg_wal/") + name);
    }
    return archive;
  }
  static RewindOptions With(const SyntheticCluster& cluster, const Archive& archive) {
    RewindOptions options = cluster.Options();
    options.recovery_archive = [&](const std::string& name) { return OpenArchived(archive, name); };
    return options;
  }
};

class ForeignArchive : public ArchiveTest {};

TEST_P(ForeignArchive, IsRefusedBeforeAnythingChanges) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  Archive archive = OfSource(cluster);
  GetParam().change(cluster, &archive);
  const Tree before = Snapshot(data());
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, With(cluster, archive)); }),
            ErrorKind::kNotRewindable);
  EXPECT_EQ(Snapshot(data()), before);
}

const ArchiveCase kForeignArchives[] = {
    {"OtherBytesBeforeTheFlush",
     [](const SyntheticCluster& c, Archive* archive) {
       std::string& segment = archive->at("000000020000000000000003");
       char& last = segment.at(c.source_wal.end().value % SyntheticCluster::kSegment - 1);
       last = static_cast<char>(last ^ 1);
     }},
    {"OtherBytesInTheSegmentOfTheFork",
     [](const SyntheticCluster& c, Archive* archive) {
       char& first =
           archive->at("000000020000000000000002").at(c.fork().value % SyntheticCluster::kSegment);
       first = static_cast<char>(first ^ 1);
     }},
    {"TooShort", [](const SyntheticCluster&,
                    Archive* archive) { archive->at("000000020000000000000003").resize(1000); }},
    {"OtherHistoryOfItsTimeline",
     [](const SyntheticCluster&, Archive* archive) {
       archive->at("00000002.history") = "1\t0/200000\tx\n";
     }},
    {"NewerTimelineThatLeftBeforeTheFlush",
     [](const SyntheticCluster& c, Archive* archive) {
       (*archive)["00000003.history"] = NextHistory(c, Lsn{c.source_wal.end().value - 1});
     }},
    {"NewerTimelineOfAnotherLine",
     [](const SyntheticCluster& c, Archive* archive) {
       (*archive)["00000003.history"] = "1\t" + c.fork().ToString() + "\tx\n";
     }},
    {"NewerTimelineWithoutACommonAncestor",
     [](const SyntheticCluster&, Archive* archive) {
       (*archive)["00000003.history"] = "2\t0/100000\tx\n";
     }},
    {"ForeignTimelineBehindOneThatIsNot",
     [](const SyntheticCluster& c, Archive* archive) {
       (*archive)["00000003.history"] = NextHistory(c, c.source_wal.end());
       (*archive)["00000004.history"] = "1\t" + c.fork().ToString() + "\tx\n";
     }},
};
INSTANTIATE_TEST_SUITE_P(Cases, ForeignArchive, ::testing::ValuesIn(kForeignArchives),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

class OwnArchive : public ArchiveTest {};

TEST_P(OwnArchive, IsNoReasonToRefuse) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  Archive archive = OfSource(cluster);
  GetParam().change(cluster, &archive);
  RunRewind(data(), cluster, With(cluster, archive));
  ExpectFollowsSource(data(), cluster);
}

const ArchiveCase kOwnArchives[] = {
    {"All", [](const SyntheticCluster&, Archive*) {}},
    {"Nothing", [](const SyntheticCluster&, Archive* archive) { archive->clear(); }},
    {"WithoutItsLastSegment",
     [](const SyntheticCluster&, Archive* archive) { archive->erase("000000020000000000000003"); }},
    {"OtherBytesBehindTheFlush",
     [](const SyntheticCluster& c, Archive* archive) {
       archive->at("000000020000000000000003")
           .at(c.source_wal.end().value % SyntheticCluster::kSegment) = 'x';
     }},
    {"OtherBytesBeforeTheFork",
     [](const SyntheticCluster& c, Archive* archive) {
       archive->at("000000020000000000000002")
           .at(c.fork().value % SyntheticCluster::kSegment - 1) ^= 1;
     }},
    {"NewerTimelineThatLeavesBehindTheFlush",
     [](const SyntheticCluster& c, Archive* archive) {
       (*archive)["00000003.history"] = NextHistory(c, c.source_wal.end());
     }},
};
INSTANTIATE_TEST_SUITE_P(Cases, OwnArchive, ::testing::ValuesIn(kOwnArchives),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

TEST_F(Rewound, AnArchivedHistoryThatCannotBeReadIsNotTakenForNone) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  RewindOptions options = cluster.Options();
  options.recovery_archive = [](const std::string&) {
    return UniqueFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  };
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }), ErrorKind::kTargetFailed);
  EXPECT_EQ(Snapshot(data()), before);
}

// --- the source changes while it is copied ---

TEST_F(Rewound, AConnectionLostBeforeTheFenceLeavesTheDirectoryAsItWas) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  cluster.source.on_fetch = [](const FetchRequest&) {
    throw Error(ErrorKind::kUnavailable, "connection lost");
  };
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kUnavailable);
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(Rewound, AFileThatTheSourceCannotReadIsFoundOutBeforeTheFence) {
  SyntheticCluster cluster;
  cluster.source.files["of somebody"] = "secret";
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  cluster.source.on_fetch = [](const FetchRequest& request) {
    if (request.path == "of somebody") throw Error(ErrorKind::kNotRewindable, "not permitted");
  };
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kNotRewindable);
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(Rewound, AConnectionLostAtAnyRequestIsFinishedByTheNextRun) {
  SyntheticCluster reference;
  reference.WriteTarget(scratch_ / "reference");
  RunRewind(scratch_ / "reference", reference);
  const Tree expected = Comparable(scratch_ / "reference");
  const uint64_t requests = reference.source.requests;
  ASSERT_GT(requests, 10u);
  for (uint64_t fatal = 0; fatal < requests; ++fatal) {
    SyntheticCluster cluster;
    cluster.WriteTarget(data());
    std::atomic<uint64_t> seen{0};
    cluster.source.on_fetch = [&](const FetchRequest&) {
      if (seen++ == fatal) throw Error(ErrorKind::kUnavailable, "connection lost");
    };
    EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kUnavailable) << fatal;
    EXPECT_NO_THROW(RunRewind(data(), cluster)) << fatal;
    EXPECT_TRUE(Comparable(data()) == expected) << fatal;
    fs::remove_all(data());
  }
}

// Calls change once, when the copy has begun to read this file.
void WhenRead(SyntheticCluster* cluster, const std::string& path, std::function<void()> change) {
  auto done = std::make_shared<std::atomic<bool>>(false);
  cluster->source.on_fetch = [=](const FetchRequest& request) {
    if (request.path == path && !done->exchange(true)) cluster->source.Change(change);
  };
}

// Fills the source's WAL and flushes it.
void WriteOn(SyntheticCluster* cluster, Lsn until) {
  while (cluster->source_wal.end() < until) cluster->source_wal.AppendOfSize(4000);
  cluster->FlushSourceWal();
}

constexpr std::chrono::seconds kPatience{30};

// Without wal_keep_size a source removes what it has completed, maybe before the copy ends.
TEST_F(Rewound, WalThatIsCompletedAndRemovedDuringTheCopyIsThere) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  std::promise<void> followed;
  std::atomic<bool> last_asked{false};
  cluster.source.on_fetch = [&, copying = false](const FetchRequest& request) mutable {
    if (request.path == "pg_wal/000000020000000000000005") last_asked = true;
    if (request.path != "base/5/16384" || std::exchange(copying, true)) return;
    cluster.source.Change([&] { WriteOn(&cluster, Lsn{5 * SyntheticCluster::kSegment + 9}); });
    EXPECT_EQ(followed.get_future().wait_for(kPatience), std::future_status::ready);
    cluster.source.Change([&] {
      for (const char* name : {"000000020000000000000003", "000000020000000000000004"}) {
        EXPECT_EQ(cluster.source.files.erase(std::string("pg_wal/") + name), 1u);
      }
    });
  };
  // Asked for more only after all that was there has been written.
  cluster.source.on_identify = [&, done = false]() mutable {
    if (last_asked && !std::exchange(done, true)) followed.set_value();
  };
  const RewindResult result = RunRewind(data(), cluster);
  EXPECT_EQ(result.source_end, cluster.source_wal.end());
  ExpectFollowsSource(data(), cluster);
}

TEST_F(Rewound, ASourceThatRemovesWalBeforeItIsFetchedIsRefused) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  const std::string segment = "pg_wal/000000020000000000000003";
  WhenRead(&cluster, segment, [&] { cluster.source.files.erase(segment); });
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kNotRewindable);
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(Rewound, ASourceWhoseWalGetsShorterIsRefused) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const Tree before = Snapshot(data());
  const std::string segment = "pg_wal/000000020000000000000003";
  WhenRead(&cluster, segment, [&] { cluster.source.files[segment].resize(100'000); });
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kNotRewindable);
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(Rewound, ASourceThatBecomesAnotherIsNoticed) {
  const std::function<void(SourceIdentity&)> changes[] = {
      [](SourceIdentity& source) { source.in_recovery = true; },
      [](SourceIdentity& source) { source.system_identifier ^= 1; },
      [](SourceIdentity& source) { source.history = *TimelineHistory::FromString("1@0/0"); },
  };
  for (const auto& change : changes) {
    SyntheticCluster cluster;
    cluster.WriteTarget(data());
    WhenRead(&cluster, "base/5/16384", [&] { change(cluster.source.identity); });
    EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kSourceChanged);
    EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
    fs::remove_all(data());
  }
}

TEST_F(Rewound, ASmallFileThatVanishesIsGoneOnTheTarget) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WhenRead(&cluster, "pg_xact/0000", [&] { cluster.source.files.erase("pg_xact/0000"); });
  RunRewind(data(), cluster);
  EXPECT_FALSE(fs::exists(data() / "pg_xact/0000"));
  ExpectPublished(data(), cluster);
}

TEST_F(Rewound, FollowingTheWalMayFailIfTheLastFetchDoesNot) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  std::promise<void> failed;
  std::atomic<bool> fail{false};
  cluster.source.on_identify = [&] {
    if (!fail.exchange(false)) return;
    failed.set_value();
    throw Error(ErrorKind::kUnavailable, "connection lost");
  };
  WhenRead(&cluster, "pg_xact/0000", [&] {
    WriteOn(&cluster, Lsn{4 * SyntheticCluster::kSegment + 9});
    fail = true;
    EXPECT_EQ(failed.get_future().wait_for(kPatience), std::future_status::ready);
  });
  const RewindResult result = RunRewind(data(), cluster);
  EXPECT_EQ(result.source_end, cluster.source_wal.end());
  ExpectFollowsSource(data(), cluster);
}

// What is archived during the copy is looked at too, behind the fence.
TEST_F(Rewound, AnotherServerThatArchivesDuringTheCopyIsNoticed) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  const uint64_t flushed = cluster.source_wal.end().value;
  Archive archive;
  RewindOptions options = cluster.Options();
  options.recovery_archive = [&](const std::string& name) { return OpenArchived(archive, name); };
  const std::string name = "000000020000000000000003";
  WhenRead(&cluster, "base/5/16384", [&] {
    WriteOn(&cluster, Lsn{flushed + 5000});
    archive[name] = cluster.source.files.at("pg_wal/" + name);
    archive[name].at(flushed % SyntheticCluster::kSegment + 100) ^= 1;
  });
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }), ErrorKind::kTargetFailed);
  EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
  archive.clear();
  EXPECT_EQ(RunRewind(data(), cluster, options).outcome, RewindOutcome::kResumed);
  ExpectFollowsSource(data(), cluster);
}

// Bulk extension writes no WAL; the free space map that was copied may name these pages.
TEST_F(Rewound, RelationsThatGrowAreAsLongAsOnTheSource) {
  for (const bool syncfs : {true, false}) {
    SyntheticCluster cluster({.target_state = DatabaseState::kShutDown});
    cluster.WriteTarget(data());
    WhenRead(&cluster, "pg_xact/0000", [&] {
      cluster.source.files["base/5/16384"].resize(20 * SyntheticCluster::kBlock);
      cluster.source.files["base/5/16384.1"].resize(3 * SyntheticCluster::kBlock);
      cluster.source.files["base/5/16999"].resize(SyntheticCluster::kBlock);
    });
    RewindOptions options = cluster.Options();
    options.sync_with_syncfs = syncfs;
    RunRewind(data(), cluster, options);
    ExpectPublished(data(), cluster);
    EXPECT_EQ(fs::file_size(data() / "base/5/16384"), 20 * SyntheticCluster::kBlock);
    EXPECT_EQ(ReadText(data() / "base/5/16384.1"), std::string(3 * SyntheticCluster::kBlock, '\0'));
    EXPECT_FALSE(fs::exists(data() / "base/5/16999")) << "its WAL makes it";
    fs::remove_all(data());
  }
}

// A mount point of somebody's keeps its directory.
TEST_F(Rewound, WhatIsNotPostgresAndCannotBeRemovedIsNoReasonToFail) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WriteText(data() / "somebody/lost+found/x", "");
  RunRewind(data(), cluster);
  ExpectFollowsSource(data(), cluster);
  EXPECT_TRUE(fs::exists(data() / "somebody/lost+found/x"));
}

TEST_F(Rewound, WhatIsPostgresAndCannotBeRemovedLeavesTheFence) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WriteText(data() / "pg_replslot/slot/lost+found/x", "");
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kTargetFailed);
  EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
  fs::remove_all(data() / "pg_replslot/slot/lost+found");
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kResumed);
  ExpectFollowsSource(data(), cluster);
}

TEST_F(Rewound, AFileThatVanishesIsGoneOnTheTarget) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WhenRead(&cluster, "base/5/16384", [&] { cluster.source.files.erase("base/5/16384"); });
  RunRewind(data(), cluster);
  EXPECT_FALSE(fs::exists(data() / "base/5/16384"));
}

TEST_F(Rewound, ARelationThatIsCutShowsNothingOfTheTargetsOwn) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WhenRead(&cluster, "base/5/16384", [&] {
    std::string& file = cluster.source.files["base/5/16384"];
    file.resize(2 * SyntheticCluster::kBlock);
  });
  RunRewind(data(), cluster);
  const std::string relation = ReadText(data() / "base/5/16384");
  EXPECT_EQ(relation.find(SyntheticCluster::Block('T', 3)), std::string::npos);
}

TEST_F(Rewound, ASmallFileThatGrowsIsCopiedToItsNewEnd) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WhenRead(&cluster, "pg_xact/0000",
           [&] { cluster.source.files["pg_xact/0000"] = std::string(200'000, 'g'); });
  RunRewind(data(), cluster);
  EXPECT_EQ(ReadText(data() / "pg_xact/0000"), std::string(200'000, 'g'));
}

TEST_F(Rewound, ASourceThatRestartsIsNoticedAndThenResumed) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WhenRead(&cluster, "base/5/16384", [&] { cluster.source.identity.incarnation = "second"; });
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kSourceChanged);
  const std::string raw = ReadText(data() / "global/pg_control");
  EXPECT_TRUE(ControlFile::Parse(AsBytes(raw), "").fenced());
  cluster.source.on_fetch = nullptr;
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kResumed);
  ExpectFollowsSource(data(), cluster);
}

TEST_F(Rewound, ConfirmationIsAskedLastAndLeavesTheFence) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  RewindOptions options = cluster.Options();
  options.confirm_source = [&] {
    EXPECT_TRUE(fs::exists(data() / "backup_label"));
    throw Error(ErrorKind::kSourceChanged, "another primary");
  };
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }), ErrorKind::kSourceChanged);
  EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kResumed);
  ExpectFollowsSource(data(), cluster);
}

// How often a file is fetched from now on.
std::shared_ptr<std::atomic<int>> CountFetches(SyntheticCluster* cluster, const std::string& path) {
  auto count = std::make_shared<std::atomic<int>>(0);
  cluster->source.on_fetch = [=](const FetchRequest& request) {
    if (request.path == path) ++*count;
  };
  return count;
}

TEST_F(Rewound, AFileThatTheTargetHasAlreadyIsNotFetched) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  cluster.source.files["pg_xact/0000"] = ReadText(data() / "pg_xact/0000");
  const auto fetches = CountFetches(&cluster, "pg_xact/0000");
  RunRewind(data(), cluster);
  EXPECT_EQ(*fetches, 0);
  ExpectPublished(data(), cluster);
}

// It may have been the first one's sync that failed: what it wrote is in memory then, and nothing
// says that it is on disk.
TEST_F(Rewound, ASecondAttemptWritesAgainWhatItCouldCompare) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  RewindOptions options = cluster.Options();
  options.confirm_source = [] { throw Error(ErrorKind::kUnavailable, "not now"); };
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }), ErrorKind::kUnavailable);
  ASSERT_EQ(ReadText(data() / "pg_xact/0000"), cluster.source.files["pg_xact/0000"]);
  const auto fetches = CountFetches(&cluster, "pg_xact/0000");
  RunRewind(data(), cluster);
  EXPECT_GT(*fetches, 0);
  ExpectPublished(data(), cluster);
}

TEST_F(Rewound, ASourceWhoseWalGoesBackIsNoticed) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WhenRead(&cluster, "base/5/16384", [&] { cluster.source.identity.flush_lsn.value -= 8; });
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kSourceChanged);
}

TEST_F(Rewound, AnInterruptedRewindIsFinishedFromAnotherLine) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  WhenRead(&cluster, "base/5/16384", [&] { cluster.source.identity.incarnation = "second"; });
  EXPECT_TRUE(KindOf([&] { RunRewind(data(), cluster); }));
  SyntheticCluster other({.source_timeline = 3});
  EXPECT_EQ(RunRewind(data(), other).outcome, RewindOutcome::kResumed);
  ExpectPublished(data(), other);
  EXPECT_FALSE(fs::exists(data() / "pg_wal/00000002.history"));
}

TEST_F(Rewound, StopIsHeard) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  std::stop_source stop;
  RewindOptions options = cluster.Options();
  options.stop = stop.get_token();
  cluster.source.on_fetch = [&](const FetchRequest& request) {
    if (request.path == "base/5/16384") stop.request_stop();
  };
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }), ErrorKind::kUnavailable);
  cluster.source.on_fetch = nullptr;
  RunRewind(data(), cluster);
  ExpectFollowsSource(data(), cluster);
}

// --- what a journal means ---

class WithJournal : public Rewound {
 protected:
  // A directory whose rewind was cut off behind the fence.
  void MakeHalf(SyntheticCluster* cluster) {
    cluster->WriteTarget(data());
    original_ = ReadText(data() / "global/pg_control");
    WhenRead(cluster, "base/5/16384", [=] { cluster->source.identity.incarnation = "second"; });
    EXPECT_EQ(KindOf([&] { RunRewind(data(), *cluster); }), ErrorKind::kSourceChanged);
    cluster->source.on_fetch = nullptr;
  }
  std::string original_;
};

TEST_F(WithJournal, AFenceThatSomeoneTookAwayIsPutUpAgain) {
  SyntheticCluster cluster;
  MakeHalf(&cluster);
  WriteText(data() / "global/pg_control", original_);
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kResumed);
  ExpectFollowsSource(data(), cluster);
}

TEST_F(WithJournal, AServerThatRanOnAHalfDoneDirectory) {
  SyntheticCluster cluster;
  MakeHalf(&cluster);
  WriteText(data() / "global/pg_control",
            testing::MakeControl({.state = DatabaseState::kShutDown,
                                  .checkpoint_lsn = cluster.target_wal.end(),
                                  .redo = cluster.target_wal.end()}));
  const Tree before = Snapshot(data());
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kTargetFailed);
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(WithJournal, ADamagedJournalIsRefused) {
  SyntheticCluster cluster;
  MakeHalf(&cluster);
  fs::resize_file(data() / "pg_rejoin/journal", 1000);
  const Tree before = Snapshot(data());
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kTargetFailed);
  EXPECT_EQ(Snapshot(data()), before);
}

TEST_F(WithJournal, DryRunOfAHalfDoneDirectoryChangesNothing) {
  SyntheticCluster cluster;
  MakeHalf(&cluster);
  const Tree before = Snapshot(data());
  RewindOptions options = cluster.Options();
  options.dry_run = true;
  EXPECT_EQ(RunRewind(data(), cluster, options).outcome, RewindOutcome::kResumed);
  EXPECT_EQ(Snapshot(data()), before);
}

// What was published tells whether a server had the right to run.
TEST_F(WithJournal, AServerThatRanOnSomethingElseThanWasPublished) {
  const testing::ControlSpec published{.state = DatabaseState::kArchiveRecovery,
                                       .checkpoint_lsn = Lsn{2 * SyntheticCluster::kSegment},
                                       .redo = Lsn{2 * SyntheticCluster::kSegment},
                                       .timeline = 2,
                                       .min_recovery_point = Lsn{3 * SyntheticCluster::kSegment},
                                       .min_recovery_point_timeline = 2};
  testing::ControlSpec other_system = published;
  ++other_system.system_identifier;
  testing::ControlSpec other_timeline = published;
  other_timeline.timeline = other_timeline.min_recovery_point_timeline = 1;
  testing::ControlSpec behind = published;
  behind.min_recovery_point = {};
  for (const testing::ControlSpec& now : {other_system, other_timeline, behind}) {
    SyntheticCluster cluster;
    MakeHalf(&cluster);
    WriteText(data() / "pg_rejoin/published", testing::MakeControl(published));
    WriteText(data() / "global/pg_control", testing::MakeControl(now));
    const Tree before = Snapshot(data());
    EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kTargetFailed);
    EXPECT_EQ(Snapshot(data()), before);
    fs::remove_all(data());
  }
}

// Killed between the last step and the removal of the journal.
TEST_F(WithJournal, AFinishedRewindOnlyLosesItsJournal) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  std::string journal;
  RewindOptions options = cluster.Options();
  options.confirm_source = [&] { journal = ReadText(data() / "pg_rejoin/journal"); };
  RunRewind(data(), cluster, options);
  const Tree finished = Snapshot(data());
  WriteText(data() / "pg_rejoin/journal", journal);
  WriteText(data() / "pg_rejoin/fenced", "");
  WriteText(data() / "pg_rejoin/published", ReadText(data() / "global/pg_control"));
  const Tree left = Snapshot(data());
  RewindOptions dry_run = cluster.Options();
  dry_run.dry_run = true;
  EXPECT_EQ(RunRewind(data(), cluster, dry_run).outcome, RewindOutcome::kResumed);
  EXPECT_EQ(Snapshot(data()), left);
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kResumed);
  EXPECT_EQ(Snapshot(data()), finished);
}

// Nothing was changed, the operator started the server once more: no reason to refuse.
TEST_F(WithJournal, AJournalWithoutItsFenceIsThrownAway) {
  SyntheticCluster cluster;
  MakeHalf(&cluster);
  const std::string journal = ReadText(data() / "pg_rejoin/journal");
  fs::remove_all(data());
  cluster.WriteTarget(data());
  WriteText(data() / "pg_rejoin/journal", journal);
  testing::ControlSpec control{.state = DatabaseState::kShuttingDown,
                               .checkpoint_lsn = cluster.checkpoint_b,
                               .redo = cluster.checkpoint_b,
                               .next_full_xid = 750};
  WriteText(data() / "global/pg_control", testing::MakeControl(control));
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kRewound);
  ExpectFollowsSource(data(), cluster);
}

// The journal of a finished rewind was left behind; the node was promoted since, and lost a
// failover.
TEST_F(WithJournal, AFinishedJournalDoesNotSwallowTheNextRewind) {
  SyntheticCluster first;
  MakeHalf(&first);
  const std::string journal = ReadText(data() / "pg_rejoin/journal");
  fs::remove_all(data());
  SyntheticCluster cluster({.target_timeline = 2, .source_timeline = 3});
  cluster.WriteTarget(data());
  WriteText(data() / "pg_rejoin/journal", journal);
  WriteText(data() / "pg_rejoin/fenced", "");
  WriteText(data() / "pg_rejoin/published",
            testing::MakeControl({.state = DatabaseState::kArchiveRecovery,
                                  .timeline = 1,
                                  .min_recovery_point = cluster.checkpoint_b,
                                  .min_recovery_point_timeline = 2}));
  EXPECT_EQ(RunRewind(data(), cluster).outcome, RewindOutcome::kRewound);
  ExpectFollowsSource(data(), cluster);
}

// --- whose copy it is ---

// The next attempt finds change made to its source.
struct NextSource {
  const char* name;
  bool first_is_standby;
  ClusterOptions options;
  std::function<void(SyntheticCluster&)> change;
  bool is_the_same;
};

class NextAttempt : public Rewound, public ::testing::WithParamInterface<NextSource> {
 protected:
  static RewindOptions OptionsOf(const SyntheticCluster& cluster) {
    RewindOptions options = cluster.Options();
    options.standby_source = true;
    options.copy_replayed_blocks = true;
    return options;
  }
  // Behind the fence, with all WAL staged.
  void Interrupt(SyntheticCluster* cluster) {
    cluster->WriteTarget(data());
    cluster->source.on_fetch = [](const FetchRequest& request) {
      if (request.path == "base/5/16384") throw Error(ErrorKind::kUnavailable, "connection lost");
    };
    EXPECT_EQ(KindOf([&] { RunRewind(data(), *cluster, OptionsOf(*cluster)); }),
              ErrorKind::kUnavailable);
    EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
    cluster->source.on_fetch = nullptr;
  }
  // Runs again; whether staged WAL counted, so that it was not fetched again.
  RewindResult Resume(SyntheticCluster* cluster, bool* reused) {
    *reused = true;
    // A look at the last record is far from the beginning of its segment.
    cluster->source.on_fetch = [=](const FetchRequest& request) {
      if (request.path == "pg_wal/000000020000000000000003" && request.offset == 0) *reused = false;
    };
    const RewindResult result = RunRewind(data(), *cluster, OptionsOf(*cluster));
    EXPECT_EQ(result.outcome, RewindOutcome::kResumed);
    return result;
  }
};

TEST_P(NextAttempt, CountsWhatWasCopiedOnlyFromTheSameLine) {
  SyntheticCluster first;
  first.source.identity.in_recovery = GetParam().first_is_standby;
  Interrupt(&first);
  SyntheticCluster next(GetParam().options);
  next.source.identity.in_recovery = GetParam().first_is_standby;
  if (GetParam().change) GetParam().change(next);
  bool reused = false;
  const RewindResult result = Resume(&next, &reused);
  EXPECT_EQ(reused, GetParam().is_the_same);
  EXPECT_EQ(result.source_end, next.source.identity.flush_lsn);
  EXPECT_EQ(Replayable(data(), next, next.checkpoint_b).lsn, result.source_end);
  EXPECT_EQ(BlockOf(data(), "base/5/16384", 3), SyntheticCluster::Block('A', 3));
  if (result.source_end == next.source_wal.end()) ExpectFollowsSource(data(), next);
}

void SayAnotherIncarnation(SyntheticCluster& c) { c.source.identity.incarnation = "second"; }

const NextSource kNextSources[] = {
    {"ThePrimaryAgain", false, {}, {}, true},
    {"ThePrimaryAfterARestart", false, {}, SayAnotherIncarnation, true},
    {"TheStandbyAgain", true, {}, {}, true},
    // It may have replayed less than was copied.
    {"AnotherStandby", true, {}, SayAnotherIncarnation, false},
    {"AStandbyInThePrimarysPlace",
     false,
     {},
     [](SyntheticCluster& c) {
       SayAnotherIncarnation(c);
       c.source.identity.in_recovery = true;
     },
     false},
    {"ThePrimaryInItsStandbysPlace",
     true,
     {},
     [](SyntheticCluster& c) {
       SayAnotherIncarnation(c);
       c.source.identity.in_recovery = false;
     },
     false},
    {"OneThatHasLessWal",
     false,
     {},
     [](SyntheticCluster& c) { c.source.identity.flush_lsn = c.source_wal.last(); },
     false},
    // Equal histories by accident.
    {"ATwin",
     false,
     {.on_source = {.main_data = "twin"}},
     [](SyntheticCluster& c) { WriteOn(&c, Lsn{c.source_wal.end().value + 20'000}); },
     false},
};
INSTANTIATE_TEST_SUITE_P(Sources, NextAttempt, ::testing::ValuesIn(kNextSources),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

class SameSource : public NextAttempt {};
INSTANTIATE_TEST_SUITE_P(Only, SameSource, ::testing::Values(kNextSources[0]),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

// Facts of the target are read again, though what was copied still counts.
TEST_P(SameSource, WithAnOlderCheckpointIsReplayedFromThere) {
  SyntheticCluster cluster;
  Interrupt(&cluster);
  cluster.source.files["global/pg_control"] = cluster.SourceControl(cluster.checkpoint_a);
  bool reused = false;
  const RewindResult result = Resume(&cluster, &reused);
  EXPECT_TRUE(reused);
  EXPECT_EQ(result.source_end, cluster.source_wal.end());
  const auto label = BackupLabel::Parse(ReadText(data() / "backup_label"));
  EXPECT_EQ(label->start, cluster.checkpoint_a);
  EXPECT_EQ(label->checkpoint, cluster.checkpoint_a);
  // Named by the target's WAL only before the start of the first attempt.
  EXPECT_EQ(BlockOf(data(), "base/5/16384", 1), SyntheticCluster::Block('A', 1));
}

// A resumed run does not ask for the list of WAL first.
TEST_P(SameSource, WithMoreWalThanThereIsSpaceStaysHalfDone) {
  SyntheticCluster cluster;
  Interrupt(&cluster);
  const Lsn flush = cluster.source.identity.flush_lsn;
  cluster.source.identity.flush_lsn.value += uint64_t{1} << 50;
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kTargetFailed);
  EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
  cluster.source.identity.flush_lsn = flush;
  bool reused = false;
  Resume(&cluster, &reused);
  ExpectFollowsSource(data(), cluster);
}

// WAL that is in pg_wal already is continued there.
TEST_P(SameSource, WritesOnAfterItsWalWasPutInPlace) {
  SyntheticCluster cluster;
  cluster.WriteTarget(data());
  RewindOptions options = OptionsOf(cluster);
  options.confirm_source = [] { throw Error(ErrorKind::kSourceChanged, "another primary"); };
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }), ErrorKind::kSourceChanged);
  EXPECT_TRUE(fs::exists(data() / "pg_wal/000000020000000000000003"));
  WriteOn(&cluster, Lsn{4 * SyntheticCluster::kSegment + 9});
  bool reused = false;
  Resume(&cluster, &reused);
  EXPECT_TRUE(reused);
  ExpectFollowsSource(data(), cluster);
}

// The target's own part of the segment of the fork is gone between two attempts.
TEST_P(SameSource, CannotMakeUpForLostWalOfTheTarget) {
  SyntheticCluster cluster;
  Interrupt(&cluster);
  const fs::path segment = data() / "pg_wal/000000010000000000000002";
  const std::string content = ReadText(segment);
  fs::resize_file(segment, 1000);
  EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster); }), ErrorKind::kTargetFailed);
  EXPECT_TRUE(ControlFile::Parse(AsBytes(ReadText(data() / "global/pg_control")), "").fenced());
  WriteText(segment, content);
  bool reused = false;
  Resume(&cluster, &reused);
  ExpectFollowsSource(data(), cluster);
}

// Back and forth between two lines, each time up to the last moment: what one has moved into
// pg_wal is set aside for the other, also where a file of that name is there already.
TEST_F(Rewound, TwoLinesInTurnLeaveNothingOfEachOther) {
  const auto attempt = [&](TimelineId timeline, bool confirmed) {
    SyntheticCluster cluster({.source_timeline = timeline});
    if (!fs::exists(data())) cluster.WriteTarget(data());
    RewindOptions options = cluster.Options();
    options.confirm_source = [&] {
      if (!confirmed) throw Error(ErrorKind::kSourceChanged, "another primary");
    };
    EXPECT_EQ(KindOf([&] { RunRewind(data(), cluster, options); }),
              confirmed ? std::nullopt : std::optional(ErrorKind::kSourceChanged));
    if (confirmed) ExpectFollowsSource(data(), cluster);
  };
  for (const TimelineId timeline : {2u, 3u, 2u}) attempt(timeline, false);
  attempt(3, true);
  for (const auto& entry : fs::directory_iterator(data() / "pg_wal")) {
    const std::string name = entry.path().filename().string();
    EXPECT_FALSE(name.starts_with("00000002")) << name;
  }
}

#ifdef PG_REJOIN_KILL_POINTS

// --- killed at every kill point ---

ClusterOptions KindOfCluster(const std::string& kind) {
  if (kind == "promoted") return {.target_timeline = 2, .source_timeline = 3};
  return {};
}

// The body of a child process; the parent names directory and kind in the environment.
TEST(RewindChild, DISABLED_Run) {
  const char* data = std::getenv("PG_REJOIN_TEST_DATA");
  const char* kind = std::getenv("PG_REJOIN_TEST_KIND");
  ASSERT_TRUE(data != nullptr && kind != nullptr);
  SyntheticCluster cluster(KindOfCluster(kind));
  RunRewind(data, cluster);
}

// True when the child was killed, false when it came to its end.
bool RunKilled(const fs::path& data, const std::string& kind, const std::string& point) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("PG_REJOIN_TEST_DATA", data.c_str(), 1);
    ::setenv("PG_REJOIN_TEST_KIND", kind.c_str(), 1);
    ::setenv("PG_REJOIN_KILL_POINT", point.c_str(), 1);
    if (std::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(127);
    ::execl("/proc/self/exe", "rewind_test", "--gtest_also_run_disabled_tests",
            "--gtest_filter=RewindChild.DISABLED_Run", nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    EXPECT_EQ(WTERMSIG(status), SIGKILL) << point;
    return true;
  }
  EXPECT_EQ(WEXITSTATUS(status), 0) << point;
  return false;
}

class Killed : public Rewound, public ::testing::WithParamInterface<const char*> {
 protected:
  Killed() {
    const SyntheticCluster cluster(KindOfCluster(GetParam()));
    cluster.WriteTarget(scratch_ / "reference");
    original_ = Snapshot(scratch_ / "reference");
    SyntheticCluster finished(KindOfCluster(GetParam()));
    RunRewind(scratch_ / "reference", finished);
    expected_ = Comparable(scratch_ / "reference");
  }
  void Prepare() {
    fs::remove_all(data());
    const SyntheticCluster cluster(KindOfCluster(GetParam()));
    cluster.WriteTarget(data());
  }
  // As it was, or no server starts on it, or finished.
  void ExpectSafe(const std::string& where) {
    const std::string raw = ReadText(data() / "global/pg_control");
    const ControlFile control = ControlFile::Parse(AsBytes(raw), "killed");
    if (control.fenced()) return;
    if (raw == original_.at("global/pg_control")) {
      Tree now = WithoutOurs(Snapshot(data()));
      std::erase_if(now, [](const auto& entry) { return entry.first.ends_with(".tmp"); });
      EXPECT_TRUE(now == original_) << where << ": not fenced, and changed";
    } else {
      EXPECT_TRUE(WithoutOurs(Comparable(data())) == expected_)
          << where << ": published, not finished";
    }
  }
  void ExpectFinishes(const std::string& where) {
    SyntheticCluster cluster(KindOfCluster(GetParam()));
    EXPECT_NO_THROW(RunRewind(data(), cluster)) << where;
    EXPECT_TRUE(Comparable(data()) == expected_) << where;
    ExpectFollowsSource(data(), cluster);
  }
  Tree original_;
  Tree expected_;
};

TEST_P(Killed, AtEveryPointAndFinishedByTheNextRun) {
  int kills = 0;
  for (const std::string_view name : kKillPoints) {
    // One needs two sources, the other megabytes: tests/crash has both.
    if (name == "line-changed" || name == "copied-noted") continue;
    for (int hit = 1;; ++hit) {
      const std::string point = std::string(name) + ":" + std::to_string(hit);
      Prepare();
      if (!RunKilled(data(), GetParam(), point)) {
        EXPECT_GT(hit, 1) << point << " is never reached";
        break;
      }
      ++kills;
      ExpectSafe(point);
      ExpectFinishes(point);
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(kills, 60);
}

TEST_P(Killed, TwiceAndFinishedByTheThirdRun) {
  const char* const points[] = {"fenced",
                                "copied",
                                "diverged-wal-aside",
                                "target-rename:6",
                                "wal-installed",
                                "wal-segment-installed",
                                "data-durable",
                                "conf-written",
                                "published-noted",
                                "target-truncate:5",
                                "target-unlink:2",
                                "target-write:9"};
  for (const char* first : points) {
    for (const char* second : points) {
      const std::string where = std::string(first) + ", " + second;
      Prepare();
      ASSERT_TRUE(RunKilled(data(), GetParam(), first)) << first;
      RunKilled(data(), GetParam(), second);
      ExpectSafe(where);
      ExpectFinishes(where);
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Killed, ::testing::Values("plain", "promoted"));

#endif

}  // namespace
}  // namespace pgrejoin
