// The pod deletes itself, so that its successor's init container makes the data follow the primary.
#pragma once

#include <string>

#include "k8s/api_client.h"
#include "pod/pod_options.h"

namespace pgrejoin {

// Deletes this very pod (by uid) in the ordinary way: PostgreSQL gets its fast shutdown. Without
// --restart-pod it only says what a person should do, and returns false. why becomes the note of an
// Event. Throws Error(kUnavailable) when the API does not answer or does not allow it: try again.
bool RestartPod(KubernetesApi* api, const PodOptions& options, const std::string& why);

}  // namespace pgrejoin
