// Whether and where target and source parted.
#pragma once

#include <optional>

#include "rewind/local_state.h"
#include "source/rewind_source.h"

namespace pgrejoin {

// Where target and source parted by their histories. Throws Error(kNotRewindable) without a common
// ancestor.
ForkPoint FindCommonFork(const TimelineHistory& target, const TimelineHistory& source);

struct Divergence {
  // The last common position. lsn 0: the target's line is wholly the source's.
  ForkPoint fork;
  // The target has WAL behind the fork: it must be rewound.
  bool diverged = false;
};

// Compares the lines of descent. Throws Error(kNotRewindable) when they have nothing in common.
Divergence FindDivergence(const LocalState& local, const SourceIdentity& source);

enum class SameRecord { kSame, kOther, kGone };

// Whether the source has record at the same position; kGone: it has removed that part of its WAL.
SameRecord CompareRecord(RewindSource& source, const TimelineHistory& source_history,
                         const WalLayout& layout, const WalRecord& record);

// Timeline numbers and fork positions can be equal by accident: two nodes may both have become
// timeline 2 at the same place. So the last record that both should have must have the same
// checksum on both sides. Throws Error(kNotRewindable) when it differs; false when the source has
// removed that part of its WAL.
bool CheckCommonRecord(RewindSource& source, const TimelineHistory& source_history,
                       const WalLayout& layout, const WalRecord& record);

}  // namespace pgrejoin
