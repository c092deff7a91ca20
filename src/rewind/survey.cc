#include "rewind/survey.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "base/log.h"
#include "rewind/target_wal.h"
#include "wal/record_effects.h"

namespace pgrejoin {
namespace {

// Where replay on the target begins: the oldest of the last common checkpoint, the checkpoint from
// which the target itself would start (an old restartpoint, if it was a standby) and the source's
// (an old restartpoint, if it was promoted just now).
CheckPointRecord ChooseStart(const CheckPointRecord& common, const LocalState& local,
                             const ControlFile& source_control) {
  CheckPointRecord chosen = common;
  const auto consider = [&](Lsn lsn, CheckPoint checkpoint) {
    if (checkpoint.redo < chosen.checkpoint.redo) chosen = {lsn, checkpoint};
  };
  if (local.label) {
    CheckPoint labelled = local.control.checkpoint();
    labelled.redo = local.label->start;
    labelled.timeline = local.label->timeline;
    consider(local.label->checkpoint, labelled);
  } else {
    consider(local.control.checkpoint_lsn(), local.control.checkpoint());
  }
  consider(source_control.checkpoint_lsn(), source_control.checkpoint());
  return chosen;
}

// The source's checkpoint after a promotion takes its time; until it is done, replay would have to
// begin at a restartpoint whose WAL the target may have removed.
void CheckStartIsHere(WalReader& reader, const CheckPointRecord& start,
                      const CheckPointRecord& common) {
  if (start.lsn == common.lsn) return;
  reader.Seek(start.checkpoint.redo);
  const auto next = reader.Next();
  if (std::holds_alternative<const WalRecord*>(next)) return;
  throw Error(ErrorKind::kUnavailable,
              fmt::format("replay would begin at {}, where the target has no WAL any more: the source "
                          "has not finished a checkpoint since it was promoted",
                          start.checkpoint.redo.ToString()),
              "Run CHECKPOINT on the source, or wait for it, and try again.");
}

// As the record itself has it: a control file's copy may be of a later checkpoint.
CheckPointRecord ReadCheckPoint(WalReader& reader, Lsn lsn, const PgVersion& version) {
  const WalRecord& record = ReadRecordAt(reader, lsn);
  const RecordEffect effect = EffectOf(record, version);
  const auto* checkpoint = std::get_if<CheckPointEffect>(&effect);
  if (checkpoint == nullptr) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("the WAL record at {} is no checkpoint", lsn.ToString()));
  }
  return {lsn, checkpoint->checkpoint};
}

// On a standby hint bits reach the disk without WAL, also of transactions that ended after the fork.
// So the scan, and nothing else, goes back to a checkpoint before the oldest of them began
// (docs/explanation/safety.md, "hint bits of a standby").
Lsn ScanStartForStandby(WalReader& reader, const CheckPointRecord& start, TransactionId oldest,
                        const PgVersion& version) {
  CheckPointRecord checkpoint = start;
  const auto next_xid = [&] {
    return static_cast<TransactionId>(checkpoint.checkpoint.next_full_xid);
  };
  while (TransactionIdPrecedes(oldest, next_xid())) {
    checkpoint = FindCheckPointBefore(reader, checkpoint.lsn, version);
  }
  return checkpoint.checkpoint.redo;
}

}  // namespace

void CheckRewindable(const LocalState& local, const SourceIdentity& identity,
                     const ControlFile& source_control) {
  CheckCompatible(local.control, source_control);
  if (identity.in_recovery) {
    throw Error(ErrorKind::kNotRewindable, "the source server is in recovery",
                "Rewind from the primary itself; a standby as source is not supported yet.");
  }
  if (!identity.full_page_writes || !source_control.checkpoint().full_page_writes) {
    throw Error(ErrorKind::kNotRewindable, "\"full_page_writes\" must be enabled in the source server",
                "Set full_page_writes = on there and run CHECKPOINT.");
  }
  if (local.control.data_checksum_version() == 0 && !local.control.wal_log_hints()) {
    throw Error(ErrorKind::kNotRewindable,
                "target server needs to use either data checksums or \"wal_log_hints = on\"",
                "Clone the target anew, and switch one of them on for the next time.");
  }
}

RewindFacts SurveyTarget(const TargetDirectory& target, const LocalState& local, ForkPoint fork,
                         RewindSource& source, const SourceIdentity& identity,
                         const ControlFile& source_control) {
  const PgVersion& version = local.control.version();
  TargetWal wal(target, local.control, local.history);
  const CheckPointRecord common = FindCheckPointBefore(wal.reader(), fork.lsn, version);
  const Lsn before_fork = ReadRecordAt(wal.reader(), fork.lsn).prev;
  if (!CheckCommonRecord(source, identity.history, LayoutOf(local.control),
                         ReadRecordAt(wal.reader(), before_fork))) {
    LogDebug("the source no longer has the record before the fork; histories alone were compared");
  }
  const CheckPointRecord chosen = ChooseStart(common, local, source_control);
  CheckStartIsHere(wal.reader(), chosen, common);
  const CheckPointRecord start = ReadCheckPoint(wal.reader(), chosen.lsn, version);

  RewindFacts facts(local.control);
  facts.target_history = local.history;
  facts.source_history = identity.history;
  facts.fork = fork;
  facts.target_end = local.tail.end;
  facts.label = {start.checkpoint.redo, start.checkpoint.timeline, start.lsn, /*ours=*/true};
  facts.start_next_xid = start.checkpoint.next_full_xid;
  const TargetScan scan =
      ScanTargetWal(wal.reader(), start.checkpoint.redo, local.tail.end, &facts);
  if ((local.control.in_recovery() || scan.was_standby) && scan.oldest_decided) {
    const Lsn from = ScanStartForStandby(wal.reader(), start, *scan.oldest_decided, version);
    if (from < start.checkpoint.redo) {
      const DatabaseCopies copies = facts.copies;  // of what will be replayed, not of all that is read
      ScanTargetWal(wal.reader(), from, local.tail.end, &facts);
      facts.copies = copies;
    }
  }
  target.ListFiles([&](TargetFile file) { facts.target_files.push_back(std::move(file)); });
  return facts;
}

}  // namespace pgrejoin
