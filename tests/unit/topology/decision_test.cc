#include "topology/decision.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace pgrejoin {
namespace {

constexpr uint64_t kSystem = 7000000000000000001;
constexpr uint64_t kOtherSystem = 7000000000000000002;

TimelineHistory History(const std::string& text) {
  const auto history = TimelineHistory::FromString(text);
  EXPECT_TRUE(history) << text;
  return *history;
}

Lsn At(const std::string& text) { return *Lsn::Parse(text); }

// How the local directory's line of descent relates to the named primary's.
enum class Relation {
  kSameBranch,      // equal histories, primary not behind
  kBeforeFork,      // the primary went its own way after our end
  kPastFork,        // ... before our end
  kSibling,         // both were promoted, at different places
  kSameNumber,      // both are "timeline 2" of different branches
  kNewer,           // we were promoted and the primary has written nothing since
  kNewerButParted,  // we were promoted and the primary has written on
  kPrimaryLostWal,  // same branch, the primary ends before us
  kNothingInCommon
};
constexpr Relation kRelations[] = {
    Relation::kSameBranch,     Relation::kBeforeFork,     Relation::kPastFork,
    Relation::kSibling,        Relation::kSameNumber,     Relation::kNewer,
    Relation::kNewerButParted, Relation::kPrimaryLostWal, Relation::kNothingInCommon};

constexpr DirectoryKind kKinds[] = {
    DirectoryKind::kEmpty,       DirectoryKind::kHalfMade,
    DirectoryKind::kFreshClone,  DirectoryKind::kPointInTimeRecovery,
    DirectoryKind::kHalfRewound, DirectoryKind::kStandby,
    DirectoryKind::kPrimary};

constexpr AuthorityState kAuthorities[] = {AuthorityState::kNone, AuthorityState::kUnreadable,
                                           AuthorityState::kUnclaimed, AuthorityState::kNamesUs,
                                           AuthorityState::kNamesOther};

constexpr PrimaryState kPrimaryStates[] = {PrimaryState::kNobody,      PrimaryState::kAmbiguous,
                                           PrimaryState::kUnreachable, PrimaryState::kInRecovery,
                                           PrimaryState::kOtherSystem, PrimaryState::kOtherBranch,
                                           PrimaryState::kConfirmed};

enum class Peers {
  kNone,
  kFollowing,
  kSilent,
  kWithoutPod,
  kReadWriteOnOurBranch,
  kReadWriteElsewhere,
  kAhead
};
constexpr Peers kPeers[] = {Peers::kNone,
                            Peers::kFollowing,
                            Peers::kSilent,
                            Peers::kWithoutPod,
                            Peers::kReadWriteOnOurBranch,
                            Peers::kReadWriteElsewhere,
                            Peers::kAhead};

enum class RecordBranch { kAbsent, kOurs, kNotOurs };
constexpr RecordBranch kRecordBranches[] = {RecordBranch::kAbsent, RecordBranch::kOurs,
                                            RecordBranch::kNotOurs};

struct Case {
  DirectoryKind kind = DirectoryKind::kPrimary;
  AuthorityState authority = AuthorityState::kNamesOther;
  PrimaryState primary = PrimaryState::kConfirmed;
  Relation relation = Relation::kPastFork;
  Peers peers = Peers::kNone;
  RecordBranch branch = RecordBranch::kAbsent;
  bool recorded_system_is_other = false;
  bool approved = false;
  bool paused = false;
  bool patience_over = true;
  bool peers_complete = false;
  bool initdb_cut_short = false;
};

DirectoryState MakeLocal(const Case& c) {
  DirectoryState local;
  local.kind = c.kind;
  local.initdb_cut_short = c.initdb_cut_short && c.kind == DirectoryKind::kHalfMade;
  if (c.kind == DirectoryKind::kEmpty || c.kind == DirectoryKind::kHalfMade) return local;
  local.system_identifier = kSystem;
  local.major_version = 15;
  local.end_of_wal = At("0/5000");
  switch (c.relation) {
    case Relation::kSibling:
    case Relation::kSameNumber:
    case Relation::kNewer:
    case Relation::kNewerButParted:
      local.history = History("1@0/0,2@0/3000");
      break;
    case Relation::kNothingInCommon:
      local.history = History("5@0/0");
      break;
    default:
      local.history = History("1@0/0");
  }
  return local;
}

SourceIdentity MakePrimary(const Case& c) {
  SourceIdentity primary;
  primary.system_identifier = c.primary == PrimaryState::kOtherSystem ? kOtherSystem : kSystem;
  primary.in_recovery = c.primary == PrimaryState::kInRecovery;
  primary.flush_lsn = At("0/9000");
  switch (c.relation) {
    case Relation::kBeforeFork:
      primary.history = History("1@0/0,2@0/5000");
      break;
    case Relation::kPastFork:
      primary.history = History("1@0/0,2@0/4000");
      break;
    case Relation::kSibling:
      primary.history = History("1@0/0,3@0/4000");
      break;
    case Relation::kSameNumber:
      primary.history = History("1@0/0,2@0/4000");
      break;
    case Relation::kNewer:
      primary.history = History("1@0/0");
      primary.flush_lsn = At("0/3000");
      break;
    case Relation::kPrimaryLostWal:
      primary.history = History("1@0/0");
      primary.flush_lsn = At("0/4FFF");
      break;
    default:
      primary.history = History("1@0/0");
  }
  return primary;
}

void AddPeers(const Case& c, const DirectoryState& local, Evidence* evidence) {
  if (c.peers == Peers::kNone) return;
  PeerState peer;
  peer.pod = "x-2";
  peer.has_pod = c.peers != Peers::kWithoutPod;
  peer.silent = c.peers == Peers::kSilent || c.peers == Peers::kWithoutPod;
  if (!peer.silent) {
    SourceIdentity identity;
    identity.system_identifier = kSystem;
    identity.history = local.history.entries().empty() ? History("1@0/0") : local.history;
    identity.in_recovery = c.peers == Peers::kFollowing || c.peers == Peers::kAhead;
    identity.flush_lsn = c.peers == Peers::kAhead ? At("0/5001") : At("0/4000");
    if (c.peers == Peers::kReadWriteElsewhere) identity.history = History("1@0/0,9@0/4800");
    peer.identity = identity;
    peer.has_data = true;
  }
  evidence->peers.push_back(peer);
}

Evidence MakeEvidence(const Case& c, const DirectoryState& local) {
  Evidence evidence;
  evidence.own_pod = "x-0";
  evidence.authority = c.authority;
  evidence.authority_problem = "no answer";
  evidence.primary_state = c.primary;
  evidence.patience_over = c.patience_over;
  evidence.peers_complete = c.peers_complete;
  if (c.primary != PrimaryState::kNobody) evidence.primary = "x-1";
  const bool answered = c.primary != PrimaryState::kNobody &&
                        c.primary != PrimaryState::kAmbiguous &&
                        c.primary != PrimaryState::kUnreachable;
  if (answered) evidence.primary_identity = MakePrimary(c);
  const bool readable =
      c.authority != AuthorityState::kUnreadable && c.authority != AuthorityState::kNone;
  if (readable && c.authority != AuthorityState::kUnclaimed) {
    evidence.record.primary = c.authority == AuthorityState::kNamesUs ? "x-0" : "x-1";
    evidence.record.epoch = 3;
    if (c.branch == RecordBranch::kOurs) {
      evidence.record.history = local.history.entries().empty() ? History("1@0/0") : local.history;
    }
    if (c.branch == RecordBranch::kNotOurs) evidence.record.history = History("1@0/0,8@0/2000");
  }
  if (c.branch != RecordBranch::kAbsent || c.recorded_system_is_other) {
    evidence.record.system_identifier = c.recorded_system_is_other ? kOtherSystem : kSystem;
  }
  evidence.record.paused = c.paused && readable;
  if (c.approved) {
    evidence.record.approval =
        Approval{"x-0", kSystem, local.history.entries().empty() ? "" : local.history.ToString()};
  }
  AddPeers(c, local, &evidence);
  return evidence;
}

// An authority that names somebody other is the only state, besides none, in which discovery names
// another pod; the rest cannot come up.
bool CanComeUp(const Case& c) {
  const bool other_named = c.primary != PrimaryState::kNobody;
  switch (c.authority) {
    case AuthorityState::kNamesOther:
      return other_named && c.primary != PrimaryState::kAmbiguous;
    case AuthorityState::kNone:
      return true;
    default:
      return !other_named;
  }
}

void ForEveryCase(const std::function<void(const Case&, const DirectoryState&, const Evidence&,
                                           const Decision&)>& visit) {
  for (const auto kind : kKinds) {
    for (const auto authority : kAuthorities) {
      for (const auto primary : kPrimaryStates) {
        for (const auto relation : kRelations) {
          for (const auto peers : kPeers) {
            for (const auto branch : kRecordBranches) {
              for (unsigned bits = 0; bits < 64; ++bits) {
                const Case c{.kind = kind,
                             .authority = authority,
                             .primary = primary,
                             .relation = relation,
                             .peers = peers,
                             .branch = branch,
                             .recorded_system_is_other = (bits & 1) != 0,
                             .approved = (bits & 2) != 0,
                             .paused = (bits & 4) != 0,
                             .patience_over = (bits & 8) != 0,
                             .peers_complete = (bits & 16) != 0,
                             .initdb_cut_short = (bits & 32) != 0};
                if (c.initdb_cut_short && kind != DirectoryKind::kHalfMade) continue;
                if (!CanComeUp(c)) continue;
                const DirectoryState local = MakeLocal(c);
                const Evidence evidence = MakeEvidence(c, local);
                visit(c, local, evidence, Decide(local, evidence));
              }
            }
          }
        }
      }
    }
  }
}

std::string Describe(const Case& c, const Decision& d) {
  return std::string(DirectoryKindName(c.kind)) + " authority=" + AuthorityStateName(c.authority) +
         " primary=" + PrimaryStateName(c.primary) +
         " relation=" + std::to_string(static_cast<int>(c.relation)) +
         " peers=" + std::to_string(static_cast<int>(c.peers)) +
         " branch=" + std::to_string(static_cast<int>(c.branch)) +
         " approved=" + std::to_string(c.approved) + " -> " + ActionName(d.action) + " " + d.reason;
}

bool StartsReadWrite(const Case& c, const Decision& d) {
  const bool could = c.kind == DirectoryKind::kPrimary || c.kind == DirectoryKind::kEmpty;
  return (could && (d.action == Action::kStart || d.action == Action::kClaim)) ||
         d.action == Action::kReinitialise;
}

TEST(DecisionInvariant, ReadWriteOnlyWithAWarrant) {
  size_t read_write = 0;
  ForEveryCase([&](const Case& c, const DirectoryState&, const Evidence&, const Decision& d) {
    if (!StartsReadWrite(c, d)) return;
    ++read_write;
    const bool named = c.authority == AuthorityState::kNamesUs;
    const bool first_install = c.kind == DirectoryKind::kEmpty &&
                               c.authority == AuthorityState::kUnclaimed &&
                               d.action == Action::kClaim;
    const bool approved =
        c.approved && c.kind == DirectoryKind::kPrimary && d.action == Action::kClaim;
    const bool every_peer_follows = c.authority == AuthorityState::kUnreadable &&
                                    c.peers_complete && c.kind == DirectoryKind::kPrimary &&
                                    (c.peers == Peers::kFollowing || c.peers == Peers::kNone);
    ASSERT_TRUE(named || first_install || approved || every_peer_follows) << Describe(c, d);
  });
  EXPECT_GT(read_write, 100u);
}

TEST(DecisionInvariant, NothingIsInitialisedWhereSomebodyHasDataOrHasNotSaidThatItIsEmpty) {
  ForEveryCase(
      [](const Case& c, const DirectoryState&, const Evidence& evidence, const Decision& d) {
        if (c.kind != DirectoryKind::kEmpty || !StartsReadWrite(c, d)) return;
        for (const PeerState& peer : evidence.peers) {
          ASSERT_FALSE(peer.has_data) << Describe(c, d);
          const bool claims = d.action == Action::kClaim;
          ASSERT_FALSE(claims && peer.silent && peer.has_pod) << Describe(c, d);
        }
      });
}

TEST(DecisionInvariant, OnlyAFirstInitialisationThatNobodyCanHaveReadBeginsAnew) {
  size_t found = 0;
  ForEveryCase([&](const Case& c, const DirectoryState&, const Evidence& evidence,
                   const Decision& d) {
    if (d.action != Action::kReinitialise) return;
    ++found;
    ASSERT_TRUE(c.kind == DirectoryKind::kHalfMade && c.initdb_cut_short) << Describe(c, d);
    ASSERT_EQ(c.authority, AuthorityState::kNamesUs) << Describe(c, d);
    ASSERT_FALSE(evidence.record.system_identifier || evidence.record.history) << Describe(c, d);
    for (const PeerState& peer : evidence.peers) ASSERT_FALSE(peer.has_data) << Describe(c, d);
  });
  EXPECT_GT(found, 10u);
}

TEST(DecisionInvariant, ApprovalIsNoWordAgainstAServerThatRunsReadWrite) {
  ForEveryCase(
      [](const Case& c, const DirectoryState&, const Evidence& evidence, const Decision& d) {
        if (c.kind != DirectoryKind::kPrimary || d.action != Action::kClaim) return;
        if (evidence.primary_identity) {
          ASSERT_TRUE(evidence.primary_identity->in_recovery) << Describe(c, d);
        }
        for (const PeerState& peer : evidence.peers) {
          if (peer.identity) {
            ASSERT_TRUE(peer.identity->in_recovery) << Describe(c, d);
          }
        }
      });
}

TEST(DecisionInvariant, NothingIsUndoneTowardsAnUnconfirmedPrimary) {
  ForEveryCase([](const Case& c, const DirectoryState&, const Evidence&, const Decision& d) {
    const bool acts = d.action == Action::kRewind || d.action == Action::kResume ||
                      d.action == Action::kFollow || d.action == Action::kClone;
    if (acts) {
      ASSERT_EQ(c.primary, PrimaryState::kConfirmed) << Describe(c, d);
    }
  });
}

TEST(DecisionInvariant, UnreadableNeverMeansIAm) {
  ForEveryCase([](const Case& c, const DirectoryState&, const Evidence&, const Decision& d) {
    if (c.authority != AuthorityState::kUnreadable) return;
    ASSERT_NE(d.action, Action::kClaim) << (c.approved ? "approved" : "") << Describe(c, d);
    ASSERT_TRUE(d.action == Action::kStart || d.action == Action::kWait ||
                d.action == Action::kRefuse)
        << Describe(c, d);
    if (c.kind == DirectoryKind::kEmpty) {
      ASSERT_EQ(d.action, Action::kWait) << Describe(c, d);
    }
    if (c.kind == DirectoryKind::kPrimary && !c.peers_complete) {
      ASSERT_NE(d.action, Action::kStart) << Describe(c, d);
    }
  });
}

TEST(DecisionInvariant, OtherSystemIsNeverTouchedNorStarted) {
  ForEveryCase([](const Case& c, const DirectoryState& local, const Evidence& evidence,
                  const Decision& d) {
    const bool known = c.kind != DirectoryKind::kEmpty && c.kind != DirectoryKind::kHalfMade &&
                       c.kind != DirectoryKind::kPointInTimeRecovery;
    const bool other = c.recorded_system_is_other ||
                       (evidence.primary_identity &&
                        evidence.primary_identity->system_identifier != local.system_identifier);
    if (known && other) {
      ASSERT_EQ(d.action, Action::kRefuse) << Describe(c, d);
      ASSERT_EQ(d.reason, "OtherSystem");
    }
  });
}

TEST(DecisionInvariant, LeaderWithoutTheRecordsBranchNeverStarts) {
  ForEveryCase([](const Case& c, const DirectoryState&, const Evidence&, const Decision& d) {
    if (c.kind == DirectoryKind::kPrimary && c.authority == AuthorityState::kNamesUs &&
        c.branch == RecordBranch::kNotOurs) {
      ASSERT_EQ(d.action, Action::kRefuse) << Describe(c, d);
    }
  });
}

TEST(DecisionInvariant, HalfRewoundDataNeverStarts) {
  ForEveryCase([](const Case& c, const DirectoryState&, const Evidence&, const Decision& d) {
    if (c.kind == DirectoryKind::kHalfRewound || c.kind == DirectoryKind::kHalfMade) {
      ASSERT_NE(d.action, Action::kStart) << Describe(c, d);
      ASSERT_NE(d.action, Action::kClaim) << Describe(c, d);
    }
  });
}

TEST(DecisionInvariant, OnlyEmptyDirectoriesAreClonedAndOnlyHalfRewoundOnesResumed) {
  ForEveryCase([](const Case& c, const DirectoryState&, const Evidence&, const Decision& d) {
    if (d.action == Action::kClone) {
      ASSERT_EQ(c.kind, DirectoryKind::kEmpty) << Describe(c, d);
    }
    if (d.action == Action::kResume) {
      ASSERT_EQ(c.kind, DirectoryKind::kHalfRewound) << Describe(c, d);
    }
    if (d.action == Action::kRewind || d.action == Action::kFollow) {
      ASSERT_TRUE(c.kind == DirectoryKind::kStandby || c.kind == DirectoryKind::kPrimary)
          << Describe(c, d);
    }
  });
}

TEST(DecisionInvariant, PausedUndoesNothing) {
  ForEveryCase(
      [](const Case& c, const DirectoryState&, const Evidence& evidence, const Decision& d) {
        if (evidence.record.paused) {
          ASSERT_NE(d.action, Action::kRewind) << Describe(c, d);
          ASSERT_NE(d.action, Action::kClone) << Describe(c, d);
        }
      });
}

TEST(DecisionInvariant, EveryDecisionSaysWhy) {
  std::set<std::string> reasons;
  ForEveryCase([&](const Case& c, const DirectoryState&, const Evidence&, const Decision& d) {
    reasons.insert(d.reason);
    ASSERT_FALSE(d.reason.empty()) << Describe(c, d);
    ASSERT_FALSE(d.message.empty()) << Describe(c, d);
    if (d.action == Action::kRefuse) {
      ASSERT_FALSE(d.hint.empty()) << Describe(c, d);
      ASSERT_TRUE(d.kind == ErrorKind::kNotRewindable || d.kind == ErrorKind::kTargetFailed);
    }
    if (d.action == Action::kWait) {
      ASSERT_EQ(d.kind, ErrorKind::kUnavailable);
    }
  });
  EXPECT_GE(reasons.size(), 25u);
}

using K = DirectoryKind;
using A = AuthorityState;
using P = PrimaryState;
using R = Relation;

// ---- authorities that somebody else keeps

struct ForeignCase {
  Case base;
  bool managed = false;
  bool watch_over = false;
  bool other_system = false;  // than the authority says
  Freshness freshness = Freshness::kFresh;
};

Evidence MakeForeignEvidence(const ForeignCase& c, const DirectoryState& local) {
  Evidence evidence = MakeEvidence(c.base, local);
  const auto approval = evidence.record.approval;
  evidence.record = {};
  evidence.record.approval = approval;
  evidence.record_decides = false;
  evidence.manager_starts = c.managed;
  evidence.watch_over = c.watch_over;
  evidence.freshness = c.freshness;
  evidence.authority_word = "Lease db names somebody";
  evidence.paused_there = c.base.paused;
  evidence.system_identifier = c.other_system ? kOtherSystem : kSystem;
  return evidence;
}

// As discovery makes them: the named server counts as confirmed only by a word that counts.
bool CanComeUp(const ForeignCase& c) {
  const bool other_named = c.base.primary != P::kNobody;
  const bool counts = c.freshness == Freshness::kFresh || c.freshness == Freshness::kTimeless;
  if (c.base.authority == A::kNamesUs && !counts) return false;
  if (c.base.authority == A::kNamesUsUnproven && counts) return false;
  if (c.base.primary == P::kConfirmed && !counts) return false;
  if (c.base.primary == P::kUnproven && counts) return false;
  if (c.base.primary == P::kAmbiguous) return false;
  return other_named == (c.base.authority == A::kNamesOther);
}

using ForeignVisit = std::function<void(const ForeignCase&, const Evidence&, const Decision&)>;

void ForEveryForeignCase(const ForeignVisit& visit) {
  constexpr A kForeign[] = {A::kUnreadable, A::kReleased, A::kNamesUs, A::kNamesUsUnproven,
                            A::kNamesOther};
  constexpr P kNamed[] = {P::kNobody,      P::kUnreachable, P::kInRecovery, P::kOtherSystem,
                          P::kOtherBranch, P::kUnproven,    P::kConfirmed};
  // Of those that count and those that do not, one each; and a change that takes its time.
  constexpr Freshness kAll[] = {Freshness::kFresh, Freshness::kUnproven, Freshness::kInTransition};
  for (unsigned bits = 0; bits < 32; ++bits) {
    for (const auto kind : kKinds) {
      for (const auto relation : kRelations) {
        for (const auto peers : kPeers) {
          for (const auto authority : kForeign) {
            for (const auto primary : kNamed) {
              for (const auto freshness : kAll) {
                ForeignCase c;
                c.base = {.kind = kind, .authority = authority, .primary = primary};
                c.base.relation = relation;
                c.base.peers = peers;
                c.base.approved = (bits & 1) != 0;
                c.base.paused = (bits & 2) != 0;
                c.base.peers_complete = true;
                c.managed = (bits & 4) != 0;
                c.watch_over = (bits & 8) != 0;
                c.other_system = (bits & 16) != 0;
                c.freshness = freshness;
                if (!CanComeUp(c)) continue;
                const DirectoryState local = MakeLocal(c.base);
                const Evidence evidence = MakeForeignEvidence(c, local);
                visit(c, evidence, Decide(local, evidence));
              }
            }
          }
        }
      }
    }
  }
}

std::string Describe(const ForeignCase& c, const Decision& d) {
  return Describe(c.base, d) + " managed=" + std::to_string(c.managed) +
         " freshness=" + FreshnessName(c.freshness) + " over=" + std::to_string(c.watch_over);
}

TEST(DecisionInvariant, AWordThatMayBeOldUndoesNothing) {
  size_t undone = 0;
  ForEveryForeignCase([&](const ForeignCase& c, const Evidence&, const Decision& d) {
    const bool acts = d.action == Action::kRewind || d.action == Action::kResume ||
                      d.action == Action::kFollow || d.action == Action::kClone;
    if (!acts) return;
    ++undone;
    ASSERT_EQ(c.base.primary, P::kConfirmed) << Describe(c, d);
    ASSERT_FALSE(c.base.paused && d.action == Action::kRewind) << Describe(c, d);
  });
  EXPECT_GT(undone, 1000u);
}

TEST(DecisionInvariant, OnlyAFreshWordOrAPersonStartsReadWrite) {
  size_t started = 0;
  ForEveryForeignCase([&](const ForeignCase& c, const Evidence&, const Decision& d) {
    if (c.managed || !StartsReadWrite(c.base, d)) return;
    ++started;
    // Nobody but the record remembers that there was no first installation yet.
    ASSERT_EQ(c.base.kind, K::kPrimary) << Describe(c, d);
    const bool named = c.base.authority == A::kNamesUs;
    const bool by_a_person =
        c.base.approved && d.action == Action::kClaim && c.base.authority != A::kNamesOther;
    ASSERT_TRUE(named || by_a_person) << Describe(c, d);
    ASSERT_FALSE(c.other_system) << Describe(c, d);
  });
  EXPECT_GT(started, 100u);
}

// A manager does everything but a rewind itself. If it were kept from running, no primary came up.
TEST(DecisionInvariant, AManagerIsKeptFromRunningOnlyWhereItMust) {
  ForEveryForeignCase([](const ForeignCase& c, const Evidence&, const Decision& d) {
    if (!c.managed) return;
    ASSERT_TRUE(d.action == Action::kStart || d.action == Action::kWait ||
                d.action == Action::kRewind || d.action == Action::kResume ||
                d.action == Action::kRefuse)
        << Describe(c, d);
    const bool half_rewound = c.base.kind == K::kHalfRewound;
    if (d.action == Action::kWait) {
      ASSERT_TRUE(half_rewound || !c.watch_over) << Describe(c, d);
      ASSERT_TRUE(half_rewound || c.base.authority == A::kNamesOther) << Describe(c, d);
    }
    if (d.action == Action::kRefuse) {
      ASSERT_EQ(d.reason, "OtherSystem") << Describe(c, d);
    }
  });
}

TEST(DecisionInvariant, HalfRewoundAndForeignDataNeverStartUnderAnyAuthority) {
  ForEveryForeignCase([](const ForeignCase& c, const Evidence& evidence, const Decision& d) {
    const bool known = c.base.kind != K::kEmpty && c.base.kind != K::kHalfMade &&
                       c.base.kind != K::kPointInTimeRecovery;
    const bool other = c.other_system || (evidence.primary_identity &&
                                          evidence.primary_identity->system_identifier != kSystem);
    if (known && other) {
      ASSERT_EQ(d.reason, "OtherSystem") << Describe(c, d);
    }
    if (c.base.kind == K::kHalfRewound) {
      ASSERT_NE(d.action, Action::kStart) << Describe(c, d);
      ASSERT_NE(d.action, Action::kClaim) << Describe(c, d);
    }
  });
}

// The rows of the table, one by one.

Decision Of(const Case& c) {
  const DirectoryState local = MakeLocal(c);
  return Decide(local, MakeEvidence(c, local));
}

struct Row {
  const char* what;
  Case given;
  Action action;
  const char* reason;
};

class DecisionTable : public testing::TestWithParam<Row> {};

TEST_P(DecisionTable, Row) {
  const Decision d = Of(GetParam().given);
  EXPECT_EQ(ActionName(d.action), std::string(ActionName(GetParam().action)))
      << GetParam().what << ": " << d.message;
  EXPECT_EQ(d.reason, GetParam().reason) << GetParam().what << ": " << d.message;
}

const Row kRows[] = {
    {"empty, unclaimed",
     {.kind = K::kEmpty, .authority = A::kUnclaimed, .primary = P::kNobody},
     Action::kClaim,
     "FirstInstall"},
    {"empty, unclaimed, a peer has data",
     {.kind = K::kEmpty,
      .authority = A::kUnclaimed,
      .primary = P::kNobody,
      .peers = Peers::kFollowing},
     Action::kWait,
     "PeerHasData"},
    {"empty, unclaimed, a peer stays silent, for ever if need be",
     {.kind = K::kEmpty,
      .authority = A::kUnclaimed,
      .primary = P::kNobody,
      .peers = Peers::kSilent},
     Action::kWait,
     "PeersSilent"},
    {"empty, unclaimed, a member has no pod yet",
     {.kind = K::kEmpty,
      .authority = A::kUnclaimed,
      .primary = P::kNobody,
      .peers = Peers::kWithoutPod,
      .patience_over = false},
     Action::kWait,
     "PeersSilent"},
    {"empty, unclaimed, a member gets no pod",
     {.kind = K::kEmpty,
      .authority = A::kUnclaimed,
      .primary = P::kNobody,
      .peers = Peers::kWithoutPod},
     Action::kClaim,
     "FirstInstall"},
    {"empty, claimed by us, but a peer has data: the record was never completed",
     {.kind = K::kEmpty,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .peers = Peers::kFollowing},
     Action::kWait,
     "DataLost"},
    {"empty, claimed by us, never initialised",
     {.kind = K::kEmpty, .authority = A::kNamesUs, .primary = P::kNobody},
     Action::kStart,
     "Claimed"},
    {"empty, but the record knows our system: the volume is gone",
     {.kind = K::kEmpty,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .branch = RecordBranch::kOurs},
     Action::kWait,
     "DataLost"},
    {"empty, primary confirmed", {.kind = K::kEmpty}, Action::kClone, "EmptyDirectory"},
    {"empty, no authority, primary confirmed by SQL",
     {.kind = K::kEmpty, .authority = A::kNone},
     Action::kClone,
     "EmptyDirectory"},
    {"empty, primary in recovery",
     {.kind = K::kEmpty, .primary = P::kInRecovery},
     Action::kWait,
     "PrimaryInRecovery"},
    {"empty, API down",
     {.kind = K::kEmpty, .authority = A::kUnreadable, .primary = P::kNobody},
     Action::kWait,
     "AuthorityUnreadable"},
    {"empty, nothing known",
     {.kind = K::kEmpty, .authority = A::kNone, .primary = P::kNobody},
     Action::kWait,
     "NoPrimary"},
    {"half made", {.kind = K::kHalfMade}, Action::kRefuse, "HalfMade"},
    {"initdb cut short on the pod that had claimed",
     {.kind = K::kHalfMade,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .initdb_cut_short = true},
     Action::kReinitialise,
     "InitdbCutShort"},
    {"... but it has led before",
     {.kind = K::kHalfMade,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .branch = RecordBranch::kOurs,
      .initdb_cut_short = true},
     Action::kRefuse,
     "HalfMade"},
    {"... but a peer has data",
     {.kind = K::kHalfMade,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .peers = Peers::kFollowing,
      .initdb_cut_short = true},
     Action::kRefuse,
     "HalfMade"},
    {"initdb cut short, another pod leads",
     {.kind = K::kHalfMade, .initdb_cut_short = true},
     Action::kRefuse,
     "HalfMade"},
    {"initdb cut short, API down",
     {.kind = K::kHalfMade,
      .authority = A::kUnreadable,
      .primary = P::kNobody,
      .initdb_cut_short = true},
     Action::kWait,
     "AuthorityUnreadable"},
    {"fresh clone",
     {.kind = K::kFreshClone, .primary = P::kUnreachable},
     Action::kStart,
     "FreshClone"},
    {"point-in-time recovery",
     {.kind = K::kPointInTimeRecovery},
     Action::kStart,
     "PointInTimeRecovery"},
    {"journal, primary confirmed", {.kind = K::kHalfRewound}, Action::kResume, "InterruptedRewind"},
    {"journal, primary unreachable",
     {.kind = K::kHalfRewound, .primary = P::kUnreachable},
     Action::kWait,
     "PrimaryUnreachable"},
    {"journal, named ourselves",
     {.kind = K::kHalfRewound, .authority = A::kNamesUs, .primary = P::kNobody},
     Action::kRefuse,
     "HalfRewoundLeader"},
    {"standby on the primary's branch",
     {.kind = K::kStandby, .relation = R::kSameBranch},
     Action::kFollow,
     "OnPrimaryBranch"},
    {"standby behind the fork",
     {.kind = K::kStandby, .relation = R::kBeforeFork},
     Action::kFollow,
     "OnPrimaryBranch"},
    {"standby past the fork",
     {.kind = K::kStandby, .relation = R::kPastFork},
     Action::kRewind,
     "Diverged"},
    {"standby past the fork, paused: it still serves reads",
     {.kind = K::kStandby, .relation = R::kPastFork, .paused = true},
     Action::kStart,
     "Paused"},
    {"standby, primary unreachable",
     {.kind = K::kStandby, .primary = P::kUnreachable},
     Action::kStart,
     "StandbyWithoutPrimary"},
    {"standby, named ourselves: promote was cut short",
     {.kind = K::kStandby, .authority = A::kNamesUs, .primary = P::kNobody},
     Action::kStart,
     "StandbyWithoutPrimary"},
    {"standby ahead of its primary",
     {.kind = K::kStandby, .relation = R::kPrimaryLostWal},
     Action::kRefuse,
     "Conflict"},
    {"ordinary restart of a healthy primary",
     {.kind = K::kPrimary,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .branch = RecordBranch::kOurs},
     Action::kStart,
     "Leader"},
    {"... beside its standbys",
     {.kind = K::kPrimary,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .peers = Peers::kFollowing,
      .branch = RecordBranch::kOurs},
     Action::kStart,
     "Leader"},
    {"... while the primary of before still runs",
     {.kind = K::kPrimary,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .peers = Peers::kReadWriteOnOurBranch,
      .branch = RecordBranch::kOurs},
     Action::kStart,
     "Leader"},
    {"... but another one runs on a branch of its own",
     {.kind = K::kPrimary,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .peers = Peers::kReadWriteElsewhere,
      .branch = RecordBranch::kOurs},
     Action::kWait,
     "Contradicted"},
    {"... but a standby has more: the volume was restored",
     {.kind = K::kPrimary,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .peers = Peers::kAhead,
      .branch = RecordBranch::kOurs},
     Action::kWait,
     "BehindItsStandby"},
    {"... and a person wants to lose that",
     {.kind = K::kPrimary,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .peers = Peers::kAhead,
      .branch = RecordBranch::kOurs,
      .approved = true},
     Action::kClaim,
     "Approved"},
    {"named, but the volume is older than the record",
     {.kind = K::kPrimary,
      .authority = A::kNamesUs,
      .primary = P::kNobody,
      .branch = RecordBranch::kNotOurs},
     Action::kRefuse,
     "StaleLeader"},
    {"former primary that ends before the fork",
     {.relation = R::kBeforeFork},
     Action::kFollow,
     "OnPrimaryBranch"},
    {"former primary past the fork", {.relation = R::kPastFork}, Action::kRewind, "Diverged"},
    {"former primary past the fork, paused",
     {.relation = R::kPastFork, .paused = true},
     Action::kWait,
     "Paused"},
    {"promoted by hand, the record decides",
     {.relation = R::kNewerButParted},
     Action::kRewind,
     "Diverged"},
    {"two promotions, the record decides", {.relation = R::kSibling}, Action::kRewind, "Diverged"},
    {"two timelines 2, the record decides",
     {.relation = R::kSameNumber},
     Action::kRewind,
     "Diverged"},
    {"two promotions and nobody to decide",
     {.authority = A::kNone, .relation = R::kSibling},
     Action::kRefuse,
     "Conflict"},
    {"two timelines 2 and nobody to decide",
     {.authority = A::kNone, .relation = R::kSameNumber},
     Action::kRefuse,
     "Conflict"},
    {"failover without an authority: the Service and SQL contradict us",
     {.authority = A::kNone, .relation = R::kPastFork},
     Action::kRewind,
     "Diverged"},
    {"newer than the confirmed primary", {.relation = R::kNewer}, Action::kRefuse, "Conflict"},
    {"both primary on one branch", {.relation = R::kSameBranch}, Action::kRefuse, "SameBranch"},
    {"no common ancestor", {.relation = R::kNothingInCommon}, Action::kRefuse, "NoCommonAncestor"},
    {"primary unreachable", {.primary = P::kUnreachable}, Action::kWait, "PrimaryUnreachable"},
    {"primary in recovery", {.primary = P::kInRecovery}, Action::kWait, "PrimaryInRecovery"},
    {"primary lacks the record's branch",
     {.primary = P::kOtherBranch},
     Action::kWait,
     "PrimaryOnOtherBranch"},
    {"several are named",
     {.authority = A::kNone, .primary = P::kAmbiguous},
     Action::kWait,
     "PrimaryAmbiguous"},
    {"primary of another system", {.primary = P::kOtherSystem}, Action::kRefuse, "OtherSystem"},
    {"record of another system",
     {.recorded_system_is_other = true},
     Action::kRefuse,
     "OtherSystem"},
    {"API down, all members follow us",
     {.authority = A::kUnreadable,
      .primary = P::kNobody,
      .peers = Peers::kFollowing,
      .peers_complete = true},
     Action::kStart,
     "EveryPeerFollows"},
    {"API down, a member is silent",
     {.authority = A::kUnreadable,
      .primary = P::kNobody,
      .peers = Peers::kSilent,
      .peers_complete = true},
     Action::kWait,
     "AuthorityUnreadable"},
    {"API down, a member has WAL that we lack",
     {.authority = A::kUnreadable,
      .primary = P::kNobody,
      .peers = Peers::kAhead,
      .peers_complete = true},
     Action::kWait,
     "AuthorityUnreadable"},
    {"API down, members not known",
     {.authority = A::kUnreadable, .primary = P::kNobody, .peers = Peers::kFollowing},
     Action::kWait,
     "AuthorityUnreadable"},
    {"no authority, nobody else",
     {.authority = A::kNone, .primary = P::kNobody},
     Action::kWait,
     "NoAuthority"},
    {"the record was lost",
     {.authority = A::kUnclaimed, .primary = P::kNobody},
     Action::kWait,
     "NoAuthority"},
    {"the record was lost, a person approves",
     {.authority = A::kUnclaimed, .primary = P::kNobody, .approved = true},
     Action::kClaim,
     "Approved"},
    {"approved, but another one runs read-write",
     {.authority = A::kUnclaimed,
      .primary = P::kNobody,
      .peers = Peers::kReadWriteOnOurBranch,
      .approved = true},
     Action::kWait,
     "Contradicted"},
    {"approved, but the named primary runs read-write on another branch",
     {.primary = P::kOtherBranch, .approved = true},
     Action::kWait,
     "Contradicted"},
    {"approved, but the named primary is a standby with more WAL",
     {.primary = P::kInRecovery, .relation = R::kSameBranch, .approved = true},
     Action::kWait,
     "Contradicted"},
    {"approved, and the named primary is a standby that lacks nothing of ours but has no more",
     {.primary = P::kInRecovery, .relation = R::kPrimaryLostWal, .approved = true},
     Action::kClaim,
     "Approved"},
    {"the named primary is gone for good, a person approves",
     {.primary = P::kUnreachable, .approved = true},
     Action::kClaim,
     "Approved"},
    {"an approval is not stronger than a confirmed primary",
     {.relation = R::kPastFork, .approved = true},
     Action::kRewind,
     "Diverged"},
};

INSTANTIATE_TEST_SUITE_P(Architecture, DecisionTable, testing::ValuesIn(kRows));

TEST(Decision, ApprovalToDiscardIsBoundLikewiseAndNoWordToLead) {
  const Case c{.authority = A::kUnclaimed, .primary = P::kNobody, .approved = true};
  const DirectoryState local = MakeLocal(c);
  Evidence evidence = MakeEvidence(c, local);
  const Approval good = *evidence.record.approval;
  evidence.record.approval.reset();
  EXPECT_FALSE(ApprovedDiscard(local, evidence));
  evidence.record.discard = DiscardApproval{good, 92};
  EXPECT_EQ(ApprovedDiscard(local, evidence), 92u);
  EXPECT_EQ(Decide(local, evidence).action, Action::kWait);
  for (const Approval& wrong : {Approval{"x-1", good.system_identifier, good.history},
                                Approval{good.pod, good.system_identifier + 1, good.history},
                                Approval{good.pod, good.system_identifier, "1@0/0,2@0/1"}}) {
    evidence.record.discard = DiscardApproval{wrong, 92};
    EXPECT_FALSE(ApprovedDiscard(local, evidence));
  }
}

TEST(Decision, ApprovalIsBoundToPodSystemAndHistory) {
  const Case c{.authority = A::kUnclaimed, .primary = P::kNobody, .approved = true};
  const DirectoryState local = MakeLocal(c);
  Evidence evidence = MakeEvidence(c, local);
  const Approval good = *evidence.record.approval;
  for (const Approval& wrong : {Approval{"x-1", good.system_identifier, good.history},
                                Approval{good.pod, good.system_identifier + 1, good.history},
                                Approval{good.pod, good.system_identifier, "1@0/0,2@0/1"}}) {
    evidence.record.approval = wrong;
    EXPECT_EQ(Decide(local, evidence).action, Action::kWait);
  }
  evidence.record.approval = good;
  EXPECT_EQ(Decide(local, evidence).action, Action::kClaim);
}

// A Service that selects another release's pods shows servers that have nothing to say here.
TEST(Decision, PeersOfAnotherSystemSayNothing) {
  for (const Peers peers : {Peers::kReadWriteElsewhere, Peers::kAhead}) {
    const Case leader{.authority = A::kNamesUs, .primary = P::kNobody, .peers = peers};
    const DirectoryState local = MakeLocal(leader);
    Evidence evidence = MakeEvidence(leader, local);
    EXPECT_EQ(Decide(local, evidence).action, Action::kWait);
    evidence.peers[0].identity->system_identifier = kOtherSystem;
    EXPECT_EQ(Decide(local, evidence).reason, "Leader");

    const Case approved{
        .authority = A::kUnclaimed, .primary = P::kNobody, .peers = peers, .approved = true};
    evidence = MakeEvidence(approved, local);
    EXPECT_EQ(Decide(local, evidence).reason, "Contradicted");
    evidence.peers[0].identity->system_identifier = kOtherSystem;
    EXPECT_EQ(Decide(local, evidence).reason, "Approved");
  }
}

// And they are no proof that everybody follows.
TEST(Decision, WithoutTheApiEveryMemberHasToFollow) {
  const Case c{.authority = A::kUnreadable,
               .primary = P::kNobody,
               .peers = Peers::kFollowing,
               .peers_complete = true};
  const DirectoryState local = MakeLocal(c);
  const Evidence good = MakeEvidence(c, local);
  EXPECT_EQ(Decide(local, good).reason, "EveryPeerFollows");
  const std::function<void(PeerState&)> changes[] = {
      [](PeerState& peer) { peer.identity.reset(); },
      [](PeerState& peer) { peer.identity->in_recovery = false; },
      [](PeerState& peer) { peer.identity->system_identifier = kOtherSystem; },
      [](PeerState& peer) { peer.identity->history = History("1@0/0,9@0/4800"); },
      [](PeerState& peer) { peer.identity->flush_lsn = At("0/5001"); },
  };
  for (const auto& change : changes) {
    Evidence evidence = good;
    change(evidence.peers[0]);
    EXPECT_EQ(Decide(local, evidence).reason, "AuthorityUnreadable");
  }
}

// A record that knows a branch has been completed by a leader.
TEST(Decision, AHalfMadeDirectoryBeginsAnewOnlyIfNobodyHasEverLed) {
  const Case c{.kind = K::kHalfMade,
               .authority = A::kNamesUs,
               .primary = P::kNobody,
               .initdb_cut_short = true};
  const DirectoryState local = MakeLocal(c);
  Evidence evidence = MakeEvidence(c, local);
  EXPECT_EQ(Decide(local, evidence).action, Action::kReinitialise);
  evidence.record.history = History("1@0/0");
  EXPECT_EQ(Decide(local, evidence).action, Action::kRefuse);
  evidence.record.history.reset();
  evidence.record.system_identifier = kSystem;
  EXPECT_EQ(Decide(local, evidence).action, Action::kRefuse);
}

TEST(Decision, PausedEmptyDirectoriesWait) {
  for (const auto& [authority, primary] :
       {std::pair{A::kUnclaimed, P::kNobody}, std::pair{A::kNamesOther, P::kConfirmed}}) {
    const Case c{.kind = K::kEmpty, .authority = authority, .primary = primary, .paused = true};
    EXPECT_EQ(Of(c).action, Action::kWait);
    EXPECT_EQ(Of(c).reason, "Paused");
  }
}

TEST(Decision, EachStateOfThePrimaryHasItsReason) {
  const std::pair<P, const char*> cases[] = {
      {P::kAmbiguous, "PrimaryAmbiguous"},       {P::kInRecovery, "PrimaryInRecovery"},
      {P::kOtherBranch, "PrimaryOnOtherBranch"}, {P::kNobody, "NoPrimary"},
      {P::kUnreachable, "PrimaryUnreachable"},
  };
  for (const auto& [primary, reason] : cases) {
    for (const K kind : {K::kEmpty, K::kHalfRewound}) {
      const Decision d = Of({.kind = kind, .authority = A::kNone, .primary = primary});
      EXPECT_EQ(d.action, Action::kWait) << reason;
      EXPECT_EQ(d.reason, reason);
    }
  }
  const Decision d = Of({.kind = K::kEmpty, .primary = P::kOtherSystem});
  EXPECT_EQ(d.reason, "PrimaryOtherSystem");
  EXPECT_EQ(
      Of({.kind = K::kHalfRewound, .authority = A::kUnreadable, .primary = P::kNobody}).reason,
      "AuthorityUnreadable");
}

// They are in log lines, the plan and the termination message.
TEST(Decision, NamesOfStates) {
  const std::pair<Action, std::string> actions[] = {
      {Action::kStart, "start"},   {Action::kClaim, "claim"},
      {Action::kFollow, "follow"}, {Action::kRewind, "rewind"},
      {Action::kResume, "resume"}, {Action::kReinitialise, "reinitialise"},
      {Action::kClone, "clone"},   {Action::kWait, "wait"},
      {Action::kRefuse, "refuse"},
  };
  for (const auto& [action, name] : actions) EXPECT_EQ(ActionName(action), name);
  const std::pair<A, std::string> authorities[] = {
      {A::kNone, "none"},
      {A::kUnreadable, "unreadable"},
      {A::kUnclaimed, "unclaimed"},
      {A::kNamesUs, "names-us"},
      {A::kNamesOther, "names-other"},
      {A::kReleased, "released"},
      {A::kNamesUsUnproven, "names-us-unproven"},
  };
  for (const auto& [authority, name] : authorities) EXPECT_EQ(AuthorityStateName(authority), name);
  const std::pair<P, std::string> primaries[] = {
      {P::kNobody, "nobody"},
      {P::kAmbiguous, "ambiguous"},
      {P::kUnreachable, "unreachable"},
      {P::kInRecovery, "in-recovery"},
      {P::kOtherSystem, "other-system"},
      {P::kOtherBranch, "other-branch"},
      {P::kUnproven, "unproven"},
      {P::kConfirmed, "confirmed"},
  };
  for (const auto& [primary, name] : primaries) EXPECT_EQ(PrimaryStateName(primary), name);
}

// The record says on which branch its primary leads; what another authority holds may have been
// taken by whoever came up first, on a volume that is older than a standby's.
TEST(Decision, AnotherAuthoritysWordDoesNotStartAnOlderVolumeThanAStandbys) {
  Case c{.authority = A::kNamesUs, .primary = P::kNobody, .relation = R::kNewer};
  c.peers = Peers::kAhead;
  const DirectoryState local = MakeLocal(c);
  Evidence evidence = MakeEvidence(c, local);
  evidence.peers[0].identity->history = History("1@0/0,2@0/3000148,3@0/9000000");
  EXPECT_EQ(Decide(local, evidence).reason, "Leader");
  evidence.record_decides = false;
  evidence.record = {};
  const Decision decision = Decide(local, evidence);
  EXPECT_EQ(decision.action, Action::kWait);
  EXPECT_EQ(decision.reason, "Contradicted");
  EXPECT_NE(decision.message.find("has WAL that this directory lacks"), std::string::npos);
}

// A standby of an older branch that never followed has WAL of a line that was given up: no proof.
TEST(Decision, StandbyOnAnotherBranchDoesNotKeepTheLeaderWaiting) {
  Case c{.authority = A::kNamesUs, .primary = P::kNobody, .relation = R::kNewer};
  c.peers = Peers::kAhead;
  const DirectoryState local = MakeLocal(c);
  Evidence evidence = MakeEvidence(c, local);
  EXPECT_EQ(Decide(local, evidence).reason, "BehindItsStandby");
  evidence.peers[0].identity->history = History("1@0/0");
  EXPECT_EQ(Decide(local, evidence).reason, "Leader");
}

TEST(JudgePrimaryTest, EveryReasonNotToBelieve) {
  SourceIdentity identity;
  identity.system_identifier = kSystem;
  identity.history = History("1@0/0,2@0/30");
  AuthorityRecord record;
  EXPECT_EQ(JudgePrimary(identity, record, std::nullopt), P::kConfirmed);
  EXPECT_EQ(JudgePrimary(identity, record, kSystem), P::kConfirmed);
  EXPECT_EQ(JudgePrimary(identity, record, kOtherSystem), P::kOtherSystem);
  record.system_identifier = kSystem;
  record.history = History("1@0/0");
  EXPECT_EQ(JudgePrimary(identity, record, kSystem), P::kConfirmed);
  record.history = History("1@0/0,2@0/40");
  EXPECT_EQ(JudgePrimary(identity, record, kSystem), P::kOtherBranch);
  identity.in_recovery = true;
  EXPECT_EQ(JudgePrimary(identity, record, kSystem), P::kInRecovery);
  record.system_identifier = kOtherSystem;
  EXPECT_EQ(JudgePrimary(identity, record, std::nullopt), P::kOtherSystem);
}

}  // namespace
}  // namespace pgrejoin
