#include "pod/rejoin_proof.h"

#include <spdlog/fmt/fmt.h>

#include "base/log.h"
#include "base/utc_time.h"
#include "pod/pod_event.h"
#include "report/outcome.h"

namespace pgrejoin {

bool RejoinProof::Awaited(const Pod& own, const PodOptions& options) {
  const std::string outcome = own.Annotation(options.annotation_prefix + "outcome");
  if (outcome == OutcomeName(OutcomeKind::kFollowed)) {
    return own.Annotation(options.annotation_prefix + "role") ==
           DirectoryKindName(DirectoryKind::kPrimary);
  }
  return outcome == OutcomeName(OutcomeKind::kRewound) ||
         outcome == OutcomeName(OutcomeKind::kResumed) ||
         outcome == OutcomeName(OutcomeKind::kCloning);
}

bool RejoinProof::Look(const std::string& pod, const SourceIdentity& primary,
                       const SourceIdentity& own, bool receives) {
  // The goal stays where it is: a busy primary's end would run away from it.
  if (!goal_ || goal_->pod != pod) goal_ = {pod, primary.flush_lsn};
  text_ = fmt::format("streams from {} on timeline {} and has replayed {}", pod,
                      own.history.timeline(), own.flush_lsn.ToString());
  return receives && own.in_recovery && own.system_identifier == primary.system_identifier &&
         own.history == primary.history && own.flush_lsn >= goal_->lsn;
}

void PublishRejoined(KubernetesApi* api, const PodOptions& options, const std::string& text) {
  const std::string& prefix = options.annotation_prefix;
  const PatchOutcome patched = api->PatchPodMetadata(
      {.pod_name = options.pod_name,
       .uid = options.pod_uid,
       .labels = {},
       .annotations = {{prefix + "outcome", kRejoined},
                       {prefix + "message", text},
                       {prefix + "rejoined-at", FormatUtc(UnixMicrosecondsNow(), 0)}}});
  if (patched != PatchOutcome::kDone) return;
  LogInfo("rejoined: {} {}", options.pod_name, text);
  CreatePodEvent(api, options, "Rejoined", "Rejoin", text);
}

}  // namespace pgrejoin
