// Makes an outcome known: log line and termination message always; annotations and an Event when
// the API server lets us. Failing to report never throws and never changes what was done.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "k8s/api_client.h"
#include "report/outcome.h"

namespace pgrejoin {

struct ReporterOptions {
  std::string pod;
  std::string pod_uid;
  std::string annotation_prefix;
  std::string termination_log;  // "" = none
};

class Reporter {
 public:
  // api must remain live while this is in use; give it short timeouts.
  Reporter(KubernetesApi* api, ReporterOptions options);

  // The state before and during the work: annotations when it has changed, and an Event when it has
  // lasted long enough to be worth one. Writes nothing twice; what could not be written is tried
  // again after a pause that grows to half a minute.
  void PublishProgress(const Outcome& outcome);

  // The end of the run: log, annotations (at most one write for an everyday outcome), Event, and
  // last the termination message. Whether the annotations are there.
  bool PublishFinal(const Outcome& outcome);

 private:
  bool TryAnnotate(const Outcome& outcome);
  bool TryEvent(const Outcome& outcome);
  void Problem(const std::string& what);

  KubernetesApi* api_;
  const ReporterOptions options_;
  std::string problem_;        // the first one, for the termination message
  std::string last_progress_;  // what was said last
  bool annotated_ = false;     // ... and is in the annotations
  std::string last_event_;
  // After a failure, by Outcome::duration.
  std::chrono::milliseconds pause_{0};
  std::chrono::milliseconds not_before_{0};
};

}  // namespace pgrejoin
