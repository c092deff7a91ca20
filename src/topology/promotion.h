// The changes of who is primary: claim, promote, approve, the completion of the record by its
// holder, and a person's pause of all that. Each changes the authority record by compare-and-swap.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "rewind/inspect.h"
#include "topology/authority_record.h"
#include "topology/evidence.h"

namespace pgrejoin {

// The server in our own pod. Each throws Error when it cannot be had.
struct LocalServer {
  std::function<SourceIdentity()> identify;
  std::function<bool()> promote;     // pg_promote(): waits; false when it takes too long
  std::function<void()> checkpoint;  // CHECKPOINT: on a standby, a restartpoint
};

// Takes an unclaimed record, or uses up the approval that `evidence` holds. False: somebody else
// was faster, or the record is no longer what it was.
bool Claim(AuthorityStore* store, const Evidence& evidence, const DirectoryState& local);

struct PromoteOptions {
  std::string own_pod;
  bool force = false;              // although the record's branch is not in our history
  bool require_caught_up = false;  // refuse when the primary has WAL that we lack, or is silent
  // Asks the present primary; nullopt when it does not answer.
  std::function<std::optional<SourceIdentity>(const std::string& pod)> ask_primary;
};

struct PromoteResult {
  bool was_primary_already = false;
  AuthorityRecord record;
};

// Record first, so that a crash in between leaves nobody authorised rather than two (but see "Not
// claimed" in docs/explanation/safety.md for the API going down just then); then the
// server; then the record's timeline. Running it again finishes an interrupted one. Of two at once,
// the one that the record does not name in the end throws Error(kSourceChanged).
PromoteResult Promote(AuthorityStore* store, const LocalServer& server,
                      const PromoteOptions& options);

// Puts into the record what its holder's running server says: system identifier after the first
// start, timeline and history after a promotion. True when the record was changed. Throws
// Error(kNotRewindable) when the server is not on the record's branch.
bool CompleteRecord(AuthorityStore* store, const AuthorityStore::Versioned& read,
                    const SourceIdentity& own);

// A one-shot approval to lead, or with discard to lose so many transactions in a rewind. There is
// room for one of each. Returns the record with it.
AuthorityRecord Approve(AuthorityStore* store, const Approval& approval,
                        std::optional<uint64_t> discard);

// A person's pause: no automatic change of data, no promotion, until it is lifted. Returns the
// record with it; nothing is written when it is so already.
AuthorityRecord SetPaused(AuthorityStore* store, bool paused);

// Takes back an approval of this pod that was not needed: the pod follows another, and later nobody
// would think of that word any more.
void DropApproval(AuthorityStore* store, const std::string& pod);

}  // namespace pgrejoin
