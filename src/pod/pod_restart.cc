#include "pod/pod_restart.h"

#include "base/error.h"
#include "base/log.h"

namespace pgrejoin {
namespace {

// An Event is for people: the pod is restarted without it, too.
void Announce(KubernetesApi* api, const PodOptions& options, const std::string& why) {
  try {
    api->CreateEvent({.pod_name = options.pod_name,
                      .pod_uid = options.pod_uid,
                      .reason = "PodRestarted",
                      .action = "RestartPod",
                      .note = why});
  } catch (const Error& error) {
    LogDebug("no event: {}", error.message());
  }
}

}  // namespace

bool RestartPod(KubernetesApi* api, const PodOptions& options, const std::string& why) {
  if (!options.restart_pod) {
    LogWarning("delete pod {}, and the next one follows the primary: {}", options.pod_name, why);
    return false;
  }
  LogInfo("deleting this pod, so that the next one follows the primary: {}", why);
  if (api->DeletePod(options.pod_name, options.pod_uid) == PatchOutcome::kNoSuchPod) {
    LogInfo("this pod is being replaced already");
  }
  Announce(api, options, why);
  return true;
}

}  // namespace pgrejoin
