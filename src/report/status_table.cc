#include "report/status_table.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/parse_number.h"
#include "base/utc_time.h"
#include "report/outcome.h"
#include "report/progress_meter.h"

namespace pgrejoin {
namespace {

constexpr int kSchemaVersion = 1;
constexpr size_t kCellBytesMax = 40;
constexpr double kMicroseconds = 1e6;  // of a second
constexpr const char* kPrimary = "primary";
constexpr const char* kReplica = "replica";

using Row = std::array<std::string, 9>;
const Row kTitles{"POD",       "ROLE",   "TIMELINE", "OUTCOME", "FORK",
                  "DISCARDED", "COPIED", "TOOK",     "AGE"};

// "3.4 s", "75 s", "12 min", "5 h", "9 d": a unit is used from two of it on.
std::string FormatSpan(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", std::floor(seconds / 60));
  if (seconds < 172800) return fmt::format("{:.0f} h", std::floor(seconds / 3600));
  return fmt::format("{:.0f} d", std::floor(seconds / 86400));
}

// What a healthy pod may have reported. What has to be "rejoined" in the end is so for moments
// only, and says more by its role label.
bool IsEveryday(const PodStatus& pod) {
  static constexpr std::array kEveryday{OutcomeKind::kStarted,  OutcomeKind::kClaimed,
                                        OutcomeKind::kFollowed, OutcomeKind::kRewound,
                                        OutcomeKind::kResumed,  OutcomeKind::kCloning};
  return pod.outcome == kRejoined ||
         std::any_of(kEveryday.begin(), kEveryday.end(),
                     [&](OutcomeKind kind) { return pod.outcome == OutcomeName(kind); });
}

// A rewind that is under way is published as waiting, with its phase.
std::string OutcomeText(const PodStatus& pod) {
  if (pod.outcome.empty() || IsEveryday(pod)) return pod.outcome;
  const bool at_work = pod.outcome == OutcomeName(OutcomeKind::kWaiting) && !pod.phase.empty() &&
                       pod.phase != kPhaseDone;
  const std::string& what = at_work ? pod.phase : pod.outcome;
  return pod.reason.empty() ? what : what + ": " + pod.reason;
}

bool IsHolder(const ReleaseStatus& status, const PodStatus& pod) {
  return status.record && status.record->primary == pod.name;
}

// "" when the pod has the label that the record gives it.
std::string RoleProblem(const ReleaseStatus& status, const PodStatus& pod) {
  if (IsHolder(status, pod)) {
    if (pod.role == kPrimary) return {};
    return "the record's primary is not labelled so: its server does not run read-write on the "
           "record's branch";
  }
  if (pod.role == kPrimary) return "labelled primary, which the record does not name";
  if (pod.role == kReplica) return {};
  return "not labelled replica: its server does not run, or is not in recovery";
}

void FindRecordProblems(const ReleaseStatus& status, std::vector<std::string>* problems) {
  if (!status.record) {
    problems->push_back("the authority record cannot be read: " + status.record_problem);
    return;
  }
  if (status.record->paused) {
    problems->push_back(
        "paused: no promotion, no rewind, no clone, no restart of a pod until `pg-rejoin resume`");
  }
  if (!status.record_decides) return;
  const std::string& primary = status.record->primary;
  if (primary.empty()) {
    problems->push_back("the authority record names nobody");
  } else if (std::none_of(status.pods.begin(), status.pods.end(),
                          [&](const PodStatus& pod) { return pod.name == primary; })) {
    problems->push_back(primary + ": the record's primary has no pod");
  }
}

std::string OrDash(std::string text) {
  if (text.empty()) return "-";
  if (text.size() > kCellBytesMax) text = text.substr(0, kCellBytesMax - 3) + "...";
  return text;
}

template <typename Value, typename Format>
std::string Cell(const std::optional<Value>& value, const Format& format) {
  return OrDash(value ? format(*value) : std::string());
}

Row MakeRow(const ReleaseStatus& status, const PodStatus& pod) {
  const auto as_number = [](uint64_t number) { return std::to_string(number); };
  const auto as_age = [&](int64_t time) {
    // The pod's clock may be ahead of ours.
    return FormatSpan(static_cast<double>(std::max<int64_t>(status.now - time, 0)) / kMicroseconds);
  };
  return {OrDash(pod.name),
          OrDash(pod.role) + (IsHolder(status, pod) ? "*" : ""),
          Cell(pod.timeline, as_number),
          OrDash(OutcomeText(pod)),
          OrDash(pod.fork_lsn),
          Cell(pod.discarded_transactions, as_number),
          Cell(pod.copied_bytes, FormatBytes),
          Cell(pod.duration_s, FormatSpan),
          Cell(pod.finished_at, as_age)};
}

std::string RecordLine(const ReleaseStatus& status) {
  if (!status.record) return "record: cannot be read\n";
  const RecordStatus& record = *status.record;
  const auto known = [](uint64_t number) { return number == 0 ? "-" : std::to_string(number); };
  return fmt::format("record: primary {}, epoch {}, timeline {}, {}\n", OrDash(record.primary),
                     known(record.epoch), known(record.timeline),
                     record.paused ? "PAUSED" : "not paused");
}

// Columns as wide as their widest cell, nothing behind the last one.
std::string Align(const std::vector<Row>& rows) {
  std::array<size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      text += fmt::format("{:<{}}", row[i], widths[i] + 2);
    }
    text += row.back() + "\n";
  }
  return text;
}

nlohmann::ordered_json PodToJson(const ReleaseStatus& status, const PodStatus& pod) {
  nlohmann::ordered_json json;
  const auto set = [&](const char* key, const std::string& text) {
    if (!text.empty()) json[key] = text;
  };
  const auto set_number = [&](const char* key, const auto& number) {
    if (number) json[key] = *number;
  };
  set("pod", pod.name);
  set("role", pod.role);
  json["holder"] = IsHolder(status, pod);
  set_number("timeline", pod.timeline);
  set("outcome", pod.outcome);
  set("reason", pod.reason);
  set("message", pod.message);
  set("phase", pod.phase);
  set("forkLsn", pod.fork_lsn);
  set_number("discardedTransactions", pod.discarded_transactions);
  set_number("copiedBytes", pod.copied_bytes);
  set_number("durationSeconds", pod.duration_s);
  if (pod.finished_at) json["finishedAt"] = FormatUtc(*pod.finished_at, 0);
  return json;
}

}  // namespace

PodStatus ReadPodStatus(const Pod& pod, const std::string& role_label,
                        const std::string& annotation_prefix) {
  const auto annotation = [&](const char* key) {
    return Printable(pod.Annotation(annotation_prefix + key));
  };
  PodStatus status;
  status.name = Printable(pod.name);
  status.role = Printable(pod.Label(role_label));
  status.outcome = annotation("outcome");
  status.reason = annotation("reason");
  status.message = annotation("message");
  status.phase = annotation("phase");
  status.fork_lsn = annotation("fork-lsn");
  status.timeline = ParseNumber<uint64_t>(annotation("timeline"));
  status.discarded_transactions = ParseNumber<uint64_t>(annotation("discarded-transactions"));
  status.copied_bytes = ParseNumber<uint64_t>(annotation("copied-bytes"));
  status.duration_s = ParseNumber<double>(annotation("duration"));
  // "inf" is a number to ParseNumber(), and none to JSON.
  if (status.duration_s && !(std::isfinite(*status.duration_s) && *status.duration_s >= 0)) {
    status.duration_s.reset();
  }
  status.finished_at = ParseUtc(annotation("finished-at"));
  return status;
}

std::vector<std::string> FindProblems(const ReleaseStatus& status) {
  std::vector<std::string> problems;
  FindRecordProblems(status, &problems);
  if (status.pods.empty()) problems.push_back("no pod has the labels of the release");
  const bool roles_known =
      status.record_decides && status.record && !status.record->primary.empty();
  for (const PodStatus& pod : status.pods) {
    std::string problem;
    if (pod.outcome.empty()) {
      problem = "has not reported an outcome";
    } else if (!IsEveryday(pod)) {
      problem = OutcomeText(pod) + (pod.message.empty() ? "" : " (" + pod.message + ")");
    } else if (roles_known) {
      problem = RoleProblem(status, pod);
    }
    if (!problem.empty()) problems.push_back(pod.name + ": " + problem);
  }
  return problems;
}

std::string StatusTable(const ReleaseStatus& status) {
  std::vector<Row> rows{kTitles};
  for (const PodStatus& pod : status.pods) rows.push_back(MakeRow(status, pod));
  std::string text = RecordLine(status) + "\n" + Align(rows) + "\n";
  const std::vector<std::string> problems = FindProblems(status);
  if (problems.empty()) return text + "all is well\n";
  text += "not well:\n";
  for (const std::string& problem : problems) text += "  " + problem + "\n";
  return text;
}

std::string StatusJson(const ReleaseStatus& status) {
  const std::vector<std::string> problems = FindProblems(status);
  nlohmann::ordered_json json;
  json["schema"] = kSchemaVersion;
  json["well"] = problems.empty();
  if (status.record) {
    const RecordStatus& record = *status.record;
    json["record"] = {{"primary", record.primary},
                      {"epoch", record.epoch},
                      {"timeline", record.timeline},
                      {"paused", record.paused}};
  }
  json["pods"] = nlohmann::ordered_json::array();
  for (const PodStatus& pod : status.pods) json["pods"].push_back(PodToJson(status, pod));
  json["problems"] = problems;
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace pgrejoin
