#include "topology/promotion.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "base/log.h"
#include "topology/decision.h"

namespace pgrejoin {
namespace {

constexpr int kSwapTries = 5;

[[noreturn]] void LostRace() {
  throw Error(ErrorKind::kUnavailable, "the authority record keeps changing", "Try again.");
}

// Two promotions at once: the record decides, and only the one that it names goes on.
[[noreturn]] void TakenByAnother(const AuthorityRecord& record) {
  throw Error(ErrorKind::kSourceChanged,
              "the record names " + (record.primary.empty() ? "nobody" : record.primary) +
                  " by now: somebody else changed it meanwhile",
              "If this server runs read-write already, delete its pod: the next one follows.");
}

void CheckMayPromote(const AuthorityRecord& record, const SourceIdentity& own,
                     const PromoteOptions& options) {
  if (record.paused) {
    throw Error(ErrorKind::kNotRewindable, "the authority record is paused",
                "A person asked for that. End it with `pg-rejoin resume`, then promote.");
  }
  if (record.system_identifier && *record.system_identifier != own.system_identifier) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("system identifier {} of this server differs from {} of the record",
                            own.system_identifier, *record.system_identifier));
  }
  if (!own.in_recovery) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("this server is not a standby, and the record names {} as primary",
                            record.primary.empty() ? "nobody" : record.primary),
                "Delete this pod: the next one follows the record's primary.");
  }
  if (record.history && !own.history.ContainsBranch(*record.history) && !options.force) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("history {} of this standby lacks the record's branch {}",
                            own.history.ToString(), record.history->ToString()),
                "If it has followed that branch only since a moment ago, it says so after its next "
                "restartpoint: try again in some minutes. Otherwise promote a standby that has the "
                "branch, or use --force and lose what is only there.");
  }
}

// Says what a promotion now would lose, as far as that can be known.
void CheckLag(const AuthorityRecord& record, const SourceIdentity& own,
              const PromoteOptions& options) {
  if (record.primary.empty()) return;
  const bool named_already = record.primary == options.own_pod;
  const auto primary = named_already ? std::nullopt : options.ask_primary(record.primary);
  std::string problem;
  if (named_already) {
    problem = "the record names this pod already: whether another has more WAL is not known";
  } else if (!primary) {
    problem = record.primary + " does not answer: whether it has more WAL is not known";
  } else if (primary->in_recovery) {
    return;
  } else if (primary->flush_lsn > own.flush_lsn) {
    problem = fmt::format("{} has {} bytes of WAL that this standby lacks", record.primary,
                          primary->flush_lsn - own.flush_lsn);
  } else {
    return;
  }
  if (options.require_caught_up) {
    throw Error(ErrorKind::kNotRewindable, problem, "Leave out --require-caught-up to lose it.");
  }
  LogWarning("{}", problem);
}

// A standby tells its timeline from its control file, which lags behind replay until the next
// restartpoint. Where it seems to lack the record's branch, one is asked for.
SourceIdentity IdentifyForPromotion(AuthorityStore* store, const LocalServer& server) {
  const SourceIdentity own = server.identify();
  const AuthorityRecord record = store->Read().record;
  if (!own.in_recovery || !record.history || own.history.ContainsBranch(*record.history)) {
    return own;
  }
  try {
    server.checkpoint();
  } catch (const Error& error) {
    LogWarning("no restartpoint on this standby: {}", error.message());
  }
  return server.identify();
}

// Makes the record name this pod. Done before the server is touched. A standby that the record
// names already, by an interrupted promotion or since its volume was restored, is checked like any
// other.
AuthorityRecord TakeRecord(AuthorityStore* store, const SourceIdentity& own,
                           const PromoteOptions& options) {
  std::optional<std::string> primary_before;
  for (int i = 0; i < kSwapTries; ++i) {
    const AuthorityStore::Versioned read = store->Read();
    if (primary_before && *primary_before != read.record.primary) TakenByAnother(read.record);
    primary_before = read.record.primary;
    const bool named_already = read.record.primary == options.own_pod;
    if (named_already && !own.in_recovery) return read.record;
    CheckMayPromote(read.record, own, options);
    CheckLag(read.record, own, options);
    AuthorityRecord desired = read.record;
    if (!named_already) desired.epoch += 1;
    desired.primary = options.own_pod;
    desired.system_identifier = own.system_identifier;
    desired.approval.reset();
    desired.discard.reset();
    // With --force the old branch is given up; what this standby has is the branch from now on.
    if (desired.history && !own.history.ContainsBranch(*desired.history)) {
      SetBranch(&desired, own.system_identifier, own.history);
    }
    if (desired == read.record || store->CompareAndSwap(read, desired)) return desired;
  }
  LostRace();
}

void PromoteServer(const LocalServer& server) {
  if (!server.promote()) {
    throw Error(ErrorKind::kUnavailable, "the server did not finish its promotion in time",
                "The record already names this pod. Run the command again to continue.");
  }
  try {
    server.checkpoint();
  } catch (const Error& error) {
    LogWarning("no checkpoint after the promotion: {}", error.message());
  }
}

}  // namespace

bool Claim(AuthorityStore* store, const Evidence& evidence, const DirectoryState& local) {
  const AuthorityStore::Versioned read = store->Read();
  if (read.record != evidence.record) return false;
  AuthorityRecord desired = read.record;
  desired.approval.reset();
  // Where the record is no authority, an approval is only used up: nobody keeps its other keys.
  if (evidence.record_decides) {
    desired.primary = evidence.own_pod;
    desired.epoch += 1;
    if (local.kind != DirectoryKind::kEmpty) {
      SetBranch(&desired, local.system_identifier, local.history);
    }
  }
  return store->CompareAndSwap(read, desired);
}

PromoteResult Promote(AuthorityStore* store, const LocalServer& server,
                      const PromoteOptions& options) {
  SourceIdentity own = IdentifyForPromotion(store, server);
  PromoteResult result;
  result.record = TakeRecord(store, own, options);
  result.was_primary_already = !own.in_recovery;
  if (own.in_recovery) {
    // A promotion cannot be taken back, so the record is looked at once more just before.
    const AuthorityRecord now = store->Read().record;
    if (now != result.record) TakenByAnother(now);
    PromoteServer(server);
    own = server.identify();
  }
  for (int i = 0; i < kSwapTries; ++i) {
    const AuthorityStore::Versioned read = store->Read();
    if (read.record.primary != options.own_pod) TakenByAnother(read.record);
    result.record = read.record;
    if (!CompleteRecord(store, read, own)) {
      if (read.record.history == own.history) return result;
      continue;
    }
    result.record = store->Read().record;
    return result;
  }
  LostRace();
}

bool CompleteRecord(AuthorityStore* store, const AuthorityStore::Versioned& read,
                    const SourceIdentity& own) {
  const AuthorityRecord& record = read.record;
  const bool other_system =
      record.system_identifier && *record.system_identifier != own.system_identifier;
  if (other_system || (record.history && !own.history.ContainsBranch(*record.history))) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("the server (system {}, history {}) is not what the record describes "
                            "(system {}, history {})",
                            own.system_identifier, own.history.ToString(),
                            record.system_identifier.value_or(0),
                            record.history ? record.history->ToString() : "none"));
  }
  AuthorityRecord desired = record;
  SetBranch(&desired, own.system_identifier, own.history);
  return desired != record && store->CompareAndSwap(read, desired);
}

AuthorityRecord Approve(AuthorityStore* store, const Approval& approval,
                        std::optional<uint64_t> discard) {
  if (!TimelineHistory::FromString(approval.history)) {
    throw Error(ErrorKind::kUsage, "malformed history \"" + Printable(approval.history) + "\"",
                "Copy it from the pod's annotation \"history\".");
  }
  for (int i = 0; i < kSwapTries; ++i) {
    const AuthorityStore::Versioned read = store->Read();
    AuthorityRecord desired = read.record;
    std::string replaced;
    if (discard) {
      if (read.record.discard) replaced = read.record.discard->data.pod;
      desired.discard = DiscardApproval{approval, *discard};
    } else {
      if (read.record.approval) replaced = read.record.approval->pod;
      desired.approval = approval;
    }
    if (!store->CompareAndSwap(read, desired)) continue;
    if (!replaced.empty() && replaced != approval.pod) {
      LogWarning("the approval of pod {}, which was not used yet, is replaced", replaced);
    }
    return desired;
  }
  LostRace();
}

AuthorityRecord SetPaused(AuthorityStore* store, bool paused) {
  for (int i = 0; i < kSwapTries; ++i) {
    const AuthorityStore::Versioned read = store->Read();
    if (read.record.paused == paused) return read.record;
    AuthorityRecord desired = read.record;
    desired.paused = paused;
    if (store->CompareAndSwap(read, desired)) return desired;
  }
  LostRace();
}

void DropApproval(AuthorityStore* store, const std::string& pod) {
  for (int i = 0; i < kSwapTries; ++i) {
    const AuthorityStore::Versioned read = store->Read();
    const bool lead = read.record.approval && read.record.approval->pod == pod;
    const bool discard = read.record.discard && read.record.discard->data.pod == pod;
    if (!lead && !discard) return;
    AuthorityRecord desired = read.record;
    if (lead) desired.approval.reset();
    if (discard) desired.discard.reset();
    if (store->CompareAndSwap(read, desired)) return;
  }
  LostRace();
}

}  // namespace pgrejoin
