// The facts of a rewind, durable before its first change: pg_rejoin/journal in the data directory,
// one JSON object a line, the last line holding the number of lines and their CRC-32C. Written to a
// temporary name and renamed, so there is a whole journal or none. Format:
// docs/explanation/formats.md.
//
// The control file tells what a journal means: fenced, or put back to the very bytes the journal
// keeps, is a rewind to finish; the bytes to be published, or what a server made of them, is one
// that is finished; anything else means that a server ran on a half-done directory.
#pragma once

#include <optional>
#include <string>

#include "rewind/facts.h"
#include "rewind/plan.h"
#include "target/target_directory.h"

namespace pgrejoin {

// plan is kept for people and tools; a resumed run decides anew from the facts.
void WriteJournal(TargetDirectory& target, const RewindFacts& facts, const RewindPlan& plan);

bool JournalExists(const TargetDirectory& target);
// Throws Error(kTargetFailed) for a journal that is damaged or of an unknown format.
RewindFacts ReadJournal(const TargetDirectory& target);

// That the fence was put up, durable before the first change behind it. A journal without it
// belongs to a directory that is as it was.
void NoteFenced(TargetDirectory& target);
bool WasFenced(const TargetDirectory& target);

// The control file that is about to be published, durable before it is.
void WritePublished(TargetDirectory& target, const ControlFile& control);
std::optional<ControlFile> ReadPublished(const TargetDirectory& target);

// Everything of ours, the journal last.
void RemoveJournal(TargetDirectory& target);
// What a run left that was killed before its journal was durable; WAL that it has staged may stay.
void RemoveLeftovers(TargetDirectory& target);

}  // namespace pgrejoin
