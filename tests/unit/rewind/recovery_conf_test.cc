#include "rewind/recovery_conf.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

using testing::ReadText;
using testing::WriteText;

TEST(WithPrimaryConninfo, AppendsWhereThereIsNone) {
  EXPECT_EQ(WithPrimaryConninfo("", "host=a"), "primary_conninfo = 'host=a'\n");
  EXPECT_EQ(WithPrimaryConninfo("# Do not edit\nwork_mem = '4MB'\n", "host=a"),
            "# Do not edit\nwork_mem = '4MB'\nprimary_conninfo = 'host=a'\n");
}

TEST(WithPrimaryConninfo, ReplacesEverySpellingOnce) {
  EXPECT_EQ(WithPrimaryConninfo("primary_conninfo = 'host=old'\nwork_mem = 1\n"
                                "  PRIMARY_Conninfo='host=older'\n",
                                "host=a"),
            "primary_conninfo = 'host=a'\nwork_mem = 1\n");
  EXPECT_EQ(WithPrimaryConninfo("\r primary_conninfo = 'host=old'\r\n", "host=a"),
            "primary_conninfo = 'host=a'\n");
  EXPECT_EQ(WithPrimaryConninfo("#primary_conninfo = 'x'\n", "host=a"),
            "#primary_conninfo = 'x'\nprimary_conninfo = 'host=a'\n");
  EXPECT_EQ(WithPrimaryConninfo("primary_conninfo_x = 1\n", "host=a"),
            "primary_conninfo_x = 1\nprimary_conninfo = 'host=a'\n");
}

TEST(WithPrimaryConninfo, AnEqualSettingChangesNothing) {
  const std::string once = WithPrimaryConninfo("a = 1\n", "host=a password=x");
  EXPECT_EQ(WithPrimaryConninfo(once, "host=a password=x"), once);
}

TEST(WithPrimaryConninfo, RecoveryTargetsOfAnEarlierLifeGo) {
  EXPECT_EQ(
      WithPrimaryConninfo("recovery_target_time = '2026-01-01'\nrecovery_target = 'immediate'\n"
                          "Recovery_Target_Action = 'shutdown'\nrecovery_min_apply_delay = 1\n",
                          "host=a"),
      "recovery_min_apply_delay = 1\nprimary_conninfo = 'host=a'\n");
}

TEST(WithPrimaryConninfo, QuotesAndBackslashesAreDoubled) {
  EXPECT_EQ(WithPrimaryConninfo("", R"(password='it\'s')"),
            "primary_conninfo = 'password=''it\\\\''s'''\n");
}

TEST(WithPrimaryConninfo, ALastLineWithoutItsNewline) {
  EXPECT_EQ(WithPrimaryConninfo("work_mem = 1", "host=a"),
            "work_mem = 1\nprimary_conninfo = 'host=a'\n");
}

class RecoveryConf : public ::testing::Test {
 protected:
  RecoveryConf()
      : lock_((std::filesystem::create_directory(scratch_ / "data"),
               DirectoryLock::Acquire((scratch_ / "data").string()))),
        target_(TargetDirectory::OpenForChange(lock_)) {}
  testing::ScratchDirectory scratch_;
  DirectoryLock lock_;
  TargetDirectory target_;
};

TEST_F(RecoveryConf, WritesBothAndOnlyWhatDiffers) {
  WriteText(scratch_ / "data/postgresql.auto.conf", "work_mem = '4MB'\n");
  WriteRecoveryConf(target_, "host=a", true);
  EXPECT_EQ(ReadText(scratch_ / "data/postgresql.auto.conf"),
            "work_mem = '4MB'\nprimary_conninfo = 'host=a'\n");
  EXPECT_EQ(ReadText(scratch_ / "data/standby.signal"), "");
  const auto written = std::filesystem::last_write_time(scratch_ / "data/postgresql.auto.conf");
  WriteText(scratch_ / "data/standby.signal", "kept");
  WriteRecoveryConf(target_, "host=a", true);
  EXPECT_EQ(std::filesystem::last_write_time(scratch_ / "data/postgresql.auto.conf"), written);
  EXPECT_EQ(ReadText(scratch_ / "data/standby.signal"), "kept");
}

TEST_F(RecoveryConf, NothingAskedNothingWritten) {
  WriteRecoveryConf(target_, "", false);
  EXPECT_TRUE(testing::Snapshot(scratch_ / "data").empty());
}

TEST_F(RecoveryConf, ALinkInItsPlaceIsFoundOutBeforehand) {
  std::filesystem::create_symlink("elsewhere", scratch_ / "data/postgresql.auto.conf");
  try {
    PreviewRecoveryConf(target_, "host=a");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotRewindable);
  }
  EXPECT_NO_THROW(PreviewRecoveryConf(target_, ""));
}

}  // namespace
}  // namespace pgrejoin
