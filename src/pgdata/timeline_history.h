// A server's line of descent: which timeline it was on from where to where.
// File format: src/backend/access/transam/timeline.c (readTimeLineHistory, writeTimeLineHistory).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgdata/types.h"

namespace pgrejoin {

struct TimelineEntry {
  TimelineId tli = 0;
  Lsn begin;  // where this timeline starts; 0 for the first
  Lsn end;    // where the next one forks off; 0 ("no end") for the last

  bool operator==(const TimelineEntry&) const = default;
};

// Oldest first, never empty; each entry begins where the one before ends.
class TimelineHistory {
 public:
  // Timeline 1 has no history file: pass {}. Throws Error(kNotRewindable) on malformed text.
  static TimelineHistory Parse(TimelineId own, std::string_view history_file);
  // Reads what ToString() writes. nullopt when malformed.
  static std::optional<TimelineHistory> FromString(std::string_view text);

  const std::vector<TimelineEntry>& entries() const { return entries_; }
  TimelineId timeline() const { return entries_.back().tli; }
  // The timeline that covers the byte at lsn.
  TimelineId TimelineAt(Lsn lsn) const;
  // Whether this line of descent contains position `lsn` of a server whose history is `other`
  // and which has written up to lsn: other's branch up to lsn is ours.
  bool Contains(const TimelineHistory& other, Lsn lsn) const;

  // Whether this line is branch or descends from it: every timeline of branch is in it and begins
  // at the same place.
  bool ContainsBranch(const TimelineHistory& branch) const;

  // "1@0/0,2@0/3000148": timeline and begin of each entry. Equal texts are equal histories as far
  // as the history files tell; docs/explanation/safety.md says when that is not enough.
  std::string ToString() const;

  bool operator==(const TimelineHistory&) const = default;

 private:
  std::vector<TimelineEntry> entries_;
};

// The last position that both lines of descent share.
struct ForkPoint {
  TimelineId tli = 0;  // the last common timeline
  Lsn lsn;             // where they part; 0 = never (one is the other's line, or they are equal)
};

// nullopt: no common ancestor.
std::optional<ForkPoint> FindForkPoint(const TimelineHistory& target,
                                       const TimelineHistory& source);

// "00000002.history"
std::string TimelineHistoryFileName(TimelineId tli);

}  // namespace pgrejoin
