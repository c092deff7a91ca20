// `pg-rejoin rewind`: the drop-in for pg_rewind. Knows nothing of Kubernetes.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

namespace pgrejoin {

// The options of pg_rewind's help text, and ours behind them.
struct RewindCommandOptions {
  std::string target_pgdata;
  std::string source_pgdata;
  std::string source_server;
  std::string config_file;
  std::string sync_method = "fsync";
  bool restore_target_wal = false;
  bool dry_run = false;
  bool no_sync = false;
  bool progress = false;
  bool write_recovery_conf = false;
  bool no_ensure_shutdown = false;  // accepted: we never need single-user recovery
  bool list_kill_points = false;
  bool copy_replayed_blocks = false;
  bool copy_same_files = false;
  int connections = 4;
  uint64_t max_rate_kb = 0;  // kilobytes (1024 bytes) in a second; 0 = no limit
  std::optional<uint64_t> max_discarded_transactions;
};

// Throws Error(kUsage) for what is missing or cannot be asked for together.
void CheckRewindCommandOptions(const RewindCommandOptions& options);

// Returns when the target is a standby of the source. Throws Error otherwise.
void RunRewindCommand(const RewindCommandOptions& options, std::stop_token stop);

struct PlanCommandOptions {
  std::string target_pgdata;
  std::string source_pgdata;
  std::string source_server;
  std::string config_file;
  bool restore_target_wal = false;
  std::string blocks_file;
};

// Prints what a rewind would do as JSON; writes nothing else.
void RunPlanCommand(const PlanCommandOptions& options, const std::stop_token& stop);

}  // namespace pgrejoin
