// The decision, as a pure function. The table is in docs/ARCHITECTURE.md; its rows are the branches
// of decision.cc in the same order. Branches of history are compared by what they contain
// (timeline and begin of each entry), never by timeline number alone.
//
// Where a manager (Patroni, stolon, an operator's) starts the server, it decides about read-write
// and standby itself, and kStart means to let it run. Otherwise kStart of a primary's directory is
// a read-write start.
#pragma once

#include <string>

#include "base/error.h"
#include "rewind/inspect.h"
#include "topology/evidence.h"

namespace pgrejoin {

enum class Action {
  kStart,   // let the server start on what is there
  kClaim,   // take the record by compare-and-swap, then start
  kFollow,  // no data to undo: only recovery settings
  kRewind,
  kResume,        // finish an interrupted rewind
  kReinitialise,  // set aside what a killed initdb has left, then start
  kClone,         // an empty directory: copy the primary
  kWait,          // ask again later
  kRefuse         // a person must decide
};

struct Decision {
  Action action = Action::kWait;
  std::string reason;   // stable, CamelCase, for annotations and Events
  std::string message;  // for people; lower case, no full stop
  std::string hint;     // a sentence: what a person can do
  // Why init ends when it waits too long or refuses.
  ErrorKind kind = ErrorKind::kUnavailable;
};

Decision Decide(const DirectoryState& local, const Evidence& evidence);

// How many transactions a person lets our pod, with the data that it has, lose in a rewind.
std::optional<uint64_t> ApprovedDiscard(const DirectoryState& local, const Evidence& evidence);

// Judges what the named primary said about itself. local_system_identifier: nullopt for an empty
// directory; the record's, if it has one, is checked as well.
PrimaryState JudgePrimary(const SourceIdentity& identity, const AuthorityRecord& record,
                          std::optional<uint64_t> local_system_identifier);

const char* ActionName(Action action);

}  // namespace pgrejoin
