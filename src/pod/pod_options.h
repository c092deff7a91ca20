// What the chart tells the commands that run in a pod: docs/reference/configuration.md.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "source/libpq_source.h"
#include "topology/discovery.h"

namespace pgrejoin {

struct PodOptions {
  std::string pgdata;
  std::string port = "5432";
  std::string pod_name;
  std::string name_space;
  std::string pod_uid;
  std::string kubeconfig;  // "" = in the cluster

  std::string discovery = "record";  // a row of topology/discovery_preset.h
  std::string cluster;               // fills that row's templates
  std::string primary_host;          // of static
  std::string record;
  std::string primary_service;
  std::string headless_service;
  std::string pod_selector;
  std::string members;  // comma separated; for the case that the API is down
  std::string role_label = "pg-rejoin.io/role";
  std::string annotation_prefix = "pg-rejoin.io/";

  std::string rewind_user = "rewind";
  std::string rewind_password_file;
  std::string rewind_database = "postgres";
  std::string replication_user = "replicator";
  std::string replication_password_file;
  std::string promote_user = "promoter";
  std::string promote_password_file;
  std::string sslmode = "prefer";
  std::string sslrootcert;

  int deadline_s = 300;
  int connections = 4;
  uint64_t max_rate_kb = 0;  // that a rewind copies with; kilobytes in a second; 0 = no limit
  std::optional<uint64_t> max_discarded_transactions;
  std::string run_dir = "/run/pg-rejoin";
  std::string bin_dir = "/pg-rejoin/bin";  // "" = the gate is not handed over
  std::string gate_dir;                    // where the gate asks; "" = nowhere
  bool restart_pod = false;                // may delete its own pod to make it rejoin
  uint16_t metrics_port = 0;               // 0 = no metrics
  std::string termination_log = "/dev/termination-log";
  std::string data_directory_mode = "0700";
  std::string replication_mode;  // what Bitnami's entrypoint is told; "slave" is refused
};

// Throw Error(kUsage) that names the option and its environment variable.
void CheckInitOptions(const PodOptions& options);
void CheckSidecarOptions(const PodOptions& options);
void CheckPromoteOptions(const PodOptions& options);
void CheckApproveOptions(const PodOptions& options, bool to_lead);
void CheckDiscoverOptions(const PodOptions& options);
void CheckReleaseOptions(const PodOptions& options);  // pause, resume
void CheckStatusOptions(const PodOptions& options);

mode_t DataDirectoryMode(const PodOptions& options);
std::vector<std::string> DiscoveryNames();
// Throws Error(kUsage) when there is none of that name.
const DiscoveryPreset& PresetOf(const PodOptions& options);
DiscoveryOptions MakeDiscoveryOptions(const PodOptions& options);

// The connections that a pod makes. Passwords are read from their files each time, since Secrets
// rotate, and travel in ConnectOptions::password only, never in a connection string.
ConnectOptions RewindConnection(const PodOptions& options, const std::string& host);
ConnectOptions LocalConnection(const PodOptions& options, const std::string& user,
                               const std::string& password_file);

// A file's content without the line breaks at its end, as the chart's create-roles.sh takes it.
// Throws Error(kUsage) for a control character inside, which nobody could log in with.
std::string ReadPassword(const std::string& path);

// What the standby's postgresql.auto.conf gets: the primary Service's name and a passfile.
std::string StandbyConninfo(const PodOptions& options);
// What pg_basebackup gets: the address of a primary and the same passfile. A source whose node has
// lost power is given up within a minute.
std::string CloneConninfo(const PodOptions& options, const std::string& host);
std::string PrimaryServiceHost(const PodOptions& options);
std::string PassfilePath(const PodOptions& options);

}  // namespace pgrejoin
