// What a rewind knows about the target and cannot find out again once it has begun, because the
// rewind replaces the very files it was found in. The journal keeps it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pgdata/backup_label.h"
#include "pgdata/control_file.h"
#include "pgdata/timeline_history.h"
#include "pgdata/types.h"
#include "rewind/database_copies.h"
#include "target/target_directory.h"
#include "wal/block_ref_table.h"

namespace pgrejoin {

struct RewindFacts {
  explicit RewindFacts(ControlFile control)
      : target_control(std::move(control)), blocks(target_control.blocks_per_segment()) {}

  ControlFile target_control;  // as it was before the fence
  TimelineHistory target_history;
  TimelineHistory source_history;  // at first contact
  ForkPoint fork;
  Lsn target_end;
  // Where replay will begin, and from which checkpoint.
  BackupLabel label;
  // nextXid at that checkpoint. Transactions prepared from there on come back by replay.
  uint64_t start_next_xid = 0;
  // Main-fork blocks that the target's WAL touches from the scan's start to its end.
  BlockRefTable blocks;
  // Relations that the target created after the fork: their files hold what no WAL tells.
  std::set<RelFileLocator> created;
  // Directories (tablespace, database) whose files the target copied after the fork without WAL.
  std::set<std::pair<Oid, Oid>> copied_databases;
  // Relations that the target truncated, and the shortest length.
  std::map<RelFileLocator, BlockNumber> truncated;
  // Of the WAL up to the fork, which the target will replay.
  DatabaseCopies copies;
  uint64_t discarded_transactions = 0;
  uint64_t discarded_bytes = 0;
  std::vector<TargetFile> target_files;  // as they were before the first change
};

}  // namespace pgrejoin
