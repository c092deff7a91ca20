// Gathers Evidence: reads the authority, finds the named primary's address, and asks servers by SQL
// through an injected function. Reads only.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "k8s/api_client.h"
#include "rewind/inspect.h"
#include "topology/authority_record.h"
#include "topology/evidence.h"

namespace pgrejoin {

// Where the primary's address comes from.
enum class DiscoveryKind {
  kRecord,   // the authority record: the only one that may start or demote a primary
  kService,  // the EndpointSlices of the primary Service
  kLabel     // the pod that carries <role label>=primary, kept by somebody else
};

struct DiscoveryOptions {
  DiscoveryKind kind = DiscoveryKind::kRecord;
  std::string own_pod;
  std::string name_space;
  std::string record;  // ConfigMap; with kService and kLabel only approvals are read
  std::string primary_service;
  std::string headless_service;  // member address = <pod>.<headless>.<namespace>.svc
  std::string pod_selector;
  std::string role_label;
  std::string annotation_prefix;
  // Every pod name there can be, for the case that the API is down. May be empty: then nobody
  // starts read-write without the API.
  std::vector<std::string> members;
  std::chrono::seconds patience{3};  // for pods that the StatefulSet has not made yet
};

// Asks the server at a host who it is. Throws Error when there is no answer.
using AskServer = std::function<SourceIdentity(const std::string& host)>;

class Discovery {
 public:
  // api must remain live while this is in use.
  Discovery(KubernetesApi* api, DiscoveryOptions options, AskServer ask);

  Evidence Gather(const DirectoryState& local);

  // Asked just before pg_control is published: throws unless the same primary is still named and
  // still confirmed.
  void ConfirmAgain(const Evidence& before, const DirectoryState& local);

  std::string MemberHost(const std::string& pod) const;
  AuthorityStore& store() { return store_; }

 private:
  void ReadAuthority(Evidence* evidence);
  void FindPrimary(Evidence* evidence);
  void SetCandidates(Evidence* evidence, const std::vector<PeerState>& pods,
                     const std::vector<std::string>& hosts);
  void AskPrimary(Evidence* evidence, const DirectoryState& local);
  void FindPeers(Evidence* evidence, const DirectoryState& local);
  void ListPeers(Evidence* evidence, std::vector<std::string>* hosts);
  void AskPeers(Evidence* evidence, const std::vector<std::string>& hosts);

  KubernetesApi* api_;
  const DiscoveryOptions options_;
  const AskServer ask_;
  AuthorityStore store_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace pgrejoin
