// The source's WAL from the fork on: fetched beside the target's own, read there, and moved into
// place at the end. Until then the target's WAL is as it was, so an interrupted run can still be
// finished and, before the fence, even be forgotten.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "rewind/facts.h"
#include "rewind/wal_scan.h"
#include "source/rewind_source.h"
#include "target/target_directory.h"

namespace pgrejoin {

struct SourceWalOptions {
  int connections = 4;
  std::stop_token stop;
  std::function<void(uint64_t)> on_bytes;
};

// A history file of the source, to be kept: it has to say what the source said of itself. nullopt:
// there is none. Throws Error(kNotRewindable).
std::optional<std::string> ReadHistoryFile(RewindSource& source, const TimelineHistory& line,
                                           TimelineId timeline);

// What is staged will not be used again: fetched from a server that lost it, or from another line.
void ForgetStagedWal(TargetDirectory& target);

class SourceWal {
 public:
  // facts tell what the target was; history is the source's now. All must outlive this object.
  SourceWal(RewindSource& source, TargetDirectory& target, const RewindFacts& facts,
            const TimelineHistory& history);

  // Fetches what is not there yet, up to flush. What an earlier run fetched from the same line,
  // also one that was killed before its journal, is reused as far as it decodes. The first
  // segment's part before the fork is the target's own. Segments before it that the target's pg_wal
  // lacks are fetched from its archive.
  // known: what Scan() has told before; {}: nothing.
  void Stage(Lsn flush, const SourceScan& known, const SourceWalOptions& options);
  // Fetches what the source has flushed since Stage() or Fetch() got to from. Nothing relies on it:
  // another Stage() fetches what is missing.
  void Fetch(Lsn from, Lsn flush, const SourceWalOptions& options);
  // Whether there is staged WAL of this line, and the source has its last record.
  bool StagedIsTheirs(Lsn flush) const;
  // Reads the staged WAL from the fork. first_references: nullptr where nobody asks.
  SourceScan Scan(Lsn flush, DatabaseCopies* copies, FirstReferences* first_references) const;
  // The same, going on where known ended.
  SourceScan ContinueScan(const SourceScan& known, Lsn flush, DatabaseCopies* copies) const;

  // Recovery asks the archive before pg_wal, and for the newest timeline that there is. Throws
  // Error(kNotRewindable) where what it has of source's line from begin to flush, or a history file
  // of it, is another one's, and for a newer timeline that left this line before flush.
  void CheckArchive(const TargetDirectory::WalArchiveLookup& archive, Lsn begin, Lsn flush) const;

  // Idempotent. After it pg_wal holds the target's own segments up to the fork, the source's from
  // there to end, and nothing else that a server could replay.
  void SetDivergedAside();
  void Install(Lsn end);

 private:
  uint64_t SegmentOf(Lsn lsn) const { return lsn.value / segment_size_; }
  void BeginLine();
  std::string SourceName(uint64_t segment) const;
  LocalWalFiles OpenStaged() const;
  WalLayout StagedLayout() const;
  void CheckArchivedHistories(const TargetDirectory::WalArchiveLookup& archive, Lsn flush) const;
  std::vector<std::string> NamesForReplay(uint64_t segment) const;
  void StageForReplay();
  void StagePrefix();
  bool KeepsTargetFile(const std::string& name) const;
  void MarkArchived(const std::string& name, const std::set<std::string>& statuses);
  void ZeroAfterFork(const std::string& name);
  void FetchHistories();
  void InstallForReplay();
  void InstallSuperseded(Lsn end);
  void CopySegmentPart(WalFiles& from, uint64_t segment, uint64_t end, TargetWriter& writer) const;

  RewindSource& source_;
  TargetDirectory& target_;
  const RewindFacts& facts_;
  const TimelineHistory& history_;
  ForkPoint fork_;
  std::string line_;  // what staged segments have to be of
  bool line_begun_;
  // An interrupted run has begun to move segments into pg_wal: they count as staged.
  bool installed_;
  uint32_t segment_size_;
};

// Throws Error(kNotRewindable) naming the first segment between fork and flush that is not among
// listed, the names in the source's pg_wal.
void CheckSourceWalAvailable(const std::set<std::string>& listed, const TimelineHistory& history,
                             Lsn fork, Lsn flush, uint32_t segment_size);

// Reads a segment's bytes from the running source without storing them.
class RemoteWalFiles : public WalFiles {
 public:
  RemoteWalFiles(RewindSource& source, TimelineHistory history, uint32_t segment_size);
  size_t Read(uint64_t segment, uint32_t offset, MutableBytes out) override;

 private:
  std::unique_ptr<SourceReader> reader_;
  TimelineHistory history_;
  uint32_t segment_size_;
};

}  // namespace pgrejoin
