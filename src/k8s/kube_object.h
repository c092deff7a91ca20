// An object of the Kubernetes API of which only a few fields are wanted, whatever its kind. Others
// wrote it, so nothing about it is taken for granted.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace pgrejoin {

// Where objects of a kind are found, and what people call them.
struct ObjectKind {
  std::string_view api_version;  // "v1", "coordination.k8s.io/v1"
  std::string_view plural;       // "leases"
  std::string_view name;         // "Lease"
};

inline constexpr ObjectKind kConfigMapKind{"v1", "configmaps", "ConfigMap"};
inline constexpr ObjectKind kEndpointsKind{"v1", "endpoints", "Endpoints"};
inline constexpr ObjectKind kLeaseKind{"coordination.k8s.io/v1", "leases", "Lease"};
inline constexpr ObjectKind kPodKind{"v1", "pods", "Pod"};
inline constexpr ObjectKind kEventKind{"events.k8s.io/v1", "events", "Event"};
inline constexpr ObjectKind kEndpointSliceKind{"discovery.k8s.io/v1", "endpointslices",
                                               "EndpointSlice"};

class KubeObject {
 public:
  // what names it in messages: "Lease db". Throws Error(kUnavailable) for text that is no JSON.
  KubeObject(std::string_view text, std::string what);
  ~KubeObject();
  KubeObject(KubeObject&&) noexcept;
  KubeObject& operator=(KubeObject&&) noexcept;

  // The string, number or boolean at a JSON pointer (RFC 6901; "/" in a key is "~1"), as text. Of a
  // string that is a JSON document of its own, "#" and a second pointer lead inside:
  // "/metadata/annotations/config#/pause". nullopt when it is absent or null; throws
  // Error(kUnavailable) when it is not of such a type, or something on the way is no object.
  std::optional<std::string> At(std::string_view pointer) const;

  const std::string& what() const { return what_; }

 private:
  std::string what_;
  std::unique_ptr<const nlohmann::json> document_;
};

// A key as it is written in a pointer.
std::string PointerToken(std::string_view key);

}  // namespace pgrejoin
