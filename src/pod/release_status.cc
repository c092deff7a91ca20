#include "pod/release_status.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "topology/authority_record.h"

namespace pgrejoin {

ReleaseStatus GatherStatus(KubernetesApi* api, const PodOptions& options, int64_t now) {
  ReleaseStatus status;
  status.now = now;
  status.record_decides = options.discovery == "record";
  for (const Pod& pod : api->ListPods(options.pod_selector)) {
    status.pods.push_back(ReadPodStatus(pod, options.role_label, options.annotation_prefix));
  }
  // db-2 before db-10.
  std::sort(status.pods.begin(), status.pods.end(), [](const PodStatus& a, const PodStatus& b) {
    return std::tuple(a.name.size(), a.name) < std::tuple(b.name.size(), b.name);
  });
  try {
    const AuthorityRecord record = AuthorityStore(api, options.record).Read().record;
    status.record = {record.primary, record.epoch, record.timeline, record.paused};
  } catch (const Error& error) {
    status.record_problem = Printable(error.message());
  }
  return status;
}

}  // namespace pgrejoin
