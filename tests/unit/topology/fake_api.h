// The Kubernetes API in memory, for tests of what is above it. k8s/ itself is tested against a real
// server.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "k8s/api_client.h"

namespace pgrejoin {

class FakeApi : public KubernetesApi {
 public:
  bool down = false;            // every call throws
  bool patches_denied = false;  // 403 on pods and events
  int lost_answers = 0;         // this many updates are carried out, but look like a conflict
  std::map<std::string, Pod> pods;
  std::map<std::string, ConfigMap> config_maps;
  std::map<std::string, std::string> objects;  // JSON by "Kind name"
  std::vector<ServiceEndpoint> endpoints;
  std::vector<PodMetadataPatch> patches;
  std::vector<NewEvent> events;
  std::vector<std::string> deleted;  // pods
  std::set<std::string> denied;      // rights, as "verb resource/name"
  int writes = 0;
  std::function<void()> before_update;  // what somebody else does in between

  void AddPod(const std::string& name) {
    Pod pod;
    pod.name = name;
    pod.uid = "uid-" + name;
    pod.phase = "Running";
    pod.ip = "10.0.0.1";
    pods[name] = pod;
  }
  void AddRecord(const std::map<std::string, std::string>& data) {
    config_maps["authority"] = {"authority", "1", data};
  }
  std::map<std::string, std::string>& record() { return config_maps.at("authority").data; }

  std::optional<Pod> GetPod(const std::string& name) override {
    Reach();
    const auto found = pods.find(name);
    if (found == pods.end()) return std::nullopt;
    return found->second;
  }
  std::vector<Pod> ListPods(const std::string& label_selector) override {
    Reach();
    std::vector<Pod> found;
    for (const auto& [name, pod] : pods) {
      const bool wants_primary = label_selector.ends_with("=primary");
      const auto role = pod.labels.find("operator/role");
      if (!wants_primary || (role != pod.labels.end() && role->second == "primary")) {
        found.push_back(pod);
      }
    }
    return found;
  }
  PatchOutcome PatchPodMetadata(const PodMetadataPatch& patch) override {
    Reach();
    ++writes;
    if (patches_denied) throw Error(ErrorKind::kUnavailable, "403 pods is forbidden");
    const auto found = pods.find(patch.pod_name);
    if (found == pods.end() || found->second.uid != patch.uid) return PatchOutcome::kNoSuchPod;
    Apply(patch.labels, &found->second.labels);
    Apply(patch.annotations, &found->second.annotations);
    patches.push_back(patch);
    return PatchOutcome::kDone;
  }
  PatchOutcome DeletePod(const std::string& name, const std::string& uid) override {
    Reach();
    ++writes;
    if (patches_denied) throw Error(ErrorKind::kUnavailable, "403 pods is forbidden");
    const auto found = pods.find(name);
    if (found == pods.end() || found->second.uid != uid) return PatchOutcome::kNoSuchPod;
    deleted.push_back(name);
    pods.erase(found);
    return PatchOutcome::kDone;
  }
  std::optional<ConfigMap> GetConfigMap(const std::string& name) override {
    Reach();
    const auto found = config_maps.find(name);
    if (found == config_maps.end()) return std::nullopt;
    return found->second;
  }
  // Waits for nothing.
  bool AwaitConfigMapChange(const std::string& name, const std::string& resource_version,
                            std::chrono::seconds) override {
    Reach();
    const auto found = config_maps.find(name);
    return found != config_maps.end() && found->second.resource_version != resource_version;
  }
  std::optional<KubeObject> GetObject(const ObjectKind& kind, const std::string& name) override {
    Reach();
    const std::string what = std::string(kind.name) + " " + name;
    const auto found = objects.find(what);
    if (found == objects.end()) return std::nullopt;
    return KubeObject(found->second, what);
  }
  UpdateOutcome UpdateConfigMap(const std::string& name, const std::string& resource_version,
                                const KeyChanges& data) override {
    Reach();
    if (before_update) {
      const auto once = std::exchange(before_update, nullptr);
      once();
    }
    ++writes;
    ConfigMap& held = config_maps.at(name);
    if (held.resource_version != resource_version) return UpdateOutcome::kConflict;
    Apply(data, &held.data);
    held.resource_version = std::to_string(std::stoi(held.resource_version) + 1);
    return lost_answers-- > 0 ? UpdateOutcome::kConflict : UpdateOutcome::kDone;
  }
  std::vector<ServiceEndpoint> ListServiceEndpoints(const std::string&) override {
    Reach();
    return endpoints;
  }
  void CreateEvent(const NewEvent& event) override {
    Reach();
    ++writes;
    if (patches_denied) throw Error(ErrorKind::kUnavailable, "403 events is forbidden");
    events.push_back(event);
  }
  bool IsAllowed(const Access& access) override {
    Reach();
    return !denied.contains(access.verb + " " + access.resource + "/" + access.name);
  }

 private:
  void Reach() const {
    if (down) throw Error(ErrorKind::kUnavailable, "no answer from the API server");
  }
  static void Apply(const KeyChanges& changes, std::map<std::string, std::string>* map) {
    for (const auto& [key, value] : changes) {
      if (value) {
        (*map)[key] = *value;
      } else {
        map->erase(key);
      }
    }
  }
};

}  // namespace pgrejoin
