// From two running lives to the facts of a rewind: reads only.
#pragma once

#include "rewind/divergence.h"
#include "rewind/facts.h"
#include "rewind/local_state.h"
#include "rewind/wal_scan.h"
#include "source/rewind_source.h"
#include "target/target_directory.h"

namespace pgrejoin {

// What has to hold before target can be rewound onto source at all. Throws Error(kNotRewindable).
void CheckRewindable(const LocalState& local, const SourceIdentity& identity,
                     const ControlFile& source_control);

// local has diverged from source at fork.
RewindFacts SurveyTarget(const TargetDirectory& target, const LocalState& local, ForkPoint fork,
                         RewindSource& source, const SourceIdentity& identity,
                         const ControlFile& source_control);

}  // namespace pgrejoin
