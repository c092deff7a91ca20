#include "rewind/plan.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/check.h"
#include "base/error.h"
#include "base/parse_number.h"
#include "rewind/wal_scan.h"

namespace pgrejoin {
namespace {

constexpr uint64_t kBlockBytes = 8192;
constexpr const char* kSameReason = "the same on both sides";

// One path as both sides hold it. original is how the target's file was before the first change;
// current how it is now: they differ only when an interrupted rewind is resumed.
struct PathState {
  const SourceFile* source = nullptr;
  const TargetFile* original = nullptr;
  const TargetFile* current = nullptr;

  const TargetFile* target() const { return current != nullptr ? current : original; }
};

bool Has(const BlockBitmap* bitmap, BlockNumber block) {
  return bitmap != nullptr && bitmap->Test(block);
}

// Which blocks replay overwrites before it reads them, so that what is on disk does not matter
// (docs/explanation/safety.md, "What replay writes anyway").
class ReplayedBlocks {
 public:
  explicit ReplayedBlocks(const PlanInput& input) : facts_(*input.facts) {
    // Hints of a standby are in no WAL, and its pages may be older than the start of replay.
    const bool standby = facts_.target_control.in_recovery() || facts_.was_standby;
    const FirstReferences* source = input.source_references;
    if (source == nullptr || standby || !source->known() || !facts_.first_references.known()) {
      return;
    }
    source_ = source;
    // They are read whole when the copy is replayed, maybe before the image.
    for (const CreateDatabaseByCopyEffect& copy : input.database_copies) {
      read_whole_.insert({copy.database, copy.template_database});
    }
  }

  bool any() const { return source_ != nullptr; }

  // Block numbers within one segment file.
  class OfSegment {
   public:
    bool Has(BlockNumber block) const {
      if (!any_ || (metapage_ && block == 0)) return false;
      return pgrejoin::Has(common_overwritten_, block) ||
             (!pgrejoin::Has(common_seen_, block) && pgrejoin::Has(source_overwritten_, block));
    }

   private:
    friend class ReplayedBlocks;
    bool any_ = false;
    bool metapage_ = false;
    const BlockBitmap* common_seen_ = nullptr;
    const BlockBitmap* common_overwritten_ = nullptr;
    const BlockBitmap* source_overwritten_ = nullptr;
  };

  OfSegment Of(const RelationSegment& segment) const {
    OfSegment of;
    of.any_ = any() && !read_whole_.contains(segment.locator.database);
    if (!of.any_) return of;
    // The metapage of an SP-GiST index is written without WAL.
    of.metapage_ = segment.segment == 0;
    of.common_seen_ = facts_.first_references.seen().Find(segment);
    of.common_overwritten_ = facts_.first_references.overwritten().Find(segment);
    of.source_overwritten_ = source_->overwritten().Find(segment);
    return of;
  }

 private:
  const RewindFacts& facts_;
  const FirstReferences* source_ = nullptr;  // nullptr: none is left out
  std::set<Oid> read_whole_;
};

void Order(std::vector<PlanEntry>* entries) {
  std::sort(entries->begin(), entries->end(), [](const auto& a, const auto& b) {
    if (a.action != b.action) return a.action < b.action;
    return a.action == FileAction::kRemove ? a.path > b.path : a.path < b.path;
  });
}

class Planner {
 public:
  explicit Planner(const PlanInput& input) : input_(input), facts_(*input.facts), replayed_(input) {
    for (const SourceFile& file : input.source_files) {
      paths_[file.path].source = &file;
      NoteInitFork(file.path, &unlogged_on_source_);
    }
    for (const TargetFile& file : facts_.target_files) {
      paths_[file.path].original = &file;
      NoteInitFork(file.path, &unlogged_on_target_);
    }
    for (const TargetFile& file : input.target_files) paths_[file.path].current = &file;
  }

  RewindPlan Run() {
    for (const auto& [path, state] : paths_) Decide(path, state);
    TakeFirstBlocks();
    Order(&plan_.entries);
    return std::move(plan_);
  }

 private:
  static void NoteInitFork(const std::string& path, std::set<RelFileLocator>* unlogged) {
    const auto fork = ParseRelationForkPath(path);
    if (fork && fork->fork == ForkNumber::kInit) unlogged->insert(fork->locator);
  }

  void Decide(const std::string& path, const PathState& state) {
    switch (ClassifyPath(path)) {
      case FileClass::kOwn:
      case FileClass::kWal:
        return;
      case FileClass::kControlFile:
        return Keep(path, state, "fenced now, published last");
      case FileClass::kConfiguration:
        return Keep(path, state, "configuration, certificates and logs are the target's own");
      case FileClass::kForeign:
        if (input_.extra_files == ExtraFiles::kKeepTarget) {
          return Keep(path, state, "not PostgreSQL's");
        }
        return DecideWhole(path, state);
      case FileClass::kNeverFetched:
        return RemoveIfThere(path, state, "belongs to another run of the server");
      case FileClass::kEmptied:
        return RemoveIfThere(path, state, "rebuilt by the server, or must not survive");
      case FileClass::kTemporary:
        return RemoveIfThere(path, state, "temporary");
      case FileClass::kVersionFile:
        if (state.source != nullptr && state.original != nullptr && state.current != nullptr &&
            state.current->size == state.source->size) {
          return Keep(path, state, kSameReason);
        }
        return DecideWhole(path, state);
      case FileClass::kRelation:
      case FileClass::kRelationFork:
        return DecideRelation(path, state);
      case FileClass::kOther:
        if (PreparedAfterStart(path)) {
          return RemoveIfThere(path, state, "prepared after the start of replay, which makes it");
        }
        return DecideWhole(path, state);
    }
  }

  // The server discards such a file at the start of replay, and some minors of 17 then believe that
  // it was restored and lose the transaction (CheckPointTwoPhase, PrepareRedoAdd in twophase.c).
  // The name is the transaction id, from 17 on with its epoch.
  bool PreparedAfterStart(const std::string& path) const {
    constexpr std::string_view kDirectory = "pg_twophase/";
    if (!path.starts_with(kDirectory)) return false;
    const std::string_view name = std::string_view(path).substr(kDirectory.size());
    const auto xid = ParseNumber<uint64_t>(name, 16);
    if (!xid) return false;
    if (name.size() > 8) return *xid >= facts_.start_next_xid;
    const auto next = static_cast<TransactionId>(facts_.start_next_xid);
    return !TransactionIdPrecedes(static_cast<TransactionId>(*xid), next);
  }

  void DecideWhole(const std::string& path, const PathState& state) {
    if (state.source == nullptr) return RemoveIfThere(path, state, "not on the source");
    CheckSameType(path, state);
    switch (state.source->type) {
      case FileType::kSymlink:
        return DecideTablespaceLink(path, state);
      case FileType::kDirectory:
        if (state.current != nullptr) return Keep(path, state, kSameReason);
        return Add(path, state, FileAction::kCreateDirectory, "only on the source");
      case FileType::kRegular:
        return CopyWhole(path, state,
                         state.target() != nullptr ? "changes of such files are not in the WAL"
                                                   : "only on the source");
    }
  }

  void DecideTablespaceLink(const std::string& path, const PathState& state) {
    if (state.current == nullptr) {
      throw Error(
          ErrorKind::kNotRewindable,
          fmt::format("the source has tablespace \"{}\" and the target has not", Printable(path)),
          "Create its directory and link it below pg_tblspc on the target, as on the source.");
    }
    const bool same_place_needed = !state.source->link_target.empty();
    if (same_place_needed && state.current->link_target != state.source->link_target) {
      throw Error(
          ErrorKind::kNotRewindable,
          fmt::format("tablespace \"{}\" leads to \"{}\" on the target and to \"{}\" on the "
                      "source",
                      Printable(path), Printable(state.current->link_target),
                      Printable(state.source->link_target)));
    }
    Keep(path, state, kSameReason);
  }

  // A symlinked directory of the target (a log directory, a moved pg_xact) looks like a directory
  // on the source, whose functions follow links.
  void CheckSameType(const std::string& path, const PathState& state) const {
    const TargetFile* target = state.target();
    if (target == nullptr || target->type == state.source->type) return;
    if (path == "pg_wal" && target->type == FileType::kSymlink) return;
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("\"{}\" is of different type in source and target", Printable(path)));
  }

  void DecideRelation(const std::string& path, const PathState& state) {
    const auto fork = ParseRelationForkPath(path);
    Check(fork.has_value(), "a relation file has a relation's name");
    if (state.source == nullptr) return RemoveIfThere(path, state, "not on the source");
    CheckSameType(path, state);
    if (state.source->type != FileType::kRegular) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("relation file \"{}\" is not a regular file", Printable(path)));
    }
    const RelFileLocator& locator = fork->locator;
    if (unlogged_on_source_.contains(locator) && fork->fork != ForkNumber::kInit) {
      return RemoveIfThere(path, state, "unlogged: reset when the server starts");
    }
    if (fork->fork != ForkNumber::kMain) {
      return CopyWhole(path, state, "this fork's changes are not all in the WAL");
    }
    if (state.original == nullptr) return CopyWhole(path, state, "only on the source");
    if (unlogged_on_target_.contains(locator)) {
      return CopyWhole(path, state, "unlogged on the target: its changes are in no WAL");
    }
    if (facts_.copied_databases.contains({locator.tablespace, locator.database})) {
      return CopyWhole(path, state,
                       "its database's files were copied on the target after the fork");
    }
    if (facts_.created.contains(locator)) {
      return CopyWhole(path, state, "created on the target after the fork under the same number");
    }
    if (input_.created_on_source.contains(locator)) {
      return CopyWhole(path, state, "created on the source after the fork under the same number");
    }
    CopyBlocks(path, state, {locator, fork->segment});
  }

  void CopyBlocks(const std::string& path, const PathState& state, const RelationSegment& segment) {
    const uint64_t source_blocks = (state.source->size + kBlockBytes - 1) / kBlockBytes;
    const auto attempted = facts_.attempted.find(path);
    // The shortest the target's file ever was: everything behind may be of an interrupted run, or
    // missing. A partial last block is rounded down, so that no block mixes two histories.
    uint64_t own_bytes = state.original->size;
    own_bytes = std::min(own_bytes, state.current != nullptr ? state.current->size : 0);
    if (attempted != facts_.attempted.end()) own_bytes = std::min(own_bytes, attempted->second);
    const uint64_t tail = std::min(TailStart(segment, own_bytes / kBlockBytes), source_blocks);

    PlanEntry entry =
        MakeEntry(path, state, FileAction::kCopyBlocks, "changed blocks and the tail");
    if (const BlockBitmap* changed = facts_.blocks.Find(segment)) {
      changed->ForEachRun([&](BlockNumber first, BlockNumber count) {
        if (first >= tail) return;
        const auto end = std::min<uint64_t>(uint64_t{first} + count, tail);
        entry.runs.push_back({first, static_cast<BlockNumber>(end - first)});
      });
    }
    if (tail < source_blocks) {
      entry.runs.push_back(
          {static_cast<BlockNumber>(tail), static_cast<BlockNumber>(source_blocks - tail)});
    }
    const bool changed = !entry.runs.empty() || state.current == nullptr ||
                         state.current->size != state.source->size ||
                         attempted != facts_.attempted.end();
    if (changed && segment.segment == 0 && source_blocks > 0) AddFirstBlock(&entry.runs);
    if (!changed) {
      entry.action = FileAction::kKeep;
      entry.reason = "no block of it changed";
    }
    LeaveOut(segment, &entry);
    Push(std::move(entry));
  }

  // What need not be copied: blocks that an earlier attempt has copied from the same line, and
  // those that replay writes anyway.
  void LeaveOut(const RelationSegment& segment, PlanEntry* entry) {
    const BlockBitmap* copied = CopiedOf(segment);
    const ReplayedBlocks::OfSegment replayed = replayed_.Of(segment);
    if (copied != nullptr || replayed_.any()) {
      std::vector<BlockRun> left;
      for (const BlockRun& run : entry->runs) {
        for (BlockNumber block = run.first; block < run.first + run.count; ++block) {
          if (Has(copied, block)) continue;
          if (replayed.Has(block)) {
            plan_.bytes_replayed += kBlockBytes;
            continue;
          }
          if (!left.empty() && left.back().first + left.back().count == block) {
            ++left.back().count;
          } else {
            left.push_back({block, 1});
          }
        }
      }
      entry->runs = std::move(left);
    }
    for (const BlockRun& run : entry->runs) entry->bytes_to_copy += run.count * kBlockBytes;
  }

  const BlockBitmap* CopiedOf(const RelationSegment& segment) const {
    return input_.copied != nullptr ? input_.copied->Find(segment) : nullptr;
  }

  // Of relations of which only a later segment has changed.
  void TakeFirstBlocks() {
    std::set<RelFileLocator> changed;
    for (const PlanEntry& entry : plan_.entries) {
      const auto segment = ParseRelationPath(entry.path);
      if (segment && segment->segment > 0 && entry.action != FileAction::kKeep) {
        changed.insert(segment->locator);
      }
    }
    for (PlanEntry& entry : plan_.entries) {
      const auto segment = ParseRelationPath(entry.path);
      const bool kept = segment && segment->segment == 0 && entry.action == FileAction::kKeep;
      if (!kept || entry.source_size < kBlockBytes || !changed.contains(segment->locator)) continue;
      entry.action = FileAction::kCopyBlocks;
      entry.reason = "the first block of a relation that changed";
      entry.runs = {{0, 1}};
      entry.bytes_to_copy = kBlockBytes;
      plan_.bytes_to_copy += kBlockBytes;
    }
  }

  // The metapage of an SP-GiST index remembers pages with free space and is written without WAL
  // (SpGistUpdateMetaPage): the target's may name pages that only its other life had.
  static void AddFirstBlock(std::vector<BlockRun>* runs) {
    if (!runs->empty() && runs->front().first == 0) return;
    runs->insert(runs->begin(), BlockRun{0, 1});
  }

  // After a truncation the target may have extended again without WAL.
  uint64_t TailStart(const RelationSegment& segment, uint64_t target_blocks) const {
    const auto truncated = facts_.truncated.find(segment.locator);
    if (truncated == facts_.truncated.end()) return target_blocks;
    const uint64_t first = uint64_t{segment.segment} * facts_.blocks.blocks_per_segment();
    const uint64_t kept = truncated->second > first ? truncated->second - first : 0;
    return std::min(target_blocks, kept);
  }

  void CopyWhole(const std::string& path, const PathState& state, const char* reason) {
    const auto segment = ParseRelationPath(path);
    if (segment && (CopiedOf(*segment) != nullptr || replayed_.any())) {
      return CopyRest(path, state, *segment, reason);
    }
    PlanEntry entry = MakeEntry(path, state, FileAction::kCopyWhole, reason);
    entry.bytes_to_copy = state.source->size;
    Push(std::move(entry));
  }

  // Of a main fork that is wanted whole, what is not left out.
  void CopyRest(const std::string& path, const PathState& state, const RelationSegment& segment,
                const char* reason) {
    PlanEntry entry = MakeEntry(path, state, FileAction::kCopyBlocks, reason);
    entry.whole = true;
    const uint64_t blocks = (state.source->size + kBlockBytes - 1) / kBlockBytes;
    if (blocks > 0) entry.runs.push_back({0, static_cast<BlockNumber>(blocks)});
    LeaveOut(segment, &entry);
    Push(std::move(entry));
  }

  void RemoveIfThere(const std::string& path, const PathState& state, const char* reason) {
    if (state.current != nullptr) Add(path, state, FileAction::kRemove, reason);
  }

  void Keep(const std::string& path, const PathState& state, const char* reason) {
    if (state.current != nullptr) Add(path, state, FileAction::kKeep, reason);
  }

  void Add(const std::string& path, const PathState& state, FileAction action, const char* reason) {
    Push(MakeEntry(path, state, action, reason));
  }

  static PlanEntry MakeEntry(const std::string& path, const PathState& state, FileAction action,
                             const char* reason) {
    PlanEntry entry;
    entry.path = path;
    entry.action = action;
    entry.reason = reason;
    entry.type = state.source != nullptr ? state.source->type : state.target()->type;
    if (action == FileAction::kRemove) entry.type = state.current->type;
    entry.source_size = state.source != nullptr ? state.source->size : 0;
    entry.target_size = state.current != nullptr ? state.current->size : 0;
    entry.on_target = state.current != nullptr;
    return entry;
  }

  void Push(PlanEntry entry) {
    plan_.bytes_to_copy += entry.bytes_to_copy;
    plan_.bytes_to_grow += BytesToGrow(entry);
    plan_.entries.push_back(std::move(entry));
  }

  const PlanInput& input_;
  const RewindFacts& facts_;
  const ReplayedBlocks replayed_;
  std::map<std::string, PathState> paths_;
  std::set<RelFileLocator> unlogged_on_source_;
  std::set<RelFileLocator> unlogged_on_target_;
  RewindPlan plan_;
};

}  // namespace

const char* FileActionName(FileAction action) {
  switch (action) {
    case FileAction::kCreateDirectory:
      return "create";
    case FileAction::kCopyWhole:
      return "copy";
    case FileAction::kCopyBlocks:
      return "blocks";
    case FileAction::kKeep:
      return "keep";
    case FileAction::kRemove:
      return "remove";
  }
  return "";
}

uint64_t BytesToGrow(const PlanEntry& entry) {
  const bool copied =
      entry.action == FileAction::kCopyWhole || entry.action == FileAction::kCopyBlocks;
  return copied && entry.source_size > entry.target_size ? entry.source_size - entry.target_size
                                                         : 0;
}

std::set<std::string> ListFiles(const TargetDirectory& target, RewindSource& source,
                                PlanInput* input) {
  target.ListFiles([&](TargetFile file) { input->target_files.push_back(std::move(file)); });
  std::set<std::string> wal_names;
  source.ListFiles([&](SourceFile file) {
    if (file.path.starts_with("pg_wal/")) wal_names.insert(file.path.substr(7));
    input->source_files.push_back(std::move(file));
  });
  return wal_names;
}

RewindPlan MakePlan(const PlanInput& input) { return Planner(input).Run(); }

void KeepEntries(const std::vector<PlanEntry*>& entries, RewindPlan* plan) {
  for (PlanEntry* entry : entries) {
    plan->bytes_same += entry->bytes_to_copy;
    plan->bytes_to_copy -= entry->bytes_to_copy;
    entry->action = FileAction::kKeep;
    entry->reason = kSameReason;
    entry->same = true;
    entry->bytes_to_copy = 0;
  }
  Order(&plan->entries);
}

void NoteAttempt(const RewindPlan& plan, RewindFacts* facts) {
  for (const PlanEntry& entry : plan.entries) {
    const bool changed = entry.action == FileAction::kCopyWhole ||
                         entry.action == FileAction::kCopyBlocks ||
                         entry.action == FileAction::kRemove;
    if (!changed || !ParseRelationPath(entry.path)) continue;
    uint64_t own_bytes = 0;
    if (entry.action == FileAction::kCopyBlocks && entry.on_target && !entry.whole) {
      own_bytes = std::min(entry.target_size, entry.source_size);
    }
    facts->NoteOwnBytes(entry.path, own_bytes);
  }
}

}  // namespace pgrejoin
