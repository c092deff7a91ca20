// Whether a running server still keeps the WAL that a rewind will need of it. Cheap: two short
// questions with the rewind role's rights, nothing is read.
#pragma once

#include "pgdata/timeline_history.h"
#include "source/libpq_source.h"

namespace pgrejoin {

// Whether the server's pg_wal has the segment that holds lsn of line, its own or its descent. WAL
// is removed from the oldest on, so with that segment all later WAL is there. What its archive has
// does not count. Throws Error(kUnavailable) when there is no answer.
bool KeepsWalFrom(const ConnectOptions& server, const TimelineHistory& line, Lsn lsn);

}  // namespace pgrejoin
