// Makes the target directory a standby of the source. In the order in which it happens:
//
// 1. FindDivergence(): control files and timeline histories of both.
// 2. SurveyTarget(): the target's WAL from the start of replay to its end, as facts.
// 3. RewindRun::Prepare(): the source's WAL staged and read, the plan made.
// 4. WriteJournal(): the facts, durable before the first change.
// 5. The fence: a pg_control that no server accepts.
// 6. The copy: N connections, every step may be repeated.
// 7. WAL into place, data durable, then label, standby.signal and conninfo, then pg_control.
//
// Killed anywhere, Postgres refuses to start on the directory (from 5 to 7) and calling Rewind()
// again finishes the job. Why each step is safe: docs/explanation/safety.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "pgdata/types.h"
#include "source/rewind_source.h"
#include "target/directory_lock.h"
#include "target/target_directory.h"

namespace pgrejoin {

// How files that are not PostgreSQL's own are treated. The target's configuration, logs and
// certificates are kept either way.
enum class ExtraFiles {
  kKeepTarget,   // kept on the target, never fetched (pg-rejoin init)
  kFollowSource  // the target gets the source's set, as pg_rewind does (pg-rejoin rewind)
};

struct RewindProgress {
  std::string phase;  // "reading WAL", "copying", "finishing"
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;  // 0: not known
};

struct RewindResult;

struct RewindOptions {
  int connections = 4;
  bool dry_run = false;
  bool sync = true;  // false: --no-sync, for tests only
  bool sync_with_syncfs = true;
  ExtraFiles extra_files = ExtraFiles::kFollowSource;
  // A standby of the new primary may be read in its place; the result follows that standby.
  bool standby_source = false;
  // More transactions than this are not discarded: the rewind is refused before the first change.
  // One that has begun is finished.
  std::optional<uint64_t> discarded_transactions_max;
  // To compare: copy also what replay overwrites before it reads it.
  bool copy_replayed_blocks = false;
  // Likewise: copy whole also files that the target has already.
  bool copy_same_files = false;
  // Non-empty: written to postgresql.auto.conf as primary_conninfo. May hold a password.
  std::string primary_conninfo;
  bool create_standby_signal = false;
  // Where WAL of the target that its pg_wal lacks is looked for (target/wal_archive.h); empty:
  // nowhere.
  TargetDirectory::WalArchiveLookup archive;
  // What the target's restore_command gives, asked anew each time: recovery will take it before
  // pg_wal. Empty: it has none.
  TargetDirectory::WalArchiveLookup recovery_archive;
  // Called just before pg_control is published; throws to leave the directory fenced.
  std::function<void()> confirm_source;
  // Called once a rewind is published and before the journal, which keeps the same figures, is
  // removed; again by the next run when this one is killed in between.
  std::function<void(const RewindResult&)> on_published;
  std::function<void(const RewindProgress&)> on_progress;
  std::stop_token stop;
};

enum class RewindOutcome {
  kNothingToDo,  // the target's WAL ends on the source's line: only recovery settings were written
  kRewound,
  kResumed  // an interrupted rewind was finished
};

struct RewindResult {
  RewindOutcome outcome = RewindOutcome::kNothingToDo;
  TimelineId target_timeline = 0;
  TimelineId source_timeline = 0;
  Lsn fork_lsn;                         // where the two parted; 0 when they did not
  Lsn start_lsn;                        // where replay on the target begins
  Lsn target_end;                       // end of the target's WAL
  Lsn source_end;                       // minRecoveryPoint of the result
  uint64_t discarded_transactions = 0;  // commits on the target after the fork
  uint64_t discarded_bytes = 0;         // WAL after the fork
  std::string discarded_from;           // of these commits the first and the last, in UTC; "": none
  std::string discarded_to;
  uint64_t bytes_to_copy = 0;
  uint64_t bytes_copied = 0;
  std::chrono::milliseconds duration{0};
};

// Rewinds, resumes, or, where nothing has to be undone, only makes the directory follow the source.
// lock proves that the caller is the directory's only writer.
RewindResult Rewind(const DirectoryLock& lock, RewindSource& source, const RewindOptions& options);

}  // namespace pgrejoin
