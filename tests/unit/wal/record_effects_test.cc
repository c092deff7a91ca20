#include "wal/record_effects.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/wal/wal_builder.h"

namespace pgrejoin {
namespace {

using testing::Put;
using testing::WalVersion;

WalRecord Record(uint8_t rmgr, uint8_t info, const std::string& main_data, TransactionId xid = 0) {
  WalRecord record;
  record.start = {0x2000028};
  record.rmgr = rmgr;
  record.info = info;
  record.xid = xid;
  record.main_data = AsBytes(main_data);
  return record;
}

class EffectsOfMajor : public ::testing::TestWithParam<unsigned> {
 protected:
  const PgVersion& version() const { return WalVersion(GetParam()); }
  RecordEffect Effect(uint8_t rmgr, uint8_t info, const std::string& main, TransactionId xid = 0) {
    return EffectOf(Record(rmgr, info, main, xid), version());
  }
};
INSTANTIATE_TEST_SUITE_P(Majors, EffectsOfMajor, ::testing::Values(14u, 15u, 16u, 17u, 18u));

TEST_P(EffectsOfMajor, CheckPoints) {
  std::string payload(88, '\0');
  const MutableBytes bytes = std::as_writable_bytes(std::span(payload));
  StoreLe<uint64_t>(bytes, 0, 0x1'02000028);
  StoreLe<uint32_t>(bytes, 8, 5);
  StoreLe<uint32_t>(bytes, 12, 4);
  StoreLe<uint8_t>(bytes, 16, 1);
  StoreLe<uint64_t>(bytes, 24, 0x2'000002f0);
  for (const uint8_t info : {uint8_t{0x00}, uint8_t{0x10}}) {
    const RecordEffect effect = Effect(0, info, payload);
    const auto* checkpoint = std::get_if<CheckPointEffect>(&effect);
    ASSERT_NE(checkpoint, nullptr);
    EXPECT_EQ(checkpoint->checkpoint.redo, (Lsn{0x1'02000028}));
    EXPECT_EQ(checkpoint->checkpoint.timeline, 5u);
    EXPECT_EQ(checkpoint->checkpoint.previous_timeline, 4u);
    EXPECT_TRUE(checkpoint->checkpoint.full_page_writes);
    EXPECT_EQ(checkpoint->checkpoint.next_full_xid, 0x2'000002f0u);
  }
  EXPECT_THROW(Effect(0, 0x10, payload.substr(0, 87)), Error);
}

TEST_P(EffectsOfMajor, FullPageWritesAndParameters) {
  EXPECT_FALSE(std::get<FullPageWritesEffect>(Effect(0, 0x80, std::string(1, '\0'))).on);
  EXPECT_TRUE(std::get<FullPageWritesEffect>(Effect(0, 0x80, "\1")).on);
  std::string payload(20, '\7');
  Put<int32_t>(&payload, 2);
  Put<uint8_t>(&payload, 1);
  Put<uint8_t>(&payload, 0);
  const auto change = std::get<ParameterChangeEffect>(Effect(0, 0x60, payload));
  EXPECT_EQ(change.wal_level, 2);
  EXPECT_TRUE(change.wal_log_hints);
  EXPECT_THROW(Effect(0, 0x60, payload.substr(0, 24)), Error);
}

TEST_P(EffectsOfMajor, EndOfRecovery) {
  std::string payload(8, '\0');
  Put<uint32_t>(&payload, 7);
  Put<uint32_t>(&payload, 6);
  EXPECT_EQ(std::get<EndOfRecoveryEffect>(Effect(0, 0x90, payload)).timeline, 7u);
}

TEST_P(EffectsOfMajor, DatabasesByTheMajorsOwnNumbers) {
  std::string payload;
  for (const Oid oid : {16999u, 1663u, 5u, 1664u}) Put<uint32_t>(&payload, oid);
  const auto copy = std::get<CreateDatabaseByCopyEffect>(Effect(4, 0x01, payload));
  EXPECT_EQ(copy.database, 16999u);
  EXPECT_EQ(copy.tablespace, 1663u);
  EXPECT_EQ(copy.template_database, 5u);
  EXPECT_EQ(copy.template_tablespace, 1664u);
  const bool old = GetParam() == 14;
  EXPECT_EQ(std::get<DropDatabaseEffect>(Effect(4, old ? 0x11 : 0x21, payload)).database, 16999u);
  if (!old) {
    EXPECT_TRUE(std::holds_alternative<std::monostate>(Effect(4, 0x10, payload)));
  }
}

TEST_P(EffectsOfMajor, RelationsCreatedAndTruncated) {
  std::string create;
  for (const Oid oid : {1663u, 5u, 16384u}) Put<uint32_t>(&create, oid);
  Put<int32_t>(&create, 3);
  const auto created = std::get<CreateRelationEffect>(Effect(2, 0x11, create));
  EXPECT_EQ(created.locator, (RelFileLocator{1663, 5, 16384}));
  EXPECT_EQ(created.fork, ForkNumber::kInit);
  // 256 is no main fork, though its last byte is.
  for (const int32_t fork : {4, 256, -1}) {
    EXPECT_THROW(Effect(2, 0x11, create.replace(12, 4, reinterpret_cast<const char*>(&fork), 4)),
                 Error);
  }
  std::string truncate;
  Put<uint32_t>(&truncate, 77);
  for (const Oid oid : {1663u, 5u, 16384u}) Put<uint32_t>(&truncate, oid);
  Put<int32_t>(&truncate, 7);
  const auto truncated = std::get<TruncateRelationEffect>(Effect(2, 0x21, truncate));
  EXPECT_EQ(truncated.blocks, 77u);
  EXPECT_EQ(truncated.locator, (RelFileLocator{1663, 5, 16384}));
  EXPECT_THROW(Effect(2, 0x21, truncate.substr(0, 12)), Error);
}

std::string CommitPayload(uint32_t xinfo, unsigned major) {
  std::string payload;
  Put<int64_t>(&payload, 123456);
  Put<uint32_t>(&payload, xinfo);
  if (xinfo & 1) Put<uint64_t>(&payload, 0);
  if (xinfo & 2) {
    Put<uint32_t>(&payload, 2);
    Put<uint32_t>(&payload, 801);
    Put<uint32_t>(&payload, 802);
  }
  if (xinfo & 4) {
    Put<uint32_t>(&payload, 3);
    payload.append(36, 'r');
  }
  if (xinfo & 0x100) {
    Put<uint32_t>(&payload, 2);
    payload.append(major >= 18 ? 32 : 24, 's');
  }
  return payload;
}

TEST_P(EffectsOfMajor, CommitWithoutAnything) {
  std::string payload;
  Put<int64_t>(&payload, 123456);
  const auto end = std::get<TransactionEndEffect>(Effect(1, 0x00, payload, 740));
  EXPECT_TRUE(end.committed);
  EXPECT_EQ(end.xid, 740u);
  EXPECT_EQ(end.time, 123456);
  EXPECT_TRUE(end.children.empty());
}

TEST_P(EffectsOfMajor, CommitPreparedTakesTheTransactionFromItsPayload) {
  const uint32_t stats = GetParam() >= 15 ? 0x100 : 0;
  const uint32_t xinfo = 1 | 2 | 4 | 8 | 0x10 | stats;
  std::string payload = CommitPayload(xinfo, GetParam());
  Put<uint32_t>(&payload, 2);  // invalidations stand only in commits
  payload.append(32, 'i');
  Put<uint32_t>(&payload, 4711);
  const auto end = std::get<TransactionEndEffect>(Effect(1, 0x80 | 0x30 | 0x01, payload, 999));
  EXPECT_TRUE(end.committed);
  EXPECT_EQ(end.xid, 4711u);
  EXPECT_EQ(end.children, (std::vector<TransactionId>{801, 802}));
}

TEST_P(EffectsOfMajor, AbortPreparedHasNoInvalidations) {
  const uint32_t stats = GetParam() >= 15 ? 0x100 : 0;
  std::string payload = CommitPayload(2 | 4 | 0x10 | stats, GetParam());
  Put<uint32_t>(&payload, 4712);
  const auto end = std::get<TransactionEndEffect>(Effect(1, 0x80 | 0x40 | 0x01, payload));
  EXPECT_FALSE(end.committed);
  EXPECT_EQ(end.xid, 4712u);
}

TEST_P(EffectsOfMajor, HostileCountsAreRefused) {
  std::string payload;
  Put<int64_t>(&payload, 1);
  Put<uint32_t>(&payload, 2);
  Put<uint32_t>(&payload, 0xffffffff);
  Put<uint32_t>(&payload, 1);
  EXPECT_THROW(Effect(1, 0x80, payload), Error);
  std::string relations;
  Put<int64_t>(&relations, 1);
  Put<uint32_t>(&relations, 4);
  Put<uint32_t>(&relations, 0xffffffff);
  EXPECT_THROW(Effect(1, 0x80, relations), Error);
  EXPECT_THROW(Effect(1, 0x00, "1234567"), Error);
}

TEST_P(EffectsOfMajor, PrepareAndAssignmentEndNothing) {
  for (const uint8_t info : {uint8_t{0x10}, uint8_t{0x50}, uint8_t{0x60}}) {
    EXPECT_TRUE(std::holds_alternative<std::monostate>(Effect(1, info, "")));
  }
}

TEST_P(EffectsOfMajor, AnUnknownWayToChangeARelationIsRefused) {
  try {
    Effect(10, 0x01, "");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotRewindable);
    EXPECT_NE(error.message().find("0/2000028"), std::string::npos);
  }
  EXPECT_NO_THROW(Effect(10, 0x02, ""));
}

}  // namespace
}  // namespace pgrejoin
