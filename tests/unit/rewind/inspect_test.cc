#include "rewind/inspect.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "harness/synthetic_cluster.h"

namespace pgrejoin {
namespace {

using testing::ReadText;
using testing::SyntheticCluster;
using testing::WriteText;

class Inspect : public ::testing::Test {
 protected:
  Inspect() { cluster_.WriteTarget(data()); }
  std::filesystem::path data() const { return scratch_ / "data"; }
  DirectoryState State() const { return InspectDirectory(data().string()); }
  void Rewind() {
    const DirectoryLock lock = DirectoryLock::Acquire(data().string());
    pgrejoin::Rewind(lock, cluster_.source, cluster_.Options());
  }

  testing::ScratchDirectory scratch_;
  SyntheticCluster cluster_;
};

TEST_F(Inspect, AFormerPrimary) {
  const DirectoryState state = State();
  EXPECT_EQ(state.kind, DirectoryKind::kPrimary);
  EXPECT_EQ(state.end_of_wal, cluster_.target_wal.end());
  EXPECT_FALSE(state.clean_shutdown);
}

// Its primary may have changed since: it must be looked at like any other standby.
TEST_F(Inspect, RewoundAndNeverStartedIsAStandby) {
  Rewind();
  const DirectoryState state = State();
  EXPECT_EQ(state.kind, DirectoryKind::kStandby);
  EXPECT_EQ(state.end_of_wal, cluster_.source_wal.end());
  EXPECT_EQ(state.history.ToString(), cluster_.source.identity.history.ToString());
}

TEST_F(Inspect, ABaseBackupIsAFreshClone) {
  WriteText(data() / "standby.signal", "");
  WriteText(data() / "backup_label",
            "START WAL LOCATION: 0/200028 (file 000000010000000000000002)\n"
            "CHECKPOINT LOCATION: 0/200060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n"
            "START TIME: 2026-11-21 10:00:00 UTC\nLABEL: pg_basebackup base backup\n"
            "START TIMELINE: 1\n");
  EXPECT_EQ(State().kind, DirectoryKind::kFreshClone);
}

TEST_F(Inspect, AJournalFromBeforeTheFenceMeansNothing) {
  std::filesystem::create_directory(data() / "pg_rejoin");
  WriteText(data() / "pg_rejoin/journal", "whatever");
  EXPECT_EQ(State().kind, DirectoryKind::kPrimary);
  WriteText(data() / "pg_rejoin/fenced", "");
  EXPECT_THROW(State(), Error) << "it counts, and is damaged";
}

TEST_F(Inspect, NoDirectoryIsEmpty) {
  EXPECT_EQ(InspectDirectory((scratch_ / "nothing").string()).kind, DirectoryKind::kEmpty);
}

}  // namespace
}  // namespace pgrejoin
