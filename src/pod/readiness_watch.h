// The sidecar's answer to "could this node be rewound now?" (rewind/readiness.h): asked every
// minute of the own server, kept as annotations of the pod, and logged with what to change. An
// Event when the answer becomes no. It is never the pod's readiness: a database that could not be
// rewound serves its clients all the same.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/complaints.h"
#include "k8s/api_client.h"
#include "pod/pod_options.h"
#include "report/metrics.h"
#include "rewind/readiness.h"

namespace pgrejoin {

// What the server says and what init has noted. Never throws: no answer is a fact, too. server
// makes the connection, for which it may have to read a password.
ReadinessFacts GatherReadinessFacts(const PodOptions& options,
                                    const std::function<ConnectOptions()>& server);

// TryLogin(), or what a test has in its place.
using LogIn = std::function<LoginAttempt(const ConnectOptions& connect, bool replication)>;

// Tries a role's login at the pod's own headless name, as another member would: pg_hba.conf treats
// the loopback differently, and may let it in without a password. nullopt where the pod has no such
// name. Never throws.
std::optional<LoginAttempt> LogInAsMember(const PodOptions& options, const std::string& user,
                                          const std::string& password_file, bool replication,
                                          const LogIn& log_in);

class ReadinessWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // api and metrics must remain live while this is in use.
  ReadinessWatch(const PodOptions& options, KubernetesApi* api,
                 std::function<ReadinessFacts()> gather, MetricsBoard* metrics);

  // Looks when it is time to. Never throws for what happens in the outside world. A server that
  // does not answer once is asked again soon, before anybody is told.
  void Step(Clock::time_point now);

 private:
  uint64_t PeakOf(uint64_t wal_bytes, Clock::time_point now);
  void Tell(const ReadinessFacts& facts, const Readiness& readiness);
  void Publish(const Readiness& readiness);

  const PodOptions& options_;
  KubernetesApi* api_;
  const std::function<ReadinessFacts()> gather_;
  MetricsBoard* metrics_;
  std::optional<Clock::time_point> next_look_;
  bool in_doubt_ = false;                         // at the last look
  std::map<std::string, CheckState> told_;        // by check; absent: ok
  std::pair<Rewindable, std::string> published_;  // with its reason
  bool is_published_ = false;
  Complaints complaints_;
  // Of the WAL since the last checkpoint the most of this hour and of the one before: it falls to
  // nothing at each checkpoint, and the next failover may come just before one.
  uint64_t peak_ = 0;
  uint64_t peak_before_ = 0;
  std::optional<Clock::time_point> hour_began_;
};

}  // namespace pgrejoin
