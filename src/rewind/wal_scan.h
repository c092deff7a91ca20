// Reads a range of WAL for what a rewind must know of it.
#pragma once

#include <set>

#include "pgdata/control_file.h"
#include "rewind/facts.h"
#include "wal/record_effects.h"
#include "wal/wal_reader.h"

namespace pgrejoin {

// Scans the target's WAL from start to end and adds to facts: blocks, first_references, created,
// truncated, copies, was_standby, oldest_decided, discarded_transactions. What counts as after the
// fork is facts' own. Throws Error(kNotRewindable) when WAL was written in a way that hides
// changes, or does not reach end.
void ScanTargetWal(WalReader& reader, Lsn start, Lsn end, RewindFacts* facts);

inline constexpr uint64_t kWalPieceBytes = 256 << 10;

struct SourceScan {
  Lsn last_record;                   // 0: none
  Lsn end;                           // end of the last record
  std::set<RelFileLocator> created;  // relations the source created after the fork
  // The bytes from end to flush are no more than one unfinished record: nothing is missing.
  bool complete = false;
  // Where the first record begins of the piece of kWalPieceBytes that was read last, and of the one
  // before.
  Lsn piece_begin;
  Lsn piece_before_begin;  // 0: none
};

// Scans the source's WAL from start up to the last record that ends at or before flush.
// first_references: nullptr where nobody asks.
SourceScan ScanSourceWal(WalReader& reader, Lsn start, Lsn flush, const PgVersion& version,
                         DatabaseCopies* copies, FirstReferences* first_references);

// Goes on where before ended (from start, when it read nothing); copies has what it had then.
// Fetching more has at most written before's last page again: what lies before the last two pieces
// is not read once more. The rest is, to be proven, but does not count a second time.
SourceScan ContinueSourceScan(WalReader& reader, SourceScan before, Lsn start, Lsn flush,
                              const PgVersion& version, DatabaseCopies* copies);

// Throws Error(kNotRewindable) unless the scan reached everything from fork to flush.
void CheckSourceScan(const SourceScan& scan, Lsn fork, Lsn flush);

// xid a is older than b, modulo 2^32: TransactionIdPrecedes().
bool TransactionIdPrecedes(TransactionId a, TransactionId b);

}  // namespace pgrejoin
