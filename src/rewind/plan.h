// What happens to every path, decided before anything is changed: a pure function of what both
// sides hold and what the WAL told. The rules, with their reasons, are docs/explanation/safety.md.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "rewind/facts.h"
#include "rewind/rewind.h"

namespace pgrejoin {

// In the order in which they are carried out.
enum class FileAction : uint8_t {
  kCreateDirectory,
  kCopyWhole,   // the target's file, if any, is emptied first
  kCopyBlocks,  // the runs; length becomes the source's, and what is not in a run stays as it is
  kKeep,
  kRemove,
};

const char* FileActionName(FileAction action);  // "create", "copy", "blocks", "keep", "remove"

struct BlockRun {
  BlockNumber first = 0;
  BlockNumber count = 0;
};

struct PlanEntry {
  std::string path;
  FileType type = FileType::kRegular;
  FileAction action = FileAction::kKeep;
  const char* reason = "";  // a constant
  uint64_t source_size = 0;
  uint64_t target_size = 0;
  uint64_t bytes_to_copy = 0;
  bool on_target = false;      // there is something under this name now
  bool whole = false;          // kCopyBlocks: nothing of it stays the target's own
  bool same = false;           // kKeep: was to be copied, but the source's has the same content
  std::vector<BlockRun> runs;  // kCopyBlocks: within the segment file, ascending, disjoint
};

struct RewindPlan {
  // Ordered by action, then path; removals in descending order, so content goes before directories.
  std::vector<PlanEntry> entries;
  uint64_t bytes_to_copy = 0;
  uint64_t bytes_to_grow = 0;   // disk space the result needs beyond what is used now
  uint64_t bytes_replayed = 0;  // of blocks that are not copied because replay overwrites them
  uint64_t bytes_same = 0;      // of whole files that the target has already
};

// The part of it that entry needs.
uint64_t BytesToGrow(const PlanEntry& entry);

struct PlanInput {
  const RewindFacts* facts = nullptr;
  std::vector<SourceFile> source_files;
  std::vector<TargetFile> target_files;  // as they are now
  std::set<RelFileLocator> created_on_source;
  // Main-fork blocks that need not be fetched again (rewind/copied_blocks.h); nullptr: none.
  const BlockRefTable* copied = nullptr;
  // Of the source's WAL from the fork on, as far as replay is bound to go; nullptr: every block is
  // copied.
  const FirstReferences* source_references = nullptr;
  // CREATE DATABASE by file copy, in the target's WAL up to the fork and the source's from there.
  std::vector<CreateDatabaseByCopyEffect> database_copies;
  ExtraFiles extra_files = ExtraFiles::kKeepTarget;
};

// Fills in both lists; the names in the source's pg_wal.
std::set<std::string> ListFiles(const TargetDirectory& target, RewindSource& source,
                                PlanInput* input);

// Paths below pg_wal are not in the plan: WAL has its own rules (rewind/source_wal.h).
// Throws Error(kNotRewindable) when the two sides cannot be brought together.
RewindPlan MakePlan(const PlanInput& input);

// Takes entries of plan, which were to be copied whole, for the same on both sides.
void KeepEntries(const std::vector<PlanEntry*>& entries, RewindPlan* plan);

// What carrying out plan may do to main forks, for the journal.
void NoteAttempt(const RewindPlan& plan, RewindFacts* facts);

}  // namespace pgrejoin
