#include "pod/gatekeeper.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "k8s/cluster_config.h"
#include "pod/handover.h"
#include "pod/pod_restart.h"

namespace pgrejoin {
namespace {

constexpr std::chrono::seconds kLookEvery{2};
constexpr size_t kNonceLength = 32;
constexpr size_t kAnswerBytesMax = 400;
constexpr const char* kGo = "go";

bool IsNonce(const std::string& text) {
  return text.size() == kNonceLength &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

Gatekeeper::Gatekeeper(const PodOptions& options, KubernetesApi* api, AskServer ask,
                       MetricsBoard* metrics)
    : options_(options),
      api_(api),
      discovery_(api, MakeDiscoveryOptions(options), std::move(ask)),
      metrics_(metrics) {}

void Gatekeeper::Step(Clock::time_point now) {
  try {
    Look(now);
  } catch (const std::exception& error) {
    Tell(error.what());
  }
}

void Gatekeeper::Look(Clock::time_point now) {
  const std::optional<Request> request = ReadRequest();
  if (!request || request->nonce == answered_) return;
  if (looked_ && now - *looked_ < kLookEvery) return;
  looked_ = now;
  const DirectoryState local = StateOf(request->kind);
  const Evidence evidence = discovery_.Gather(local);
  const Decision decision = DecideForGate(local, evidence);
  if (decision.action == Action::kStart) {
    LogInfo("the server may start: {}", decision.message);
    return Answer(*request, kGo);
  }
  const bool needs_init = decision.action != Action::kWait && decision.action != Action::kRefuse;
  if (decision.action == Action::kWait || (needs_init && evidence.record.paused)) {
    return Tell(decision.message);
  }
  if (!needs_init) return Answer(*request, "no: " + decision.message);
  // The end of its WAL is not known here, so it is not in the message.
  const std::string why = "this pod's server has to follow " +
                          (evidence.primary.empty() ? "init's decision" : evidence.primary) +
                          " now";
  Answer(*request, "no: " + why);
  if (!options_.restart_pod) return LogWarning("{}", RestartByHand(options_, why));
  RestartPod(api_, options_, why);
  metrics_->Change([](SidecarMetrics* metrics) { ++metrics->pod_restarts; });
}

// Once for each reason, not every few seconds.
void Gatekeeper::Tell(const std::string& why) {
  if (told_ != why) LogWarning("no leave to start yet: {}", why);
  told_ = why;
}

std::optional<Gatekeeper::Request> Gatekeeper::ReadRequest() const {
  const std::string path = options_.gate_dir + "/request";
  if (options_.gate_dir.empty() || !std::filesystem::exists(path)) return std::nullopt;
  const std::string text = ReadSmallFile(path, "the gate's request");
  const std::string nonce = text.substr(0, std::min(text.find(' '), text.size()));
  const std::string rest = text.substr(nonce.size());
  if (!IsNonce(nonce)) return std::nullopt;
  if (rest == " empty\n") return Request{nonce, DirectoryKind::kEmpty};
  if (rest == " primary\n") return Request{nonce, DirectoryKind::kPrimary};
  return std::nullopt;
}

// What init or the running server has noted, or what the record says of its holder. The end of WAL
// was init's matter: this pod's volume cannot have lost any since.
DirectoryState Gatekeeper::StateOf(DirectoryKind kind) {
  DirectoryState state;
  state.kind = kind;
  state.end_of_wal = {std::numeric_limits<uint64_t>::max()};
  if (const auto noted = ReadDirectoryNote(options_)) {
    state.system_identifier = noted->system_identifier;
    state.history = noted->history;
  }
  try {
    const AuthorityRecord record = discovery_.store().Read().record;
    if (!record.system_identifier) return state;
    const bool unknown = state.history.entries().empty();
    if (unknown) state.system_identifier = *record.system_identifier;
    const bool holder = record.primary == options_.pod_name && record.history;
    if (holder && record.history->ContainsBranch(state.history)) state.history = *record.history;
  } catch (const Error& error) {
    LogDebug("authority record: {}", error.message());  // Gather() tells
  }
  return state;
}

// As init decides. Of a directory whose branch nobody has noted only the authority can be judged.
Decision Gatekeeper::DecideForGate(const DirectoryState& local, const Evidence& evidence) {
  const bool unknown = local.kind == DirectoryKind::kPrimary && local.history.entries().empty();
  if (!unknown || evidence.authority != AuthorityState::kNamesOther) return Decide(local, evidence);
  Decision decision;  // wait
  decision.message = evidence.primary + " is named as primary and not confirmed";
  if (evidence.primary_state == PrimaryState::kConfirmed) decision.action = Action::kFollow;
  return decision;
}

void Gatekeeper::Answer(const Request& request, const std::string& answer) {
  // One line, and no longer than the gate reads.
  std::string line = request.nonce + " " + answer.substr(0, kAnswerBytesMax);
  std::ranges::replace(line, '\n', ' ');
  WriteGateAnswer(options_, line + "\n");
  const char* kind = answer == kGo ? kGo : "no";
  metrics_->Change([kind](SidecarMetrics* metrics) { ++metrics->gate_answers[kind]; });
  answered_ = request.nonce;
  looked_.reset();
  told_.clear();
}

}  // namespace pgrejoin
