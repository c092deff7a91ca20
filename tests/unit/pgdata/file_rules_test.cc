#include "pgdata/file_rules.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

struct ClassCase {
  const char* path;
  FileClass expected;
};

TEST(ClassifyPath, EachKindOfPath) {
  const ClassCase cases[] = {
      {"global/pg_control", FileClass::kControlFile},
      {"pg_control", FileClass::kForeign},
      {"base/5/16384", FileClass::kRelation},
      {"base/5/16384.1", FileClass::kRelation},
      {"base/5/16384.12", FileClass::kRelation},
      {"global/1262", FileClass::kRelation},
      {"pg_tblspc/16400/PG_15_202209061/5/16384.2", FileClass::kRelation},
      {"base/5/16384_fsm", FileClass::kRelationFork},
      {"base/5/16384_vm.1", FileClass::kRelationFork},
      {"base/5/16384_init", FileClass::kRelationFork},
      {"base/5/16384.1_fsm", FileClass::kOther},
      {"base/5/016384", FileClass::kOther},
      {"base/5/16384.0", FileClass::kOther},
      {"base/5/16384.01", FileClass::kOther},
      {"base/5/4294967296", FileClass::kOther},
      {"base/5/4294967295", FileClass::kRelation},
      {"base/5/16384_foo", FileClass::kOther},
      {"base/5", FileClass::kOther},
      {"base/5/sub/16384", FileClass::kOther},
      {"base/16384", FileClass::kOther},
      {"base/5/t3_16384", FileClass::kTemporary},
      {"base/5/t3_16384_fsm.1", FileClass::kTemporary},
      {"base/pgsql_tmp/pgsql_tmp123.0", FileClass::kTemporary},
      {"pg_tblspc/16400/PG_15_202209061/pgsql_tmp/x", FileClass::kTemporary},
      {"base/5/pg_filenode.map", FileClass::kOther},
      {"global/pg_filenode.map", FileClass::kOther},
      {"base/5/pg_internal.init", FileClass::kEmptied},
      {"global/pg_internal.init.1234", FileClass::kEmptied},
      {"PG_VERSION", FileClass::kVersionFile},
      {"base/5/PG_VERSION", FileClass::kVersionFile},
      {"pg_xact/0000", FileClass::kOther},
      {"pg_multixact/members/0000", FileClass::kOther},
      {"pg_commit_ts/0000", FileClass::kOther},
      {"pg_twophase/000002F0", FileClass::kOther},
      {"pg_logical/replorigin_checkpoint", FileClass::kOther},
      {"pg_logical", FileClass::kOther},
      {"pg_logical/snapshots", FileClass::kOther},
      {"pg_logical/snapshots/0-1.snap", FileClass::kEmptied},
      {"pg_logical/mappings/map-1", FileClass::kEmptied},
      {"pg_replslot", FileClass::kOther},
      {"pg_replslot/slot/state", FileClass::kEmptied},
      {"pg_replslotx/state", FileClass::kForeign},
      {"pg_stat/pgstat.stat", FileClass::kEmptied},
      {"pg_stat_tmp/global.stat", FileClass::kEmptied},
      {"pg_notify/0000", FileClass::kEmptied},
      {"pg_subtrans/0000", FileClass::kEmptied},
      {"pg_serial/0000", FileClass::kEmptied},
      {"pg_snapshots/x", FileClass::kEmptied},
      {"pg_dynshmem/x", FileClass::kEmptied},
      {"pg_wal/summaries/x.summary", FileClass::kEmptied},
      {"pg_wal/000000010000000000000001", FileClass::kWal},
      {"pg_wal/archive_status/000000010000000000000001.done", FileClass::kWal},
      {"pg_wal/00000002.history", FileClass::kWal},
      {"pg_wal", FileClass::kOther},
      {"pg_wal/pg_rejoin", FileClass::kOwn},
      {"pg_wal/pg_rejoin/diverged/000000010000000000000001", FileClass::kOwn},
      {"pg_wal/pg_rejoined", FileClass::kWal},
      {"pg_rejoin", FileClass::kOwn},
      {"pg_rejoin/journal", FileClass::kOwn},
      {"pg_rejoined", FileClass::kForeign},
      {"backup_label", FileClass::kNeverFetched},
      {"backup_label.old", FileClass::kNeverFetched},
      {"tablespace_map", FileClass::kNeverFetched},
      {"backup_manifest", FileClass::kNeverFetched},
      {"postmaster.pid", FileClass::kNeverFetched},
      {"postmaster.opts", FileClass::kNeverFetched},
      {".s.PGSQL.5432", FileClass::kNeverFetched},
      {".s.PGSQL.5432.lock", FileClass::kNeverFetched},
      {"postgresql.auto.conf.tmp", FileClass::kNeverFetched},
      {"postgresql.conf", FileClass::kConfiguration},
      {"postgresql.auto.conf", FileClass::kConfiguration},
      {"pg_hba.conf", FileClass::kConfiguration},
      {"custom.conf", FileClass::kConfiguration},
      {"conf.d/x", FileClass::kConfiguration},
      {"server.key", FileClass::kConfiguration},
      {"standby.signal", FileClass::kConfiguration},
      {"log/postgresql.log", FileClass::kConfiguration},
      {"log", FileClass::kConfiguration},
      {"base/5/server.key", FileClass::kOther},
      {"lost+found", FileClass::kForeign},
      {"somebody/else", FileClass::kForeign},
      {"tablespaces/x", FileClass::kForeign},
      {"", FileClass::kForeign},
      {"/", FileClass::kForeign},
      {"../global/pg_control", FileClass::kForeign},
  };
  for (const ClassCase& c : cases) {
    EXPECT_EQ(static_cast<int>(ClassifyPath(c.path)), static_cast<int>(c.expected)) << c.path;
  }
}

TEST(ParseRelationPath, NamesTheSegment) {
  const auto shared = ParseRelationPath("global/1262");
  ASSERT_TRUE(shared.has_value());
  EXPECT_EQ(shared->locator, (RelFileLocator{1664, 0, 1262}));
  const auto third = ParseRelationPath("base/5/16384.3");
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->locator, (RelFileLocator{1663, 5, 16384}));
  EXPECT_EQ(third->segment, 3u);
  const auto elsewhere = ParseRelationPath("pg_tblspc/16400/PG_18_202506291/5/1");
  ASSERT_TRUE(elsewhere.has_value());
  EXPECT_EQ(elsewhere->locator, (RelFileLocator{16400, 5, 1}));
  EXPECT_FALSE(ParseRelationPath("base/5/16384_vm").has_value());
  EXPECT_FALSE(ParseRelationPath("pg_tblspc/16400/OTHER/5/1").has_value());
  EXPECT_FALSE(ParseRelationPath("base/+5/1").has_value());
  EXPECT_FALSE(ParseRelationPath("base/5/-1").has_value());
}

TEST(ParseRelationForkPath, NamesTheFork) {
  EXPECT_EQ(ParseRelationForkPath("base/5/1_fsm")->fork, ForkNumber::kFsm);
  EXPECT_EQ(ParseRelationForkPath("base/5/1_vm")->fork, ForkNumber::kVisibilityMap);
  EXPECT_EQ(ParseRelationForkPath("base/5/1_init")->fork, ForkNumber::kInit);
  EXPECT_FALSE(ParseRelationForkPath("base/5/_init").has_value());
  EXPECT_FALSE(ParseRelationForkPath("16384").has_value());
}

// relpath.c puts the fork before the segment number: "16384_fsm.1".
TEST(ParseRelationForkPath, ForkComesBeforeTheSegmentNumber) {
  const auto fork = ParseRelationForkPath("base/5/16384_fsm.1");
  ASSERT_TRUE(fork.has_value());
  EXPECT_EQ(fork->fork, ForkNumber::kFsm);
  EXPECT_EQ(fork->segment, 1u);
}

TEST(ParseDatabaseDirectory, OnlyDirectoriesOfDatabases) {
  ASSERT_TRUE(ParseDatabaseDirectory("base/5").has_value());
  EXPECT_EQ(ParseDatabaseDirectory("base/5")->tablespace, 1663u);
  EXPECT_EQ(ParseDatabaseDirectory("pg_tblspc/16400/PG_15_202209061/5")->tablespace, 16400u);
  EXPECT_FALSE(ParseDatabaseDirectory("global").has_value());
  EXPECT_FALSE(ParseDatabaseDirectory("base").has_value());
  EXPECT_FALSE(ParseDatabaseDirectory("base/pgsql_tmp").has_value());
  EXPECT_FALSE(ParseDatabaseDirectory("base/5/1").has_value());
}

TEST(PathProblem, HostilePaths) {
  const std::string bad[] = {"",
                             "/",
                             "/etc/passwd",
                             "..",
                             ".",
                             "a/..",
                             "a/../b",
                             "../a",
                             "a/./b",
                             "./a",
                             "a//b",
                             "a/",
                             std::string("a\0b", 3),
                             "a\nb",
                             "a\rb",
                             "a\x1b[0m",
                             "a\x7f",
                             std::string(256, 'x'),
                             "d/" + std::string(256, 'x'),
                             [] {
                               std::string deep = "a";
                               while (deep.size() <= 1024) deep += "/a";
                               return deep;
                             }(),
                             std::string(1 << 20, 'x')};
  for (const std::string& path : bad) EXPECT_NE(PathProblem(path), "") << path.substr(0, 40);
}

TEST(PathProblem, NamesThatOnlyLookStrange) {
  for (const std::string& path :
       {std::string("base/5/16384"), std::string("..."), std::string("a/..b"), std::string("a b"),
        std::string("quote'\"\\"), std::string("\xff\xfe"), std::string("caf\xc3\xa9"),
        std::string(255, 'x'), std::string("-rf"), std::string("*")}) {
    EXPECT_EQ(PathProblem(path), "") << path;
  }
}

}  // namespace
}  // namespace pgrejoin
