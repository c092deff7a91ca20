// Named places where a crash test kills the process: KillPoint("journal-durable").
// PG_REJOIN_KILL_POINT=name[:n] sends SIGKILL to ourselves at the n-th hit. Release builds compile
// it to nothing.
#pragma once

#include <string_view>

namespace pgrejoin {

#ifdef PG_REJOIN_KILL_POINTS
void KillPoint(std::string_view name);
#else
inline void KillPoint(std::string_view) {}
#endif

}  // namespace pgrejoin
