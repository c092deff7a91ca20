#include "pod/rights.h"

#include <spdlog/fmt/fmt.h>

#include <initializer_list>

namespace pgrejoin {
namespace {

class Rights {
 public:
  void Add(const ObjectKind& kind, const std::string& name,
           std::initializer_list<const char*> verbs, const std::string& without) {
    for (const char* verb : verbs) {
      rights_.push_back({{GroupOf(kind), std::string(kind.plural), name, verb}, without});
    }
  }
  std::vector<Right> Take() { return std::move(rights_); }

 private:
  static std::string GroupOf(const ObjectKind& kind) {
    const size_t slash = kind.api_version.find('/');
    return slash == std::string_view::npos ? "" : std::string(kind.api_version.substr(0, slash));
  }

  std::vector<Right> rights_;
};

void AddAuthority(const PodOptions& options, const DiscoveryPreset& preset, Rights* rights) {
  constexpr const char* kUnknown = "nobody learns who is primary, and nothing is done";
  if (preset.primitive == Primitive::kRecord) {
    rights->Add(kConfigMapKind, options.record, {"get", "patch"}, kUnknown);
    rights->Add(kConfigMapKind, options.record, {"watch"}, "a promotion is noticed later");
  } else if (IsAuthority(preset)) {
    rights->Add(preset.object, FillTemplate(preset.object_name, options.cluster), {"get"},
                kUnknown);
  } else if (preset.primitive == Primitive::kService) {
    rights->Add(kEndpointSliceKind, "", {"list"}, kUnknown);
  }
  if (preset.primitive != Primitive::kRecord && !options.record.empty()) {
    rights->Add(kConfigMapKind, options.record, {"get"}, "pause and approvals are not known");
  }
  if (!preset.config_name.empty()) {
    rights->Add(preset.object, FillTemplate(preset.config_name, options.cluster), {"get"},
                "the other system's pause and system identifier are not known");
  }
}

}  // namespace

std::vector<Right> NeededRights(const PodOptions& options) {
  const DiscoveryPreset& preset = PresetOf(options);
  Rights rights;
  AddAuthority(options, preset, &rights);
  if (preset.primitive != Primitive::kStatic) {
    rights.Add(kPodKind, "", {"list"}, "other members are asked only where --members names them");
  }
  std::vector<std::string> pods = MakeDiscoveryOptions(options).members;
  if (pods.empty() && !options.pod_name.empty()) pods.push_back(options.pod_name);
  for (const std::string& pod : pods) {
    rights.Add(kPodKind, pod, {"get", "patch"}, "its outcome and role are not shown on it");
    if (options.restart_pod) {
      rights.Add(kPodKind, pod, {"delete"}, "a person has to delete it when it has to rejoin");
    }
  }
  rights.Add(kEventKind, "", {"create"}, "there are no events");
  return rights.Take();
}

std::vector<RightState> AskForRights(KubernetesApi* api, const PodOptions& options) {
  std::vector<RightState> states;
  for (Right& right : NeededRights(options)) {
    const bool allowed = api->IsAllowed(right.access);
    states.push_back({std::move(right), allowed});
  }
  return states;
}

std::string AccessName(const Access& access) {
  return fmt::format("{} {}{}{}{}{}", access.verb, access.resource, access.group.empty() ? "" : ".",
                     access.group, access.name.empty() ? "" : "/", access.name);
}

}  // namespace pgrejoin
