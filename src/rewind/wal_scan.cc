#include "rewind/wal_scan.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/error.h"

namespace pgrejoin {
namespace {

constexpr int32_t kWalLevelReplica = 1;
constexpr uint64_t kWalPageBytes = 8192;
constexpr uint64_t kWalLongHeaderBytes = 40;

[[noreturn]] void Hidden(const WalRecord& record, const std::string& what) {
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("{} at {}, so the target's WAL does not tell all that changed", what,
                          record.start.ToString()),
              "Clone the target anew.");
}

void CheckNothingHidden(const WalRecord& record, const RecordEffect& effect,
                        const RewindFacts& facts, bool* hints_known_on) {
  if (const auto* change = std::get_if<ParameterChangeEffect>(&effect)) {
    if (change->wal_level < kWalLevelReplica) Hidden(record, "wal_level was set to minimal");
    // A hint of before the fork is right on the source too. After it, the setting must have been on
    // all the time, and a record tells only what it is from there on.
    const bool after_fork = record.start >= facts.fork.lsn;
    const bool on_all_the_time = *hints_known_on && change->wal_log_hints;
    if (after_fork && !on_all_the_time && facts.target_control.data_checksum_version() == 0) {
      Hidden(record, "there are no data checksums and wal_log_hints may have been changed");
    }
    *hints_known_on = change->wal_log_hints;
  } else if (const auto* fpw = std::get_if<FullPageWritesEffect>(&effect); fpw && !fpw->on) {
    Hidden(record, "full_page_writes was switched off");
  } else if (const auto* checkpoint = std::get_if<CheckPointEffect>(&effect);
             checkpoint && !checkpoint->checkpoint.full_page_writes) {
    Hidden(record, "full_page_writes was off");
  }
}

void NoteOldest(TransactionId xid, RewindFacts* facts) {
  if (xid == 0) return;
  if (!facts->oldest_decided || TransactionIdPrecedes(xid, *facts->oldest_decided)) {
    facts->oldest_decided = xid;
  }
}

void NoteAfterFork(const RecordEffect& effect, RewindFacts* facts) {
  if (const auto* end = std::get_if<TransactionEndEffect>(&effect)) {
    if (end->committed) {
      ++facts->discarded_transactions;
      if (!facts->discarded_times) facts->discarded_times = {end->time, end->time};
      facts->discarded_times->Note(end->time);
    }
    NoteOldest(end->xid, facts);
    for (const TransactionId child : end->children) NoteOldest(child, facts);
  } else if (const auto* create = std::get_if<CreateRelationEffect>(&effect)) {
    facts->created.insert(create->locator);
  } else if (const auto* copy = std::get_if<CreateDatabaseByCopyEffect>(&effect)) {
    facts->copied_databases.emplace(copy->tablespace, copy->database);
  }
}

// Whether reading stopped because the bytes from stop to flush are the beginning of one record, and
// not because something before flush is missing or damaged.
bool IsUnfinishedRecord(const EndOfWal& stop, Lsn flush) {
  // Not even a length: only a page header can stand there.
  if (stop.record_bytes == 0) return flush - stop.lsn <= kWalLongHeaderBytes;
  // Generously: checked_to guards the other side.
  const uint64_t pages = stop.record_bytes / (kWalPageBytes - kWalLongHeaderBytes) + 2;
  return stop.lsn + stop.record_bytes + pages * kWalLongHeaderBytes >= flush &&
         stop.checked_to.value >= flush.value / kWalPageBytes * kWalPageBytes;
}

}  // namespace

bool TransactionIdPrecedes(TransactionId a, TransactionId b) {
  return static_cast<int32_t>(a - b) < 0;
}

void ScanTargetWal(WalReader& reader, Lsn start, Lsn end, RewindFacts* facts) {
  const PgVersion& version = facts->target_control.version();
  bool hints_known_on = false;
  reader.Seek(start);
  Lsn position = start;
  while (position < end) {
    const auto next = reader.Next();
    if (const auto* stop = std::get_if<EndOfWal>(&next)) {
      throw Error(
          ErrorKind::kNotRewindable,
          fmt::format("the target's WAL from {} to {} is needed but ends at {}: {}",
                      start.ToString(), end.ToString(), stop->lsn.ToString(), stop->reason),
          "Restore the missing segments into the target's pg_wal, or clone it anew. A larger "
          "wal_keep_size prevents this.");
    }
    const WalRecord& record = *std::get<const WalRecord*>(next);
    const RecordEffect effect = EffectOf(record, version);
    CheckNothingHidden(record, effect, *facts, &hints_known_on);
    for (const BlockReference& block : record.blocks) {
      if (block.fork == ForkNumber::kMain) facts->blocks.Add(block.locator, block.block);
    }
    if (const auto* truncate = std::get_if<TruncateRelationEffect>(&effect)) {
      const auto [at, inserted] = facts->truncated.emplace(truncate->locator, truncate->blocks);
      if (!inserted) at->second = std::min(at->second, truncate->blocks);
    }
    if (std::holds_alternative<EndOfRecoveryEffect>(effect)) facts->was_standby = true;
    if (const auto* checkpoint = std::get_if<CheckPointEffect>(&effect);
        checkpoint && checkpoint->checkpoint.timeline != checkpoint->checkpoint.previous_timeline) {
      facts->was_standby = true;
    }
    if (record.start < facts->fork.lsn) {
      facts->copies.Visit(record, effect);
      if (record.start >= facts->label.start) facts->first_references.Visit(record);
    } else {
      NoteAfterFork(effect, facts);
    }
    position = record.end;
  }
}

namespace {

void Mark(Lsn record, SourceScan* scan) {
  if (record.value / kWalPieceBytes == scan->piece_begin.value / kWalPieceBytes) return;
  scan->piece_before_begin = scan->piece_begin;
  scan->piece_begin = record;
}

// From the record at position on; records before known_end only have to be there.
void ScanOn(WalReader& reader, Lsn position, Lsn flush, const PgVersion& version,
            DatabaseCopies* copies, FirstReferences* first_references, SourceScan* scan) {
  const Lsn known_end = scan->end;
  reader.Seek(position);
  scan->end = position;
  scan->complete = false;
  while (scan->end < flush) {
    const auto next = reader.Next();
    if (const auto* stop = std::get_if<EndOfWal>(&next)) {
      scan->complete = IsUnfinishedRecord(*stop, flush);
      return;
    }
    const WalRecord& record = *std::get<const WalRecord*>(next);
    if (record.end > flush) break;
    scan->last_record = record.start;
    scan->end = record.end;
    Mark(record.start, scan);
    if (record.start < known_end) continue;
    const RecordEffect effect = EffectOf(record, version);
    if (const auto* fpw = std::get_if<FullPageWritesEffect>(&effect); fpw && !fpw->on) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("full_page_writes was switched off on the source at {}",
                              record.start.ToString()),
                  "Keep it on there. This target has to be cloned anew.");
    }
    if (const auto* create = std::get_if<CreateRelationEffect>(&effect)) {
      scan->created.insert(create->locator);
    }
    copies->Visit(record, effect);
    if (first_references != nullptr) first_references->Visit(record);
  }
  scan->complete = true;
}

}  // namespace

SourceScan ScanSourceWal(WalReader& reader, Lsn start, Lsn flush, const PgVersion& version,
                         DatabaseCopies* copies, FirstReferences* first_references) {
  SourceScan scan;
  ScanOn(reader, start, flush, version, copies, first_references, &scan);
  return scan;
}

SourceScan ContinueSourceScan(WalReader& reader, SourceScan before, Lsn start, Lsn flush,
                              const PgVersion& version, DatabaseCopies* copies) {
  const Lsn from = before.piece_before_begin.valid() ? before.piece_before_begin : start;
  before.piece_begin = before.piece_before_begin = {};
  ScanOn(reader, from, flush, version, copies, nullptr, &before);
  return before;
}

void CheckSourceScan(const SourceScan& scan, Lsn fork, Lsn flush) {
  if (scan.complete && scan.end > fork) return;
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("the source's WAL from the fork at {} can be read to {} only, not to its "
                          "flush position {}",
                          fork.ToString(), scan.end.ToString(), flush.ToString()));
}

}  // namespace pgrejoin
