// The rights in the Kubernetes API that `init` and the sidecar use, as docs/reference/discovery.md
// lists them, and whether this token has them: asked before anybody needs them, while a Role can
// still be mended.
#pragma once

#include <string>
#include <vector>

#include "k8s/api_client.h"
#include "pod/pod_options.h"

namespace pgrejoin {

struct Right {
  Access access;
  std::string without;  // what is lost when it is missing
};

// Of the pods the members that are configured, or this pod when there are none.
std::vector<Right> NeededRights(const PodOptions& options);

struct RightState {
  Right right;
  bool allowed = false;
};

// Throws Error(kUnavailable) when the API server does not say.
std::vector<RightState> AskForRights(KubernetesApi* api, const PodOptions& options);

// "patch pods/db-0", "list endpointslices.discovery.k8s.io"
std::string AccessName(const Access& access);

}  // namespace pgrejoin
