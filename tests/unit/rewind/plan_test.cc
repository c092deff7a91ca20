#include "rewind/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "unit/pgdata/control_builder.h"

namespace pgrejoin {
namespace {

using testing::ParseControl;

constexpr uint64_t kBlock = 8192;
constexpr RelFileLocator kRelation{1663, 5, 16384};
constexpr const char* kPath = "base/5/16384";

class Plan : public ::testing::Test {
 protected:
  static SourceFile Source(std::string path, uint64_t size, FileType type = FileType::kRegular) {
    return {.path = std::move(path), .type = type, .size = size, .link_target = {}};
  }
  static TargetFile Target(std::string path, uint64_t size, FileType type = FileType::kRegular) {
    return {.path = std::move(path), .type = type, .size = size, .link_target = {}};
  }
  void OnSource(std::string path, uint64_t size = 0, FileType type = FileType::kRegular) {
    input_.source_files.push_back(Source(std::move(path), size, type));
  }
  // There before the rewind and now.
  void OnTarget(const std::string& path, uint64_t size = 0, FileType type = FileType::kRegular) {
    facts_.target_files.push_back(Target(path, size, type));
    input_.target_files.push_back(Target(path, size, type));
  }
  void Changed(BlockNumber first, BlockNumber count = 1) {
    for (BlockNumber block = first; block < first + count; ++block) {
      facts_.blocks.Add(kRelation, block);
    }
  }
  RewindPlan Make() {
    input_.facts = &facts_;
    return MakePlan(input_);
  }
  std::optional<PlanEntry> EntryOf(const std::string& path) {
    const RewindPlan plan = Make();
    for (const PlanEntry& entry : plan.entries) {
      if (entry.path == path) return entry;
    }
    return std::nullopt;
  }
  std::string ActionOf(const std::string& path) {
    const auto entry = EntryOf(path);
    return entry ? FileActionName(entry->action) : "none";
  }
  std::string RunsOf(const std::string& path) {
    const auto entry = EntryOf(path);
    std::string text;
    for (const BlockRun& run : entry->runs) {
      text += std::to_string(run.first) + "+" + std::to_string(run.count) + " ";
    }
    return text;
  }
  std::optional<ErrorKind> Refusal() {
    try {
      Make();
      return std::nullopt;
    } catch (const Error& error) {
      return error.kind();
    }
  }
  void Relation(uint64_t source_bytes, uint64_t target_bytes) {
    OnSource(kPath, source_bytes);
    OnTarget(kPath, target_bytes);
  }

  RewindFacts facts_{ParseControl({})};
  PlanInput input_;
};

TEST_F(Plan, AnUnchangedRelationIsKept) {
  Relation(10 * kBlock, 10 * kBlock);
  EXPECT_EQ(ActionOf(kPath), "keep");
  EXPECT_EQ(Make().bytes_to_copy, 0u);
}

TEST_F(Plan, ChangedBlocksAsRuns) {
  Relation(100 * kBlock, 100 * kBlock);
  Changed(0);
  Changed(7, 3);
  Changed(99);
  EXPECT_EQ(ActionOf(kPath), "blocks");
  EXPECT_EQ(RunsOf(kPath), "0+1 7+3 99+1 ");
  EXPECT_EQ(Make().bytes_to_copy, 5 * kBlock);
  EXPECT_EQ(Make().bytes_to_grow, 0u);
}

// The metapage of an SP-GiST index changes without WAL.
TEST_F(Plan, TheFirstBlockComesWithAnyOther) {
  Relation(100 * kBlock, 100 * kBlock);
  Changed(7);
  EXPECT_EQ(RunsOf(kPath), "0+1 7+1 ");
}

TEST_F(Plan, TheFirstBlockComesWithAnyOfALaterSegment) {
  Relation(100 * kBlock, 100 * kBlock);
  OnSource(std::string(kPath) + ".1", 20 * kBlock);
  OnTarget(std::string(kPath) + ".1", 20 * kBlock);
  EXPECT_EQ(ActionOf(kPath), "keep");
  facts_.blocks.Add(kRelation, facts_.blocks.blocks_per_segment() + 7);
  EXPECT_EQ(RunsOf(kPath), "0+1 ");
  EXPECT_EQ(RunsOf(std::string(kPath) + ".1"), "7+1 ");
  EXPECT_EQ(Make().bytes_to_copy, 2 * kBlock);
}

TEST_F(Plan, BlocksBehindTheSourcesEndAreNotFetched) {
  Relation(5 * kBlock, 10 * kBlock);
  Changed(0, 10);
  EXPECT_EQ(RunsOf(kPath), "0+5 ");
  EXPECT_EQ(EntryOf(kPath)->source_size, 5 * kBlock);
}

TEST_F(Plan, AShorterTargetGetsTheTail) {
  Relation(10 * kBlock, 4 * kBlock);
  Changed(0);
  EXPECT_EQ(RunsOf(kPath), "0+1 4+6 ");
  EXPECT_EQ(Make().bytes_to_grow, 6 * kBlock);
}

TEST_F(Plan, TheTailAndChangedBlocksDoNotOverlap) {
  Relation(10 * kBlock, 4 * kBlock);
  Changed(0, 7);
  EXPECT_EQ(RunsOf(kPath), "0+4 4+6 ");
}

TEST_F(Plan, ALongerTargetIsCutAlsoWithoutBlocks) {
  Relation(4 * kBlock, 10 * kBlock);
  EXPECT_EQ(ActionOf(kPath), "blocks");
  EXPECT_EQ(RunsOf(kPath), "0+1 ");
}

TEST_F(Plan, AnEmptySourceFileOnlyCuts) {
  Relation(0, 10 * kBlock);
  Changed(3);
  EXPECT_EQ(ActionOf(kPath), "blocks");
  EXPECT_EQ(RunsOf(kPath), "");
  EXPECT_EQ(Make().bytes_to_copy, 0u);
}

// A crash in the middle of an extension: no block may be stitched from two histories.
TEST_F(Plan, APartialLastBlockIsFetchedWhole) {
  Relation(10 * kBlock, 9 * kBlock + 4096);
  Changed(0);
  EXPECT_EQ(RunsOf(kPath), "0+1 9+1 ");
}

TEST_F(Plan, APartialLastBlockOfTheSourceToo) {
  Relation(9 * kBlock + 4096, 9 * kBlock);
  EXPECT_EQ(RunsOf(kPath), "0+1 9+1 ");
}

TEST_F(Plan, BehindATruncationEverythingIsFetched) {
  Relation(10 * kBlock, 10 * kBlock);
  facts_.truncated[kRelation] = 6;
  EXPECT_EQ(RunsOf(kPath), "0+1 6+4 ");
}

TEST_F(Plan, ATruncationCountsFromTheRelationsStartNotTheSegments) {
  constexpr uint64_t kSegmentBlocks = 131072;
  OnSource("base/5/16384.1", 10 * kBlock);
  OnTarget("base/5/16384.1", 10 * kBlock);
  OnSource("base/5/16384.2", 10 * kBlock);
  OnTarget("base/5/16384.2", 10 * kBlock);
  Relation(kSegmentBlocks * kBlock, kSegmentBlocks * kBlock);
  facts_.truncated[kRelation] = kSegmentBlocks + 4;
  EXPECT_EQ(RunsOf(kPath), "0+1 ");
  EXPECT_EQ(RunsOf("base/5/16384.1"), "4+6 ");
  EXPECT_EQ(RunsOf("base/5/16384.2"), "0+10 ");
}

TEST_F(Plan, BlocksGoToTheirSegment) {
  OnSource("base/5/16384.1", 10 * kBlock);
  OnTarget("base/5/16384.1", 10 * kBlock);
  Changed(131072 + 3);
  EXPECT_EQ(RunsOf("base/5/16384.1"), "3+1 ");
}

TEST_F(Plan, RelationsWithWhatNoWalTellsAreCopiedWhole) {
  Relation(10 * kBlock, 10 * kBlock);
  facts_.created.insert(kRelation);
  EXPECT_EQ(ActionOf(kPath), "copy");
  facts_.created.clear();
  input_.created_on_source.insert(kRelation);
  EXPECT_EQ(ActionOf(kPath), "copy");
  input_.created_on_source.clear();
  OnTarget("base/5/16384_init", kBlock);
  EXPECT_EQ(ActionOf(kPath), "copy") << "it was unlogged on the target";
  EXPECT_EQ(ActionOf("base/5/16384_init"), "remove");
}

// CREATE DATABASE by file copy on the target: no WAL tells what is in these files.
TEST_F(Plan, DatabasesThatTheTargetMadeByCopyAreCopiedWhole) {
  Relation(10 * kBlock, 10 * kBlock);
  facts_.copied_databases = {{1663, 6}, {16400, 5}};
  EXPECT_EQ(ActionOf(kPath), "keep");
  facts_.copied_databases = {{1663, 5}};
  EXPECT_EQ(ActionOf(kPath), "copy");
  EXPECT_EQ(Make().bytes_to_copy, 10 * kBlock);
}

TEST_F(Plan, OnlyOnTheSource) {
  OnSource("base/6", 0, FileType::kDirectory);
  OnSource("base/6/1", 3 * kBlock);
  EXPECT_EQ(ActionOf("base/6"), "create");
  EXPECT_EQ(ActionOf("base/6/1"), "copy");
  EXPECT_EQ(Make().bytes_to_grow, 3 * kBlock);
}

TEST_F(Plan, OnlyOnTheTarget) {
  OnTarget("base/6", 0, FileType::kDirectory);
  OnTarget("base/6/1", kBlock);
  OnTarget("base/6/2", kBlock);
  OnTarget("pg_xact/0005", 100);
  const RewindPlan plan = Make();
  std::vector<std::string> order;
  for (const PlanEntry& entry : plan.entries) {
    EXPECT_EQ(entry.action, FileAction::kRemove);
    order.push_back(entry.path);
  }
  // Content before its directory.
  EXPECT_LT(std::find(order.begin(), order.end(), "base/6/1"),
            std::find(order.begin(), order.end(), "base/6"));
  EXPECT_EQ(order.size(), 4u);
}

TEST_F(Plan, UnloggedOnTheSourceIsRemovedAndOnlyItsInitForkFetched) {
  OnSource("base/5/16384_init", kBlock);
  Relation(10 * kBlock, 10 * kBlock);
  OnSource("base/5/16384_fsm", kBlock);
  OnTarget("base/5/16384_fsm", kBlock);
  OnSource("base/5/16384.1", kBlock);
  EXPECT_EQ(ActionOf("base/5/16384_init"), "copy");
  EXPECT_EQ(ActionOf(kPath), "remove");
  EXPECT_EQ(ActionOf("base/5/16384_fsm"), "remove");
  EXPECT_EQ(ActionOf("base/5/16384.1"), "none");
}

TEST_F(Plan, MapsAndSmallFilesAreCopiedWhole) {
  for (const char* path : {"base/5/16384_vm", "base/5/16384_fsm", "pg_xact/0000",
                           "global/pg_filenode.map", "pg_multixact/offsets/0000"}) {
    OnSource(path, 100);
    OnTarget(path, 100);
    EXPECT_EQ(ActionOf(path), "copy") << path;
  }
}

TEST_F(Plan, WhatMustNotSurviveIsRemovedAndNeverFetched) {
  for (const char* path :
       {"pg_replslot/slot/state", "base/5/pg_internal.init", "pg_stat/pgstat.stat", "backup_label",
        "postmaster.pid", "base/5/t3_1", "base/pgsql_tmp/x"}) {
    OnSource(path, 100);
    EXPECT_EQ(ActionOf(path), "none") << path;
    OnTarget(path, 100);
    EXPECT_EQ(ActionOf(path), "remove") << path;
  }
}

TEST_F(Plan, TheTargetsOwnIsKept) {
  for (const char* path : {"postgresql.conf", "pg_hba.conf", "server.key", "standby.signal"}) {
    OnSource(path, 100);
    EXPECT_EQ(ActionOf(path), "none") << path;
    OnTarget(path, 50);
    EXPECT_EQ(ActionOf(path), "keep") << path;
  }
  OnTarget("log", 0, FileType::kSymlink);
  OnSource("log", 0, FileType::kDirectory);
  EXPECT_EQ(ActionOf("log"), "keep");
}

TEST_F(Plan, WalAndOurOwnFilesAreNotInThePlan) {
  for (const char* path : {"pg_wal/000000010000000000000001", "pg_rejoin/journal",
                           "pg_wal/pg_rejoin/000000020000000000000001"}) {
    OnSource(path, 100);
    OnTarget(path, 50);
    EXPECT_EQ(ActionOf(path), "none") << path;
  }
}

TEST_F(Plan, ForeignFilesFollowTheMode) {
  OnSource("extra/theirs", 10);
  OnTarget("extra/ours", 10);
  OnSource("extra/both", 10);
  OnTarget("extra/both", 20);
  input_.extra_files = ExtraFiles::kKeepTarget;
  EXPECT_EQ(ActionOf("extra/theirs"), "none");
  EXPECT_EQ(ActionOf("extra/ours"), "keep");
  EXPECT_EQ(ActionOf("extra/both"), "keep");
  input_.extra_files = ExtraFiles::kFollowSource;
  EXPECT_EQ(ActionOf("extra/theirs"), "copy");
  EXPECT_EQ(ActionOf("extra/ours"), "remove");
  EXPECT_EQ(ActionOf("extra/both"), "copy");
}

TEST_F(Plan, VersionFilesAreOnlyFetchedWhereTheyAreMissing) {
  OnSource("base/5/PG_VERSION", 3);
  EXPECT_EQ(ActionOf("base/5/PG_VERSION"), "copy");
  OnTarget("base/5/PG_VERSION", 3);
  EXPECT_EQ(ActionOf("base/5/PG_VERSION"), "keep");
}

TEST_F(Plan, TheControlFileIsNobodysToCopy) {
  OnSource("global/pg_control", 8192);
  OnTarget("global/pg_control", 8192);
  EXPECT_EQ(ActionOf("global/pg_control"), "keep");
}

TEST_F(Plan, DifferentTypesAreRefused) {
  OnSource("pg_xact", 0, FileType::kDirectory);
  OnTarget("pg_xact", 0, FileType::kSymlink);
  EXPECT_EQ(Refusal(), ErrorKind::kNotRewindable);
}

TEST_F(Plan, ALinkedWalDirectoryIsFine) {
  OnSource("pg_wal", 0, FileType::kDirectory);
  OnTarget("pg_wal", 0, FileType::kSymlink);
  EXPECT_EQ(ActionOf("pg_wal"), "keep");
}

TEST_F(Plan, ARelationThatIsNoFileIsRefused) {
  OnSource(kPath, 0, FileType::kDirectory);
  EXPECT_EQ(Refusal(), ErrorKind::kNotRewindable);
}

TEST_F(Plan, TablespacesMustBeThereAndLeadToTheSamePlace) {
  OnSource("pg_tblspc/16400", 0, FileType::kSymlink);
  input_.source_files.back().link_target = "/mnt/a";
  EXPECT_EQ(Refusal(), ErrorKind::kNotRewindable);
  OnTarget("pg_tblspc/16400", 0, FileType::kSymlink);
  input_.target_files.back().link_target = "/mnt/b";
  EXPECT_EQ(Refusal(), ErrorKind::kNotRewindable);
  input_.target_files.back().link_target = "/mnt/a";
  EXPECT_EQ(ActionOf("pg_tblspc/16400"), "keep");
}

TEST_F(Plan, PreparedTransactionsThatReplayMakesAreNotFetched) {
  facts_.start_next_xid = 0x2f0;
  for (const char* path :
       {"pg_twophase/000002F0", "pg_twophase/000002F1", "pg_twophase/00000000000002F0"}) {
    OnSource(path, 100);
    EXPECT_EQ(ActionOf(path), "none") << path;
    OnTarget(path, 100);
    EXPECT_EQ(ActionOf(path), "remove") << path;
  }
  for (const char* path : {"pg_twophase/000002EF", "pg_twophase/00000000000002EF"}) {
    OnSource(path, 100);
    EXPECT_EQ(ActionOf(path), "copy") << path;
  }
  // Behind the epoch's end an 8-digit name counts modulo 2^32.
  facts_.start_next_xid = 0x1'00000005;
  OnSource("pg_twophase/FFFFFFF0", 100);
  EXPECT_EQ(ActionOf("pg_twophase/FFFFFFF0"), "copy");
}

TEST_F(Plan, AFileListedTwiceIsOneFile) {
  OnSource("pg_xact/0000", 100);
  OnSource("pg_xact/0000", 200);
  const RewindPlan plan = Make();
  EXPECT_EQ(plan.entries.size(), 1u);
}

// --- a resumed run: what the interrupted one did to the files counts too ---

TEST_F(Plan, ResumedAfterTheFileWasGrown) {
  OnSource(kPath, 10 * kBlock);
  facts_.target_files.push_back(Target(kPath, 4 * kBlock));
  input_.target_files.push_back(Target(kPath, 10 * kBlock));  // zeros behind 4, maybe
  EXPECT_EQ(RunsOf(kPath), "0+1 4+6 ");
}

TEST_F(Plan, ResumedAfterTheFileWasCut) {
  OnSource(kPath, 10 * kBlock);
  facts_.target_files.push_back(Target(kPath, 10 * kBlock));
  input_.target_files.push_back(Target(kPath, 3 * kBlock));
  EXPECT_EQ(RunsOf(kPath), "0+1 3+7 ");
}

TEST_F(Plan, ResumedAfterTheFileWasRemoved) {
  OnSource(kPath, 3 * kBlock);
  facts_.target_files.push_back(Target(kPath, 3 * kBlock));
  EXPECT_EQ(RunsOf(kPath), "0+3 ");
}

TEST_F(Plan, ResumedAfterAnEmptyFileWasRemoved) {
  OnSource(kPath, 0);
  facts_.target_files.push_back(Target(kPath, 0));
  EXPECT_EQ(ActionOf(kPath), "blocks");
  EXPECT_FALSE(EntryOf(kPath)->on_target);
}

TEST_F(Plan, ResumedAfterTheFileWasMade) {
  OnSource(kPath, 3 * kBlock);
  input_.target_files.push_back(Target(kPath, 3 * kBlock));
  EXPECT_EQ(ActionOf(kPath), "copy");
}

TEST_F(Plan, ResumedWhenTheSourceDroppedItMeanwhile) {
  input_.target_files.push_back(Target(kPath, 3 * kBlock));
  EXPECT_EQ(ActionOf(kPath), "remove");
}

TEST_F(Plan, ResumedAfterAVersionFileWasHalfWritten) {
  OnSource("base/6/PG_VERSION", 3);
  input_.target_files.push_back(Target("base/6/PG_VERSION", 0));
  EXPECT_EQ(ActionOf("base/6/PG_VERSION"), "copy");
}

TEST_F(Plan, ResumedAfterAVersionFileWasRemovedAndHalfWrittenAgain) {
  OnSource("base/6/PG_VERSION", 3);
  facts_.target_files.push_back(Target("base/6/PG_VERSION", 3));
  input_.target_files.push_back(Target("base/6/PG_VERSION", 0));
  EXPECT_EQ(ActionOf("base/6/PG_VERSION"), "copy");
}

// --- what earlier attempts may have written is of sources that may not count any more ---

TEST_F(Plan, WhatAnAttemptCutAndGrewAgainIsFetched) {
  Relation(10 * kBlock, 10 * kBlock);
  facts_.attempted[kPath] = 3 * kBlock + 5;
  EXPECT_EQ(RunsOf(kPath), "0+1 3+7 ");
}

TEST_F(Plan, WhatAnAttemptRemovedAndMadeAgainIsFetched) {
  Relation(3 * kBlock, 3 * kBlock);
  facts_.attempted[kPath] = 0;
  EXPECT_EQ(RunsOf(kPath), "0+3 ");
}

TEST_F(Plan, TheFirstBlockOfWhatAnAttemptChangedIsFetched) {
  Relation(10 * kBlock, 10 * kBlock);
  facts_.attempted[kPath] = 10 * kBlock;
  EXPECT_EQ(ActionOf(kPath), "blocks");
  EXPECT_EQ(RunsOf(kPath), "0+1 ");
}

// --- what earlier attempts copied from the same line need not come again ---

TEST_F(Plan, CopiedBlocksAreLeftOut) {
  Relation(20 * kBlock, 10 * kBlock);
  Changed(2, 4);
  BlockRefTable copied(facts_.blocks.blocks_per_segment());
  for (const BlockNumber block : {0u, 3u, 12u, 13u, 19u, 25u}) copied.Add(kRelation, block);
  input_.copied = &copied;
  EXPECT_EQ(RunsOf(kPath), "2+1 4+2 10+2 14+5 ");
  EXPECT_EQ(Make().bytes_to_copy, 10 * kBlock);
}

TEST_F(Plan, CopiedBlocksOfAWholeFileAreLeftOut) {
  OnSource(kPath, 4 * kBlock + 1);
  input_.target_files.push_back(Target(kPath, 4 * kBlock));
  BlockRefTable copied(facts_.blocks.blocks_per_segment());
  copied.Add(kRelation, 1);
  input_.copied = &copied;
  EXPECT_EQ(ActionOf(kPath), "blocks");
  EXPECT_EQ(RunsOf(kPath), "0+1 2+3 ");
}

TEST_F(Plan, AttemptsAreNoted) {
  OnSource("base/5/1", 4 * kBlock);  // cut
  OnTarget("base/5/1", 9 * kBlock);
  OnSource("base/5/2", 9 * kBlock);  // grown
  OnTarget("base/5/2", 4 * kBlock);
  OnTarget("base/5/3", kBlock);  // removed
  OnSource("base/5/4", kBlock);  // made
  OnSource("base/5/5", kBlock);  // kept
  OnTarget("base/5/5", kBlock);
  OnSource("base/5/6", 2 * kBlock);  // missing since an earlier attempt
  facts_.target_files.push_back(Target("base/5/6", 2 * kBlock));
  OnSource("base/5/2_fsm", kBlock);
  OnSource("pg_xact/0000", kBlock);
  NoteAttempt(Make(), &facts_);
  const std::map<std::string, uint64_t> expected = {{"base/5/1", 4 * kBlock},
                                                    {"base/5/2", 4 * kBlock},
                                                    {"base/5/3", 0},
                                                    {"base/5/4", 0},
                                                    {"base/5/6", 0}};
  EXPECT_EQ(facts_.attempted, expected);
}

TEST_F(Plan, NotedBytesOnlyBecomeFewer) {
  Relation(4 * kBlock, 9 * kBlock);
  facts_.attempted[kPath] = 2 * kBlock;
  NoteAttempt(Make(), &facts_);
  EXPECT_EQ(facts_.attempted[kPath], 2 * kBlock);
}

TEST_F(Plan, OrderIsByActionAndThenPath) {
  OnSource("base/6", 0, FileType::kDirectory);
  OnSource("base/6/sub", 0, FileType::kDirectory);
  OnSource("pg_xact/0001", 1);
  OnSource("pg_xact/0000", 1);
  Relation(2 * kBlock, kBlock);
  OnTarget("base/9/1", kBlock);
  const RewindPlan plan = Make();
  EXPECT_TRUE(std::is_sorted(plan.entries.begin(), plan.entries.end(),
                             [](const auto& a, const auto& b) { return a.action < b.action; }));
  EXPECT_EQ(plan.entries[0].path, "base/6");
  EXPECT_EQ(plan.entries[1].path, "base/6/sub");
  EXPECT_EQ(plan.entries[2].path, "pg_xact/0000");
}

// Blocks 0 to 5 have changed. What replay does to them first: the common WAL overwrites 1 and reads
// 2; the source's overwrites 2, 3 and 4.
class PlanOfReplayedBlocks : public Plan {
 protected:
  void SetUp() override {
    Relation(10 * kBlock, 10 * kBlock);
    Changed(0, 6);
    for (const BlockNumber block : {1u, 2u}) facts_.first_references.AddSeen(kRelation, block);
    facts_.first_references.AddOverwritten(kRelation, 1);
    for (const BlockNumber block : {2u, 3u, 4u}) {
      source_.AddSeen(kRelation, block);
      source_.AddOverwritten(kRelation, block);
    }
    input_.source_references = &source_;
  }
  void MakeStandby() {
    RewindFacts facts(ParseControl({.state = DatabaseState::kShutDownInRecovery}));
    facts.target_files = facts_.target_files;
    facts.first_references = std::move(facts_.first_references);
    facts_ = std::move(facts);
    Changed(0, 6);
  }

  FirstReferences source_{ParseControl({}).blocks_per_segment()};
};

TEST_F(PlanOfReplayedBlocks, AreNotCopied) {
  EXPECT_EQ(RunsOf(kPath), "0+1 2+1 5+1 ");
  EXPECT_EQ(Make().bytes_to_copy, 3 * kBlock);
  EXPECT_EQ(Make().bytes_replayed, 3 * kBlock);
}

TEST_F(PlanOfReplayedBlocks, AreCopiedWhenNobodyAsks) {
  input_.source_references = nullptr;
  EXPECT_EQ(RunsOf(kPath), "0+6 ");
  EXPECT_EQ(Make().bytes_replayed, 0u);
}

// An SP-GiST metapage is written without WAL.
TEST_F(PlanOfReplayedBlocks, TheFirstBlockIsCopiedAllTheSame) {
  facts_.first_references.AddSeen(kRelation, 0);
  facts_.first_references.AddOverwritten(kRelation, 0);
  EXPECT_EQ(RunsOf(kPath), "0+1 2+1 5+1 ");
}

TEST_F(PlanOfReplayedBlocks, LengthAndTailFollowTheSource) {
  facts_.target_files.clear();
  input_.target_files.clear();
  OnTarget(kPath, 3 * kBlock);
  EXPECT_EQ(RunsOf(kPath), "0+1 2+1 5+5 ");
  EXPECT_EQ(EntryOf(kPath)->source_size, 10 * kBlock);
}

TEST_F(PlanOfReplayedBlocks, AFileThatIsWantedWholeIsCopiedInPart) {
  facts_.created.insert(kRelation);
  EXPECT_EQ(ActionOf(kPath), "blocks");
  EXPECT_TRUE(EntryOf(kPath)->whole);
  EXPECT_EQ(RunsOf(kPath), "0+1 2+1 5+5 ");
}

// Its pages may be older than the start of replay, and hints are in no WAL.
TEST_F(PlanOfReplayedBlocks, AStandbyCopiesAll) {
  MakeStandby();
  EXPECT_EQ(RunsOf(kPath), "0+6 ");
}

TEST_F(PlanOfReplayedBlocks, ATargetThatWasAStandbyCopiesAll) {
  facts_.was_standby = true;
  EXPECT_EQ(RunsOf(kPath), "0+6 ");
}

TEST_F(PlanOfReplayedBlocks, WithAnExtensionsWalAllIsCopied) {
  source_.SetUnknown();
  EXPECT_EQ(RunsOf(kPath), "0+6 ");
}

TEST_F(PlanOfReplayedBlocks, WithAnExtensionsWalBeforeTheForkAllIsCopied) {
  facts_.first_references.SetUnknown();
  EXPECT_EQ(RunsOf(kPath), "0+6 ");
}

// Replay reads the template's files when it comes to the copy.
TEST_F(PlanOfReplayedBlocks, ATemplateIsCopied) {
  input_.database_copies = {{16999, 1663, 5, 1663}};
  EXPECT_EQ(RunsOf(kPath), "0+6 ");
  input_.database_copies = {{16999, 1663, 4, 1663}};
  EXPECT_EQ(RunsOf(kPath), "0+1 2+1 5+1 ");
}

TEST_F(PlanOfReplayedBlocks, WhatAnAttemptHasCopiedIsNotCountedTwice) {
  BlockRefTable copied(facts_.blocks.blocks_per_segment());
  copied.Add(kRelation, 3);
  copied.Add(kRelation, 5);
  input_.copied = &copied;
  EXPECT_EQ(RunsOf(kPath), "0+1 2+1 ");
  EXPECT_EQ(Make().bytes_replayed, 2 * kBlock);
}

}  // namespace
}  // namespace pgrejoin
