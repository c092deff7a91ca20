// What a record does to files beyond the blocks it names.
// Sources: xlogrecord.h, pg_control.h, storage_xlog.h, dbcommands_xlog.h, xact.h, xlog_internal.h.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "pgdata/control_file.h"
#include "pgdata/timestamp.h"
#include "pgdata/types.h"
#include "wal/wal_record.h"

namespace pgrejoin {

struct CheckPointEffect {
  CheckPoint checkpoint;
};
struct FullPageWritesEffect {
  bool on = false;
};
struct ParameterChangeEffect {
  int32_t wal_level = 0;  // 0 minimal, 1 replica, 2 logical
  bool wal_log_hints = false;
};
struct EndOfRecoveryEffect {
  TimelineId timeline = 0;
};
struct TransactionEndEffect {
  bool committed = false;
  TransactionId xid = 0;                // of the prepared transaction, where it is one
  std::vector<TransactionId> children;  // subtransactions
  PgTimestamp time = 0;
};
struct CreateRelationEffect {
  RelFileLocator locator;
  ForkNumber fork = ForkNumber::kMain;
};
struct TruncateRelationEffect {
  RelFileLocator locator;
  BlockNumber blocks = 0;  // length after it
};
struct CreateDatabaseByCopyEffect {
  Oid database = 0;
  Oid tablespace = 0;
  Oid template_database = 0;
  Oid template_tablespace = 0;
};
struct DropDatabaseEffect {
  Oid database = 0;
};

using RecordEffect =
    std::variant<std::monostate, CheckPointEffect, FullPageWritesEffect, ParameterChangeEffect,
                 EndOfRecoveryEffect, TransactionEndEffect, CreateRelationEffect,
                 TruncateRelationEffect, CreateDatabaseByCopyEffect, DropDatabaseEffect>;

// Throws Error(kNotRewindable) for a record that changes files in a way that is not known, or whose
// payload is too short.
RecordEffect EffectOf(const WalRecord& record, const PgVersion& version);

}  // namespace pgrejoin
