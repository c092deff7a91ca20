#include "pod/pod_restart.h"

#include <spdlog/fmt/fmt.h>

#include "base/log.h"
#include "pod/pod_event.h"

namespace pgrejoin {
void RestartPod(KubernetesApi* api, const PodOptions& options, const std::string& why) {
  LogInfo("deleting this pod, so that the next one follows the primary: {}", why);
  if (api->DeletePod(options.pod_name, options.pod_uid) == PatchOutcome::kNoSuchPod) {
    LogInfo("this pod is being replaced already");
  }
  CreatePodEvent(api, options, "PodRestarted", "RestartPod", why);
}

std::string RestartByHand(const PodOptions& options, const std::string& why) {
  return fmt::format("delete pod {}, and the next one follows the primary: {}", options.pod_name,
                     why);
}

}  // namespace pgrejoin
