#include "rewind/apply.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "rewind/journal.h"
#include "rewind/recovery_conf.h"
#include "rewind/same_files.h"
#include "source/source_control.h"

namespace pgrejoin {
namespace {
constexpr uint64_t kBlockBytes = 8192;
constexpr uint32_t kAddBytesMax = 1 << 30;
// By so much a file may have been replaced by a larger one since it was listed. What relations grow
// by is in the WAL.
constexpr uint64_t kMayHaveGrownBytes = 1 << 20;
constexpr std::chrono::seconds kFollowEvery{1};

std::map<std::string, uint64_t> CutsOf(const CopyShortfall& shortfall) {
  std::map<std::string, uint64_t> cuts;
  for (const auto& [path, bytes] : shortfall.shortened_to) {
    if (ParseRelationPath(path)) cuts[path] = bytes / kBlockBytes * kBlockBytes;
  }
  for (const std::string& path : shortfall.vanished) {
    if (ParseRelationPath(path)) cuts[path] = 0;
  }
  return cuts;
}

}  // namespace

ControlFile ReadControlOf(RewindSource& source) {
  return ReadSourceControl([&] { return source.ReadFile(kControlFilePath, kControlFileBytes); });
}

RewindRun::RewindRun(TargetDirectory& target, RewindSource& source, const RewindOptions& options,
                     const RewindFacts& facts, SourceIdentity identity, ProgressReporter& progress,
                     bool resumed)
    : target_(target),
      source_(source),
      options_(options),
      facts_(facts),
      identity_(std::move(identity)),
      progress_(progress),
      resumed_(resumed),
      wal_(source, target, facts, identity_.history),
      copied_(target, identity_.history, facts.blocks.blocks_per_segment()),
      kept_blocks_(facts.blocks.blocks_per_segment()),
      copies_(facts.copies),
      staged_to_(facts.fork.lsn) {}

void RewindRun::Prepare() {
  progress_.Phase("listing files");
  PlanInput input;
  input.facts = &facts_;
  input.extra_files = options_.extra_files;
  const std::set<std::string> wal_names = ListFiles(target_, source_, &input);
  // A resumed run may have what the source has removed since.
  if (!resumed_) {
    CheckSourceWalAvailable(wal_names, identity_.history, facts_.fork.lsn, identity_.flush_lsn,
                            facts_.target_control.wal_segment_size());
  }
  StageWal(identity_.flush_lsn);
  FirstReferences first_references(facts_.blocks.blocks_per_segment());
  // Replay goes at least to here: the flush position was read before this WAL.
  progress_.Phase("reading WAL");
  source_scan_ = wal_.Scan(identity_.flush_lsn, &copies_, &first_references);
  CheckScanned(identity_.flush_lsn);
  input.created_on_source = source_scan_.created;
  input.database_copies = copies_.copies;
  if (!options_.copy_replayed_blocks) input.source_references = &first_references;
  CheckArchive(facts_.fork.lsn, identity_.flush_lsn);
  if (resumed_) kept_blocks_ = copied_.Read(input.target_files);
  input.copied = &kept_blocks_;
  plan_ = MakePlan(input);
  CompareFiles();
  CheckSpace();
  CheckMayChange();
  CheckForeignReadable();
  KillPoint("planned");
}

Lsn RewindRun::Carry(const NoteCuts& note_cuts) {
  target_.ReplaceFile(kControlFilePath, facts_.target_control.Fenced().raw());
  NoteFenced(target_);
  KillPoint("fenced");
  if (options_.sync) copied_.Begin(kept_blocks_, plan_.bytes_to_copy);
  ApplyFiles(note_cuts);
  KillPoint("copied");
  // After the last byte: every page that was copied has a position below this.
  const Lsn flush = IdentifyAgain().flush_lsn;
  StageWal(flush);
  progress_.Phase("reading WAL");
  source_scan_ = wal_.ContinueScan(source_scan_, flush, &copies_);
  CheckScanned(flush);
  const Lsn end = source_scan_.end;
  CheckArchive(identity_.flush_lsn, flush);
  KillPoint("wal-staged");
  InstallWal(end);
  Sync();
  Publish(end);
  return end;
}

void RewindRun::StageWal(Lsn flush) {
  progress_.Phase("fetching WAL");
  if (flush > staged_to_) {
    progress_.Expect(flush - staged_to_);
    staged_to_ = flush;
  }
  wal_.Stage(flush, source_scan_, {options_.connections, options_.stop, [this](uint64_t bytes) {
                                     progress_.Done(bytes);
                                   }});
}

void RewindRun::CheckScanned(Lsn flush) const {
  CheckSourceScan(source_scan_, facts_.fork.lsn, flush);
  copies_.CheckTemplatesUntouched();
}

void RewindRun::CheckArchive(Lsn begin, Lsn flush) const {
  if (!options_.recovery_archive) return;
  progress_.Phase("comparing with the archive");
  wal_.CheckArchive(options_.recovery_archive, begin, flush);
}

// Not in a second attempt: where the first one's sync has failed, what it wrote may be in memory
// only, and nothing would write it again (a failed sync leaves clean pages behind).
void RewindRun::CompareFiles() {
  if (options_.copy_same_files || resumed_) return;
  progress_.Phase("comparing files");
  KeepSameFiles(target_, source_, {options_.connections, options_.stop}, &plan_);
}

void RewindRun::CheckSpace() const {
  struct Need {
    uint64_t bytes = 0;
    uint64_t free_bytes = 0;
    std::string path;  // that is there
  };
  std::map<uint64_t, Need> needs;  // by file system
  for (const PlanEntry& entry : plan_.entries) {
    const uint64_t bytes = BytesToGrow(entry);
    if (bytes == 0) continue;
    const auto [id, free_bytes] = target_.FileSystemOf(entry.path);
    Need& need = needs[id];
    need = {need.bytes + bytes, free_bytes, entry.path};
  }
  for (const auto& [id, need] : needs) {
    if (need.bytes <= need.free_bytes) continue;
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("the target needs {} MB more disk space where \"{}\" is, and has {} MB",
                            need.bytes >> 20, need.path, need.free_bytes >> 20),
                "Enlarge the volume or remove what is not the database's.");
  }
}

// What would fail behind the fence is found out before it.
void RewindRun::CheckMayChange() const {
  for (const PlanEntry& entry : plan_.entries) {
    const bool changed = entry.action == FileAction::kCopyWhole ||
                         entry.action == FileAction::kCopyBlocks ||
                         entry.action == FileAction::kRemove;
    if (!changed || ClassifyPath(entry.path) == FileClass::kForeign) continue;
    if (entry.on_target && entry.type != FileType::kSymlink) target_.CheckMayChange(entry.path);
  }
  target_.CheckMayChange(kControlFilePath);
  PreviewRecoveryConf(target_, options_.primary_conninfo);
}

// What somebody put into the source's directory its server may not be able to read.
void RewindRun::CheckForeignReadable() const {
  std::vector<FetchRequest> first_bytes;
  for (const PlanEntry& entry : plan_.entries) {
    const bool foreign = ClassifyPath(entry.path) == FileClass::kForeign;
    if (foreign && entry.action == FileAction::kCopyWhole)
      first_bytes.push_back({entry.path, 0, 1});
  }
  if (first_bytes.empty()) return;
  source_.OpenReader()->Fetch(first_bytes, [](const FetchRequest&, Bytes, bool) {});
}

void RewindRun::ApplyFiles(const NoteCuts& note_cuts) {
  CopyShortfall shortfall;
  {
    const std::jthread follower([this](const std::stop_token& stop) { FollowWal(stop); });
    shortfall = CopyFiles();
  }
  for (const PlanEntry& entry : plan_.entries) {
    if (entry.action == FileAction::kRemove) RemoveEntry(entry);
  }
  const std::map<std::string, uint64_t> cuts = CutsOf(shortfall);
  if (!cuts.empty()) note_cuts(cuts);
  ApplyShortfall(shortfall, cuts);
  GrowRelations(cuts);
}

CopyShortfall RewindRun::CopyFiles() {
  progress_.Phase("copying");
  progress_.Expect(plan_.bytes_to_copy);
  Copier copier(source_, target_, {.connections = options_.connections, .stop = options_.stop},
                [this](const CopyRange& range, uint64_t bytes) {
                  copied_.Note(range.target_path, range.offset, bytes);
                  progress_.Done(bytes);
                });
  for (const PlanEntry& entry : plan_.entries) {
    if (entry.action == FileAction::kCreateDirectory) {
      target_.CreateDirectory(entry.path);
    } else if (entry.action == FileAction::kCopyWhole) {
      CopyWhole(entry, &copier);
    } else if (entry.action == FileAction::kCopyBlocks) {
      CopyBlocks(entry, &copier);
    }
  }
  return copier.Finish();
}

// Beside the copy. Once a segment is complete the source may remove it (wal_keep_size is 0 by
// default), maybe long before the copy ends. What goes wrong here is for the last fetch to report.
void RewindRun::FollowWal(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any ended;
  std::unique_lock lock(mutex);
  const auto stopped = [&] { return stop.stop_requested(); };
  try {
    while (!ended.wait_for(lock, stop, kFollowEvery, stopped)) {
      while (FetchCompletedWal(stop)) continue;
    }
  } catch (const std::exception& error) {
    LogDebug("not following the source's WAL any more: {}", error.what());
  }
}

// false: no segment has been completed since the last time.
bool RewindRun::FetchCompletedWal(const std::stop_token& stop) {
  const uint32_t segment_size = facts_.target_control.wal_segment_size();
  const Lsn flush = IdentifyAgain().flush_lsn;
  if (flush.value / segment_size <= staged_to_.value / segment_size) return false;
  progress_.Expect(flush - staged_to_);
  wal_.Fetch(staged_to_, flush,
             {/*connections=*/1, stop, [this](uint64_t bytes) { progress_.Done(bytes); }});
  staged_to_ = flush;
  return true;
}

// The source extends relations without WAL (RelationAddExtraBlocks before 16, bulk extension after)
// and offers the new pages in the free space map. A map that was copied after its relation was
// listed may name pages that the target has not: inserting would fail. So, with the maps copied,
// every relation gets the length it has now; what the pages hold is in the WAL.
void RewindRun::GrowRelations(const std::map<std::string, uint64_t>& cuts) {
  std::map<std::string, uint64_t> lengths;
  for (const PlanEntry& entry : plan_.entries) {
    const bool stays = entry.action != FileAction::kRemove;
    if (stays && ParseRelationPath(entry.path)) lengths.emplace(entry.path, entry.source_size);
  }
  for (const auto& [path, bytes] : cuts) {
    if (const auto known = lengths.find(path); known != lengths.end()) known->second = bytes;
  }
  source_.ListFiles([&](const SourceFile& file) {
    if (file.type != FileType::kRegular || !ParseRelationPath(file.path)) return;
    const auto known = lengths.find(file.path);
    const bool new_segment =
        known == lengths.end() && lengths.contains(file.path.substr(0, file.path.rfind('.')));
    const bool grown = known != lengths.end() && file.size > known->second;
    if (!grown && !new_segment) return;
    target_.SetLength(file.path, file.size);
    grown_.insert(file.path);
  });
}

void RewindRun::CopyWhole(const PlanEntry& entry, Copier* copier) {
  target_.OpenWriter(entry.path, /*truncate=*/true);
  const bool relation = ParseRelationForkPath(entry.path).has_value();
  CopyRangeOf(entry, 0, entry.source_size + (relation ? 0 : kMayHaveGrownBytes), copier);
}

void RewindRun::CopyBlocks(const PlanEntry& entry, Copier* copier) {
  const bool there = entry.on_target && entry.target_size == entry.source_size;
  if (!there) target_.SetLength(entry.path, entry.source_size);
  for (const BlockRun& run : entry.runs) {
    CopyRangeOf(entry, uint64_t{run.first} * kBlockBytes, uint64_t{run.count} * kBlockBytes,
                copier);
  }
}

void RewindRun::CopyRangeOf(const PlanEntry& entry, uint64_t offset, uint64_t bytes,
                            Copier* copier) {
  while (bytes > 0) {
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(bytes, kAddBytesMax));
    copier->Add({entry.path, entry.path, offset, length});
    offset += length;
    bytes -= length;
  }
}

// What is not PostgreSQL's may be anything, a mount point or somebody else's file: no reason to
// fail.
void RewindRun::RemoveEntry(const PlanEntry& entry) {
  try {
    target_.Remove(entry.path, entry.type);
  } catch (const Error& error) {
    if (ClassifyPath(entry.path) != FileClass::kForeign) throw;
    LogWarning("{}", error.message());
  }
}

// The source dropped or truncated these while they were copied. Its WAL says so too, but until that
// is replayed nothing of the target's other life may be visible.
void RewindRun::ApplyShortfall(const CopyShortfall& shortfall,
                               const std::map<std::string, uint64_t>& cuts) {
  for (const PlanEntry& entry : plan_.entries) {
    if (shortfall.vanished.contains(entry.path)) {
      target_.Remove(entry.path, FileType::kRegular);
    } else if (entry.action == FileAction::kCopyBlocks) {
      const auto cut = cuts.find(entry.path);
      if (cut != cuts.end()) target_.SetLength(entry.path, cut->second);
    }
  }
}

SourceIdentity RewindRun::IdentifyAgain() {
  SourceIdentity now = source_.Identify();
  if (now.in_recovery != identity_.in_recovery || now.incarnation != identity_.incarnation ||
      now.system_identifier != identity_.system_identifier || now.history != identity_.history ||
      now.flush_lsn < identity_.flush_lsn) {
    throw Error(ErrorKind::kSourceChanged,
                "the source restarted or changed its role while it was copied",
                "Run again: the rewind is resumed.");
  }
  return now;
}

void RewindRun::InstallWal(Lsn end) {
  progress_.Phase("installing WAL");
  wal_.SetDivergedAside();
  wal_.Install(end);
  target_.SyncPath("pg_wal", FileType::kDirectory);
  KillPoint("wal-installed");
}

void RewindRun::Sync() {
  progress_.Phase("making data durable");
  // What a failed sync has lost cannot be told.
  ForgetCopiedBlocks(target_);
  if (options_.sync) {
    // After a crash, or in a second attempt, files that this run does not touch may not be durable.
    if (options_.sync_with_syncfs || resumed_ || !facts_.target_control.clean_shutdown()) {
      target_.SyncAll();
    } else {
      SyncTouched();
    }
  }
  KillPoint("data-durable");
}

void RewindRun::SyncTouched() {
  std::set<std::string> directories = {".", "pg_wal", "pg_wal/archive_status"};
  for (const PlanEntry& entry : plan_.entries) {
    // No shutdown of the server has flushed what is not PostgreSQL's.
    if (entry.action == FileAction::kKeep && !entry.same) continue;
    if (entry.action != FileAction::kRemove) target_.SyncPath(entry.path, entry.type);
    const size_t slash = entry.path.rfind('/');
    if (slash != std::string::npos) directories.insert(entry.path.substr(0, slash));
  }
  for (const std::string& path : grown_) {
    target_.SyncPath(path, FileType::kRegular);
    directories.insert(path.substr(0, path.rfind('/')));
  }
  target_.ListFiles([&](const TargetFile& file) {
    const bool wal = file.path.starts_with("pg_wal/") && file.type == FileType::kRegular;
    if (wal) target_.SyncPath(file.path, file.type);
  });
  for (const std::string& directory : directories) {
    target_.SyncPath(directory, FileType::kDirectory);
  }
}

// Each step is durable before the next begins: label, settings, control file.
void RewindRun::Publish(Lsn end) {
  progress_.Phase("finishing");
  const std::string label = facts_.label.ToString(facts_.target_control.wal_segment_size());
  target_.ReplaceFile(kBackupLabelPath, AsBytes(label));
  KillPoint("label-written");
  WriteRecoveryConf(target_, options_.primary_conninfo, options_.create_standby_signal);
  KillPoint("conf-written");
  IdentifyAgain();
  if (options_.confirm_source) options_.confirm_source();
  const ControlFile theirs = ReadControlOf(source_);
  CheckCompatible(facts_.target_control, theirs);
  const ControlFile control = theirs.AsStandby(end, identity_.history.TimelineAt({end.value - 1}));
  WritePublished(target_, control);
  KillPoint("published-noted");
  target_.ReplaceFile(kControlFilePath, control.raw());
  KillPoint("published");
}

}  // namespace pgrejoin
