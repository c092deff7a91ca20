// What is known about who is primary, gathered by discovery.h, judged by decision.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "source/rewind_source.h"
#include "topology/authority_record.h"
#include "topology/authority_word.h"

namespace pgrejoin {

// What the authority says. Services and labels are no authority: with them it is kNone.
enum class AuthorityState {
  kNone,        // nobody keeps an authority here
  kUnreadable,  // there is one, but it could not be read
  kUnclaimed,   // our record without a holder: the first install
  kReleased,    // another authority that names nobody at the moment
  kNamesUs,
  kNamesUsUnproven,  // it may be old: see Evidence::freshness
  kNamesOther
};

// What is known about the other pod that is named as primary, by the authority or, without one, by
// the Service or label.
enum class PrimaryState {
  kNobody,       // no other pod is named
  kAmbiguous,    // several are
  kUnreachable,  // no answer
  kInRecovery,   // answers, but is a standby
  kOtherSystem,  // another system identifier
  kOtherBranch,  // its history does not contain the record's
  kUnproven,     // the server confirms it, but the authority's word may be old
  kConfirmed
};

// A member other than this pod and the named primary.
struct PeerState {
  std::string pod;
  std::optional<SourceIdentity> identity;  // its own word, by SQL; nullopt: no answer
  bool has_pod = true;                     // false: a member that has no pod at the moment
  // Answered, or published anything but that it waits with an empty directory. What an earlier run
  // of init has found does not count: a first primary and a clone had found theirs empty as well.
  bool has_data = false;
  bool silent = false;  // has neither answered nor published what it has
};

struct Evidence {
  std::string own_pod;
  AuthorityState authority = AuthorityState::kUnreadable;
  std::string authority_problem;  // why it is unreadable
  AuthorityRecord record;         // as far as there is one; approvals also without authority
  // Of an authority that is not our record (authority_word.h). Such a one remembers no first
  // install and takes no claim.
  bool record_decides = true;
  Freshness freshness = Freshness::kTimeless;
  std::string authority_word;  // what it says, for people
  std::string term;            // changes with its holder
  std::optional<uint64_t> system_identifier;
  bool paused_there = false;
  // The server is started by Patroni or the like, which decides itself whether it runs read-write.
  bool manager_starts = false;
  // Looked on for so long that a living holder would have renewed its word.
  bool watch_over = false;
  PrimaryState primary_state = PrimaryState::kNobody;
  std::string primary;                             // pod name, or address where no pod is known
  std::string primary_host;                        // where it was asked
  std::string primary_problem;                     // why it is not confirmed
  std::optional<SourceIdentity> primary_identity;  // when it has answered
  std::vector<PeerState> peers;
  bool peers_complete = false;  // peers holds every other member there can be
  // Members without a pod were given long enough to get one.
  bool patience_over = false;
};

const char* AuthorityStateName(AuthorityState state);
const char* PrimaryStateName(PrimaryState state);

}  // namespace pgrejoin
