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

SourceScan ScanSourceWal(WalReader& reader, Lsn start, Lsn flush, const PgVersion& version,
                         DatabaseCopies* copies, FirstReferences* first_references) {
  SourceScan scan;
  scan.end = start;
  reader.Seek(start);
  while (scan.end < flush) {
    const auto next = reader.Next();
    if (const auto* stop = std::get_if<EndOfWal>(&next)) {
      scan.complete = IsUnfinishedRecord(*stop, flush);
      return scan;
    }
    const WalRecord& record = *std::get<const WalRecord*>(next);
    if (record.end > flush) break;
    const RecordEffect effect = EffectOf(record, version);
    if (const auto* fpw = std::get_if<FullPageWritesEffect>(&effect); fpw && !fpw->on) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("full_page_writes was switched off on the source at {}",
                              record.start.ToString()),
                  "Keep it on there. This target has to be cloned anew.");
    }
    if (const auto* create = std::get_if<CreateRelationEffect>(&effect)) {
      scan.created.insert(create->locator);
    }
    copies->Visit(record, effect);
    if (first_references != nullptr) first_references->Visit(record);
    scan.last_record = record.start;
    scan.end = record.end;
  }
  scan.complete = true;
  return scan;
}

void CheckSourceScan(const SourceScan& scan, Lsn fork, Lsn flush) {
  if (scan.complete && scan.end > fork) return;
  throw Error(ErrorKind::kNotRewindable,
              fmt::format("the source's WAL from the fork at {} can be read to {} only, not to its "
                          "flush position {}",
                          fork.ToString(), scan.end.ToString(), flush.ToString()));
}

}  // namespace pgrejoin
