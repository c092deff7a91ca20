// The archive of the target's WAL, read by the target's own restore_command
// (src/fe_utils/archive.c, RestoreArchivedFile() of src/backend/access/transam/xlogarchive.c).
//
// The command runs in the data directory by /bin/sh -c, as from the server. Files come to a place
// that PostgreSQL does not look at: pg_wal/pg_rejoin/restored below the data directory, so that
// they can be renamed into pg_wal, or a temporary directory where nothing may change. Nothing of
// the command is logged: it may hold a secret.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "target/directory_lock.h"
#include "target/target_directory.h"

namespace pgrejoin {

class WalArchive {
 public:
  struct Options {
    std::string restore_command;
    bool dry_run = false;  // nothing below the data directory changes
    std::stop_token stop;
    std::chrono::seconds peek_limit{60};  // of Peek()
  };

  // Throws Error(kUsage) for a command with placeholders that no server takes.
  WalArchive(const DirectoryLock& lock, Options options);
  // Removes what was restored, unless an unfinished rewind has a journal: it will need it.
  ~WalArchive();
  WalArchive(const WalArchive&) = delete;
  WalArchive& operator=(const WalArchive&) = delete;

  // A segment or history file by its name. Invalid: the command says that it has none. Throws
  // Error(kUnavailable) where it was killed or could not be run, and Error(kNotRewindable) when
  // what it left is no file of the right size.
  UniqueFd Restore(const std::string& name);

  // What a server would be given now: asked anew each time, and nothing of it stays. Throws as
  // Restore() does, and Error(kUnavailable) for a command that does not end within peek_limit: one
  // that waits for its file is legal for a standby.
  UniqueFd Peek(const std::string& name);

 private:
  // Where files are restored to, and what a command can call it from the data directory.
  struct Place {
    UniqueFd directory;
    std::string path;
  };
  Place ReadyPlace();
  UniqueFd Fetch(const Place& place, const std::string& temporary, const std::string& name,
                 std::chrono::seconds limit) const;
  UniqueFd Open(const Place& place, const std::string& temporary, const std::string& name) const;

  Options options_;
  std::string pgdata_;
  TargetDirectory target_;
  uint32_t segment_size_ = 0;
  mode_t file_mode_ = 0;
  std::string temporary_directory_;  // only in a dry run
  std::set<std::string> missing_;    // not asked for twice
};

// command with %f, the name; %p, where to put it; %r, the last segment that must be kept, and %%
// replaced. %r is a name before all others: nothing may be removed because of us. Throws
// Error(kUsage) for another placeholder.
std::string ExpandRestoreCommand(std::string_view command, const std::string& name,
                                 const std::string& path);

}  // namespace pgrejoin
