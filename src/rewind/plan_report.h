// The plan without the deed: what a rewind would do and throw away, told before it does. Reads
// only. Schema of the JSON: docs/reference/plan.md.
#pragma once

#include <string>

#include "rewind/plan.h"
#include "rewind/rewind.h"
#include "rewind/survey.h"

namespace pgrejoin {

// The plan for the surveyed target; the source's WAL is read where it is, not stored.
RewindPlan PlanWithoutChanges(const TargetDirectory& target, const RewindFacts& facts,
                              RewindSource& source, const SourceIdentity& identity,
                              const RewindOptions& options);

// One JSON document. blocks_file, unless empty, gets one line "tablespace/database/relation block"
// for each block of the table.
std::string PlanAsJson(const TargetDirectory& target, RewindSource& source,
                       const std::string& blocks_file);

}  // namespace pgrejoin
