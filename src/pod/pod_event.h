// Events about the own pod, for people.
#pragma once

#include <string>

#include "k8s/api_client.h"
#include "pod/pod_options.h"

namespace pgrejoin {

// Never throws for an API that does not answer or does not allow it: what the Event is about is
// done without it, too.
void CreatePodEvent(KubernetesApi* api, const PodOptions& options, const std::string& reason,
                    const std::string& action, const std::string& note);

}  // namespace pgrejoin
