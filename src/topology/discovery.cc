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

std::string Annotation(const Pod& pod, const std::string& key) {
  const auto found = pod.annotations.find(key);
  return found == pod.annotations.end() ? std::string() : found->second;
}

// What a pod has published about itself (report/outcome.h). A pod past its init containers has
// data, even if its last report was lost: until then its phase is Pending.
PeerState PublishedState(const Pod& pod, const std::string& prefix) {
  PeerState peer;
  peer.pod = pod.name;
  const std::string role = Annotation(pod, prefix + "role");
  const bool empty = role == DirectoryKindName(DirectoryKind::kEmpty) &&
                     Annotation(pod, prefix + "outcome") == kWaitingOutcome &&
                     pod.phase == kPendingPhase;
  peer.silent = role.empty();
  peer.has_data = !empty && !role.empty();
  return peer;
}

}  // namespace

Discovery::Discovery(KubernetesApi* api, DiscoveryOptions options, AskServer ask)
    : api_(api), options_(std::move(options)), ask_(std::move(ask)), store_(api, options_.record) {}

std::string Discovery::MemberHost(const std::string& pod) const {
  return pod + "." + options_.headless_service + "." + options_.name_space + ".svc";
}

Evidence Discovery::Gather(const DirectoryState& local) {
  Evidence evidence;
  evidence.own_pod = options_.own_pod;
  evidence.patience_over = std::chrono::steady_clock::now() - begin_ > options_.patience;
  ReadAuthority(&evidence);
  FindPrimary(&evidence);
  AskPrimary(&evidence, local);
  // Who might run initdb has to know whether somebody has data.
  const bool no_data_known =
      evidence.authority == AuthorityState::kUnclaimed ||
      (evidence.authority == AuthorityState::kNamesUs && !evidence.record.system_identifier);
  const bool no_data_here = local.kind == DirectoryKind::kEmpty || local.initdb_cut_short;
  const bool may_initialise = no_data_here && no_data_known;
  if (may_initialise || local.kind == DirectoryKind::kPrimary) FindPeers(&evidence, local);
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
      now.record.epoch != before.record.epoch) {
    throw Error(ErrorKind::kSourceChanged,
                "the primary changed from " + before.primary + " to " +
                    (now.primary.empty() ? "nobody" : now.primary) + " during the rewind",
                "The next try continues with the new primary.");
  }
  if (now.primary_state != PrimaryState::kConfirmed) {
    throw Error(ErrorKind::kUnavailable, now.primary + " is no longer confirmed as primary (" +
                                             PrimaryStateName(now.primary_state) + ")");
  }
}

void Discovery::ReadAuthority(Evidence* evidence) {
  const bool authority = options_.kind == DiscoveryKind::kRecord;
  evidence->authority = authority ? AuthorityState::kUnreadable : AuthorityState::kNone;
  if (options_.record.empty()) return;
  try {
    evidence->record = store_.Read().record;
  } catch (const Error& error) {
    evidence->authority_problem = error.message();
    LogDebug("authority record: {}", error.message());
    return;
  }
  if (!authority) return;
  if (evidence->record.primary.empty()) {
    evidence->authority = AuthorityState::kUnclaimed;
  } else if (evidence->record.primary == options_.own_pod) {
    evidence->authority = AuthorityState::kNamesUs;
  } else {
    evidence->authority = AuthorityState::kNamesOther;
  }
}

void Discovery::FindPrimary(Evidence* evidence) {
  if (options_.kind == DiscoveryKind::kRecord) {
    if (evidence->authority != AuthorityState::kNamesOther) return;
    evidence->primary = evidence->record.primary;
    evidence->primary_host = MemberHost(evidence->primary);
    evidence->primary_state = PrimaryState::kUnreachable;
    return;
  }
  std::vector<PeerState> pods;
  std::vector<std::string> hosts;
  try {
    if (options_.kind == DiscoveryKind::kService) {
      for (const ServiceEndpoint& endpoint : api_->ListServiceEndpoints(options_.primary_service)) {
        if (!endpoint.ready || endpoint.pod_name == options_.own_pod) continue;
        pods.push_back({.pod = endpoint.pod_name, .identity = {}});
        hosts.push_back(endpoint.address);
      }
    } else {
      const std::string selector =
          options_.pod_selector + "," + options_.role_label + "=" + kPrimaryRole;
      for (const Pod& pod : api_->ListPods(selector)) {
        if (pod.being_deleted || pod.ip.empty() || pod.name == options_.own_pod) continue;
        pods.push_back({.pod = pod.name, .identity = {}});
        hosts.push_back(pod.ip);
      }
    }
  } catch (const Error& error) {
    evidence->primary_state = PrimaryState::kUnreachable;
    evidence->primary_problem = error.message();
    return;
  }
  SetCandidates(evidence, pods, hosts);
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
  } catch (const Error& error) {
    evidence->primary_problem = error.message();
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
    for (const std::string& member : options_.members) {
      if (member == options_.own_pod || member == evidence->primary) continue;
      evidence->peers.push_back({.pod = member, .identity = {}});
      hosts.push_back(MemberHost(member));
    }
    evidence->peers_complete = !options_.members.empty();
  }
  AskPeers(evidence, hosts);
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
    hosts->push_back(pod.ip.empty() ? "" : MemberHost(pod.name));
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
