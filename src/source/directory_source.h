// A data directory on this machine as source: pg_rewind's --source-pgdata. Its server has been
// stopped cleanly and stays down: nothing replays what it would have had only in its WAL, and
// nothing repairs what is copied while it changes. So a directory that differs from what it was at
// first contact ends the run: by its control file (Identify()), or by a file that is of another
// size or gone (ListFiles() when called again, and readers).
//
// Read below handles, without following symbolic links but for those that PostgreSQL itself makes,
// pg_wal and pg_tblspc/<oid>. Never written to. While this object lives it holds a shared lock on
// the directory, so that neither pg-rejoin-gate nor another rewind changes it.
#pragma once

#include <memory>
#include <string>

#include "source/rewind_source.h"

namespace pgrejoin {

class DirectorySource : public RewindSource {
 public:
  // Throws Error(kUnavailable) when it cannot be read and Error(kNotRewindable) unless its server
  // was shut down cleanly. Its readers must not outlive it.
  static std::unique_ptr<DirectorySource> Open(const std::string& pgdata);

  // Nobody can connect to it.
  std::string PrimaryConninfo() const override { return {}; }
};

// Throws Error(kUsage) when one of the directories, its pg_wal or one of its tablespaces is, or is
// inside of, a part of the other: the rewind would destroy what it copies from.
void CheckNothingShared(const std::string& source_pgdata, const std::string& target_pgdata);

}  // namespace pgrejoin
