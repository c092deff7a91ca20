// `pg-rejoin discover`: shows a person what discovery finds. Reads only, decides nothing.
#pragma once

#include <stop_token>

#include "k8s/api_client.h"
#include "pod/pod_options.h"
#include "pod/rights.h"
#include "report/discovery_report.h"
#include "topology/discovery.h"

namespace pgrejoin {

// Looks until an authority's word has shown whether it still counts, which takes up to its time to
// live. Asks whoever is named, also this pod.
DiscoveryReport Discover(KubernetesApi* api, const PodOptions& options, const AskServer& ask,
                         const std::stop_token& stop);

// Which rights this token lacks. A right that is denied is a verdict of its own, where who is
// primary is clear.
constexpr int kRightDenied = 1;  // exit status
void AddRights(const std::vector<RightState>& states, DiscoveryReport* report);

// What evidence comes to, where no directory is at stake.
void Conclude(const Evidence& evidence, DiscoveryReport* report);

}  // namespace pgrejoin
