// Named places where a crash test kills the process: KillPoint("journal-durable").
// PG_REJOIN_KILL_POINT=name[:n] sends SIGKILL to ourselves at the n-th hit. Release builds compile
// it to nothing.
#pragma once

#include <array>
#include <string_view>

namespace pgrejoin {

// Every name, in the order of a rewind; KillPoint() accepts no other.
inline constexpr auto kKillPoints = std::to_array<std::string_view>(
    {"line-changed",    "line-begun",         "wal-staged",
     "planned",         "journal-written",    "journal-durable",
     "fenced",          "copy-range",         "copied-noted",
     "copied",          "diverged-wal-aside", "wal-segment-installed",
     "wal-installed",   "data-durable",       "label-written",
     "conf-written",    "published-noted",    "published",
     "journal-removed", "target-write",       "target-truncate",
     "target-mkdir",    "target-unlink",      "target-rename",
     "target-fsync"});

#ifdef PG_REJOIN_KILL_POINTS
inline constexpr bool kHasKillPoints = true;
void KillPoint(std::string_view name);
#else
inline constexpr bool kHasKillPoints = false;
inline void KillPoint(std::string_view) {}
#endif

}  // namespace pgrejoin
