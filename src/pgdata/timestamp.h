// TimestampTz: src/include/datatype/timestamp.h.
#pragma once

#include <cstdint>
#include <string>

namespace pgrejoin {

using PgTimestamp = int64_t;  // microseconds since 2000-01-01 00:00:00 UTC

// "2026-11-21T03:12:07.113200Z". What no server's clock says, such as infinity, is "unknown".
std::string FormatTimestamp(PgTimestamp time);

}  // namespace pgrejoin
