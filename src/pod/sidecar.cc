#include "pod/sidecar.h"

#include <spdlog/fmt/fmt.h>

#include <thread>
#include <utility>

#include "base/backoff.h"
#include "base/directory_watch.h"
#include "base/error.h"
#include "base/log.h"
#include "base/utc_time.h"
#include "pod/gatekeeper.h"
#include "pod/handover.h"
#include "pod/pod_restart.h"
#include "pod/readiness_watch.h"
#include "topology/decision.h"
#include "topology/promotion.h"

namespace pgrejoin {
namespace {

constexpr std::chrono::milliseconds kPollInterval{1000};
constexpr std::chrono::seconds kSyncInterval{5};
// Where all is as it should be and a watch tells of a new record.
constexpr std::chrono::seconds kCalmInterval{30};
// A login every second would be most of what the sidecar costs.
constexpr std::chrono::seconds kCalmProbeInterval{5};
// At the latest: a directory that reports nothing (DirectoryWatch) is looked at by itself.
constexpr std::chrono::milliseconds kGateInterval{200};
// How often a standby is compared with the primary. It takes two looks to restart its pod.
constexpr std::chrono::seconds kCompareInterval{15};
constexpr const char* kPrimaryRole = "primary";
constexpr const char* kReplicaRole = "replica";
constexpr const char* kNoRole = "";

const char* RoleName(LocalRole role) {
  switch (role) {
    case LocalRole::kReadWrite:
      return "primary";
    case LocalRole::kInRecovery:
      return "standby";
    case LocalRole::kUnknown:
      break;
  }
  return "";
}

// Puts the label right, if it is not; kNoRole: without it no Service leads to the pod.
void SetRoleLabel(KubernetesApi* api, const std::string& label, const Pod& pod,
                  const std::string& role) {
  if (pod.Label(label) == role) return;
  std::optional<std::string> value;
  if (role != kNoRole) value = role;
  const PatchOutcome patched = api->PatchPodMetadata(
      {.pod_name = pod.name, .uid = pod.uid, .labels = {{label, value}}, .annotations = {}});
  if (patched != PatchOutcome::kDone) return;
  LogInfo("pod {} is now {}", pod.name, value ? "labelled " + role : "without a role label");
}

// What init would find, were the server stopped now.
DirectoryState StateOf(const SourceIdentity& server, LocalRole role) {
  DirectoryState state;
  state.kind = role == LocalRole::kReadWrite ? DirectoryKind::kPrimary : DirectoryKind::kStandby;
  state.system_identifier = server.system_identifier;
  state.history = server.history;
  state.end_of_wal = server.flush_lsn;
  return state;
}

void Try(Complaints* complaints, const std::function<void()>& duty) {
  complaints->BeginRound();
  try {
    duty();
  } catch (const std::exception& error) {
    complaints->Say(error.what());
  }
}

}  // namespace

std::optional<Pod> LabelHolder(KubernetesApi* api, const PodOptions& options, bool fit) {
  std::optional<Pod> own;
  std::optional<Error> failure;
  for (const Pod& pod : api->ListPods(options.pod_selector)) {
    if (pod.name == options.pod_name) own = pod;
    if (pod.name == options.pod_name || !fit) continue;
    if (pod.Label(options.role_label) != kPrimaryRole) continue;
    try {
      // It may still run read-write: a replica it is only when its own sidecar says so.
      SetRoleLabel(api, options.role_label, pod, kNoRole);
    } catch (const Error& error) {
      failure = error;  // clients need the label of the one that leads all the more
    }
  }
  if (own && own->uid == options.pod_uid) {
    SetRoleLabel(api, options.role_label, *own, fit ? kPrimaryRole : kNoRole);
  }
  if (failure) throw *failure;
  return own;
}

Sidecar::Sidecar(const PodOptions& options, const SidecarDependencies& outside)
    : options_(options),
      outside_(outside),
      store_(outside.api, options.record),
      discovery_(outside.api, MakeDiscoveryOptions(options), outside.ask) {}

void Sidecar::Step(Clock::time_point now) {
  Try(&passfile_complaints_, [this] {
    if (WritePassfile(options_)) LogInfo("the passfile follows a changed Secret");
  });
  if (options_.discovery != "record") {
    return Try(&complaints_, [this, now] { StepWithoutRecord(now); });
  }
  const bool news = outside_.watch != nullptr && outside_.watch->TakeNews();
  const bool calm = settled_ && outside_.watch != nullptr && outside_.watch->Works();
  if (calm && !news && last_probe_ && now - *last_probe_ < kCalmProbeInterval) return;
  last_probe_ = now;
  const LocalRole role = outside_.probe();
  outside_.metrics->Change([role](SidecarMetrics* metrics) { metrics->role = RoleName(role); });
  const bool due = !last_sync_ || now - *last_sync_ >= (calm ? kCalmInterval : kSyncInterval);
  if (role == last_role_ && !due && !news) return;
  if (role != last_role_) completed_.reset();
  if (news) last_compared_.reset();
  last_role_ = role;
  last_sync_ = now;
  settled_ = false;
  Try(&complaints_, [this, role] { Sync(role); });
}

// Labels and restarts are another's business then; what is left to do is to tell.
void Sidecar::StepWithoutRecord(Clock::time_point now) {
  if (last_probe_ && now - *last_probe_ < kCalmProbeInterval) return;
  last_probe_ = now;
  const LocalRole role = outside_.probe();
  outside_.metrics->Change([role](SidecarMetrics* metrics) { metrics->role = RoleName(role); });
  const bool due = !last_sync_ || !settled_ || now - *last_sync_ >= kCalmInterval;
  if (role == LocalRole::kUnknown || (role == last_role_ && !due)) return;
  last_role_ = role;
  last_sync_ = now;
  settled_ = true;  // an API that does not answer is not asked every few seconds
  const auto own = GetOwn();
  if (!own) return;
  NoteOwn(own);
  const SourceIdentity identity = IdentifyOwn();
  settled_ = role != LocalRole::kInRecovery || !RejoinProof::Awaited(*own, options_);
  if (settled_) return;
  const Evidence evidence = discovery_.Gather(StateOf(identity, role));
  if (evidence.primary_state != PrimaryState::kConfirmed) return;
  LookForProof(evidence.primary, *evidence.primary_identity);
}

void Sidecar::Sync(LocalRole role) {
  // Throws where it cannot be read: no label is changed then.
  const AuthorityStore::Versioned read = ReadRecord();
  if (outside_.watch != nullptr) outside_.watch->Seen(read.resource_version);
  if (read.record.primary.empty()) {
    // Whoever has started had a record to start by: somebody emptied it, and a healthy primary must
    // not lose its Service for that.
    complaints_.Say(
        "the authority record names nobody: role labels stay as they are; put the record back");
    return;
  }
  const bool holder = read.record.primary == options_.pod_name;
  if (holder && role == LocalRole::kReadWrite) {
    const bool fit = HolderIsFit(read);
    NoteOwn(LabelHolder(outside_.api, options_, fit));
    settled_ = fit;
    return;
  }
  // A server that does not answer for a moment (no free connection) keeps the label it has.
  if (holder && role == LocalRole::kUnknown) return;
  const std::optional<Pod> own = LabelFollower(role);
  NoteOwn(own);
  if (holder) return;
  if (ComparisonIsDue(role)) {
    Try(&compare_complaints_, [&] { RejoinIfNeeded(role, read.record); });
  }
  if (!own || role != LocalRole::kInRecovery) return;
  ProveRejoin(*own, read.record);
  settled_ = !diverged_ && !RejoinProof::Awaited(*own, options_);
}

AuthorityStore::Versioned Sidecar::ReadRecord() {
  std::optional<AuthorityStore::Versioned> read;
  try {
    read = store_.Read();
  } catch (const Error&) {
    outside_.metrics->Change([](SidecarMetrics* metrics) { metrics->authority_reachable = false; });
    throw;
  }
  const AuthorityRecord& record = read->record;
  outside_.metrics->Change([&](SidecarMetrics* metrics) {
    metrics->authority_reachable = true;
    metrics->authority_last_success = UnixSecondsNow();
    metrics->record = {record.primary, record.epoch, record.timeline, record.paused};
    metrics->is_holder = record.primary == options_.pod_name;
  });
  return *read;
}

// nullopt: the pod of this name is another one by now.
std::optional<Pod> Sidecar::GetOwn() {
  auto own = outside_.api->GetPod(options_.pod_name);
  if (own && own->uid != options_.pod_uid) own.reset();
  return own;
}

void Sidecar::NoteOwn(const std::optional<Pod>& own) {
  if (!own) return;
  outside_.metrics->Change([&](SidecarMetrics* metrics) {
    metrics->own = ReadPodStatus(*own, options_.role_label, options_.annotation_prefix);
  });
}

bool Sidecar::ComparisonIsDue(LocalRole role) const {
  if (role == LocalRole::kUnknown || restarted_) return false;
  const bool due = !last_compared_ || *last_sync_ - *last_compared_ >= kCompareInterval;
  return due || role == LocalRole::kReadWrite;
}

// What init would do to this server's directory, were it asked now. It is asked by making the pod
// anew.
void Sidecar::RejoinIfNeeded(LocalRole role, const AuthorityRecord& record) {
  const bool read_write = role == LocalRole::kReadWrite;
  last_compared_ = last_sync_;
  if (read_write) {
    compare_complaints_.Say("this server runs read-write although the authority record names " +
                            record.primary);
  }
  const DirectoryState local = StateOf(IdentifyOwn(), role);
  const Evidence evidence = discovery_.Gather(local);
  const Decision decision = Decide(local, evidence);
  const bool must_rejoin =
      decision.action == Action::kRewind || (read_write && decision.action == Action::kFollow);
  const bool was_diverged = std::exchange(diverged_, must_rejoin);
  if (!must_rejoin || record.paused) {
    if (read_write) compare_complaints_.Say(decision.message);
    return;
  }
  if (!read_write && (!was_diverged || !WalIsKept(local, evidence))) return;
  // Only init sees what would be discarded: a standby might be refused, and be down.
  const bool limited = !read_write && options_.max_discarded_transactions;
  if (!options_.restart_pod || limited) {
    return compare_complaints_.Say(RestartByHand(options_, decision.message));
  }
  RestartPod(outside_.api, options_, decision.message);
  outside_.metrics->Change([](SidecarMetrics* metrics) { ++metrics->pod_restarts; });
  restarted_ = true;
}

// Of what init will need, the part that the servers can be asked for. A read-write server must not
// stay up whatever comes after, but a standby is better than none.
bool Sidecar::WalIsKept(const DirectoryState& local, const Evidence& evidence) {
  const TimelineHistory& line = evidence.primary_identity->history;
  const auto fork = FindForkPoint(local.history, line);
  const bool here = outside_.keeps_wal("", local.history, fork->lsn);
  if (here && outside_.keeps_wal(evidence.primary_host, line, fork->lsn)) return true;
  compare_complaints_.Say(fmt::format(
      "this standby has WAL past the fork at {} and goes on with old data: it could not be "
      "rewound, "
      "{} does not keep WAL from there any more; to clone it anew, delete its volume claim and its "
      "pod (a larger wal_keep_size prevents this)",
      fork->lsn.ToString(), here ? evidence.primary : "its own server"));
  return false;
}

void Sidecar::ProveRejoin(const Pod& own, const AuthorityRecord& record) {
  if (!RejoinProof::Awaited(own, options_)) return;
  const SourceIdentity primary = outside_.ask(discovery_.MemberHost(record.primary));
  if (JudgePrimary(primary, record, std::nullopt) != PrimaryState::kConfirmed) return;
  LookForProof(record.primary, primary);
}

void Sidecar::LookForProof(const std::string& pod, const SourceIdentity& primary) {
  if (proof_.Look(pod, primary, IdentifyOwn(), outside_.receives())) {
    PublishRejoined(outside_.api, options_, proof_.text());
  }
}

// Read clients are sent to a replica, so only a server in recovery is called one: a server that
// runs read-write without the record would show them data that a rewind will undo, and take writes.
std::optional<Pod> Sidecar::LabelFollower(LocalRole role) {
  const auto own = GetOwn();
  if (!own) return std::nullopt;
  const bool silent_replica =
      role == LocalRole::kUnknown && own->Label(options_.role_label) == kReplicaRole;
  const bool replica = role == LocalRole::kInRecovery || silent_replica;
  SetRoleLabel(outside_.api, options_.role_label, *own, replica ? kReplicaRole : kNoRole);
  return own;
}

// Noted for the gate, which may ask when the server is gone, and the API as well.
SourceIdentity Sidecar::IdentifyOwn() {
  SourceIdentity own = outside_.identify();
  WriteDirectoryNote(options_, {own.system_identifier, own.history});
  outside_.metrics->Change(
      [&](SidecarMetrics* metrics) { metrics->timeline = own.history.timeline(); });
  return own;
}

// The holder's server must be on the record's branch to be shown to clients.
bool Sidecar::HolderIsFit(const AuthorityStore::Versioned& read) {
  if (completed_ && *completed_ == read.record) return true;
  try {
    CompleteRecord(&store_, read, IdentifyOwn());
    completed_ = store_.Read().record;
    return completed_->primary == options_.pod_name;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNotRewindable) throw;
    complaints_.Say(error.message());
    return false;
  }
}

void RunSidecar(const PodOptions& options, const SidecarDependencies& outside,
                std::stop_token stop) {
  Sidecar sidecar(options, outside);
  ReadinessWatch readiness(options, outside.api, outside.readiness_facts, outside.metrics);
  std::jthread gate([&](const std::stop_token& gate_stop) {
    Gatekeeper gatekeeper(options, outside.api, outside.ask, outside.metrics);
    DirectoryWatch requests(options.gate_dir);
    do {
      gatekeeper.Step(Gatekeeper::Clock::now());
    } while (requests.Wait(kGateInterval, gate_stop));
  });
  std::optional<std::jthread> watch;
  if (outside.watch != nullptr) {
    watch.emplace([&](const std::stop_token& watch_stop) { outside.watch->Run(watch_stop); });
  }
  do {
    sidecar.Step(Sidecar::Clock::now());
    readiness.Step(ReadinessWatch::Clock::now());
    outside.metrics->Change(
        [](SidecarMetrics* metrics) { metrics->stepped_at = Sidecar::Clock::now(); });
  } while (SleepFor(kPollInterval, stop));
}

}  // namespace pgrejoin
