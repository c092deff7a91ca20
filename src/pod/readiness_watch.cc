#include "pod/readiness_watch.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/utc_time.h"
#include "pod/handover.h"
#include "pod/pod_event.h"
#include "topology/discovery.h"

namespace pgrejoin {
namespace {

constexpr std::chrono::seconds kLookEvery{60};
constexpr std::chrono::seconds kAskAgainAfter{10};
constexpr std::chrono::hours kPeakWindow{1};

}  // namespace

ReadinessFacts GatherReadinessFacts(const PodOptions& options,
                                    const std::function<ConnectOptions()>& server) {
  ReadinessFacts facts;
  facts.now = UnixSecondsNow();
  facts.certificate_is_verified = options.sslmode.starts_with("verify-");
  try {
    facts.disk = ReadDiskNote(options);
    facts.server = AskServerFacts(server(), options.rewind_user, options.replication_user);
  } catch (const Error& error) {
    facts.no_answer = error.message();
  }
  return facts;
}

std::optional<LoginAttempt> LogInAsMember(const PodOptions& options, const std::string& user,
                                          const std::string& password_file, bool replication,
                                          const LogIn& log_in) {
  if (options.pod_name.empty() || options.headless_service.empty()) return std::nullopt;
  try {
    ConnectOptions connect = RewindConnection(
        options, MemberHost(options.pod_name, options.headless_service, options.name_space));
    connect.user = user;
    connect.password = ReadPassword(password_file);
    return log_in(connect, replication);
  } catch (const Error& error) {
    return LoginAttempt{error.message()};
  }
}

ReadinessWatch::ReadinessWatch(const PodOptions& options, KubernetesApi* api,
                               std::function<ReadinessFacts()> gather, MetricsBoard* metrics)
    : options_(options), api_(api), gather_(std::move(gather)), metrics_(metrics) {}

void ReadinessWatch::Step(Clock::time_point now) {
  if (next_look_ && now < *next_look_) return;
  ReadinessFacts facts = gather_();
  if (facts.server) {
    uint64_t& wal_bytes = facts.server->wal_since_checkpoint_bytes;
    wal_bytes = PeakOf(wal_bytes, now);
  }
  const Readiness readiness = JudgeReadiness(facts);
  const bool was_in_doubt = in_doubt_;
  in_doubt_ = readiness.rewindable == Rewindable::kUnknown;
  next_look_ = now + (in_doubt_ ? kAskAgainAfter : kLookEvery);
  if (in_doubt_ && !was_in_doubt) return;
  metrics_->Change([&](SidecarMetrics* metrics) {
    metrics->facts = facts;
    metrics->readiness = readiness;
  });
  Tell(facts, readiness);
  complaints_.BeginRound();
  try {
    Publish(readiness);
  } catch (const Error& error) {
    complaints_.Say(error.message());
  }
}

uint64_t ReadinessWatch::PeakOf(uint64_t wal_bytes, Clock::time_point now) {
  if (!hour_began_ || now - *hour_began_ >= kPeakWindow) {
    hour_began_ = now;
    peak_before_ = std::exchange(peak_, 0);
  }
  peak_ = std::max(peak_, wal_bytes);
  return std::max(peak_, peak_before_);
}

// Each change once. Of a server that is silent one line is enough.
void ReadinessWatch::Tell(const ReadinessFacts& facts, const Readiness& readiness) {
  CheckState& answering = told_["server"];
  const CheckState before =
      std::exchange(answering, facts.server ? CheckState::kOk : CheckState::kUnknown);
  if (!facts.server) {
    if (before == answering) return;
    return LogWarning("cannot tell whether this node could be rewound: {}", facts.no_answer);
  }
  for (const ReadinessCheck& check : readiness.checks) {
    if (std::exchange(told_[check.name], check.state) == check.state) continue;
    if (check.state == CheckState::kOk) {
      LogInfo("readiness to be rewound: {} is ok now: {}", check.name, check.text);
    } else {
      LogWarning("readiness to be rewound: {} ({}): {}{}{}", check.name,
                 CheckStateName(check.state), check.text,
                 check.fix.empty() ? "" : ". To do: ", check.fix);
    }
  }
}

void ReadinessWatch::Publish(const Readiness& readiness) {
  const std::pair now{readiness.rewindable, readiness.reason};
  if (is_published_ && published_ == now) return;
  const std::string key = options_.annotation_prefix + "rewindable";
  const std::string answer = RewindableName(readiness.rewindable);
  const std::optional<Pod> own = api_->GetPod(options_.pod_name);
  if (!own || own->uid != options_.pod_uid) return;
  const std::string answer_before = own->Annotation(key);
  if (answer_before != answer || own->Annotation(key + "-reason") != readiness.reason) {
    std::optional<std::string> reason;
    if (!readiness.reason.empty()) reason = readiness.reason;
    api_->PatchPodMetadata({.pod_name = options_.pod_name,
                            .uid = options_.pod_uid,
                            .labels = {},
                            .annotations = {{key, answer}, {key + "-reason", reason}}});
  }
  published_ = now;
  is_published_ = true;
  if (readiness.rewindable == Rewindable::kNo && answer_before != answer) {
    CreatePodEvent(api_, options_, "NotRewindable", "CheckReadiness", readiness.reason);
  }
}

}  // namespace pgrejoin
