// From two running lives to the facts of a rewind: reads only.
#pragma once

#include "rewind/divergence.h"
#include "rewind/facts.h"
#include "rewind/local_state.h"
#include "source/rewind_source.h"
#include "target/target_directory.h"

namespace pgrejoin {

// What has to hold before target can be rewound onto source at all. Throws Error(kNotRewindable),
// or Error(kUnavailable) for a source in recovery unless standby_source.
void CheckRewindable(const ControlFile& target_control, const SourceIdentity& identity,
                     const ControlFile& source_control, bool standby_source);

// Whom this attempt copies from.
void NoteSource(const SourceIdentity& identity, RewindFacts* facts);

// local has diverged from source at fork.
RewindFacts SurveyTarget(const TargetDirectory& target, const LocalState& local, ForkPoint fork,
                         RewindSource& source, const SourceIdentity& identity,
                         const ControlFile& source_control);

// An attempt that journaled facts was interrupted, and the source is on another line now: facts
// become right for it. The fork and the start of replay only move back, so what is needed of the
// target's WAL is below the old fork, where no attempt takes any away. What the attempts have
// written is in facts->attempted (docs/explanation/safety.md, "a second failover").
void SurveyAgain(const TargetDirectory& target, RewindSource& source,
                 const SourceIdentity& identity, const ControlFile& source_control,
                 RewindFacts* facts);

}  // namespace pgrejoin
