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
//
// With every discovery:
//
// - After a rejoin it is proven that the server follows (pod/rejoin_proof.h).
// - The passfile follows the Secret.
// - It watches whether this node could be rewound (pod/readiness_watch.h).
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "base/complaints.h"
#include "k8s/api_client.h"
#include "pod/pod_options.h"
#include "pod/record_watch.h"
#include "pod/rejoin_proof.h"
#include "report/metrics.h"
#include "rewind/readiness.h"
#include "topology/authority_record.h"
#include "topology/discovery.h"

namespace pgrejoin {

enum class LocalRole { kUnknown, kReadWrite, kInRecovery };

struct SidecarDependencies {
  KubernetesApi* api = nullptr;
  RecordWatch* watch = nullptr;              // of the record; nullptr: it is asked for
  std::function<LocalRole()> probe;          // kUnknown when the server does not answer
  std::function<SourceIdentity()> identify;  // throws Error
  AskServer ask;                             // of other members
  std::function<bool()> receives;            // whether the WAL receiver is connected; throws Error
  // KeepsWalFrom() of the server at host, "" for our own.
  std::function<bool(const std::string& host, const TimelineHistory& line, Lsn lsn)> keeps_wal;
  std::function<ReadinessFacts()> readiness_facts;  // never throws
  MetricsBoard* metrics = nullptr;                  // what is seen on the way is noted there
};

class Sidecar {
 public:
  using Clock = std::chrono::steady_clock;

  Sidecar(const PodOptions& options, const SidecarDependencies& outside);

  // One look. Asks the API when the local role or the record has changed, every few seconds while
  // something is to be done, else twice a minute. Never throws for what happens in the outside
  // world.
  void Step(Clock::time_point now);

 private:
  void Sync(LocalRole role);
  std::optional<Pod> LabelFollower(LocalRole role);
  bool ComparisonIsDue(LocalRole role) const;
  void RejoinIfNeeded(LocalRole role, const AuthorityRecord& record);
  bool WalIsKept(const DirectoryState& local, const Evidence& evidence);
  void StepWithoutRecord(Clock::time_point now);
  void ProveRejoin(const Pod& own, const AuthorityRecord& record);
  void LookForProof(const std::string& pod, const SourceIdentity& primary);
  SourceIdentity IdentifyOwn();
  bool HolderIsFit(const AuthorityStore::Versioned& read);
  AuthorityStore::Versioned ReadRecord();
  std::optional<Pod> GetOwn();
  void NoteOwn(const std::optional<Pod>& own);

  const PodOptions& options_;
  const SidecarDependencies& outside_;
  AuthorityStore store_;
  Discovery discovery_;
  LocalRole last_role_ = LocalRole::kUnknown;
  std::optional<Clock::time_point> last_probe_;  // of our own server
  std::optional<Clock::time_point> last_sync_;
  bool settled_ = false;                            // then: all was as it should be
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
// none. For the sidecar and for promote. Returns the own pod, if there is one.
std::optional<Pod> LabelHolder(KubernetesApi* api, const PodOptions& options, bool fit);

// Until stop is requested.
void RunSidecar(const PodOptions& options, const SidecarDependencies& outside,
                std::stop_token stop);

}  // namespace pgrejoin
