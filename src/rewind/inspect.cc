#include "rewind/inspect.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "rewind/journal.h"
#include "rewind/local_state.h"
#include "target/directory_lock.h"
#include "target/target_directory.h"

namespace pgrejoin {
namespace {

bool HoldsNothing(const std::string& pgdata) {
  struct stat status {};
  if (::stat(pgdata.c_str(), &status) != 0) {
    if (errno == ENOENT) return true;
    throw SystemError(ErrorKind::kTargetFailed, "could not stat data directory \"" + pgdata + "\"");
  }
  bool empty = true;
  TargetDirectory::OpenForReading(pgdata).ListFiles([&](const TargetFile&) { empty = false; });
  return empty;
}

// The gate's mark (gate/gate.cc), which the last script of the first start removes.
bool InitialisationIsMarked(const std::string& pgdata) {
  return ::access(PathBeside(pgdata, ".initialising").c_str(), F_OK) == 0;
}

DirectoryKind KindOf(const TargetDirectory& target, const ControlFile& control) {
  // A journal from before the fence belongs to a directory that is as it was.
  if (JournalExists(target) && (control.fenced() || WasFenced(target))) {
    return DirectoryKind::kHalfRewound;
  }
  if (control.fenced()) return DirectoryKind::kHalfMade;
  if (target.Exists("recovery.signal")) return DirectoryKind::kPointInTimeRecovery;
  const bool standby_signal = target.Exists("standby.signal");
  // One that was rewound and never started is a standby like others: its primary may have changed.
  if (standby_signal && HasForeignLabel(target)) return DirectoryKind::kFreshClone;
  return standby_signal ? DirectoryKind::kStandby : DirectoryKind::kPrimary;
}

}  // namespace

DirectoryState InspectDirectory(const std::string& pgdata) {
  DirectoryState state;
  if (HoldsNothing(pgdata)) return state;
  const TargetDirectory target = TargetDirectory::OpenForReading(pgdata);
  state.kind = DirectoryKind::kHalfMade;
  state.initdb_cut_short = InitialisationIsMarked(pgdata);
  if (state.initdb_cut_short) return state;
  if (!target.Exists(kControlFilePath)) return state;

  const ControlFile control = ReadTargetControl(target);
  state.kind = KindOf(target, control);
  state.system_identifier = control.system_identifier();
  state.major_version = control.version().major;
  state.clean_shutdown = control.clean_shutdown();
  if (state.kind == DirectoryKind::kHalfRewound) {
    state.history = ReadJournal(target).target_history;
  } else if (state.kind == DirectoryKind::kFreshClone) {
    // A base backup may hold no WAL at all yet.
    state.history = TimelineHistory::Parse(1, {});
    if (target.Exists("pg_wal/" + TimelineHistoryFileName(control.timeline()))) {
      state.history = ReadTargetHistory(target, control.timeline());
    }
  } else if (state.kind == DirectoryKind::kStandby || state.kind == DirectoryKind::kPrimary) {
    const LocalState local = ReadLocalState(target);
    state.history = local.history;
    state.end_of_wal = local.tail.end;
  } else if (state.kind == DirectoryKind::kPointInTimeRecovery) {
    state.history = TimelineHistory::Parse(1, {});
  }
  return state;
}

const char* DirectoryKindName(DirectoryKind kind) {
  switch (kind) {
    case DirectoryKind::kEmpty:
      return "empty";
    case DirectoryKind::kHalfMade:
      return "half-made";
    case DirectoryKind::kFreshClone:
      return "fresh-clone";
    case DirectoryKind::kPointInTimeRecovery:
      return "point-in-time-recovery";
    case DirectoryKind::kHalfRewound:
      return "half-rewound";
    case DirectoryKind::kStandby:
      return "standby";
    case DirectoryKind::kPrimary:
      return "primary";
  }
  return "";
}

}  // namespace pgrejoin
