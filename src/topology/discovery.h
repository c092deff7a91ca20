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
#include "topology/authority_word.h"
#include "topology/discovery_preset.h"
#include "topology/evidence.h"

namespace pgrejoin {

struct DiscoveryOptions {
  const DiscoveryPreset* preset = FindPreset("record");
  std::string cluster;  // fills the preset's templates
  std::string own_pod;
  std::string name_space;
  std::string record;  // ConfigMap; where it is not the authority only approvals are read from it
  std::string primary_service;
  std::string primary_host;      // of Primitive::kStatic
  std::string headless_service;  // a member is <pod>.<this>.<namespace>.svc; "" = at its pod's IP
  std::string pod_selector;
  std::string role_label;
  std::string annotation_prefix;
  // Every pod name there can be, for the case that the API is down. May be empty: then nobody
  // starts read-write without the API.
  std::vector<std::string> members;
  std::chrono::seconds patience{3};  // for pods that the StatefulSet has not made yet
  // So long at most another's word is watched: longer than a run of init nobody can.
  std::chrono::seconds watch_max = std::chrono::hours(1);
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

// Asks the server at a host who it is. Throws Error when there is no answer.
using AskServer = std::function<SourceIdentity(const std::string& host)>;

// The name that a StatefulSet's headless Service gives a pod.
std::string MemberHost(const std::string& pod, const std::string& headless_service,
                       const std::string& name_space);

class Discovery {
 public:
  // api must remain live while this is in use.
  Discovery(KubernetesApi* api, DiscoveryOptions options, AskServer ask);

  Evidence Gather(const DirectoryState& local);

  // For a person who looks from outside: no directory is at stake, and every member is asked.
  Evidence Survey();

  // Asked just before pg_control is published: throws unless the same primary is still named and
  // still confirmed. An authority's word that expires need not be seen renewed once more: had
  // anybody else taken over meanwhile, it would name that one.
  void ConfirmAgain(const Evidence& before, const DirectoryState& local);

  std::string MemberHost(const std::string& pod) const;
  AuthorityStore& store() { return store_; }

 private:
  void ReadAuthority(Evidence* evidence);
  void ReadForeignAuthority(Evidence* evidence);
  void FindPrimary(Evidence* evidence);
  void FindCandidates(std::vector<PeerState>* pods, std::vector<std::string>* hosts);
  void FindReadWriteMembers(std::vector<PeerState>* pods, std::vector<std::string>* hosts);
  void SetCandidates(Evidence* evidence, const std::vector<PeerState>& pods,
                     const std::vector<std::string>& hosts);
  std::string HostOf(const std::string& pod);
  void AskPrimary(Evidence* evidence, const DirectoryState& local);
  void FindPeers(Evidence* evidence, const DirectoryState& local);
  void ListPeers(Evidence* evidence, std::vector<std::string>* hosts);
  void ListMembers(Evidence* evidence, std::vector<std::string>* hosts);
  void AskPeers(Evidence* evidence, const std::vector<std::string>& hosts);

  KubernetesApi* api_;
  const DiscoveryOptions options_;
  const AskServer ask_;
  AuthorityStore store_;
  const std::chrono::steady_clock::time_point begin_;
  std::optional<std::chrono::steady_clock::time_point> first_look_;  // at another's authority
  RenewalWatch watch_;
  AuthorityWord word_;  // as it was read last
};

}  // namespace pgrejoin
