#include "report/outcome.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utc_time.h"
#include "k8s/json_access.h"

namespace pgrejoin {
namespace {

constexpr int kSchemaVersion = 1;
constexpr size_t kMessageBytesMax = 1000;
constexpr size_t kMessageBytesMin = 100;
// Shorter waits are everyday life: pods of one release start together.
constexpr std::chrono::seconds kWaitWorthAnEvent{5};

std::string Cut(const std::string& text, size_t bytes_max) {
  return text.size() <= bytes_max ? text : text.substr(0, bytes_max - 3) + "...";
}

bool HasSystemIdentifier(const Outcome& outcome) {
  return outcome.local && outcome.local->kind != DirectoryKind::kEmpty &&
         outcome.local->kind != DirectoryKind::kHalfMade;
}

bool HasHistory(const Outcome& outcome) {
  return HasSystemIdentifier(outcome) && !outcome.local->history.entries().empty();
}

std::string Seconds(std::chrono::milliseconds duration) {
  return fmt::format("{:.3f}", std::chrono::duration<double>(duration).count());
}

std::optional<std::string> NonEmpty(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return text;
}

nlohmann::ordered_json ToJson(const Outcome& outcome, const std::string& report_problem,
                              size_t text_bytes_max) {
  nlohmann::ordered_json json;
  json["schema"] = kSchemaVersion;
  json["outcome"] = OutcomeName(outcome.kind);
  json["exitStatus"] = outcome.exit_status;
  json["reason"] = Cut(outcome.reason, text_bytes_max);
  json["message"] = Cut(Printable(outcome.message), text_bytes_max);
  if (!outcome.hint.empty()) json["hint"] = Cut(Printable(outcome.hint), text_bytes_max);
  if (!outcome.source.empty()) json["source"] = Cut(outcome.source, text_bytes_max);
  if (HasSystemIdentifier(outcome)) {
    // As a string: it does not fit a JSON number of most readers.
    json["systemIdentifier"] = std::to_string(outcome.local->system_identifier);
  }
  if (HasHistory(outcome)) json["history"] = Cut(outcome.local->history.ToString(), text_bytes_max);
  if (outcome.rewind) {
    const RewindResult& rewind = *outcome.rewind;
    if (rewind.source_timeline != 0) json["timeline"] = rewind.source_timeline;
    if (rewind.fork_lsn.valid()) json["forkLsn"] = rewind.fork_lsn.ToString();
    json["discardedTransactions"] = rewind.discarded_transactions;
    json["discardedBytes"] = rewind.discarded_bytes;
    if (!rewind.discarded_from.empty()) {
      json["discardedFrom"] = rewind.discarded_from;
      json["discardedTo"] = rewind.discarded_to;
    }
    json["copiedBytes"] = rewind.bytes_copied;
  }
  json["durationSeconds"] = std::chrono::duration<double>(outcome.duration).count();
  json["attempt"] = outcome.attempt;
  json["finishedAt"] = FormatUtc(outcome.finished_at, 0);
  if (!report_problem.empty()) {
    json["reportProblem"] = Cut(Printable(report_problem), text_bytes_max);
  }
  return json;
}

}  // namespace

const char* OutcomeName(OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kStarted:
      return "started";
    case OutcomeKind::kClaimed:
      return "claimed";
    case OutcomeKind::kFollowed:
      return "followed";
    case OutcomeKind::kRewound:
      return "rewound";
    case OutcomeKind::kResumed:
      return "resumed";
    case OutcomeKind::kCloning:
      return "cloning";
    case OutcomeKind::kWaiting:
      return "waiting";
    case OutcomeKind::kRefused:
      return "refused";
    case OutcomeKind::kFailed:
      return "failed";
  }
  return "failed";
}

std::string OutcomeToJson(const Outcome& outcome, const std::string& report_problem) {
  for (size_t bytes_max = kMessageBytesMax;; bytes_max /= 2) {
    std::string text = ToJson(outcome, report_problem, bytes_max)
                           .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (text.size() <= kTerminationMessageBytesMax || bytes_max < kMessageBytesMin) return text;
  }
}

KeyChanges OutcomeToAnnotations(const Outcome& outcome, const std::string& prefix) {
  KeyChanges changes;
  const auto set = [&](const char* key, std::optional<std::string> value) {
    changes[prefix + key] = std::move(value);
  };
  set("outcome", OutcomeName(outcome.kind));
  set("reason", outcome.reason);
  set("message", NonEmpty(Cut(Printable(outcome.message), kMessageBytesMax)));
  set("phase", NonEmpty(outcome.phase));
  set("source", NonEmpty(outcome.source));
  set("duration", Seconds(outcome.duration));
  set("attempt", std::to_string(outcome.attempt));
  set("finished-at", FormatUtc(outcome.finished_at, 0));
  set("rejoined-at", std::nullopt);

  const auto& rewind = outcome.rewind;
  const auto if_rewound = [&](auto value) -> std::optional<std::string> {
    if (!rewind) return std::nullopt;
    return fmt::format("{}", value(*rewind));
  };
  set("fork-lsn",
      rewind && rewind->fork_lsn.valid() ? NonEmpty(rewind->fork_lsn.ToString()) : std::nullopt);
  set("discarded-transactions",
      if_rewound([](const RewindResult& r) { return r.discarded_transactions; }));
  set("discarded-bytes", if_rewound([](const RewindResult& r) { return r.discarded_bytes; }));
  set("discarded-from", rewind ? NonEmpty(rewind->discarded_from) : std::nullopt);
  set("discarded-to", rewind ? NonEmpty(rewind->discarded_to) : std::nullopt);
  set("copied-bytes", if_rewound([](const RewindResult& r) { return r.bytes_copied; }));

  set("role", outcome.local ? NonEmpty(DirectoryKindName(outcome.local->kind)) : std::nullopt);
  set("system-identifier", HasSystemIdentifier(outcome)
                               ? NonEmpty(std::to_string(outcome.local->system_identifier))
                               : std::nullopt);
  const bool has_history = HasHistory(outcome);
  set("history", has_history ? NonEmpty(outcome.local->history.ToString()) : std::nullopt);
  set("end-of-wal", HasSystemIdentifier(outcome) && outcome.local->end_of_wal.valid()
                        ? NonEmpty(outcome.local->end_of_wal.ToString())
                        : std::nullopt);
  if (rewind && rewind->source_timeline != 0) {
    set("timeline", std::to_string(rewind->source_timeline));
  } else {
    set("timeline",
        has_history ? NonEmpty(std::to_string(outcome.local->history.timeline())) : std::nullopt);
  }
  return changes;
}

std::optional<OutcomeEvent> OutcomeToEvent(const Outcome& outcome) {
  switch (outcome.kind) {
    case OutcomeKind::kStarted:
      return std::nullopt;
    case OutcomeKind::kFollowed:
      // A standby that restarts follows whom it followed before.
      if (outcome.local && outcome.local->kind == DirectoryKind::kStandby) return std::nullopt;
      return OutcomeEvent{"RejoinFollowed", outcome.message, false};
    case OutcomeKind::kClaimed:
      return OutcomeEvent{"RejoinClaimed", outcome.message, false};
    case OutcomeKind::kRewound:
      return OutcomeEvent{"RejoinRewound", outcome.message, false};
    case OutcomeKind::kResumed:
      return OutcomeEvent{"RejoinResumed", outcome.message, false};
    case OutcomeKind::kCloning:
      return OutcomeEvent{"RejoinCloning", outcome.message, false};
    case OutcomeKind::kWaiting:
      if (outcome.phase == kPhaseWaiting && outcome.duration < kWaitWorthAnEvent) {
        return std::nullopt;
      }
      if (outcome.phase != kPhaseWaiting && outcome.phase != kPhaseDone) return std::nullopt;
      return OutcomeEvent{"RejoinWaiting", outcome.reason + ": " + outcome.message, true};
    case OutcomeKind::kRefused:
      return OutcomeEvent{"RejoinRefused",
                          outcome.reason + ": " + outcome.message + ". " + outcome.hint, true};
    case OutcomeKind::kFailed:
      return OutcomeEvent{"RejoinFailed", outcome.reason + ": " + outcome.message, true};
  }
  return std::nullopt;
}

}  // namespace pgrejoin
