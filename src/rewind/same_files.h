// Which of the files that would be copied whole the target has already. SLRU segments, maps and
// what is not PostgreSQL's mostly are the same on both sides, and their changes are in no WAL that
// would tell: the source digests its own where they are, and only digests cross the wire.
//
// Safe because an equal digest means that a copy, read at that instant, would have written the very
// bytes that are there (docs/explanation/safety.md, "What the target has already").
#pragma once

#include <stop_token>

#include "rewind/plan.h"
#include "source/rewind_source.h"
#include "target/target_directory.h"

namespace pgrejoin {

struct CompareOptions {
  int connections = 4;
  std::stop_token stop = {};
};

// Turns kCopyWhole into kKeep for them. Main forks are not looked at: what of them is copied is
// known by blocks. Throws what reading either side throws.
void KeepSameFiles(const TargetDirectory& target, RewindSource& source,
                   const CompareOptions& options, RewindPlan* plan);

}  // namespace pgrejoin
