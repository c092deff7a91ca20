#include "pgdata/backup_label.h"

#include <gtest/gtest.h>

namespace pgrejoin {
namespace {

constexpr uint32_t kSegment = 16 << 20;

TEST(BackupLabel, OursComesBackAsItWas) {
  const BackupLabel label{{0x1'02000028}, 3, {0x1'02000060}, true};
  const auto parsed = BackupLabel::Parse(label.ToString(kSegment));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->start, label.start);
  EXPECT_EQ(parsed->timeline, 3u);
  EXPECT_EQ(parsed->checkpoint, label.checkpoint);
  EXPECT_TRUE(parsed->ours);
}

// read_backup_label() scans these lines in this order and with these very words.
TEST(BackupLabel, HasTheLinesThatTheServerScans) {
  const std::string text = BackupLabel{{0x2000028}, 1, {0x2000060}, true}.ToString(kSegment);
  EXPECT_TRUE(
      text.starts_with("START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
                       "CHECKPOINT LOCATION: 0/2000060\n"
                       "BACKUP METHOD: streamed\n"
                       "BACKUP FROM: standby\n"
                       "START TIME: "))
      << text;
  EXPECT_NE(text.find("\nSTART TIMELINE: 1\n"), std::string::npos) << text;
}

TEST(BackupLabel, ABaseBackupsLabelIsNotOurs) {
  const auto label = BackupLabel::Parse(
      "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
      "CHECKPOINT LOCATION: 0/2000060\n"
      "BACKUP METHOD: streamed\nBACKUP FROM: primary\n"
      "START TIME: 2026-01-01 00:00:00 UTC\nLABEL: pg_basebackup base backup\nSTART TIMELINE: 1\n");
  ASSERT_TRUE(label.has_value());
  EXPECT_FALSE(label->ours);
}

TEST(BackupLabel, MalformedIsNothing) {
  const std::string good = BackupLabel{{0x2000028}, 1, {0x2000060}, true}.ToString(kSegment);
  EXPECT_FALSE(BackupLabel::Parse("").has_value());
  EXPECT_FALSE(BackupLabel::Parse("LABEL: pg-rejoin\n").has_value());
  EXPECT_FALSE(BackupLabel::Parse(good.substr(0, good.find("CHECKPOINT"))).has_value());
  EXPECT_FALSE(BackupLabel::Parse(good.substr(good.find("CHECKPOINT"))).has_value());
  std::string bad = good;
  bad.replace(bad.find("0/2000028"), 9, "0-2000028");
  EXPECT_FALSE(BackupLabel::Parse(bad).has_value());
  bad = good;
  bad.replace(bad.find("(file 00000001"), 14, "(file 0000000x");
  EXPECT_FALSE(BackupLabel::Parse(bad).has_value());
  bad = good;
  bad.replace(bad.find("0/2000060"), 9, "0/20000zz");
  EXPECT_FALSE(BackupLabel::Parse(bad).has_value());
}

}  // namespace
}  // namespace pgrejoin
