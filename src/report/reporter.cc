#include "report/reporter.h"

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/unique_fd.h"

namespace pgrejoin {
namespace {

constexpr std::chrono::milliseconds kFirstPause{1000};
constexpr std::chrono::milliseconds kLongestPause{30000};

// kubelet makes the file; we only fill it.
bool WriteTerminationLog(const std::string& path, const std::string& text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return false;
  return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

void LogOutcome(const Outcome& outcome) {
  const bool bad = outcome.exit_status != 0;
  const std::string discarded =
      outcome.rewind ? std::to_string(outcome.rewind->discarded_transactions) : "0";
  const std::string copied = outcome.rewind ? std::to_string(outcome.rewind->bytes_copied) : "0";
  Log(bad ? LogLevel::kError : LogLevel::kInfo, outcome.message,
      {{"outcome", OutcomeName(outcome.kind)},
       {"reason", outcome.reason},
       {"source", outcome.source},
       {"discarded_transactions", discarded},
       {"copied_bytes", copied},
       {"duration_ms", std::to_string(outcome.duration.count())},
       {"exit_status", std::to_string(outcome.exit_status)}});
  if (!outcome.hint.empty()) LogInfo("hint: {}", outcome.hint);
}

}  // namespace

Reporter::Reporter(KubernetesApi* api, ReporterOptions options)
    : api_(api), options_(std::move(options)) {}

void Reporter::Problem(const std::string& what) {
  LogWarning("the outcome could not be reported: {}", what);
  if (problem_.empty()) problem_ = what;
}

bool Reporter::TryAnnotate(const Outcome& outcome) {
  try {
    const PatchOutcome patched = api_->PatchPodMetadata(
        {.pod_name = options_.pod,
         .uid = options_.pod_uid,
         .labels = {},
         .annotations = OutcomeToAnnotations(outcome, options_.annotation_prefix)});
    if (patched == PatchOutcome::kDone) return true;
    Problem("pod " + options_.pod + " with uid " + options_.pod_uid + " is gone");
  } catch (const std::exception& error) {
    Problem(error.what());
  }
  return false;
}

bool Reporter::TryEvent(const Outcome& outcome) {
  const auto event = OutcomeToEvent(outcome);
  if (!event || event->reason == last_event_) return true;
  try {
    api_->CreateEvent({.pod_name = options_.pod,
                       .pod_uid = options_.pod_uid,
                       .reason = event->reason,
                       .action = "Rejoin",
                       .note = event->note,
                       .warning = event->warning});
    last_event_ = event->reason;
    return true;
  } catch (const std::exception& error) {
    Problem(error.what());
  }
  return false;
}

void Reporter::PublishProgress(const Outcome& outcome) {
  const std::string key = fmt::format("{} {} {} {}", OutcomeName(outcome.kind), outcome.reason,
                                      outcome.phase, outcome.source);
  if (key != last_progress_) {
    LogInfo("{}", outcome.message);
    last_progress_ = key;
    annotated_ = false;
  }
  if (outcome.duration < not_before_) return;
  annotated_ = annotated_ || TryAnnotate(outcome);
  if (annotated_ && TryEvent(outcome)) {  // the same event only once
    pause_ = {};
    return;
  }
  pause_ = std::clamp(2 * pause_, kFirstPause, kLongestPause);
  not_before_ = outcome.duration + pause_;
}

bool Reporter::PublishFinal(const Outcome& outcome) {
  LogOutcome(outcome);
  // An API server that does not answer is not waited for twice.
  problem_.clear();
  const bool annotated = TryAnnotate(outcome);
  if (annotated) TryEvent(outcome);
  if (!options_.termination_log.empty() &&
      !WriteTerminationLog(options_.termination_log, OutcomeToJson(outcome, problem_))) {
    LogWarning("could not write the termination message to {}", options_.termination_log);
  }
  return annotated;
}

}  // namespace pgrejoin
