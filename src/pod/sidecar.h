// `pg-rejoin sidecar`: runs beside the server, never touches its directory, and never ends for lack
// of an API, since a failing sidecar would take a healthy database out of its Service.
//
// Duties, with --discovery=record:
//
// - The record's holder carries the label <role>=primary while its server is read-write and on the
//   record's branch; it takes the label from every other pod.
// - A server in recovery is labelled replica; any other has no label, so no Service leads to it.
// - A record that cannot be read, or that names nobody, changes no label.
// - The holder completes the record: system identifier after the first start, timeline and history
//   after a promotion that was cut short.
// - The gate that asks for leave to start read-write is answered (pod/gatekeeper.h).
// - A server that has to follow another pod, which the record names and which has confirmed that it
//   is primary, gets a new pod: at once if it runs read-write, and if it is a standby that has WAL
//   past the fork, after two looks. Not while the record is paused, nor where the histories alone
//   make init refuse. A standby for which WAL from the fork on is gone, or whose rewind a limit
//   might refuse (--max-discarded-transactions), goes on answering reads.
// - After a rejoin it is proven that the server follows (pod/rejoin_proof.h).
// - The passfile follows the Secret.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "base/complaints.h"
#include "k8s/api_client.h"
#include "pod/pod_options.h"
#include "pod/rejoin_proof.h"
#include "topology/authority_record.h"
#include "topology/discovery.h"

namespace pgrejoin {

enum class LocalRole { kUnknown, kReadWrite, kInRecovery };

struct SidecarDependencies {
  KubernetesApi* api = nullptr;
  std::function<LocalRole()> probe;          // kUnknown when the server does not answer
  std::function<SourceIdentity()> identify;  // throws Error
  AskServer ask;                             // of other members
  std::function<bool()> receives;            // whether the WAL receiver is connected; throws Error
  // KeepsWalFrom() of the server at host, "" for our own.
  std::function<bool(const std::string& host, const TimelineHistory& line, Lsn lsn)> keeps_wal;
};

class Sidecar {
 public:
  using Clock = std::chrono::steady_clock;

  Sidecar(const PodOptions& options, const SidecarDependencies& outside);

  // One look. Asks the API when the local role has changed, else every few seconds. Never throws
  // for what happens in the outside world.
  void Step(Clock::time_point now);

 private:
  void Sync(LocalRole role);
  std::optional<Pod> LabelFollower(LocalRole role);
  bool ComparisonIsDue(LocalRole role) const;
  void RejoinIfNeeded(LocalRole role, const AuthorityRecord& record);
  bool WalIsKept(const DirectoryState& local, const Evidence& evidence);
  void ProveRejoin(const Pod& own, const AuthorityRecord& record);
  SourceIdentity IdentifyOwn();
  bool HolderIsFit(const AuthorityStore::Versioned& read);

  const PodOptions& options_;
  const SidecarDependencies& outside_;
  AuthorityStore store_;
  Discovery discovery_;
  LocalRole last_role_ = LocalRole::kUnknown;
  std::optional<Clock::time_point> last_sync_;
  std::optional<Clock::time_point> last_compared_;  // with the primary
  bool diverged_ = false;                           // then
  bool restarted_ = false;                          // this pod is on its way out
  RejoinProof proof_;
  Complaints passfile_complaints_;
  Complaints complaints_;          // of Sync()
  Complaints compare_complaints_;  // of what it does less often
  // The record as we last completed it, or found it complete.
  std::optional<AuthorityRecord> completed_;
};

// The holder's own label: primary if it is fit, and then no other pod keeps that label; otherwise
// none. For the sidecar and for promote.
void LabelHolder(KubernetesApi* api, const PodOptions& options, bool fit);

// Until stop is requested.
void RunSidecar(const PodOptions& options, const SidecarDependencies& outside,
                std::stop_token stop);

}  // namespace pgrejoin
