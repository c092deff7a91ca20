#include "pod/pod_restart.h"

#include <spdlog/fmt/fmt.h>

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

void RestartPod(KubernetesApi* api, const PodOptions& options, const std::string& why) {
  LogInfo("deleting this pod, so that the next one follows the primary: {}", why);
  if (api->DeletePod(options.pod_name, options.pod_uid) == PatchOutcome::kNoSuchPod) {
    LogInfo("this pod is being replaced already");
  }
  Announce(api, options, why);
}

std::string RestartByHand(const PodOptions& options, const std::string& why) {
  return fmt::format("delete pod {}, and the next one follows the primary: {}", options.pod_name,
                     why);
}

}  // namespace pgrejoin
