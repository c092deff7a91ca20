// The calls we make of the Kubernetes API, typed. KubernetesApi is what the rest of the program
// sees (tests bring their own); ApiClient speaks to a server. Answers that a caller works with
// (404, 409) are values; everything else that is not success throws Error(kUnavailable).
//
// Knows nothing of PostgreSQL. Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "k8s/cluster_config.h"
#include "k8s/kube_object.h"

namespace pgrejoin {

struct Pod {
  std::string name;
  std::string uid;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::string phase;  // "Pending", "Running", ...
  std::string ip;     // "" before it has one
  bool being_deleted = false;

  // "" when it has none.
  std::string Label(const std::string& key) const;
  std::string Annotation(const std::string& key) const;
};

struct ConfigMap {
  std::string name;
  std::string resource_version;
  std::map<std::string, std::string> data;
};

// One address behind a Service.
struct ServiceEndpoint {
  std::string address;
  std::string pod_name;  // "" when it is no pod
  bool ready = false;
};

// What to set; a nullopt value removes the key.
using KeyChanges = std::map<std::string, std::optional<std::string>>;

struct PodMetadataPatch {
  std::string pod_name;
  std::string uid;  // a namesake with another uid is left alone
  KeyChanges labels;
  KeyChanges annotations;
};

struct NewEvent {
  std::string pod_name;
  std::string pod_uid;
  std::string reason;  // CamelCase, stable
  std::string action;  // CamelCase
  std::string note;    // up to 1 kB
  bool warning = false;
};

// What a role would have to allow, in this namespace.
struct Access {
  std::string group;  // "" = core
  std::string resource;
  std::string name;  // "" = whichever
  std::string verb;
};

enum class PatchOutcome { kDone, kNoSuchPod };
enum class UpdateOutcome { kDone, kConflict };

class KubernetesApi {
 public:
  virtual ~KubernetesApi() = default;
  virtual std::optional<Pod> GetPod(const std::string& name) = 0;
  virtual std::vector<Pod> ListPods(const std::string& label_selector) = 0;
  virtual PatchOutcome PatchPodMetadata(const PodMetadataPatch& patch) = 0;
  // In the ordinary way, with the pod's grace period. A namesake with another uid is left alone.
  virtual PatchOutcome DeletePod(const std::string& name, const std::string& uid) = 0;
  virtual std::optional<ConfigMap> GetConfigMap(const std::string& name) = 0;
  // Waits until the object has another resource version than this one, or is deleted or may be;
  // false: not within `wait`.
  virtual bool AwaitConfigMapChange(const std::string& name, const std::string& resource_version,
                                    std::chrono::seconds wait) = 0;
  // Of any kind, for those of which only a few fields are read.
  virtual std::optional<KubeObject> GetObject(const ObjectKind& kind, const std::string& name) = 0;
  // Compare-and-swap: changes the data only if the object still has this resource version. After a
  // lost answer the caller cannot know who won: read again and compare.
  virtual UpdateOutcome UpdateConfigMap(const std::string& name,
                                        const std::string& resource_version,
                                        const KeyChanges& data) = 0;
  virtual std::vector<ServiceEndpoint> ListServiceEndpoints(const std::string& service) = 0;
  virtual void CreateEvent(const NewEvent& event) = 0;
  // Whether the server would let us, by RBAC and whatever else authorizes there. Everybody who is
  // authenticated may ask that of himself (SelfSubjectAccessReview).
  virtual bool IsAllowed(const Access& access) = 0;
};

struct ApiClientOptions {
  std::string name_space;
  std::chrono::milliseconds timeout{5000};
  int attempts = 3;  // of a request that may be repeated: GET, or a write with a resource version
  std::stop_token stop;
  // Told of each request that was sent: the answer's status, or 0 when there was none. May be
  // called by several threads at once.
  std::function<void(int status)> on_request = [](int) {};
};

class ApiClient : public KubernetesApi {
 public:
  ApiClient(ClusterConfig config, ApiClientOptions options);

  std::optional<Pod> GetPod(const std::string& name) override;
  std::vector<Pod> ListPods(const std::string& label_selector) override;
  PatchOutcome PatchPodMetadata(const PodMetadataPatch& patch) override;
  PatchOutcome DeletePod(const std::string& name, const std::string& uid) override;
  std::optional<ConfigMap> GetConfigMap(const std::string& name) override;
  bool AwaitConfigMapChange(const std::string& name, const std::string& resource_version,
                            std::chrono::seconds wait) override;
  std::optional<KubeObject> GetObject(const ObjectKind& kind, const std::string& name) override;
  UpdateOutcome UpdateConfigMap(const std::string& name, const std::string& resource_version,
                                const KeyChanges& data) override;
  std::vector<ServiceEndpoint> ListServiceEndpoints(const std::string& service) override;
  void CreateEvent(const NewEvent& event) override;
  bool IsAllowed(const Access& access) override;

 private:
  HttpResponse SendOnce(HttpRequest request) const;
  HttpResponse SendFor(std::chrono::milliseconds timeout, HttpRequest request) const;
  HttpResponse SendRepeatable(const HttpRequest& request) const;
  std::optional<std::string> GetBody(const std::string& target) const;
  std::string GetList(const std::string& target) const;
  std::string NamespacePath(const std::string& api, const std::string& rest) const;

  const ClusterConfig config_;
  const ApiClientOptions options_;
};

// Percent-encodes everything but unreserved characters.
std::string UrlEncode(std::string_view text);

}  // namespace pgrejoin
