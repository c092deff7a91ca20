#include "pod/discover.h"

#include <spdlog/fmt/fmt.h>

#include "base/backoff.h"
#include "base/error.h"
#include "base/log.h"

namespace pgrejoin {
namespace {

constexpr std::chrono::milliseconds kLookEvery{500};

std::string Says(const SourceIdentity& server) {
  return fmt::format("{}, system {}, history {}, WAL up to {}",
                     server.in_recovery ? "in recovery" : "read-write", server.system_identifier,
                     server.history.ToString(), server.flush_lsn.ToString());
}

void AddMembers(KubernetesApi* api, const DiscoveryOptions& options, const Evidence& evidence,
                DiscoveryReport* report) {
  std::map<std::string, std::string> roles;
  try {
    for (const Pod& pod : api->ListPods(options.pod_selector)) {
      roles[pod.name] = Printable(pod.Label(options.role_label));
    }
  } catch (const Error& error) {
    LogDebug("{}", error.message());  // the labels are missing, the rest is not
  }
  for (const PeerState& peer : evidence.peers) {
    report->members.push_back({Printable(peer.pod), roles[peer.pod],
                               peer.identity ? Says(*peer.identity) : "does not answer"});
  }
}

}  // namespace

void Conclude(const Evidence& evidence, DiscoveryReport* report) {
  ErrorKind kind = ErrorKind::kUnavailable;
  switch (evidence.primary_state) {
    case PrimaryState::kConfirmed:
      report->verdict = evidence.primary + " is the primary";
      report->exit_status = 0;
      return;
    case PrimaryState::kNobody:
      report->verdict = evidence.authority == AuthorityState::kUnreadable
                            ? "not known: the authority cannot be read"
                            : "nobody is named as primary";
      break;
    case PrimaryState::kOtherSystem:
    case PrimaryState::kOtherBranch:
      kind = ErrorKind::kNotRewindable;
      report->verdict = evidence.primary + " is named as primary, and contradicts what is known";
      break;
    case PrimaryState::kUnproven:
      report->verdict = evidence.primary +
                        " is named and runs read-write, but by a word that may "
                        "be old";
      break;
    default:
      report->verdict = evidence.primary + " is named as primary, and not confirmed";
  }
  report->exit_status = ExitStatus(kind);
}

void AddRights(const std::vector<RightState>& states, DiscoveryReport* report) {
  size_t denied = 0;
  for (const RightState& state : states) {
    report->rights.push_back({AccessName(state.right.access), state.allowed, state.right.without});
    if (!state.allowed) ++denied;
  }
  if (denied == 0) return;
  report->verdict += fmt::format("; {} of {} rights are denied", denied, states.size());
  if (report->exit_status == 0) report->exit_status = kRightDenied;
}

DiscoveryReport Discover(KubernetesApi* api, const PodOptions& options, const AskServer& ask,
                         const std::stop_token& stop) {
  DiscoveryOptions discovery_options = MakeDiscoveryOptions(options);
  discovery_options.own_pod.clear();
  const DiscoveryPreset& preset = *discovery_options.preset;
  Discovery discovery(api, discovery_options, ask);
  Evidence evidence = discovery.Survey();
  while (evidence.freshness == Freshness::kUnproven && !evidence.watch_over &&
         SleepFor(kLookEvery, stop)) {
    evidence = discovery.Survey();
  }
  DiscoveryReport report;
  report.discovery = preset.name;
  report.started_by =
      preset.started_by == StartedBy::kManager ? "a manager" : "the image's entrypoint";
  report.survives_restart = preset.survives_restart == SurvivesRestart::kYes;
  report.proven_on_real_system = preset.proof == Proof::kRealSystem;
  report.authority = AuthorityStateName(evidence.authority);
  report.authority_says =
      Printable(evidence.authority == AuthorityState::kUnreadable ? evidence.authority_problem
                                                                  : evidence.authority_word);
  report.freshness = FreshnessName(evidence.freshness);
  report.primary = Printable(evidence.primary);
  report.host = Printable(evidence.primary_host);
  report.primary_state = PrimaryStateName(evidence.primary_state);
  report.primary_says = evidence.primary_identity ? Says(*evidence.primary_identity)
                                                  : Printable(evidence.primary_problem);
  AddMembers(api, discovery_options, evidence, &report);
  Conclude(evidence, &report);
  return report;
}

}  // namespace pgrejoin
