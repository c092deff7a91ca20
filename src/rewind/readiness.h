// Could this server's data be rewound now, or be the source of a rewind? Answered before anybody
// needs it, while it can still be changed. Pure: facts in, a list of checks out. The same checks in
// the same order each time: docs/reference/readiness.md has a line for each.
//
// The invariant: what could not be read is unknown, never ok.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "source/server_facts.h"

namespace pgrejoin {

// Of the file system of the data directory or of its pg_wal, whichever has less room.
struct DiskSpace {
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;
  int64_t measured_at = 0;  // seconds since 1970: perhaps long ago
};

struct ReadinessFacts {
  std::optional<ServerFacts> server;
  std::string no_answer;  // why there is none
  // As other members would; nullopt: not tried. That the server answers over the loopback proves
  // neither the password nor what pg_hba.conf says of others.
  std::optional<LoginAttempt> rewind_login;
  std::optional<LoginAttempt> replication_login;
  std::optional<DiskSpace> disk;
  bool certificate_is_verified = false;  // by those who will connect
  int64_t now = 0;                       // seconds since 1970
};

enum class CheckState { kOk, kWarning, kFailed, kUnknown };
const char* CheckStateName(CheckState state);

struct ReadinessCheck {
  const char* name;  // stable
  CheckState state = CheckState::kUnknown;
  std::string text;  // what was found; one sentence
  std::string fix;   // what to run or to set; "" when nothing has to be done
};

// kYes: no check failed, and those without which a rewind is impossible are known to be well.
enum class Rewindable { kYes, kNo, kUnknown };
const char* RewindableName(Rewindable rewindable);  // "true", "false", "unknown"

struct Readiness {
  Rewindable rewindable = Rewindable::kUnknown;
  std::string reason;  // of "no" and "unknown"; of "yes" the names of the warnings, if any
  std::vector<ReadinessCheck> checks;
};

Readiness JudgeReadiness(const ReadinessFacts& facts);

}  // namespace pgrejoin
