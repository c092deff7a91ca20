// Answers the gate (gate/gate.cc) that asks for leave to start a read-write server. `init` has
// judged the directory; what may have changed since is who is primary, so that is decided again, in
// the same way. For the sidecar, which has no access to the data.
//
// The protocol is described in gate/gate.cc. A request is foreign text until it is parsed: the
// database's container writes it.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "pod/pod_options.h"
#include "report/metrics.h"
#include "rewind/inspect.h"
#include "topology/decision.h"
#include "topology/discovery.h"

namespace pgrejoin {

class Gatekeeper {
 public:
  using Clock = std::chrono::steady_clock;

  // api and metrics must remain live while this is in use.
  Gatekeeper(const PodOptions& options, KubernetesApi* api, AskServer ask, MetricsBoard* metrics);

  // Answers, if a gate waits and the answer is clear; looks again some time later if it is not.
  // Never throws for what happens in the outside world.
  void Step(Clock::time_point now);

 private:
  struct Request {
    std::string nonce;
    DirectoryKind kind;
  };

  void Look(Clock::time_point now);
  std::optional<Request> ReadRequest() const;
  void Tell(const std::string& why);
  DirectoryState StateOf(DirectoryKind kind);
  static Decision DecideForGate(const DirectoryState& local, const Evidence& evidence);
  void Answer(const Request& request, const std::string& answer);

  const PodOptions& options_;
  KubernetesApi* api_;
  Discovery discovery_;
  MetricsBoard* metrics_;
  std::string answered_;  // nonce
  std::optional<Clock::time_point> looked_;
  std::string told_;  // why there is no answer yet, as logged
};

}  // namespace pgrejoin
