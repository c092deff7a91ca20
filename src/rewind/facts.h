// What a rewind knows about the target and cannot find out again once it has begun, because the
// rewind replaces the very files it was found in. The journal keeps it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pgdata/backup_label.h"
#include "pgdata/control_file.h"
#include "pgdata/timeline_history.h"
#include "pgdata/timestamp.h"
#include "pgdata/types.h"
#include "rewind/database_copies.h"
#include "target/target_directory.h"
#include "wal/block_ref_table.h"
#include "wal/first_references.h"

namespace pgrejoin {

// Of the first and the last commit of a range, as their servers' clocks had it.
struct CommitTimes {
  PgTimestamp first = 0;
  PgTimestamp last = 0;

  void Note(PgTimestamp time) {
    first = std::min(first, time);
    last = std::max(last, time);
  }
};

struct RewindFacts {
  explicit RewindFacts(ControlFile control)
      : target_control(std::move(control)),
        blocks(target_control.blocks_per_segment()),
        first_references(target_control.blocks_per_segment()) {}

  ControlFile target_control;  // as it was before the fence
  TimelineHistory target_history;
  // The source of the attempt that wrote this, and its flush position then. One that is on another
  // line, or has less WAL, is not the server from which the earlier attempts copied.
  TimelineHistory source_history;
  Lsn source_flush;
  bool source_in_recovery = false;
  std::string source_incarnation;
  ForkPoint fork;
  Lsn last_common_record;  // the one that ends at the fork
  Lsn target_end;
  // Where replay will begin, and from which checkpoint.
  BackupLabel label;
  // nextXid at that checkpoint. Transactions prepared from there on come back by replay.
  uint64_t start_next_xid = 0;
  // Main-fork blocks that the target's WAL touches from the scan's start to its end.
  BlockRefTable blocks;
  // Of the target's WAL from the start of replay to the fork.
  FirstReferences first_references;
  // Relations that the target created after the fork: their files hold what no WAL tells.
  std::set<RelFileLocator> created;
  // Directories (tablespace, database) whose files the target copied after the fork without WAL.
  std::set<std::pair<Oid, Oid>> copied_databases;
  // Relations that the target truncated, and the shortest length.
  std::map<RelFileLocator, BlockNumber> truncated;
  // Of the WAL up to the fork, which the target will replay.
  DatabaseCopies copies;
  // For the hint bits of a standby: WAL of the target holds a change of timeline, and the oldest
  // transaction that ended after the fork.
  bool was_standby = false;
  std::optional<TransactionId> oldest_decided;
  uint64_t discarded_transactions = 0;
  std::optional<CommitTimes> discarded_times;  // nullopt: no commits
  uint64_t discarded_bytes = 0;
  std::vector<TargetFile> target_files;  // as they were before the first change
  // Main forks that this or an earlier attempt may have changed, and how many bytes of each may
  // still be the target's own; what is behind them may be of any source, or zeros.
  std::map<std::string, uint64_t> attempted;

  // They only become fewer.
  void NoteOwnBytes(const std::string& path, uint64_t own_bytes) {
    const auto [at, inserted] = attempted.emplace(path, own_bytes);
    if (!inserted) at->second = std::min(at->second, own_bytes);
  }
};

}  // namespace pgrejoin
