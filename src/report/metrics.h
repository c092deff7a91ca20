// What the sidecar shows Prometheus. The values are gathered by whoever sees them (MetricsBoard),
// and made into text when somebody asks: names and meanings are in docs/reference/metrics.md, which
// a test compares with this. A name is never given another meaning.
//
// metrics.cc is the only file that includes prometheus-cpp, of which we use the data model and the
// text format.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "report/status_table.h"
#include "rewind/readiness.h"

namespace pgrejoin {

// nullopt: not known, and then not shown.
struct SidecarMetrics {
  std::chrono::steady_clock::time_point stepped_at;  // the last time it was seen alive
  std::string role;                                  // "primary", "standby"; "" = no answer
  std::optional<TimelineId> timeline;
  std::optional<bool> authority_reachable;
  std::optional<int64_t> authority_last_success;  // seconds since 1970
  std::optional<RecordStatus> record;
  bool is_holder = false;                        // of the record
  std::optional<PodStatus> own;                  // what this pod's last rejoin reported
  uint64_t pod_restarts = 0;                     // asked for
  std::map<int, uint64_t> api_requests;          // by status; 0 = no answer
  std::map<std::string, uint64_t> gate_answers;  // "go", "no"
  std::optional<Readiness> readiness;
  ReadinessFacts facts;  // ... and what it was judged by
};

std::string MetricsText(const SidecarMetrics& metrics);

// Where the sidecar's threads write, and the server's read.
class MetricsBoard {
 public:
  void Change(const std::function<void(SidecarMetrics*)>& change) {
    const std::lock_guard lock(mutex_);
    change(&metrics_);
  }
  SidecarMetrics Read() const {
    const std::lock_guard lock(mutex_);
    return metrics_;
  }

 private:
  mutable std::mutex mutex_;
  SidecarMetrics metrics_;
};

}  // namespace pgrejoin
