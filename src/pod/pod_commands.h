// The commands that run in a pod, wired to a real API server and a real PostgreSQL.
#pragma once

#include <stop_token>
#include <string>

#include "pod/pod_options.h"

namespace pgrejoin {

// Each returns the exit status; Errors about configuration are thrown.
int RunInitCommand(const PodOptions& options, std::stop_token stop);
int RunSidecarCommand(const PodOptions& options, std::stop_token stop);

struct PromoteFlags {
  bool force = false;
  bool require_caught_up = false;
};
int RunPromoteCommand(const PodOptions& options, const PromoteFlags& flags, std::stop_token stop);

struct ApproveFlags {
  std::string pod;  // whom to approve; "" = our own
  // Not to lead, but to lose so many transactions in a rewind.
  std::optional<uint64_t> discard;
  // What the approval is bound to; "" = what the pod has published about itself.
  std::string system_identifier;
  std::string history;
};
int RunApproveCommand(const PodOptions& options, const ApproveFlags& flags, std::stop_token stop);

int RunPauseCommand(const PodOptions& options, std::stop_token stop);
int RunResumeCommand(const PodOptions& options, std::stop_token stop);

struct StatusFlags {
  bool json = false;
};
constexpr int kNotWell = 1;  // of these commands, when something is not as it should be
int RunStatusCommand(const PodOptions& options, const StatusFlags& flags, std::stop_token stop);

struct DiscoverFlags {
  bool json = false;
  bool rights = false;  // ask for them, too
};
int RunDiscoverCommand(const PodOptions& options, const DiscoverFlags& flags, std::stop_token stop);

struct CheckFlags {
  std::string server;  // connection string; "" = the server of this pod
  bool json = false;
};
int RunCheckCommand(const PodOptions& options, const CheckFlags& flags, std::stop_token stop);

}  // namespace pgrejoin
