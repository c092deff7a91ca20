// How to reach the API server and who we are there: from the pod's service account, or from a
// kubeconfig file (YAML as kubectl writes it, or JSON) with a token or a client certificate.
#pragma once

#include <string>

#include "k8s/http_transport.h"

namespace pgrejoin {

struct ClusterConfig {
  HttpEndpoint endpoint;
  std::string token;       // fixed; or
  std::string token_file;  // read for every request: projected tokens rotate
  std::string ca_file;     // read for every request, into endpoint.ca_pem
  std::string default_namespace;
};

constexpr const char* kServiceAccountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

// kubeconfig: empty means in the cluster. Throws Error(kUsage) for what is missing or not
// supported.
ClusterConfig LoadClusterConfig(const std::string& kubeconfig);

// host and port as KUBERNETES_SERVICE_HOST and _PORT give them.
ClusterConfig InClusterConfig(const std::string& host, const std::string& port,
                              const std::string& service_account_directory);
ClusterConfig ReadKubeconfig(const std::string& path);

// The whole of a small file. Throws Error(kUsage) that names it.
std::string ReadSmallFile(const std::string& path, const std::string& what);

}  // namespace pgrejoin
