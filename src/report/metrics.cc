#include "report/metrics.h"

#include <prometheus/text_serializer.h>

#include <array>
#include <sstream>
#include <utility>
#include <vector>

#include "report/outcome.h"

namespace pgrejoin {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kMicroseconds = 1e6;  // of a second
constexpr int kNoAnswer = 0;

using Labels = std::vector<ClientMetric::Label>;

// The families in the order in which they are added. Each is shown, also without a sample.
class Page {
 public:
  void Family(const char* name, MetricType type, const char* help) {
    families_.push_back({name, help, type, {}});
  }
  // To the family that was added last.
  void Sample(const Labels& labels, double value) {
    MetricFamily& family = families_.back();
    ClientMetric metric;
    metric.label = labels;
    (family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family.metric.push_back(metric);
  }
  // A gauge without labels; no sample where the value is not known.
  template <typename Value>
  void Gauge(const char* name, const std::optional<Value>& value, const char* help) {
    Family(name, MetricType::Gauge, help);
    if (value) Sample({}, static_cast<double>(*value));
  }
  std::string Text() const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families_);
    return text.str();
  }

 private:
  std::vector<MetricFamily> families_;
};

template <typename Object, typename Member>
auto Of(const std::optional<Object>& object, Member member) {
  using Value = std::decay_t<decltype(std::invoke(member, *object))>;
  return object ? std::optional<Value>(std::invoke(member, *object)) : std::nullopt;
}

void AddRole(const SidecarMetrics& metrics, Page* page) {
  page->Family("pg_rejoin_role", MetricType::Gauge,
               "1 for what the server is: primary (it runs read-write), standby, or unknown (no "
               "answer)");
  const std::string role = metrics.role.empty() ? "unknown" : metrics.role;
  for (const char* each : {"primary", "standby", "unknown"}) {
    page->Sample({{"role", each}}, role == each ? 1 : 0);
  }
  page->Gauge("pg_rejoin_timeline", metrics.timeline, "Timeline that the server was last seen on");
}

void AddAuthority(const SidecarMetrics& metrics, Page* page) {
  page->Gauge("pg_rejoin_authority_reachable", metrics.authority_reachable,
              "Whether the authority record could be read at the last look");
  page->Gauge("pg_rejoin_authority_last_success_timestamp_seconds", metrics.authority_last_success,
              "When the authority record was last read");
  page->Gauge("pg_rejoin_record_epoch", Of(metrics.record, &RecordStatus::epoch),
              "Epoch of the authority record: grows with each change of primary");
  page->Gauge("pg_rejoin_record_holder",
              metrics.record ? std::optional(metrics.is_holder) : std::nullopt,
              "Whether the authority record names this pod");
  page->Gauge("pg_rejoin_record_paused", Of(metrics.record, &RecordStatus::paused),
              "Whether a person has paused promotions, rewinds, clones and restarts of pods");
}

void AddOutcome(const SidecarMetrics& metrics, Page* page) {
  const std::optional<PodStatus>& own = metrics.own;
  page->Family("pg_rejoin_outcome_info", MetricType::Gauge,
               "1, with what this pod's last rejoin came to as labels (annotations of the pod)");
  if (own) page->Sample({{"outcome", own->outcome}, {"reason", own->reason}}, 1);
  page->Gauge("pg_rejoin_rejoined", own ? std::optional(own->outcome == kRejoined) : std::nullopt,
              "Whether the server has been seen to follow after its rejoin");
  const auto finished = own ? own->finished_at : std::nullopt;
  page->Gauge(
      "pg_rejoin_outcome_finished_timestamp_seconds",
      finished ? std::optional(static_cast<double>(*finished) / kMicroseconds) : std::nullopt,
      "When the last rejoin ended");
  page->Gauge("pg_rejoin_outcome_duration_seconds", own ? own->duration_s : std::nullopt,
              "How long the last rejoin took, waiting included");
  page->Gauge("pg_rejoin_outcome_discarded_transactions",
              own ? own->discarded_transactions : std::nullopt,
              "Transactions that only this pod had committed and that its last rewind discarded");
  page->Gauge("pg_rejoin_outcome_copied_bytes", own ? own->copied_bytes : std::nullopt,
              "What the last rewind copied from the primary");
}

void AddReadiness(const SidecarMetrics& metrics, Page* page) {
  page->Family("pg_rejoin_rewindable", MetricType::Gauge,
               "1 for the answer to: could this node be rewound now? (true, false, unknown)");
  for (const Rewindable each : {Rewindable::kYes, Rewindable::kNo, Rewindable::kUnknown}) {
    if (!metrics.readiness) break;
    page->Sample({{"rewindable", RewindableName(each)}},
                 metrics.readiness->rewindable == each ? 1 : 0);
  }
  page->Family("pg_rejoin_check", MetricType::Gauge,
               "1 for the state of each check of readiness (ok, warning, failed, unknown)");
  for (const ReadinessCheck& check :
       metrics.readiness ? metrics.readiness->checks : std::vector<ReadinessCheck>()) {
    page->Sample({{"check", check.name}, {"state", CheckStateName(check.state)}}, 1);
  }
  const std::optional<ServerFacts>& server = metrics.facts.server;
  const std::optional<DiskSpace>& disk = metrics.facts.disk;
  page->Gauge(
      "pg_rejoin_wal_since_checkpoint_bytes", Of(server, &ServerFacts::wal_since_checkpoint_bytes),
      "WAL since the last checkpoint, the most of the last hours: what a rewind would need");
  page->Gauge("pg_rejoin_wal_keep_bytes", Of(server, &ServerFacts::wal_keep_bytes),
              "The server's wal_keep_size");
  page->Gauge("pg_rejoin_certificate_not_after_timestamp_seconds",
              server ? server->certificate_not_after : std::nullopt,
              "When the server's TLS certificate expires");
  page->Gauge("pg_rejoin_volume_free_bytes", Of(disk, &DiskSpace::free_bytes),
              "Room on the data volume when the init container last ran");
  page->Gauge("pg_rejoin_volume_measured_timestamp_seconds", Of(disk, &DiskSpace::measured_at),
              "When that was");
}

// What a caller works with (404, 409, 422) is an answer.
bool IsError(int status) {
  return status == kNoAnswer || status == 401 || status == 403 || status == 429 || status >= 500;
}

void AddCounters(const SidecarMetrics& metrics, Page* page) {
  page->Family("pg_rejoin_api_requests_total", MetricType::Counter,
               "Requests to the Kubernetes API by status; none: no answer");
  uint64_t errors = 0;
  for (const auto& [status, count] : metrics.api_requests) {
    page->Sample({{"status", status == kNoAnswer ? "none" : std::to_string(status)}},
                 static_cast<double>(count));
    if (IsError(status)) errors += count;
  }
  page->Family("pg_rejoin_api_errors_total", MetricType::Counter,
               "Of these, those without an answer or with status 401, 403, 429 or 5xx");
  page->Sample({}, static_cast<double>(errors));
  page->Family("pg_rejoin_pod_restarts_requested_total", MetricType::Counter,
               "How often this sidecar has deleted its own pod to make it rejoin");
  page->Sample({}, static_cast<double>(metrics.pod_restarts));
  page->Family("pg_rejoin_gate_answers_total", MetricType::Counter,
               "Answers to servers that asked for leave to start read-write (go, no)");
  for (const char* answer : {"go", "no"}) {
    const auto found = metrics.gate_answers.find(answer);
    page->Sample({{"answer", answer}},
                 found == metrics.gate_answers.end() ? 0 : static_cast<double>(found->second));
  }
}

}  // namespace

std::string MetricsText(const SidecarMetrics& metrics) {
  Page page;
  page.Family("pg_rejoin_build_info", MetricType::Gauge, "1, with the version as label");
  page.Sample({{"version", PG_REJOIN_VERSION}}, 1);
  AddRole(metrics, &page);
  AddAuthority(metrics, &page);
  AddOutcome(metrics, &page);
  AddReadiness(metrics, &page);
  AddCounters(metrics, &page);
  return page.Text();
}

}  // namespace pgrejoin
