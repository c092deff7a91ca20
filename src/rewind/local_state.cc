#include "rewind/local_state.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"

namespace pgrejoin {
namespace {
constexpr size_t kLabelBytesMax = 64 * 1024;
}  // namespace

ControlFile ReadTargetControl(const TargetDirectory& target) {
  const auto content = target.ReadFile(kControlFilePath, kControlFileBytes);
  if (!content) {
    throw Error(ErrorKind::kTargetFailed, "the target has no control file",
                "Is this a data directory? Clone it anew if a server lived here.");
  }
  return ControlFile::Parse(AsBytes(*content), "target");
}

namespace {

// One that cannot be understood is somebody else's.
std::optional<BackupLabel> ReadLabel(const TargetDirectory& target) {
  const auto content = target.ReadFile(kBackupLabelPath, kLabelBytesMax);
  if (!content) return std::nullopt;
  return BackupLabel::Parse(*content).value_or(BackupLabel{});
}

}  // namespace

bool HasForeignLabel(const TargetDirectory& target) {
  const auto label = ReadLabel(target);
  return label && !label->ours;
}

std::optional<BackupLabel> ReadOwnLabel(const TargetDirectory& target) {
  const auto label = ReadLabel(target);
  if (label && !label->ours) {
    throw Error(ErrorKind::kNotRewindable,
                "the target has a backup_label: a base backup that was never started",
                "Start it once as a standby, or clone the target anew.");
  }
  return label;
}

LocalState ReadLocalState(const TargetDirectory& target) {
  LocalState local{ReadTargetControl(target), {}, ReadOwnLabel(target), {}};
  if (local.control.fenced()) {
    throw Error(ErrorKind::kTargetFailed,
                "the directory is half rewound and the journal of the rewind is gone",
                "Clone the target anew.");
  }
  if (target.Exists("recovery.signal")) {
    throw Error(ErrorKind::kNotRewindable, "the target has a recovery.signal: it is being restored",
                "Finish the restore, or remove the file.");
  }
  const std::string version = fmt::format("{}\n", local.control.version().major);
  if (const auto text = target.ReadFile("PG_VERSION", 64); text != version) {
    throw Error(ErrorKind::kTargetFailed,
                fmt::format("PG_VERSION says \"{}\" and the control file PostgreSQL {}",
                            Printable(text.value_or("")), local.control.version().major));
  }
  local.history = ReadTargetHistory(target, local.control.timeline());
  TargetWal wal(target, local.control, local.history);
  local.tail = FindEndOfWal(wal.reader(), local.checkpoint_lsn());
  if (local.control.in_recovery() && local.tail.end < local.control.min_recovery_point()) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("the target's WAL ends at {}, before its minimum recovery point {}: {}",
                            local.tail.end.ToString(),
                            local.control.min_recovery_point().ToString(), local.tail.reason),
                "Restore the missing segments into the target's pg_wal, or clone it anew.");
  }
  return local;
}

}  // namespace pgrejoin
