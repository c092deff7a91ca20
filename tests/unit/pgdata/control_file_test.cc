#include "pgdata/control_file.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/pgdata/control_builder.h"

namespace pgrejoin {
namespace {

using testing::ControlSpec;
using testing::MakeControl;
using testing::ParseControl;
using testing::SealControl;

ErrorKind KindOfParse(const std::string& raw) {
  try {
    ControlFile::Parse(AsBytes(raw), "target");
  } catch (const Error& error) {
    EXPECT_TRUE(error.message().starts_with("target ")) << error.message();
    return error.kind();
  }
  ADD_FAILURE() << "was accepted";
  return ErrorKind::kInternal;
}

std::string Changed(const ControlSpec& spec, size_t offset, uint32_t value) {
  std::string raw = MakeControl(spec);
  StoreLe<uint32_t>(std::as_writable_bytes(std::span(raw)), offset, value);
  SealControl(&raw, spec.major);
  return raw;
}

class EachMajor : public ::testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Majors, EachMajor, ::testing::Values(14u, 15u, 16u, 17u, 18u));

TEST_P(EachMajor, ReadsEveryNamedField) {
  const ControlSpec spec{.major = GetParam(),
                         .system_identifier = 0xfedcba9876543210,
                         .state = DatabaseState::kArchiveRecovery,
                         .checkpoint_lsn = {0x1'02000028},
                         .redo = {0x1'01ffff00},
                         .timeline = 3,
                         .previous_timeline = 2,
                         .full_page_writes = true,
                         .next_full_xid = 0x1'00000301,
                         .min_recovery_point = {0x1'03000000},
                         .min_recovery_point_timeline = 4,
                         .wal_log_hints = true,
                         .blocks_per_segment = 1 << 17,
                         .wal_segment_size = 1 << 26,
                         .data_checksum_version = 0};
  const ControlFile control = ParseControl(spec);
  EXPECT_EQ(control.version().major, GetParam());
  EXPECT_EQ(control.system_identifier(), spec.system_identifier);
  EXPECT_EQ(control.state(), DatabaseState::kArchiveRecovery);
  EXPECT_EQ(control.checkpoint_lsn(), spec.checkpoint_lsn);
  EXPECT_EQ(control.checkpoint().redo, spec.redo);
  EXPECT_EQ(control.checkpoint().timeline, 3u);
  EXPECT_EQ(control.checkpoint().previous_timeline, 2u);
  EXPECT_TRUE(control.checkpoint().full_page_writes);
  EXPECT_EQ(control.checkpoint().next_full_xid, spec.next_full_xid);
  EXPECT_EQ(control.min_recovery_point(), spec.min_recovery_point);
  EXPECT_EQ(control.timeline(), 4u);
  EXPECT_TRUE(control.wal_log_hints());
  EXPECT_EQ(control.wal_segment_size(), 1u << 26);
  EXPECT_EQ(control.data_checksum_version(), 0u);
  EXPECT_TRUE(control.in_recovery());
  EXPECT_FALSE(control.clean_shutdown());
  EXPECT_FALSE(control.fenced());
}

TEST(ControlFileLimits, AreTheOnesOfAHotStandby) {
  std::string raw = MakeControl({.major = 15});
  for (uint32_t n = 0; n < 5; ++n) {
    StoreLe<uint32_t>(std::as_writable_bytes(std::span(raw)), 180 + 4 * n, 100 + n);
  }
  SealControl(&raw, 15);
  const auto limits = ControlFile::Parse(AsBytes(raw), "target").limits();
  EXPECT_STREQ(limits[0].name, "max_connections");
  EXPECT_STREQ(limits[4].name, "max_locks_per_transaction");
  for (uint32_t n = 0; n < 5; ++n) EXPECT_EQ(limits[n].value, 100 + n);
}

TEST_P(EachMajor, EveryFlippedByteBelowTheChecksumIsDamage) {
  const std::string good = MakeControl({.major = GetParam()});
  const size_t covered = GetParam() >= 18 ? 296 : 292;  // the CRC itself included
  for (size_t i = 0; i < covered; ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_EQ(KindOfParse(bad), ErrorKind::kTargetFailed) << "byte " << i;
  }
}

TEST_P(EachMajor, TheFenceChangesTheVersionAloneAndIsAccepted) {
  const ControlFile control = ParseControl({.major = GetParam()});
  const ControlFile fenced = control.Fenced();
  EXPECT_TRUE(fenced.fenced());
  const uint32_t stated = LoadLe32(fenced.raw(), 8);
  EXPECT_NE(stated, control.version().control_version);
  EXPECT_NE(stated % 65536, 0u) << "the server would call it a byte order mismatch";
  const ControlFile again = ControlFile::Parse(fenced.raw(), "fenced");
  EXPECT_EQ(again.version().major, GetParam());
  size_t differences = 0;
  const size_t crc = control.version().control_crc_offset;
  for (size_t i = 0; i < kControlFileBytes; ++i) {
    const bool expected = (i >= 8 && i < 12) || (i >= crc && i < crc + 4);
    if (fenced.raw()[i] == control.raw()[i]) continue;
    EXPECT_TRUE(expected) << "byte " << i;
    ++differences;
  }
  EXPECT_GT(differences, 0u);
}

TEST_P(EachMajor, AsStandbyKeepsEverythingElse) {
  const ControlFile source =
      ParseControl({.major = GetParam(), .state = DatabaseState::kInProduction, .timeline = 2});
  const ControlFile standby = source.AsStandby({0x5'00000060}, 2);
  EXPECT_EQ(standby.state(), DatabaseState::kArchiveRecovery);
  EXPECT_EQ(standby.min_recovery_point(), (Lsn{0x5'00000060}));
  EXPECT_EQ(standby.min_recovery_point_timeline(), 2u);
  EXPECT_EQ(standby.checkpoint_lsn(), source.checkpoint_lsn());
  for (size_t i = 148; i < source.version().control_crc_offset; ++i) {
    EXPECT_EQ(standby.raw()[i], source.raw()[i]) << "byte " << i;
  }
  EXPECT_NO_THROW(ControlFile::Parse(standby.raw(), "standby"));
}

TEST(ControlFile, OtherSizesAreDamage) {
  std::string raw = MakeControl({});
  EXPECT_EQ(KindOfParse(""), ErrorKind::kTargetFailed);
  EXPECT_EQ(KindOfParse(raw.substr(0, 8191)), ErrorKind::kTargetFailed);
  EXPECT_EQ(KindOfParse(raw + '\0'), ErrorKind::kTargetFailed);
  EXPECT_EQ(KindOfParse(std::string(8192, '\0')), ErrorKind::kTargetFailed);
}

TEST(ControlFile, AnUnknownCatalogVersionWithAGoodChecksumIsNotDamage) {
  EXPECT_EQ(KindOfParse(Changed({.major = 15}, 12, 202307999)), ErrorKind::kNotRewindable);
  EXPECT_EQ(KindOfParse(Changed({.major = 18}, 12, 202607999)), ErrorKind::kNotRewindable);
}

TEST(ControlFile, AControlVersionOfAnotherMajorIsRefused) {
  EXPECT_EQ(KindOfParse(Changed({.major = 17}, 8, 1300)), ErrorKind::kNotRewindable);
}

TEST(ControlFile, LayoutsThatTheArithmeticDoesNotKnowAreRefused) {
  struct Case {
    size_t offset;
    uint32_t value;
  };
  const Case cases[] = {{204, 4},       {208, 1},        {216, 16384},         {216, 0},
                        {220, 0},       {220, 1u << 25}, {224, 4096},          {228, 0},
                        {228, 1 << 19}, {228, 1u << 31}, {228, (1 << 20) + 1}, {16, 7}};
  for (const Case& c : cases) {
    EXPECT_EQ(KindOfParse(Changed({}, c.offset, c.value)), ErrorKind::kNotRewindable)
        << c.offset << " = " << c.value;
  }
}

TEST(ControlFile, CleanAndRecoveryFollowTheState) {
  struct Case {
    DatabaseState state;
    bool clean;
    bool recovery;
  };
  const Case cases[] = {{DatabaseState::kStartup, false, false},
                        {DatabaseState::kShutDown, true, false},
                        {DatabaseState::kShutDownInRecovery, true, true},
                        {DatabaseState::kShuttingDown, false, false},
                        {DatabaseState::kCrashRecovery, false, false},
                        {DatabaseState::kArchiveRecovery, false, true},
                        {DatabaseState::kInProduction, false, false}};
  for (const Case& c : cases) {
    const ControlFile control = ParseControl({.state = c.state});
    EXPECT_EQ(control.clean_shutdown(), c.clean);
    EXPECT_EQ(control.in_recovery(), c.recovery);
  }
}

TEST(ControlFile, ClustersThatMayNotBeMixed) {
  const auto refusal = [](const ControlSpec& source) -> std::string {
    try {
      CheckCompatible(ParseControl({}), ParseControl(source));
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kNotRewindable);
      return error.message();
    }
  };
  EXPECT_EQ(refusal({.state = DatabaseState::kInProduction, .timeline = 9}), "");
  EXPECT_NE(refusal({.system_identifier = 1}).find("different systems"), std::string::npos);
  EXPECT_NE(refusal({.major = 16}).find("PostgreSQL 16"), std::string::npos);
  EXPECT_NE(refusal({.blocks_per_segment = 65536}).find("segment size"), std::string::npos);
  EXPECT_NE(refusal({.wal_segment_size = 1 << 24}).find("segment size"), std::string::npos);
  EXPECT_NE(refusal({.data_checksum_version = 0}).find("checksums"), std::string::npos);
}

}  // namespace
}  // namespace pgrejoin
