// The target's WAL, read where it lies.
#pragma once

#include <memory>
#include <string>

#include "pgdata/control_file.h"
#include "pgdata/timeline_history.h"
#include "target/target_directory.h"
#include "wal/wal_reader.h"

namespace pgrejoin {

WalLayout LayoutOf(const ControlFile& control);

// The line of descent that the target was on. Throws Error(kNotRewindable) without a history file.
TimelineHistory ReadTargetHistory(const TargetDirectory& target, TimelineId timeline);

// A reader over pg_wal; target must outlive it.
class TargetWal {
 public:
  TargetWal(const TargetDirectory& target, const ControlFile& control, TimelineHistory history);
  WalReader& reader() { return reader_; }

 private:
  LocalWalFiles files_;
  WalReader reader_;
};

struct WalTail {
  Lsn last_record;  // start of the last valid record
  Lsn end;          // its end
  std::string reason;
};

// Reads forward from the record at from, which must exist, to the end of valid WAL.
WalTail FindEndOfWal(WalReader& reader, Lsn from);

struct CheckPointRecord {
  Lsn lsn;
  CheckPoint checkpoint;
};

// The last checkpoint at or before the record that begins at lsn. Follows the previous-record
// links. Throws Error(kNotRewindable) where WAL is missing.
CheckPointRecord FindCheckPoint(WalReader& reader, Lsn lsn, const PgVersion& version);

}  // namespace pgrejoin
