#include "wal/record_effects.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"

namespace pgrejoin {
namespace {

constexpr uint8_t kSpecialRelationUpdate = 0x01;

constexpr uint8_t kXlogCheckpointShutdown = 0x00;
constexpr uint8_t kXlogCheckpointOnline = 0x10;
constexpr uint8_t kXlogParameterChange = 0x60;
constexpr uint8_t kXlogFullPageWrites = 0x80;
constexpr uint8_t kXlogEndOfRecovery = 0x90;

constexpr uint8_t kXactOpMask = 0x70;
constexpr uint8_t kXactCommit = 0x00;
constexpr uint8_t kXactAbort = 0x20;
constexpr uint8_t kXactCommitPrepared = 0x30;
constexpr uint8_t kXactAbortPrepared = 0x40;
constexpr uint8_t kXactHasInfo = 0x80;

constexpr uint32_t kXinfoDatabase = 1;
constexpr uint32_t kXinfoSubxacts = 2;
constexpr uint32_t kXinfoRelations = 4;
constexpr uint32_t kXinfoInvalidations = 8;
constexpr uint32_t kXinfoTwophase = 0x10;
constexpr uint32_t kXinfoDroppedStats = 0x100;

constexpr uint8_t kSmgrCreate = 0x10;
constexpr uint8_t kSmgrTruncate = 0x20;

class Payload {
 public:
  explicit Payload(const WalRecord& record) : record_(record), rest_(record.main_data) {}

  template <typename T>
  T Take() {
    const T value = LoadLe<T>(TakeBytes(sizeof(T)), 0);
    return value;
  }
  Bytes TakeBytes(uint64_t count) {
    if (rest_.size() < count) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("WAL record at {} (resource manager {}, info {:#04x}) is too short",
                              record_.start.ToString(), record_.rmgr, record_.info));
    }
    const Bytes taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  RelFileLocator TakeLocator() {
    RelFileLocator locator;
    locator.tablespace = Take<uint32_t>();
    locator.database = Take<uint32_t>();
    locator.number = Take<uint32_t>();
    return locator;
  }
  void SkipArray(uint64_t item_bytes) { TakeBytes(item_bytes * Take<uint32_t>()); }

 private:
  const WalRecord& record_;
  Bytes rest_;
};

RecordEffect XlogEffect(const WalRecord& record) {
  Payload payload(record);
  switch (record.rmgr_info()) {
    case kXlogCheckpointShutdown:
    case kXlogCheckpointOnline:
      return CheckPointEffect{LoadCheckPoint(payload.TakeBytes(kCheckPointBytes))};
    case kXlogFullPageWrites:
      return FullPageWritesEffect{payload.Take<uint8_t>() != 0};
    case kXlogParameterChange: {
      payload.TakeBytes(5 * sizeof(int32_t));
      ParameterChangeEffect effect;
      effect.wal_level = payload.Take<int32_t>();
      effect.wal_log_hints = payload.Take<uint8_t>() != 0;
      return effect;
    }
    case kXlogEndOfRecovery:
      payload.TakeBytes(sizeof(int64_t));
      return EndOfRecoveryEffect{payload.Take<uint32_t>()};
    default:
      return {};
  }
}

// ParseCommitRecord() and ParseAbortRecord() in xactdesc.c share this order.
RecordEffect TransactionEffect(const WalRecord& record, const PgVersion& version) {
  const uint8_t op = record.info & kXactOpMask;
  const bool commit = op == kXactCommit || op == kXactCommitPrepared;
  const bool abort = op == kXactAbort || op == kXactAbortPrepared;
  if (!commit && !abort) return {};
  Payload payload(record);
  TransactionEndEffect effect;
  effect.committed = commit;
  effect.xid = record.xid;
  effect.time = payload.Take<PgTimestamp>();
  const uint32_t xinfo = (record.info & kXactHasInfo) != 0 ? payload.Take<uint32_t>() : 0;
  if ((xinfo & kXinfoDatabase) != 0) payload.TakeBytes(8);
  if ((xinfo & kXinfoSubxacts) != 0) {
    const uint32_t count = payload.Take<uint32_t>();
    const Bytes xids = payload.TakeBytes(uint64_t{count} * 4);
    for (uint32_t i = 0; i < count; ++i) effect.children.push_back(LoadLe32(xids, i * 4));
  }
  if ((xinfo & kXinfoRelations) != 0) payload.SkipArray(12);
  if ((xinfo & kXinfoDroppedStats) != 0) payload.SkipArray(version.major >= 18 ? 16 : 12);
  if (commit && (xinfo & kXinfoInvalidations) != 0) payload.SkipArray(16);
  if ((xinfo & kXinfoTwophase) != 0) effect.xid = payload.Take<uint32_t>();
  return effect;
}

RecordEffect SmgrEffect(const WalRecord& record) {
  Payload payload(record);
  if (record.rmgr_info() == kSmgrCreate) {
    CreateRelationEffect effect;
    effect.locator = payload.TakeLocator();
    const auto fork = payload.Take<uint32_t>();
    if (fork > static_cast<uint32_t>(ForkNumber::kInit)) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("WAL record at {} creates a relation in unknown fork {}",
                              record.start.ToString(), fork));
    }
    effect.fork = static_cast<ForkNumber>(fork);
    return effect;
  }
  if (record.rmgr_info() == kSmgrTruncate) {
    TruncateRelationEffect effect;
    effect.blocks = payload.Take<uint32_t>();
    effect.locator = payload.TakeLocator();
    return effect;
  }
  return {};
}

RecordEffect DatabaseEffect(const WalRecord& record, const PgVersion& version) {
  Payload payload(record);
  if (record.rmgr_info() == version.dbase_create_file_copy) {
    CreateDatabaseByCopyEffect effect;
    effect.database = payload.Take<uint32_t>();
    effect.tablespace = payload.Take<uint32_t>();
    effect.template_database = payload.Take<uint32_t>();
    effect.template_tablespace = payload.Take<uint32_t>();
    return effect;
  }
  if (record.rmgr_info() == version.dbase_drop) {
    return DropDatabaseEffect{payload.Take<uint32_t>()};
  }
  return {};
}

// Records that change files without naming blocks carry this flag; those whose effect the plan
// covers are listed in docs/explanation/safety.md, everything else is refused.
void CheckSpecialUpdate(const WalRecord& record) {
  if ((record.info & kSpecialRelationUpdate) == 0) return;
  const bool covered =
      record.rmgr == kRmgrSmgr || record.rmgr == kRmgrDbase || record.rmgr == kRmgrXact;
  if (!covered) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("WAL record at {} changes a relation in an unknown way (resource "
                            "manager {}, info {:#04x})",
                            record.start.ToString(), record.rmgr, record.info));
  }
}

}  // namespace

RecordEffect EffectOf(const WalRecord& record, const PgVersion& version) {
  CheckSpecialUpdate(record);
  switch (record.rmgr) {
    case kRmgrXlog:
      return XlogEffect(record);
    case kRmgrXact:
      return TransactionEffect(record, version);
    case kRmgrSmgr:
      return SmgrEffect(record);
    case kRmgrDbase:
      return DatabaseEffect(record, version);
    default:
      return {};
  }
}

}  // namespace pgrejoin
