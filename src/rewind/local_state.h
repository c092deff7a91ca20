// The target as a rewind finds it: control file, line of descent and end of WAL together.
#pragma once

#include <optional>

#include "pgdata/backup_label.h"
#include "pgdata/control_file.h"
#include "pgdata/timeline_history.h"
#include "rewind/target_wal.h"
#include "target/target_directory.h"

namespace pgrejoin {

struct LocalState {
  ControlFile control;
  TimelineHistory history;
  // Ours: the directory was published but not started since, and replay begins at the label.
  std::optional<BackupLabel> label;
  WalTail tail;

  // The checkpoint from which a server would start here.
  Lsn checkpoint_lsn() const { return label ? label->checkpoint : control.checkpoint_lsn(); }
};

ControlFile ReadTargetControl(const TargetDirectory& target);

// Our own backup_label; nullopt when there is none. Throws Error(kNotRewindable) for a foreign one,
// whose files may be ahead of any WAL that is here.
std::optional<BackupLabel> ReadOwnLabel(const TargetDirectory& target);

bool HasForeignLabel(const TargetDirectory& target);

// Throws Error(kNotRewindable) when WAL needed to start the server is missing.
LocalState ReadLocalState(const TargetDirectory& target);

}  // namespace pgrejoin
