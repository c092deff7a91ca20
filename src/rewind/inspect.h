// What is in a local data directory, found by reading only: who wrote it, on which line of descent,
// and where its valid WAL ends. Works on a directory of any state, also crashed or half rewound.
#pragma once

#include <cstdint>
#include <string>

#include "pgdata/timeline_history.h"
#include "pgdata/types.h"

namespace pgrejoin {

enum class DirectoryKind {
  kEmpty,       // missing, or no file but lost+found
  kHalfMade,    // broken initdb or copy: no control file nor journal, or the gate's mark
  kFreshClone,  // standby.signal and a backup_label that is not ours: a base backup, never started
  kPointInTimeRecovery,  // recovery.signal: a person is restoring
  kHalfRewound,          // our journal: a rewind was interrupted
  kStandby,
  kPrimary,  // would start read-write
};

struct DirectoryState {
  DirectoryKind kind = DirectoryKind::kEmpty;
  // kHalfMade, and known to be an initdb that never came to its end: "<pgdata>.initialising" is
  // there (gate/gate.cc). No server was ever reachable on it.
  bool initdb_cut_short = false;
  // The rest is meaningful from kFreshClone on.
  uint64_t system_identifier = 0;
  unsigned major_version = 0;
  bool clean_shutdown = false;
  TimelineHistory history;
  Lsn end_of_wal;  // kPrimary, kStandby: end of the last valid record; otherwise 0
};

// Reads without taking the directory's lock, so the answer is only good while the lock is held.
// Throws Error(kTargetFailed) for a damaged control file and Error(kNotRewindable) for a major
// that this program does not know.
DirectoryState InspectDirectory(const std::string& pgdata);

const char* DirectoryKindName(DirectoryKind kind);  // "empty", "half-made", "standby", ...

}  // namespace pgrejoin
