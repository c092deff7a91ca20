// The pod deletes itself, so that its successor's init container makes the data follow the primary.
#pragma once

#include <string>

#include "k8s/api_client.h"
#include "pod/pod_options.h"

namespace pgrejoin {

// Deletes this very pod (by uid) in the ordinary way: PostgreSQL gets its fast shutdown. Only with
// --restart-pod. why becomes the note of an Event. Throws Error(kUnavailable) when the API does not
// answer or does not allow it: try again.
void RestartPod(KubernetesApi* api, const PodOptions& options, const std::string& why);

// Without --restart-pod: what a person should do.
std::string RestartByHand(const PodOptions& options, const std::string& why);

}  // namespace pgrejoin
