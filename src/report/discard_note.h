// What a rewind discarded, on the volume from the moment it is published until it has been
// reported: a pod may be deleted in between, and the next one finds a directory that follows and
// has nothing to tell.
//
// Written before the journal goes, which until then keeps the same figures. It is told by the next
// run of init that comes to an outcome, unless it was reported and a server has run on the
// directory since; figures that were not reported are added to those of a later rewind. Where
// nobody lets us annotate the pod they are told twice: in the termination message of this pod and
// of the next.
#pragma once

#include <optional>
#include <string>

#include "rewind/rewind.h"

namespace pgrejoin {

inline constexpr const char* kDiscardNoteSuffix = ".discarded";

struct DiscardNote {
  RewindResult rewind;  // timelines, fork, end, what was discarded and copied; the rest is not kept
  uint32_t control_crc = 0;  // of pg_control as it was published: a server that starts changes it
  uint64_t told = 0;         // in so many termination messages
  bool reported = false;     // in the annotations of a pod
};

// JSON, one object; format: docs/explanation/formats.md.
std::string DiscardNoteText(const DiscardNote& note);
// nullopt: damaged, or of another format.
std::optional<DiscardNote> ParseDiscardNote(const std::string& text);

// Of what a server changes in the directory's pg_control, as it is. Throws Error(kTargetFailed).
uint32_t ControlCrc(const std::string& pgdata);

// Whether it still has to be told, of a directory whose pg_control has this checksum.
bool IsToBeTold(const DiscardNote& note, uint32_t control_crc);

// By the WAL that it has discarded.
bool IsSameRewind(const RewindResult& one, const RewindResult& other);

// The later rewind, and what the earlier one discarded.
RewindResult Sum(const RewindResult& earlier, RewindResult later);

}  // namespace pgrejoin
