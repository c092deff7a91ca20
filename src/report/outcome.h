// What one run of `pg-rejoin init` came to: one document, from which the termination message, the
// annotations, the Event and the summary line of the log are made.
// Schema: docs/reference/termination-message.md. Holds no secret, ever.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "k8s/api_client.h"
#include "pgdata/types.h"
#include "rewind/inspect.h"
#include "rewind/rewind.h"

namespace pgrejoin {

enum class OutcomeKind {
  kStarted,  // the server may start on what is there
  kClaimed,  // this pod took the authority record
  kFollowed,
  kRewound,
  kResumed,
  kCloning,  // the clone container copies the primary
  kWaiting,
  kRefused,
  kFailed
};

struct Outcome {
  OutcomeKind kind = OutcomeKind::kFailed;
  int exit_status = 0;
  std::string reason;   // stable, CamelCase
  std::string message;  // for people
  std::string hint;
  std::string phase;                    // kPhaseWaiting, "rewinding", ...; kPhaseDone in the end
  std::string source;                   // pod (or address) followed or copied
  std::optional<DirectoryState> local;  // what was found at the beginning
  std::optional<RewindResult> rewind;
  int attempt = 1;  // tries within this run
  std::chrono::milliseconds duration{0};
  int64_t finished_at = 0;  // microseconds since 1970
};

constexpr const char* kPhaseWaiting = "waiting";
constexpr const char* kPhaseDone = "done";

const char* OutcomeName(OutcomeKind kind);  // "rewound"
// What the sidecar writes in its place when the server follows (pod/rejoin_proof.h).
constexpr const char* kRejoined = "rejoined";

constexpr size_t kTerminationMessageBytesMax = 4096;

// One JSON object of at most kTerminationMessageBytesMax bytes; long texts are cut. problem: why
// the outcome could not be reported to Kubernetes; "" when it could.
std::string OutcomeToJson(const Outcome& outcome, const std::string& report_problem);

// One scalar each, below prefix. Keys that say nothing here are removed from the pod, so that what
// is left of an earlier run never mixes with this one's.
KeyChanges OutcomeToAnnotations(const Outcome& outcome, const std::string& prefix);

// The Event to send, or nullopt for an outcome that is everyday life.
struct OutcomeEvent {
  std::string reason;
  std::string note;
  bool warning = false;
};
std::optional<OutcomeEvent> OutcomeToEvent(const Outcome& outcome);

}  // namespace pgrejoin
