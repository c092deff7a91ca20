#include "pod/pod_event.h"

#include "base/error.h"
#include "base/log.h"

namespace pgrejoin {

void CreatePodEvent(KubernetesApi* api, const PodOptions& options, const std::string& reason,
                    const std::string& action, const std::string& note) {
  try {
    api->CreateEvent({.pod_name = options.pod_name,
                      .pod_uid = options.pod_uid,
                      .reason = reason,
                      .action = action,
                      .note = note});
  } catch (const Error& error) {
    LogDebug("no event: {}", error.message());
  }
}

}  // namespace pgrejoin
