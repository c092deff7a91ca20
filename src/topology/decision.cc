#include "topology/decision.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace pgrejoin {
namespace {

Decision Start(std::string reason, std::string message) {
  return {Action::kStart, std::move(reason), std::move(message), {}, ErrorKind::kUnavailable};
}

Decision Act(Action action, std::string reason, std::string message) {
  return {action, std::move(reason), std::move(message), {}, ErrorKind::kUnavailable};
}

Decision Wait(std::string reason, std::string message, std::string hint = {}) {
  return {Action::kWait, std::move(reason), std::move(message), std::move(hint),
          ErrorKind::kUnavailable};
}

Decision Refuse(ErrorKind kind, std::string reason, std::string message, std::string hint) {
  return {Action::kRefuse, std::move(reason), std::move(message), std::move(hint), kind};
}

constexpr const char* kCloneHint =
    "Keep a copy of the directory if its data matters, then empty it: the pod clones the primary.";
constexpr const char* kConflictHint =
    "Compare the two servers' data and decide which one stays. `pg-rejoin approve` lets this pod "
    "lead; emptying its directory makes it clone the other.";

// Who it is that names somebody.
std::string Authority(const Evidence& evidence) {
  return evidence.record_decides ? "the authority record" : "the authority";
}

bool HasSystemIdentifier(const DirectoryState& local) {
  return local.kind != DirectoryKind::kEmpty && local.kind != DirectoryKind::kHalfMade;
}

bool HoldsFor(const Approval& approval, const DirectoryState& local, const Evidence& evidence) {
  return approval.pod == evidence.own_pod &&
         approval.system_identifier == local.system_identifier &&
         approval.history == local.history.ToString();
}

bool IsApproved(const DirectoryState& local, const Evidence& evidence) {
  return evidence.record.approval && HoldsFor(*evidence.record.approval, local, evidence);
}

template <typename Speaks>
const PeerState* FindPeer(const DirectoryState& local, const Evidence& evidence, Speaks speaks) {
  for (const PeerState& peer : evidence.peers) {
    if (peer.identity && peer.identity->system_identifier == local.system_identifier &&
        speaks(*peer.identity)) {
      return &peer;
    }
  }
  return nullptr;
}

// Against the pod that the authority names speaks only a server that runs read-write on a branch
// unknown here. One that still runs on an older branch is the primary of before.
const PeerState* FindRivalOfLeader(const DirectoryState& local, const Evidence& evidence) {
  return FindPeer(local, evidence, [&](const SourceIdentity& peer) {
    return !peer.in_recovery && !local.history.ContainsBranch(peer.history);
  });
}

// A standby never has more than its primary has flushed (walsender sends flushed WAL only): one
// that has replayed more of the same branch proves that this volume has gone back, be it restored
// or on storage that lies about fsync.
const PeerState* FindStandbyAhead(const DirectoryState& local, const Evidence& evidence) {
  return FindPeer(local, evidence, [&](const SourceIdentity& peer) {
    return peer.in_recovery && peer.history == local.history && peer.flush_lsn > local.end_of_wal;
  });
}

// Where no authority names this pod, any read-write server and any WAL that this directory lacks
// speaks against a read-write start; the server that is named as primary before all others. "":
// nothing does.
std::string FindObjection(const DirectoryState& local, const Evidence& evidence) {
  const auto objection = [&](const std::string& pod, const SourceIdentity& server) -> std::string {
    if (server.system_identifier != local.system_identifier) return {};
    if (!server.in_recovery) return pod + " runs read-write";
    const bool ahead =
        !local.history.ContainsBranch(server.history) || server.flush_lsn > local.end_of_wal;
    return ahead ? pod + " has WAL that this directory lacks" : std::string();
  };
  std::string found;
  if (evidence.primary_identity) found = objection(evidence.primary, *evidence.primary_identity);
  for (const PeerState& peer : evidence.peers) {
    if (found.empty() && peer.identity) found = objection(peer.pod, *peer.identity);
  }
  return found;
}

Decision DecideOtherSystem(const DirectoryState& local, uint64_t other, const std::string& whose) {
  return Refuse(ErrorKind::kNotRewindable, "OtherSystem",
                fmt::format("system identifier {} of the directory differs from {} of {}",
                            local.system_identifier, other, whose),
                "The volume belongs to another cluster, or the release was installed anew over old "
                "volumes. Nothing was changed.");
}

// The authority's word may be old.
Decision NotProven(const Evidence& evidence) {
  const char* reason = "AuthorityUnproven";
  if (evidence.freshness == Freshness::kStale) reason = "AuthorityStale";
  if (evidence.freshness == Freshness::kInTransition) reason = "PrimaryChanging";
  return Wait(reason, evidence.authority_word,
              "Nothing is done by a word that may be old: see that whoever keeps it is running.");
}

Decision NotConfirmed(const Evidence& evidence) {
  const std::string named = evidence.primary.empty() ? "no primary" : evidence.primary;
  switch (evidence.primary_state) {
    case PrimaryState::kAmbiguous:
      return Wait("PrimaryAmbiguous", "several pods are named as primary: " + evidence.primary);
    case PrimaryState::kInRecovery:
      return Wait("PrimaryInRecovery", named + " is named as primary but still in recovery");
    case PrimaryState::kOtherBranch:
      return Wait("PrimaryOnOtherBranch",
                  named + " is named as primary but its history lacks the record's branch");
    case PrimaryState::kOtherSystem:
      return Wait("PrimaryOtherSystem", named + " belongs to another system");
    case PrimaryState::kUnproven:
      return NotProven(evidence);
    case PrimaryState::kNobody:
      return Wait("NoPrimary", "nobody is named as primary");
    default:
      return Wait("PrimaryUnreachable",
                  named + " is named as primary but does not answer: " + evidence.primary_problem);
  }
}

// A directory that could follow or must be rewound, and a confirmed primary.
Decision DecideRelation(const DirectoryState& local, const Evidence& evidence) {
  const SourceIdentity& primary = *evidence.primary_identity;
  const auto fork = FindForkPoint(local.history, primary.history);
  if (!fork) {
    return Refuse(
        ErrorKind::kNotRewindable, "NoCommonAncestor",
        fmt::format("history {} of the directory and {} of {} have nothing in common",
                    local.history.ToString(), primary.history.ToString(), evidence.primary),
        kCloneHint);
  }
  const bool same_branch = !fork->lsn.valid();
  if (same_branch && local.kind == DirectoryKind::kPrimary) {
    // A promotion always begins a timeline, so two read-write servers on one branch parted at a
    // place that no history tells.
    return Refuse(ErrorKind::kNotRewindable, "SameBranch",
                  fmt::format("this pod and {} both were primary on the same branch {}",
                              evidence.primary, local.history.ToString()),
                  kConflictHint);
  }
  // Newer than the primary: it has written nothing that this directory lacks, only the reverse.
  bool newer = false;
  if (same_branch) {
    newer = primary.flush_lsn < local.end_of_wal;
  } else if (local.history.ContainsBranch(primary.history)) {
    newer = primary.flush_lsn <= fork->lsn;
  }
  // A promotion that the primary has never heard of: without an authority nobody can say whose
  // counts.
  const bool undecided = evidence.authority == AuthorityState::kNone && !same_branch &&
                         local.history.timeline() != fork->tli;
  if (newer || undecided) {
    return Refuse(
        ErrorKind::kNotRewindable, "Conflict",
        fmt::format("the directory (history {}, WAL up to {}) is newer than {} "
                    "(history {}, WAL up to {})",
                    local.history.ToString(), local.end_of_wal.ToString(), evidence.primary,
                    primary.history.ToString(), primary.flush_lsn.ToString()),
        kConflictHint);
  }
  if (same_branch || local.end_of_wal <= fork->lsn) {
    return Act(Action::kFollow, "OnPrimaryBranch",
               fmt::format("WAL ends at {} on the branch of {}", local.end_of_wal.ToString(),
                           evidence.primary));
  }
  if (evidence.record.paused) {
    return Wait("Paused", "a rewind is needed, but the authority record is paused",
                "`pg-rejoin resume` ends the pause.");
  }
  if (evidence.paused_there) {
    return Wait("Paused", "a rewind is needed, but " + evidence.authority_word + ", and is paused",
                "End the pause where it was begun (Patroni: `patronictl resume`).");
  }
  return Act(Action::kRewind, "Diverged",
             fmt::format("WAL ends at {}, past the fork at {} where {} went its own way",
                         local.end_of_wal.ToString(), fork->lsn.ToString(), evidence.primary));
}

const PeerState* FindPeerWithData(const Evidence& evidence) {
  const auto found = std::find_if(evidence.peers.begin(), evidence.peers.end(),
                                  [](const PeerState& peer) { return peer.has_data; });
  return found == evidence.peers.end() ? nullptr : &*found;
}

Decision DecideUnclaimed(const Evidence& evidence) {
  if (evidence.record.paused) return Wait("Paused", "the authority record is paused");
  if (const PeerState* peer = FindPeerWithData(evidence)) {
    return Wait("PeerHasData", "the authority record is unclaimed, but " + peer->pod + " has data",
                "If that data is to lead, let its pod claim with `pg-rejoin approve`.");
  }
  for (const PeerState& peer : evidence.peers) {
    // A pod that exists may have a volume with data, however long it stays pending.
    if (peer.silent && (peer.has_pod || !evidence.patience_over)) {
      return Wait("PeersSilent", "waiting for " + peer.pod + " to say what it has",
                  "Who has data is not known before each pod has said it. If that pod cannot "
                  "start, see why, or scale the StatefulSet down to those that can.");
    }
  }
  return Act(Action::kClaim, "FirstInstall", "the authority record is unclaimed");
}

Decision DecideEmptyLeader(const Evidence& evidence) {
  std::string who_knows;
  if (!evidence.record_decides) who_knows = "it does not remember whether that has ever led";
  if (const PeerState* peer = FindPeerWithData(evidence)) who_knows = peer->pod + " has data";
  if (evidence.record.system_identifier) who_knows = "it has led before";
  if (who_knows.empty()) {
    return Start("Claimed", "this pod has claimed the record and is to be initialised");
  }
  return Wait(
      "DataLost",
      Authority(evidence) + " names this pod, whose data directory is empty, and " + who_knows,
      "Restore its volume, or promote another pod. It is never initialised again.");
}

Decision DecideEmpty(const Evidence& evidence) {
  if (evidence.authority == AuthorityState::kUnclaimed) return DecideUnclaimed(evidence);
  if (evidence.authority == AuthorityState::kUnreadable) {
    return Wait("AuthorityUnreadable", evidence.authority_problem);
  }
  if (evidence.authority == AuthorityState::kNamesUs) return DecideEmptyLeader(evidence);
  if (evidence.authority == AuthorityState::kNamesUsUnproven) return NotProven(evidence);
  if (evidence.primary_state != PrimaryState::kConfirmed) return NotConfirmed(evidence);
  if (evidence.record.paused) return Wait("Paused", "the authority record is paused");
  return Act(Action::kClone, "EmptyDirectory",
             "empty directory: cloning from " + evidence.primary + " begins");
}

// What initdb left when it was killed. On the pod that has claimed the record but never led it can
// only be that first initialisation: no server was ever reachable on it (the gate saw to that), so
// nothing is lost by beginning anew, and even so it is set aside, not removed.
Decision DecideHalfMade(const DirectoryState& local, const Evidence& evidence) {
  if (!local.initdb_cut_short) {
    return Refuse(ErrorKind::kTargetFailed, "HalfMade",
                  "the data directory is half of an initdb or a copy: it has no control file",
                  "If nothing in it matters, empty it; the pod then starts anew.");
  }
  if (evidence.authority == AuthorityState::kUnreadable) {
    return Wait("AuthorityUnreadable", evidence.authority_problem);
  }
  const bool never_led = evidence.record_decides &&
                         evidence.authority == AuthorityState::kNamesUs &&
                         !evidence.record.system_identifier && !evidence.record.history;
  if (never_led && FindPeerWithData(evidence) == nullptr) {
    return Act(Action::kReinitialise, "InitdbCutShort",
               "the first initialisation was cut short and begins anew");
  }
  return Refuse(ErrorKind::kTargetFailed, "HalfMade",
                "the data directory is half of an initdb: its initialisation was cut short",
                "If nothing in it matters, empty it; the pod then starts anew. If it is whole, "
                "remove the file beside it whose name ends in \".initialising\".");
}

Decision DecideHalfRewound(const Evidence& evidence) {
  if (evidence.authority == AuthorityState::kNamesUs) {
    return Refuse(ErrorKind::kTargetFailed, "HalfRewoundLeader",
                  Authority(evidence) + " names this pod, but its data is half rewound",
                  "Promote another pod, then this one finishes its rewind and follows.");
  }
  if (evidence.authority == AuthorityState::kUnreadable) {
    return Wait("AuthorityUnreadable", evidence.authority_problem);
  }
  if (evidence.authority == AuthorityState::kNamesUsUnproven) return NotProven(evidence);
  if (evidence.primary_state != PrimaryState::kConfirmed) return NotConfirmed(evidence);
  return Act(Action::kResume, "InterruptedRewind",
             "an interrupted rewind is finished from " + evidence.primary);
}

Decision DecideStandby(const DirectoryState& local, const Evidence& evidence) {
  const bool other_named = evidence.authority == AuthorityState::kNamesOther ||
                           evidence.authority == AuthorityState::kNone;
  if (other_named && evidence.primary_state == PrimaryState::kConfirmed) {
    Decision decision = DecideRelation(local, evidence);
    // A standby cannot fork history, so there is no harm in letting it serve reads meanwhile.
    if (decision.action == Action::kWait) return Start(decision.reason, decision.message);
    return decision;
  }
  // Once it runs, nobody rewinds it any more: it is worth the time that it takes to tell.
  const bool unproven = evidence.primary_state == PrimaryState::kUnproven && !evidence.watch_over;
  if (unproven && DecideRelation(local, evidence).action == Action::kRewind) {
    return NotProven(evidence);
  }
  return Start("StandbyWithoutPrimary",
               "a standby starts as it is: " + NotConfirmed(evidence).message);
}

Decision DecideLeader(const DirectoryState& local, const Evidence& evidence) {
  const auto& branch = evidence.record.history;
  if (branch && !local.history.ContainsBranch(*branch)) {
    return Refuse(ErrorKind::kNotRewindable, "StaleLeader",
                  fmt::format("the authority record names this pod on branch {}, but its "
                              "directory has history {}",
                              branch->ToString(), local.history.ToString()),
                  "The volume is older than the record. Promote a pod that has the branch.");
  }
  if (const PeerState* rival = FindRivalOfLeader(local, evidence)) {
    return Wait("Contradicted",
                fmt::format("{} names this pod, but {} runs read-write on another branch, {}",
                            Authority(evidence), rival->pod, rival->identity->history.ToString()),
                "Stop that server, or promote it properly with `pg-rejoin promote`.");
  }
  if (const PeerState* ahead = FindStandbyAhead(local, evidence)) {
    if (evidence.record_decides && IsApproved(local, evidence)) {
      return Act(Action::kClaim, "Approved",
                 "a person approved that this pod leads, behind its standby " + ahead->pod);
    }
    return Wait(
        "BehindItsStandby",
        fmt::format("{} names this pod, but its WAL ends at {} and its standby {} has replayed up "
                    "to {}",
                    Authority(evidence), local.end_of_wal.ToString(), ahead->pod,
                    ahead->identity->flush_lsn.ToString()),
        std::string("This volume has lost WAL. Promote that standby") +
            (evidence.record_decides
                 ? "; or lose what only it has, with `pg-rejoin approve` for this pod."
                 : "."));
  }
  // The record says on which branch this pod leads; another authority only that it does, and may
  // have been taken by whoever came up first.
  if (!evidence.record_decides) {
    const std::string objection = FindObjection(local, evidence);
    if (!objection.empty()) {
      return Wait("Contradicted", Authority(evidence) + " names this pod, but " + objection,
                  "This volume is older than that server's. Let a pod lead that has its branch.");
    }
  }
  return Start("Leader", Authority(evidence) + " names this pod");
}

// The API does not answer: only if every member is a standby on our own branch are we the one that
// was primary last.
Decision DecideUnreadable(const DirectoryState& local, const Evidence& evidence) {
  // Only the record tells an API that is down from a word that cannot be understood.
  const bool all_follow =
      evidence.record_decides && evidence.peers_complete &&
      std::all_of(evidence.peers.begin(), evidence.peers.end(), [&](const PeerState& peer) {
        return peer.identity && peer.identity->in_recovery &&
               peer.identity->system_identifier == local.system_identifier;
      });
  if (all_follow && FindObjection(local, evidence).empty()) {
    return Start("EveryPeerFollows",
                 "the authority cannot be read, but every member is a standby on our branch");
  }
  return Wait("AuthorityUnreadable", evidence.authority_problem);
}

Decision DecideFormerPrimary(const DirectoryState& local, const Evidence& evidence) {
  switch (evidence.authority) {
    case AuthorityState::kNamesUs:
      return DecideLeader(local, evidence);
    case AuthorityState::kUnreadable:
      return DecideUnreadable(local, evidence);
    case AuthorityState::kNamesOther:
    case AuthorityState::kNamesUsUnproven:
    case AuthorityState::kReleased:
    case AuthorityState::kNone:
    case AuthorityState::kUnclaimed:
      break;
  }
  if (evidence.primary_state == PrimaryState::kConfirmed) return DecideRelation(local, evidence);
  // Where somebody else keeps an authority, a word in our record neither changes nor replaces it.
  const bool ours = evidence.record_decides || evidence.authority == AuthorityState::kNone;
  if (ours && IsApproved(local, evidence)) {
    const std::string objection = FindObjection(local, evidence);
    if (objection.empty()) {
      return Act(Action::kClaim, "Approved", "a person approved that this pod leads");
    }
    return Wait("Contradicted", "a person approved that this pod leads, but " + objection,
                "Stop that server if its data is not wanted; otherwise let it lead.");
  }
  if (evidence.authority == AuthorityState::kNamesUsUnproven) return NotProven(evidence);
  if (evidence.primary_state != PrimaryState::kNobody) return NotConfirmed(evidence);
  const std::string released =
      evidence.authority_word.empty() ? "" : " (" + evidence.authority_word + ")";
  return Wait("NoAuthority",
              "nobody with authority says who is primary" + released +
                  ", and this directory was a primary's",
              evidence.authority == AuthorityState::kReleased
                  ? "See that whoever names a primary here runs, and names one."
                  : "If this pod is to lead, run `pg-rejoin approve` for it.");
}

Decision LeaveToManager(std::string message) {
  return Start("ManagerDecides", "what starts the server decides: " + std::move(message));
}

// Beside Patroni and the like. Everything but a rewind it does itself, and if it does not run, no
// primary comes up: so we wait only where it would start what must not be started, or for no longer
// than it takes to tell whether the other pod's word counts.
Decision DecideBesideManager(const DirectoryState& local, const Evidence& evidence) {
  if (local.kind == DirectoryKind::kHalfRewound) {
    const bool us = evidence.authority == AuthorityState::kNamesUs ||
                    evidence.authority == AuthorityState::kNamesUsUnproven;
    if (!us) return DecideHalfRewound(evidence);
    return Wait("HalfRewoundLeader",
                evidence.authority_word + "; but the data of this pod is half rewound",
                "Another pod has to lead: it does once nobody renews this one's claim.");
  }
  const bool was_started =
      local.kind == DirectoryKind::kStandby || local.kind == DirectoryKind::kPrimary;
  if (!was_started) return LeaveToManager(DirectoryKindName(local.kind));
  if (evidence.authority == AuthorityState::kUnreadable) {
    return LeaveToManager(evidence.authority_problem);
  }
  if (evidence.authority != AuthorityState::kNamesOther) {
    return LeaveToManager(evidence.authority_word);
  }
  const bool confirmed = evidence.primary_state == PrimaryState::kConfirmed;
  if (confirmed || evidence.primary_state == PrimaryState::kUnproven) {
    Decision decision = DecideRelation(local, evidence);
    if (decision.action != Action::kRewind) return LeaveToManager(decision.message);
    if (confirmed) return decision;
    return evidence.watch_over ? LeaveToManager(evidence.authority_word) : NotProven(evidence);
  }
  // A new leader that is just being promoted, or is not up yet.
  const Decision doubt = NotConfirmed(evidence);
  const bool worth_waiting = local.kind == DirectoryKind::kPrimary && !evidence.watch_over;
  return worth_waiting ? doubt : LeaveToManager(doubt.message);
}

}  // namespace

Decision Decide(const DirectoryState& local, const Evidence& evidence) {
  if (local.kind == DirectoryKind::kPointInTimeRecovery) {
    return Start("PointInTimeRecovery", "point-in-time recovery in progress");
  }
  if (local.kind == DirectoryKind::kHalfMade && !evidence.manager_starts) {
    return DecideHalfMade(local, evidence);
  }
  if (HasSystemIdentifier(local)) {
    const auto& theirs = evidence.system_identifier;
    if (theirs && *theirs != local.system_identifier) {
      return DecideOtherSystem(local, *theirs, Authority(evidence));
    }
    const auto recorded = evidence.record.system_identifier;
    if (recorded && *recorded != local.system_identifier) {
      return DecideOtherSystem(local, *recorded, "the authority record");
    }
    const auto& identity = evidence.primary_identity;
    if (identity && identity->system_identifier != local.system_identifier) {
      return DecideOtherSystem(local, identity->system_identifier, evidence.primary);
    }
  }
  if (evidence.manager_starts) return DecideBesideManager(local, evidence);
  switch (local.kind) {
    case DirectoryKind::kEmpty:
      return DecideEmpty(evidence);
    case DirectoryKind::kHalfRewound:
      return DecideHalfRewound(evidence);
    case DirectoryKind::kFreshClone:
      return Start("FreshClone", "a fresh copy that was never started");
    case DirectoryKind::kStandby:
      return DecideStandby(local, evidence);
    default:
      return DecideFormerPrimary(local, evidence);
  }
}

std::optional<uint64_t> ApprovedDiscard(const DirectoryState& local, const Evidence& evidence) {
  const auto& discard = evidence.record.discard;
  if (!discard || !HoldsFor(discard->data, local, evidence)) return std::nullopt;
  return discard->transactions;
}

PrimaryState JudgePrimary(const SourceIdentity& identity, const AuthorityRecord& record,
                          std::optional<uint64_t> local_system_identifier) {
  if (record.system_identifier && identity.system_identifier != *record.system_identifier) {
    return PrimaryState::kOtherSystem;
  }
  if (local_system_identifier && identity.system_identifier != *local_system_identifier) {
    return PrimaryState::kOtherSystem;
  }
  if (identity.in_recovery) return PrimaryState::kInRecovery;
  if (record.history && !identity.history.ContainsBranch(*record.history)) {
    return PrimaryState::kOtherBranch;
  }
  return PrimaryState::kConfirmed;
}

const char* ActionName(Action action) {
  switch (action) {
    case Action::kStart:
      return "start";
    case Action::kClaim:
      return "claim";
    case Action::kFollow:
      return "follow";
    case Action::kRewind:
      return "rewind";
    case Action::kResume:
      return "resume";
    case Action::kReinitialise:
      return "reinitialise";
    case Action::kClone:
      return "clone";
    case Action::kWait:
      return "wait";
    case Action::kRefuse:
      return "refuse";
  }
  return "?";
}

const char* AuthorityStateName(AuthorityState state) {
  switch (state) {
    case AuthorityState::kNone:
      return "none";
    case AuthorityState::kUnreadable:
      return "unreadable";
    case AuthorityState::kUnclaimed:
      return "unclaimed";
    case AuthorityState::kReleased:
      return "released";
    case AuthorityState::kNamesUs:
      return "names-us";
    case AuthorityState::kNamesUsUnproven:
      return "names-us-unproven";
    case AuthorityState::kNamesOther:
      return "names-other";
  }
  return "?";
}

const char* PrimaryStateName(PrimaryState state) {
  switch (state) {
    case PrimaryState::kNobody:
      return "nobody";
    case PrimaryState::kAmbiguous:
      return "ambiguous";
    case PrimaryState::kUnreachable:
      return "unreachable";
    case PrimaryState::kInRecovery:
      return "in-recovery";
    case PrimaryState::kOtherSystem:
      return "other-system";
    case PrimaryState::kOtherBranch:
      return "other-branch";
    case PrimaryState::kUnproven:
      return "unproven";
    case PrimaryState::kConfirmed:
      return "confirmed";
  }
  return "?";
}

}  // namespace pgrejoin
