// `pg-rejoin init`: decide, act, report, exit. The only command that changes a data directory.
//
//   lock the directory                  // waits while an old server still runs on the volume
//   local    = InspectDirectory()
//   evidence = Discovery::Gather()      // again each round
//   decision = Decide(local, evidence)
//   wait -> publish our own state, back off, next round, until the deadline
//   otherwise act, report once, exit
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "k8s/api_client.h"
#include "pod/pod_options.h"
#include "rewind/inspect.h"
#include "rewind/rewind.h"
#include "topology/discovery.h"

namespace pgrejoin {

// What init needs of the outside; tests bring their own.
struct InitDependencies {
  KubernetesApi* api = nullptr;         // for evidence: patient
  KubernetesApi* report_api = nullptr;  // for reports: short timeouts
  AskServer ask;
  std::function<std::unique_ptr<RewindSource>(const std::string& host)> connect;
  std::function<DirectoryState(const std::string& pgdata)> inspect;
  std::function<RewindResult(const DirectoryLock&, RewindSource&, const RewindOptions&)> rewind;
};

// Returns the exit status (docs/reference/exit-status.md). Never throws for what happens in the
// outside world: every end is reported.
int RunInit(const PodOptions& options, const InitDependencies& outside, std::stop_token stop);

}  // namespace pgrejoin
