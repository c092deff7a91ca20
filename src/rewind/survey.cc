#include "rewind/survey.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "base/log.h"
#include "rewind/target_wal.h"
#include "rewind/wal_scan.h"
#include "wal/record_effects.h"

namespace pgrejoin {
namespace {

// From where a server would start on the target as it is.
CheckPointRecord OwnStart(const LocalState& local) {
  CheckPointRecord own{local.control.checkpoint_lsn(), local.control.checkpoint()};
  if (local.label) {
    own.lsn = local.label->checkpoint;
    own.checkpoint.redo = local.label->start;
  }
  return own;
}

CheckPointRecord OwnStart(const RewindFacts& facts) {
  CheckPointRecord own{facts.label.checkpoint, {}};
  own.checkpoint.redo = facts.label.start;
  return own;
}

// Where replay on the target begins: the oldest of the last common checkpoint, the checkpoint from
// which the target itself would start (an old restartpoint, if it was a standby) and the source's
// (an old restartpoint, if it was promoted just now).
CheckPointRecord ChooseStart(const CheckPointRecord& common, const CheckPointRecord& own,
                             const ControlFile& source_control) {
  CheckPointRecord chosen = common;
  const CheckPointRecord source{source_control.checkpoint_lsn(), source_control.checkpoint()};
  for (const CheckPointRecord& other : {own, source}) {
    if (other.checkpoint.redo < chosen.checkpoint.redo) chosen = other;
  }
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
  throw Error(
      ErrorKind::kUnavailable,
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

// On a standby hint bits reach the disk without WAL, also of transactions that ended after the
// fork. So the scan, and nothing else, goes back to a checkpoint before the oldest of them began
// (docs/explanation/safety.md, "hint bits of a standby").
Lsn ScanStartForStandby(WalReader& reader, const CheckPointRecord& start, TransactionId oldest,
                        const PgVersion& version) {
  CheckPointRecord checkpoint = start;
  const auto next_xid = [&] {
    return static_cast<TransactionId>(checkpoint.checkpoint.next_full_xid);
  };
  while (TransactionIdPrecedes(oldest, next_xid())) {
    checkpoint = FindCheckPoint(reader, ReadRecordAt(reader, checkpoint.lsn).prev, version);
  }
  return checkpoint.checkpoint.redo;
}

// From the start of replay to end; of a standby also what lies before and is not replayed.
void ReadChanges(WalReader& reader, const CheckPointRecord& start, Lsn end, RewindFacts* facts) {
  const Lsn redo = start.checkpoint.redo;
  facts->label = {redo, start.checkpoint.timeline, start.lsn, /*ours=*/true};
  facts->start_next_xid = start.checkpoint.next_full_xid;
  facts->discarded_bytes = facts->target_end - facts->fork.lsn;
  facts->copies = {};
  facts->first_references = FirstReferences(facts->blocks.blocks_per_segment());
  ScanTargetWal(reader, redo, end, facts);
  const bool hints_unlogged = facts->target_control.in_recovery() || facts->was_standby;
  if (!hints_unlogged || !facts->oldest_decided) return;
  const Lsn from =
      ScanStartForStandby(reader, start, *facts->oldest_decided, facts->target_control.version());
  if (from >= redo) return;
  const DatabaseCopies replayed = facts->copies;
  ScanTargetWal(reader, from, redo, facts);
  facts->copies = replayed;
}

// The last checkpoint before the fork, or the own one if that is before it: the start is not later
// than that, and gigabytes need not be walked through backwards.
CheckPointRecord CommonCheckPoint(WalReader& reader, const CheckPointRecord& own,
                                  const RewindFacts& facts) {
  if (own.lsn <= facts.last_common_record) return own;
  return FindCheckPoint(reader, facts.last_common_record, facts.target_control.version());
}

// Where replay begins.
CheckPointRecord FindStart(WalReader& reader, const CheckPointRecord& own,
                           const ControlFile& source_control, const RewindFacts& facts) {
  const CheckPointRecord common = CommonCheckPoint(reader, own, facts);
  const CheckPointRecord chosen = ChooseStart(common, own, source_control);
  CheckStartIsHere(reader, chosen, common);
  return ReadCheckPoint(reader, chosen.lsn, facts.target_control.version());
}

void CheckLastCommonRecord(WalReader& reader, RewindSource& source, const RewindFacts& facts) {
  if (!CheckCommonRecord(source, facts.source_history, LayoutOf(facts.target_control),
                         ReadRecordAt(reader, facts.last_common_record))) {
    LogDebug("the source no longer has the record before the fork; histories alone were compared");
  }
}

}  // namespace

void CheckRewindable(const ControlFile& target_control, const SourceIdentity& identity,
                     const ControlFile& source_control, bool standby_source) {
  CheckCompatible(target_control, source_control);
  if (identity.in_recovery && !standby_source) {
    throw Error(ErrorKind::kUnavailable, "the source server is in recovery",
                "Is it the primary? A standby that is being promoted is one in a moment.");
  }
  // A standby's setting says nothing: it is the primary that writes the images.
  const bool now = identity.in_recovery || identity.full_page_writes;
  if (!now || !source_control.checkpoint().full_page_writes) {
    throw Error(ErrorKind::kNotRewindable,
                "\"full_page_writes\" must be enabled in the source server",
                "Set full_page_writes = on there and run CHECKPOINT.");
  }
  if (target_control.data_checksum_version() == 0 && !target_control.wal_log_hints()) {
    throw Error(ErrorKind::kNotRewindable,
                "target server needs to use either data checksums or \"wal_log_hints = on\"",
                "Clone the target anew, and switch one of them on for the next time.");
  }
}

void NoteSource(const SourceIdentity& identity, RewindFacts* facts) {
  facts->source_history = identity.history;
  facts->source_flush = identity.flush_lsn;
  facts->source_in_recovery = identity.in_recovery;
  facts->source_incarnation = identity.incarnation;
}

RewindFacts SurveyTarget(const TargetDirectory& target, const LocalState& local, ForkPoint fork,
                         RewindSource& source, const SourceIdentity& identity,
                         const ControlFile& source_control) {
  TargetWal wal(target, local.control, local.history);
  RewindFacts facts(local.control);
  facts.target_history = local.history;
  NoteSource(identity, &facts);
  facts.fork = fork;
  facts.last_common_record = ReadRecordAt(wal.reader(), fork.lsn).prev;
  facts.target_end = local.tail.end;
  CheckLastCommonRecord(wal.reader(), source, facts);
  const CheckPointRecord start = FindStart(wal.reader(), OwnStart(local), source_control, facts);
  ReadChanges(wal.reader(), start, local.tail.end, &facts);
  target.ListFiles([&](TargetFile file) { facts.target_files.push_back(std::move(file)); });
  return facts;
}

void SurveyAgain(const TargetDirectory& target, RewindSource& source,
                 const SourceIdentity& identity, const ControlFile& source_control,
                 RewindFacts* facts) {
  TargetWal wal(target, facts->target_control, facts->target_history);
  const Lsn readable_to = facts->fork.lsn;
  const ForkPoint fork = FindCommonFork(facts->target_history, identity.history);
  if (fork.lsn.valid() && fork.lsn < readable_to) {
    facts->fork = fork;
    facts->last_common_record = ReadRecordAt(wal.reader(), fork.lsn).prev;
  }
  NoteSource(identity, facts);
  CheckLastCommonRecord(wal.reader(), source, *facts);
  const CheckPointRecord start = FindStart(wal.reader(), OwnStart(*facts), source_control, *facts);
  ReadChanges(wal.reader(), start, readable_to, facts);
}

}  // namespace pgrejoin
