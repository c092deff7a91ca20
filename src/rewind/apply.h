// One rewind from the plan to the published control file. The facts came from the target (a first
// run) or from the journal (a resumed one); everything here is idempotent, so a resumed run does
// the same as the first.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "rewind/copied_blocks.h"
#include "rewind/copier.h"
#include "rewind/facts.h"
#include "rewind/plan.h"
#include "rewind/progress.h"
#include "rewind/rewind.h"
#include "rewind/source_wal.h"
#include "rewind/wal_scan.h"

namespace pgrejoin {

class RewindRun {
 public:
  // All references must outlive this object. resumed: facts are a journal's.
  RewindRun(TargetDirectory& target, RewindSource& source, const RewindOptions& options,
            const RewindFacts& facts, SourceIdentity identity, ProgressReporter& progress,
            bool resumed);

  // Fetches the source's WAL so far and decides what happens to each file. Changes nothing that
  // PostgreSQL looks at.
  void Prepare();
  const RewindPlan& plan() const { return plan_; }

  // Told which main forks the source has cut, or dropped, while they were copied, before that is
  // done here: path -> bytes that stay. Durable in the journal when this returns.
  using NoteCuts = std::function<void(const std::map<std::string, uint64_t>& own_bytes)>;

  // Fences, copies, publishes. The journal must be durable. Returns the position at which the
  // result becomes consistent.
  Lsn Carry(const NoteCuts& note_cuts);

 private:
  void StageWal(Lsn flush);
  void CheckScanned(Lsn flush) const;
  void CheckArchive(Lsn begin, Lsn flush) const;
  void CompareFiles();
  void CheckSpace() const;
  void CheckMayChange() const;
  void CheckForeignReadable() const;
  void ApplyFiles(const NoteCuts& note_cuts);
  void FollowWal(const std::stop_token& stop);
  bool FetchCompletedWal(const std::stop_token& stop);
  CopyShortfall CopyFiles();
  void CopyWhole(const PlanEntry& entry, Copier* copier);
  void CopyBlocks(const PlanEntry& entry, Copier* copier);
  static void CopyRangeOf(const PlanEntry& entry, uint64_t offset, uint64_t bytes, Copier* copier);
  void RemoveEntry(const PlanEntry& entry);
  void GrowRelations(const std::map<std::string, uint64_t>& cuts);
  void ApplyShortfall(const CopyShortfall& shortfall, const std::map<std::string, uint64_t>& cuts);
  SourceIdentity IdentifyAgain();
  void InstallWal(Lsn end);
  void Sync();
  void SyncTouched();
  void Publish(Lsn end);

  TargetDirectory& target_;
  RewindSource& source_;
  const RewindOptions& options_;
  const RewindFacts& facts_;
  SourceIdentity identity_;
  ProgressReporter& progress_;
  bool resumed_;
  SourceWal wal_;
  CopiedBlocks copied_;
  BlockRefTable kept_blocks_;  // of earlier attempts
  RewindPlan plan_;
  SourceScan source_scan_;       // of the WAL that was staged then
  DatabaseCopies copies_;        // of the target's WAL up to the fork and the source's
  Lsn staged_to_;                // where fetching WAL has got to
  std::set<std::string> grown_;  // relation files that GrowRelations() made longer
};

// Reads the source's control file through source.
ControlFile ReadControlOf(RewindSource& source);

}  // namespace pgrejoin
