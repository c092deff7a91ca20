// A release as `pg-rejoin status` shows it: values in, text out, no input or output of its own.
//
// What pods say of themselves (labels, annotations) is foreign and may be anything: ReadPodStatus()
// makes texts printable, and a number or time that is malformed is a missing one.
//
// Columns, JSON, and what is not well: docs/reference/status.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "k8s/api_client.h"
#include "pgdata/types.h"

namespace pgrejoin {

// Of the authority record what people look at.
struct RecordStatus {
  std::string primary;  // pod name; "" = nobody
  uint64_t epoch = 0;
  TimelineId timeline = 0;
  bool paused = false;
};

// One pod by its label and annotations. "" and nullopt: it has not said.
struct PodStatus {
  std::string name;
  std::string role;  // primary, replica
  std::string outcome;
  std::string reason;
  std::string message;
  std::string phase;
  std::string fork_lsn;
  std::optional<uint64_t> timeline;
  std::optional<uint64_t> discarded_transactions;
  std::optional<uint64_t> copied_bytes;
  std::optional<double> duration_s;
  std::optional<int64_t> finished_at;  // microseconds since 1970
};

struct ReleaseStatus {
  std::optional<RecordStatus> record;  // nullopt: it cannot be read
  std::string record_problem;          // ... and why
  // With --discovery=record the record says who is primary, and the sidecars label by it; otherwise
  // it has only approvals and the pause.
  bool record_decides = true;
  std::vector<PodStatus> pods;
  int64_t now = 0;  // microseconds since 1970
};

PodStatus ReadPodStatus(const Pod& pod, const std::string& role_label,
                        const std::string& annotation_prefix);

// One line for each thing that is not as it should be; empty: all is well.
std::vector<std::string> FindProblems(const ReleaseStatus& status);

std::string StatusTable(const ReleaseStatus& status);
std::string StatusJson(const ReleaseStatus& status);

}  // namespace pgrejoin
