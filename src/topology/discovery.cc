#include "topology/discovery.h"

#include <algorithm>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "topology/decision.h"

namespace pgrejoin {
namespace {

constexpr const char* kPrimaryRole = "primary";
constexpr const char* kWaitingOutcome = "waiting";
constexpr const char* kPendingPhase = "Pending";
// So many are asked, at the same time; a thread each.
constexpr size_t kPeersMax = 64;
// For a change of primary, or one that does not answer, where no time to live says how long.
constexpr std::chrono::seconds kChangeTakes{30};

AuthorityState StateOf(const AuthorityWord& word, Freshness freshness, const std::string& own_pod) {
  const bool counts = freshness == Freshness::kTimeless || freshness == Freshness::kFresh;
  if (word.Names(own_pod)) {
    return counts ? AuthorityState::kNamesUs : AuthorityState::kNamesUsUnproven;
  }
  // Chosen, and not primary yet.
  if (!own_pod.empty() && word.target == own_pod) return AuthorityState::kNamesUsUnproven;
  return word.holder.empty() ? AuthorityState::kReleased : AuthorityState::kNamesOther;
}

std::string Describe(const AuthorityWord& word, Freshness freshness) {
  const std::string named =
      word.object + " names " + (word.holder.empty() ? "nobody" : word.holder);
  const std::string ttl = std::to_string(word.ttl.count()) + " s";
  switch (freshness) {
    case Freshness::kInTransition:
      return named + ", and is changing to " + word.target;
    case Freshness::kFresh:
      return named + ", and is being renewed";
    case Freshness::kUnproven:
      return named + ", and was not yet seen to be renewed, which takes up to " + ttl;
    case Freshness::kStale:
      return named + ", and was not renewed for " + ttl;
    case Freshness::kTimeless:
      break;
  }
  return named;
}

// What a pod has published about itself (report/outcome.h). A pod past its init containers has
// data, even if its last report was lost: until then its phase is Pending.
PeerState PublishedState(const Pod& pod, const std::string& prefix) {
  PeerState peer;
  peer.pod = pod.name;
  const std::string role = pod.Annotation(prefix + "role");
  const bool empty = role == DirectoryKindName(DirectoryKind::kEmpty) &&
                     pod.Annotation(prefix + "outcome") == kWaitingOutcome &&
                     pod.phase == kPendingPhase;
  peer.silent = role.empty();
  peer.has_data = !empty && !role.empty();
  return peer;
}

}  // namespace

std::string MemberHost(const std::string& pod, const std::string& headless_service,
                       const std::string& name_space) {
  return pod + "." + headless_service + "." + name_space + ".svc";
}

Discovery::Discovery(KubernetesApi* api, DiscoveryOptions options, AskServer ask)
    : api_(api),
      options_(std::move(options)),
      ask_(std::move(ask)),
      store_(api, options_.record),
      begin_(options_.now()) {}

std::string Discovery::MemberHost(const std::string& pod) const {
  return pgrejoin::MemberHost(pod, options_.headless_service, options_.name_space);
}

std::string Discovery::HostOf(const std::string& pod) {
  if (!options_.headless_service.empty()) return MemberHost(pod);
  const std::vector<Pod> pods = api_->ListPods(options_.pod_selector);
  const auto found = std::ranges::find(pods, pod, &Pod::name);
  if (found == pods.end() || found->ip.empty()) {
    throw Error(ErrorKind::kUnavailable,
                "no pod of that name with an address matches " + options_.pod_selector);
  }
  return found->ip;
}

Evidence Discovery::Survey() {
  Evidence evidence = Gather({});
  if (!evidence.peers.empty() || options_.pod_selector.empty()) return evidence;
  const AuthorityState authority = evidence.authority;
  FindPeers(&evidence, {});
  evidence.authority = authority;  // that the list of pods cannot be had says nothing of it
  return evidence;
}

Evidence Discovery::Gather(const DirectoryState& local) {
  Evidence evidence;
  evidence.own_pod = options_.own_pod;
  evidence.patience_over = options_.now() - begin_ > options_.patience;
  ReadAuthority(&evidence);
  FindPrimary(&evidence);
  AskPrimary(&evidence, local);
  // Who might run initdb has to know whether somebody has data.
  const bool no_data_known =
      evidence.authority == AuthorityState::kUnclaimed ||
      (evidence.authority == AuthorityState::kNamesUs && !evidence.record.system_identifier);
  const bool no_data_here = local.kind == DirectoryKind::kEmpty || local.initdb_cut_short;
  const bool may_initialise = no_data_here && no_data_known;
  const bool may_lead = local.kind == DirectoryKind::kPrimary;
  if (!evidence.manager_starts && (may_initialise || may_lead)) FindPeers(&evidence, local);
  return evidence;
}

void Discovery::ConfirmAgain(const Evidence& before, const DirectoryState& local) {
  Evidence now;
  now.own_pod = options_.own_pod;
  ReadAuthority(&now);
  if (now.authority == AuthorityState::kUnreadable) {
    throw Error(ErrorKind::kUnavailable,
                "cannot confirm the primary again: " + now.authority_problem);
  }
  FindPrimary(&now);
  AskPrimary(&now, local);
  if (now.primary != before.primary || now.authority != before.authority ||
      now.record.epoch != before.record.epoch || now.term != before.term) {
    throw Error(ErrorKind::kSourceChanged,
                "the primary changed from " + before.primary + " to " +
                    (now.primary.empty() ? "nobody" : now.primary) + " during the rewind",
                "The next try continues with the new primary.");
  }
  // A renewal takes time to be seen. Where the server's own clock tells at once, it has spoken.
  const bool unwatched = now.primary_state == PrimaryState::kUnproven &&
                         now.freshness == Freshness::kUnproven &&
                         !options_.preset->renewed_by_servers_clock;
  if (now.primary_state != PrimaryState::kConfirmed && !unwatched) {
    throw Error(ErrorKind::kUnavailable, now.primary + " is no longer confirmed as primary (" +
                                             PrimaryStateName(now.primary_state) + ")");
  }
}

void Discovery::ReadAuthority(Evidence* evidence) {
  const DiscoveryPreset& preset = *options_.preset;
  evidence->record_decides = preset.primitive == Primitive::kRecord;
  evidence->manager_starts = preset.started_by == StartedBy::kManager;
  evidence->authority = IsAuthority(preset) ? AuthorityState::kUnreadable : AuthorityState::kNone;
  if (!options_.record.empty()) {
    try {
      evidence->record = store_.Read().record;
    } catch (const Error& error) {
      evidence->authority_problem = error.message();
      LogDebug("authority record: {}", error.message());
      if (evidence->record_decides) return;
    }
  }
  if (IsAuthority(preset) && !evidence->record_decides) return ReadForeignAuthority(evidence);
  if (!evidence->record_decides || options_.record.empty()) return;
  if (evidence->record.primary.empty()) {
    evidence->authority = AuthorityState::kUnclaimed;
  } else if (evidence->record.primary == options_.own_pod) {
    evidence->authority = AuthorityState::kNamesUs;
  } else {
    evidence->authority = AuthorityState::kNamesOther;
  }
}

// The primary's name and, where the authority gives it, its address.
void Discovery::ReadForeignAuthority(Evidence* evidence) {
  try {
    word_ = ReadAuthorityWord(api_, *options_.preset, options_.cluster);
    const AuthorityWord& word = word_;
    const auto now = options_.now();
    const bool expires = word.ttl.count() > 0;
    evidence->freshness = watch_.Look(word, now);
    // From the first look on: what came before (a lock that was held, a scan of WAL) showed
    // nothing.
    if (!first_look_) first_look_ = now;
    const std::chrono::seconds enough =
        std::min(expires ? word.ttl : kChangeTakes, options_.watch_max);
    evidence->watch_over = now - *first_look_ >= enough;
    evidence->authority = StateOf(word, evidence->freshness, options_.own_pod);
    evidence->authority_word = Describe(word, evidence->freshness);
    evidence->term = word.term;
    evidence->system_identifier = word.system_identifier;
    evidence->paused_there = word.paused;
    if (evidence->authority != AuthorityState::kNamesOther) return;
    evidence->primary = word.holder;
    evidence->primary_host = word.address;
  } catch (const Error& error) {
    evidence->authority_problem = error.message();
  }
}

void Discovery::FindPrimary(Evidence* evidence) {
  std::vector<PeerState> pods;
  std::vector<std::string> hosts;
  try {
    if (IsAuthority(*options_.preset)) {
      if (evidence->authority != AuthorityState::kNamesOther) return;
      evidence->primary_state = PrimaryState::kUnreachable;
      if (evidence->record_decides) evidence->primary = evidence->record.primary;
      if (!evidence->primary_host.empty()) return;
      evidence->primary_host = HostOf(evidence->primary);
      return;
    }
    FindCandidates(&pods, &hosts);
  } catch (const Error& error) {
    evidence->primary_state = PrimaryState::kUnreachable;
    evidence->primary_problem = error.message();
    return;
  }
  SetCandidates(evidence, pods, hosts);
}

// Without an authority: whom somebody says to be the primary, other than this pod.
void Discovery::FindCandidates(std::vector<PeerState>* pods, std::vector<std::string>* hosts) {
  const auto add = [&](const std::string& pod, const std::string& host) {
    if (host.empty() || (!pod.empty() && pod == options_.own_pod)) return;
    pods->push_back({.pod = pod, .identity = {}});
    hosts->push_back(host);
  };
  switch (options_.preset->primitive) {
    case Primitive::kService:
      for (const ServiceEndpoint& endpoint : api_->ListServiceEndpoints(options_.primary_service)) {
        if (endpoint.ready) add(endpoint.pod_name, endpoint.address);
      }
      return;
    case Primitive::kLabel:
      for (const Pod& pod :
           api_->ListPods(options_.pod_selector + "," + options_.role_label + "=" + kPrimaryRole)) {
        if (!pod.being_deleted) add(pod.name, pod.ip);
      }
      return;
    case Primitive::kSql:
      return FindReadWriteMembers(pods, hosts);
    default:
      add("", options_.primary_host);
  }
}

// Every member is asked; with --members and a headless Service this takes no API.
void Discovery::FindReadWriteMembers(std::vector<PeerState>* pods,
                                     std::vector<std::string>* hosts) {
  Evidence found;
  std::vector<std::string> all;
  if (options_.members.empty() || options_.headless_service.empty()) {
    ListPeers(&found, &all);
  } else {
    ListMembers(&found, &all);
  }
  AskPeers(&found, all);
  for (size_t i = 0; i < found.peers.size(); ++i) {
    const PeerState& peer = found.peers[i];
    if (!peer.identity && peer.has_pod && !all[i].empty()) {
      // It may be the primary, and the one that answers a stale one.
      throw Error(ErrorKind::kUnavailable, peer.pod + " does not answer");
    }
    if (!peer.identity || peer.identity->in_recovery) continue;
    pods->push_back(peer);
    hosts->push_back(all[i]);
  }
}

void Discovery::SetCandidates(Evidence* evidence, const std::vector<PeerState>& pods,
                              const std::vector<std::string>& hosts) {
  for (size_t i = 0; i < pods.size(); ++i) {
    const std::string& name = pods[i].pod.empty() ? hosts[i] : pods[i].pod;
    // A dual-stack Service lists a pod once for each address family.
    if (name == evidence->primary) continue;
    if (evidence->primary.empty()) {
      evidence->primary = name;
      evidence->primary_host = hosts[i];
      evidence->primary_state = PrimaryState::kUnreachable;
    } else {
      evidence->primary += ", " + name;
      evidence->primary_state = PrimaryState::kAmbiguous;
    }
  }
}

void Discovery::AskPrimary(Evidence* evidence, const DirectoryState& local) {
  if (evidence->primary_state != PrimaryState::kUnreachable || evidence->primary_host.empty()) {
    return;
  }
  const bool has_identifier =
      local.kind != DirectoryKind::kEmpty && local.kind != DirectoryKind::kHalfMade;
  try {
    evidence->primary_identity = ask_(evidence->primary_host);
    evidence->primary_state =
        JudgePrimary(*evidence->primary_identity, evidence->record,
                     has_identifier ? std::optional(local.system_identifier) : std::nullopt);
    const auto& theirs = evidence->system_identifier;
    if (theirs && evidence->primary_identity->system_identifier != *theirs) {
      evidence->primary_state = PrimaryState::kOtherSystem;
    }
  } catch (const Error& error) {
    evidence->primary_problem = error.message();
  }
  // Its own server's clock tells at once what takes a renewal to see.
  if (evidence->primary_state == PrimaryState::kConfirmed &&
      evidence->freshness == Freshness::kUnproven && options_.preset->renewed_by_servers_clock &&
      RenewedLately(word_, evidence->primary_identity->clock_seconds)) {
    evidence->freshness = Freshness::kFresh;
    evidence->authority_word = Describe(word_, Freshness::kFresh);
  }
  const bool counts =
      evidence->freshness == Freshness::kTimeless || evidence->freshness == Freshness::kFresh;
  if (evidence->primary_state == PrimaryState::kConfirmed && !counts) {
    evidence->primary_state = PrimaryState::kUnproven;
  }
}

void Discovery::FindPeers(Evidence* evidence, const DirectoryState& local) {
  std::vector<std::string> hosts;
  try {
    ListPeers(evidence, &hosts);
  } catch (const Error& error) {
    if (local.kind != DirectoryKind::kPrimary) {
      // Whether somebody has data is not known, so nobody may claim.
      evidence->authority = AuthorityState::kUnreadable;
      evidence->authority_problem = error.message();
      return;
    }
    evidence->peers.clear();
    hosts.clear();
    ListMembers(evidence, &hosts);
    evidence->peers_complete = !options_.members.empty();
  }
  AskPeers(evidence, hosts);
}

// Without the API.
void Discovery::ListMembers(Evidence* evidence, std::vector<std::string>* hosts) {
  for (const std::string& member : options_.members) {
    if (member == options_.own_pod || member == evidence->primary) continue;
    evidence->peers.push_back({.pod = member, .identity = {}});
    hosts->push_back(MemberHost(member));
  }
}

// Every other pod, and every member that has none at the moment.
void Discovery::ListPeers(Evidence* evidence, std::vector<std::string>* hosts) {
  std::set<std::string> without_pod(options_.members.begin(), options_.members.end());
  without_pod.erase(options_.own_pod);
  without_pod.erase(evidence->primary);
  for (const Pod& pod : api_->ListPods(options_.pod_selector)) {
    without_pod.erase(pod.name);
    if (pod.name == options_.own_pod || pod.name == evidence->primary) continue;
    evidence->peers.push_back(PublishedState(pod, options_.annotation_prefix));
    const bool by_name = !options_.headless_service.empty() && !pod.ip.empty();
    hosts->push_back(by_name ? MemberHost(pod.name) : pod.ip);
  }
  for (const std::string& member : without_pod) {
    evidence->peers.push_back({.pod = member, .identity = {}, .has_pod = false, .silent = true});
    hosts->push_back("");
  }
}

void Discovery::AskPeers(Evidence* evidence, const std::vector<std::string>& hosts) {
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < std::min(hosts.size(), kPeersMax); ++i) {
    if (hosts[i].empty()) continue;
    PeerState* peer = &evidence->peers[i];
    threads.emplace_back([this, peer, host = hosts[i]] {
      try {
        peer->identity = ask_(host);
        peer->has_data = true;
        peer->silent = false;
      } catch (const std::exception& error) {
        LogDebug("{} does not answer: {}", peer->pod, error.what());
      }
    });
  }
}

}  // namespace pgrejoin
