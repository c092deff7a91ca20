// `pg-rejoin status`: what the API says of a release now. Reads only: the authority record, and the
// members' labels and annotations. No server is asked, so it works without any password, from every
// container that has the API's token, and from outside.
#pragma once

#include "k8s/api_client.h"
#include "pod/pod_options.h"
#include "report/status_table.h"

namespace pgrejoin {

// Throws Error(kUnavailable) when the pods cannot be listed. A record that cannot be read is a
// problem of the release, and shown as one. now: microseconds since 1970.
ReleaseStatus GatherStatus(KubernetesApi* api, const PodOptions& options, int64_t now);

}  // namespace pgrejoin
