#include "cli/cli.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "cli/rewind_command.h"
#include "cli/stop_signal.h"
#include "pod/pod_commands.h"

namespace pgrejoin {
namespace {

constexpr int kDropInFailure = 1;  // every failure of pg_rewind

struct LogOptions {
  std::string format = "text";
  std::string level = "info";
  bool debug = false;
};

void StartLog(const LogOptions& options) {
  LogLevel level = LogLevel::kInfo;
  if (options.level == "debug" || options.debug) level = LogLevel::kDebug;
  if (options.level == "warning") level = LogLevel::kWarning;
  if (options.level == "error") level = LogLevel::kError;
  InitLog(options.format == "json" ? LogFormat::kJson : LogFormat::kText, level);
}

void AddLogOptions(CLI::App* command, LogOptions* options) {
  command->add_option("--log-format", options->format, "text or json")
      ->envname("PG_REJOIN_LOG_FORMAT")
      ->check(CLI::IsMember({"text", "json"}))
      ->group("Log");
  command->add_option("--log-level", options->level, "debug, info, warning or error")
      ->envname("PG_REJOIN_LOG_LEVEL")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->group("Log");
}

// As pg_basebackup has it, without its upper limit.
CLI::Option* AddMaxRateOption(CLI::App* command, uint64_t* max_rate_kb) {
  const std::map<std::string, uint64_t> units = {{"k", 1}, {"M", 1024}, {"G", 1024 * 1024}};
  return command
      ->add_option(
          "--max-rate", *max_rate_kb,
          "most that is copied from the source, but for WAL, in kB a second, or with suffix k, "
          "M or G (default: no limit)")
      ->type_name("RATE")
      ->check(CLI::Range(uint64_t{32}, uint64_t{1} << 40).description(""))
      ->transform(
          CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::CASE_SENSITIVE).description(""));
}

void AddRewindOptions(CLI::App* command, RewindCommandOptions* options, LogOptions* log) {
  command->add_flag("-c,--restore-target-wal", options->restore_target_wal,
                    "fetch WAL that the target's pg_wal lacks with its restore_command");
  command->add_option("-D,--target-pgdata", options->target_pgdata,
                      "existing data directory to modify");
  command->add_option("--source-pgdata", options->source_pgdata,
                      "source data directory to synchronize with: of a server that was shut down "
                      "cleanly");
  command->add_option("--source-server", options->source_server,
                      "source server to synchronize with: a connection string or URI; better keep "
                      "the password in a passfile or PGPASSWORD than here");
  command->add_flag("-n,--dry-run", options->dry_run, "stop before modifying anything");
  command->add_flag("-N,--no-sync", options->no_sync,
                    "do not wait for changes to be written safely to disk");
  command->add_flag("-P,--progress", options->progress, "show percent, bytes, rate and time left");
  command->add_flag("-R,--write-recovery-conf", options->write_recovery_conf,
                    "write configuration for replication (requires --source-server)");
  command->add_option("--config-file", options->config_file,
                      "the target's main configuration file, where restore_command is looked for "
                      "(default: postgresql.conf in the data directory)");
  command->add_flag("--debug", log->debug, "write a lot of debug messages");
  command->add_flag("--no-ensure-shutdown", options->no_ensure_shutdown,
                    "accepted for compatibility: the target is never started for crash recovery");
  command->add_option("--sync-method", options->sync_method, "fsync (default) or syncfs")
      ->check(CLI::IsMember({"fsync", "syncfs"}));
  command
      ->add_flag("--copy-replayed-blocks", options->copy_replayed_blocks,
                 "copy also blocks that replay overwrites anyway (to compare)")
      ->group("Of pg-rejoin");
  command
      ->add_flag("--copy-same-files", options->copy_same_files,
                 "copy also whole files that the target has already (to compare)")
      ->group("Of pg-rejoin");
  command->add_option("--connections", options->connections, "connections that copy (default 4)")
      ->check(CLI::Range(1, 64))
      ->group("Of pg-rejoin");
  AddMaxRateOption(command, &options->max_rate_kb)->group("Of pg-rejoin");
  command
      ->add_option(
          "--max-discarded-transactions", options->max_discarded_transactions,
          "refuse, with nothing changed, a rewind that would lose more (default: no limit)")
      ->group("Of pg-rejoin");
  if (kHasKillPoints) {
    command
        ->add_flag("--list-kill-points", options->list_kill_points,
                   "names for PG_REJOIN_KILL_POINT, for crash tests")
        ->group("Of pg-rejoin");
  }
  AddLogOptions(command, log);
  command->get_option("--log-format")->group("Of pg-rejoin");
  command->get_option("--log-level")->group("Of pg-rejoin");
  command->footer(
      "Example:\n"
      "  pg_rewind -D /var/lib/postgresql/data/pgdata -R -P \\\n"
      "    --source-server='host=new-primary user=rewind dbname=postgres'\n"
      "Exit status: 0 the target follows the source, 1 any failure. A run that was killed leaves\n"
      "a directory that PostgreSQL refuses to start; run the same command again to finish it.");
}

void AddPlanOptions(CLI::App* command, PlanCommandOptions* options) {
  command->add_option("-D,--target-pgdata", options->target_pgdata, "data directory to look at");
  command->add_option("--source-server", options->source_server,
                      "the primary: a connection string or URI");
  command->add_option("--source-pgdata", options->source_pgdata,
                      "or its data directory, shut down cleanly");
  command->add_flag("-c,--restore-target-wal", options->restore_target_wal,
                    "look for WAL that the target lacks by its restore_command");
  command->add_option("--config-file", options->config_file,
                      "the target's main configuration file, for restore_command");
  command->add_option("--blocks", options->blocks_file,
                      "also write each block that has to be copied to this file");
  command->footer(
      "Changes nothing. Prints where the two servers parted, what a rewind would discard and "
      "copy.\n"
      "Exit status: 0 the plan was made; 10 source unavailable; 20 not rewindable.");
}

void AddReleaseOptions(CLI::App* command, PodOptions* options) {
  command->add_option("--namespace", options->name_space, "namespace of the release")
      ->envname("POD_NAMESPACE");
  command->add_option("--kubeconfig", options->kubeconfig, "default: the pod's service account")
      ->envname("KUBECONFIG");
  command->add_option("--record", options->record, "ConfigMap that holds the authority record")
      ->envname("PG_REJOIN_RECORD");
}

void AddDiscoveryOption(CLI::App* command, PodOptions* options) {
  command
      ->add_option("--discovery", options->discovery,
                   "who says which pod is the primary (docs/reference/discovery.md)")
      ->envname("PG_REJOIN_DISCOVERY")
      ->capture_default_str()
      ->check(CLI::IsMember(DiscoveryNames()));
}

// Whom that convention names, and where.
void AddPresetOptions(CLI::App* command, PodOptions* options) {
  AddDiscoveryOption(command, options);
  command
      ->add_option("--cluster", options->cluster,
                   "the cluster's name, in the names of the objects that --discovery reads")
      ->envname("PG_REJOIN_CLUSTER");
  command
      ->add_option("--primary-host", options->primary_host, "with --discovery=static: the primary")
      ->envname("PG_REJOIN_PRIMARY_HOST");
  command
      ->add_option("--primary-service", options->primary_service,
                   "host of primary_conninfo; with --discovery=service the evidence")
      ->envname("PG_REJOIN_PRIMARY_SERVICE");
  command
      ->add_option("--members", options->members,
                   "every pod name there can be, comma separated: lets the last primary start "
                   "without the API when all others are its standbys")
      ->envname("PG_REJOIN_MEMBERS");
}

// How members are found, and what they carry.
void AddMemberOptions(CLI::App* command, PodOptions* options) {
  command->add_option("--pod-selector", options->pod_selector, "label selector of the members")
      ->envname("PG_REJOIN_POD_SELECTOR");
  command
      ->add_option("--role-label", options->role_label, "label with the value primary or replica")
      ->envname("PG_REJOIN_ROLE_LABEL")
      ->capture_default_str();
  command->add_option("--annotation-prefix", options->annotation_prefix, "of everything we report")
      ->envname("PG_REJOIN_ANNOTATION_PREFIX")
      ->capture_default_str();
}

void AddClusterOptions(CLI::App* command, PodOptions* options) {
  command->add_option("--pod-name", options->pod_name, "name of this pod")->envname("POD_NAME");
  command->add_option("--pod-uid", options->pod_uid, "its uid")->envname("POD_UID");
  AddReleaseOptions(command, options);
  AddMemberOptions(command, options);
  command
      ->add_option("--headless-service", options->headless_service,
                   "members are <pod>.<this>.<namespace>.svc")
      ->envname("PG_REJOIN_HEADLESS_SERVICE");
}

void AddConnectionOptions(CLI::App* command, PodOptions* options) {
  command->add_option("--port", options->port, "port of every member")
      ->envname("PGPORT")
      ->capture_default_str();
  command->add_option("--rewind-user", options->rewind_user, "role with the four EXECUTE grants")
      ->envname("PG_REJOIN_REWIND_USER")
      ->capture_default_str();
  command->add_option("--rewind-password-file", options->rewind_password_file, "its password")
      ->envname("PG_REJOIN_REWIND_PASSWORD_FILE");
  command->add_option("--rewind-database", options->rewind_database, "where the grants are")
      ->envname("PG_REJOIN_REWIND_DATABASE")
      ->capture_default_str();
  command->add_option("--sslmode", options->sslmode, "of every connection to another member")
      ->envname("PG_REJOIN_SSLMODE")
      ->capture_default_str()
      ->check(CLI::IsMember({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}));
  command->add_option("--sslrootcert", options->sslrootcert, "file with the authorities to trust")
      ->envname("PG_REJOIN_SSLROOTCERT");
}

void AddReplicationOptions(CLI::App* command, PodOptions* options) {
  command->add_option("--replication-user", options->replication_user, "of primary_conninfo")
      ->envname("PG_REJOIN_REPLICATION_USER")
      ->capture_default_str();
  command
      ->add_option("--replication-password-file", options->replication_password_file,
                   "copied to <run dir>/pgpass with mode 0600")
      ->envname("PG_REJOIN_REPLICATION_PASSWORD_FILE");
  command->add_option("--run-dir", options->run_dir, "memory emptyDir shared by the containers")
      ->envname("PG_REJOIN_RUN_DIR")
      ->capture_default_str();
}

void AddPodOptions(CLI::App* command, PodOptions* options) {
  AddClusterOptions(command, options);
  AddConnectionOptions(command, options);
  AddReplicationOptions(command, options);
  AddPresetOptions(command, options);
}

// init obeys it, and the sidecar leaves a standby alone that init might refuse to rewind.
void AddDiscardLimitOption(CLI::App* command, PodOptions* options) {
  command
      ->add_option("--max-discarded-transactions", options->max_discarded_transactions,
                   "refuse a rewind that would lose more (default: no limit)")
      ->envname("PG_REJOIN_MAX_DISCARDED_TRANSACTIONS");
}

void AddRestartPodOption(CLI::App* command, PodOptions* options) {
  command
      ->add_flag("--restart-pod", options->restart_pod,
                 "delete the own pod when its server has to follow another primary")
      ->envname("PG_REJOIN_RESTART_POD");
}

void AddSidecarOptions(CLI::App* command, PodOptions* options) {
  AddPodOptions(command, options);
  command
      ->add_option("--gate-dir", options->gate_dir,
                   "emptyDir shared with the server's container, where pg-rejoin-gate --ask waits")
      ->envname("PG_REJOIN_GATE_DIR");
  AddRestartPodOption(command, options);
  command
      ->add_option("--metrics-port", options->metrics_port,
                   "serve /metrics and /healthz there; 0: not at all")
      ->envname("PG_REJOIN_METRICS_PORT")
      ->capture_default_str();
  AddDiscardLimitOption(command, options);
}

void AddInitOptions(CLI::App* command, PodOptions* options) {
  AddPodOptions(command, options);
  AddDiscardLimitOption(command, options);
  command->add_option("-D,--pgdata", options->pgdata, "data directory")->envname("PGDATA");
  command
      ->add_option("--replication-mode", options->replication_mode,
                   "what Bitnami's entrypoint is told; slave is refused")
      ->envname("POSTGRESQL_REPLICATION_MODE");
  command->add_option("--deadline-s", options->deadline_s, "how long to wait before status 10")
      ->envname("PG_REJOIN_DEADLINE_S")
      ->capture_default_str()
      ->check(CLI::Range(0, 86400));
  command->add_option("--connections", options->connections, "connections that copy")
      ->envname("PG_REJOIN_CONNECTIONS")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  AddMaxRateOption(command, &options->max_rate_kb)->envname("PG_REJOIN_MAX_RATE");
  // CLI11 takes an empty variable for an absent one; here it means "do not hand over the gate".
  const char* bin_dir = std::getenv("PG_REJOIN_BIN_DIR");
  if (bin_dir != nullptr) options->bin_dir = bin_dir;
  command
      ->add_option("--bin-dir", options->bin_dir,
                   "where pg-rejoin-gate is copied to; env: PG_REJOIN_BIN_DIR, empty for nowhere")
      ->capture_default_str();
  command->add_option("--termination-log", options->termination_log, "where the outcome is written")
      ->envname("PG_REJOIN_TERMINATION_LOG")
      ->capture_default_str();
  command->add_option("--data-directory-mode", options->data_directory_mode, "0700 or 0750")
      ->envname("PG_REJOIN_DATA_DIRECTORY_MODE")
      ->capture_default_str();
  command->footer(
      "Exit status: 0 start PostgreSQL; 2 usage or configuration; 10 waited in vain, run it "
      "again;\n"
      "11 the source changed, run it again; 20 refused, nothing changed; 21 directory in use;\n"
      "30 directory failing or half rewound; 70 a bug.");
}

void AddPromoteOptions(CLI::App* command, PodOptions* options, PromoteFlags* flags) {
  AddClusterOptions(command, options);
  AddConnectionOptions(command, options);
  AddDiscoveryOption(command, options);
  command->add_option("--promote-user", options->promote_user, "role that may run pg_promote()")
      ->envname("PG_REJOIN_PROMOTE_USER")
      ->capture_default_str();
  command->add_option("--promote-password-file", options->promote_password_file, "its password")
      ->envname("PG_REJOIN_PROMOTE_PASSWORD_FILE");
  command->add_flag("--require-caught-up", flags->require_caught_up,
                    "refuse when the primary has more WAL or does not answer");
  command->add_flag("--force", flags->force,
                    "although this standby lacks the branch that the record describes");
  command->footer(
      "Example: kubectl exec db-1 -c rejoin -- pg-rejoin promote\n"
      "Stop or cut off the old primary first if clients can still reach it. Its sidecar makes its "
      "pod\n"
      "rejoin. Run the command again to finish an interrupted promotion.\n"
      "Exit status: 0 promoted, or primary already; 10 try again; 11 another pod was promoted\n"
      "meanwhile; 20 refused, nothing changed.");
}

void AddApproveOptions(CLI::App* command, PodOptions* options, ApproveFlags* flags) {
  AddClusterOptions(command, options);
  AddDiscoveryOption(command, options);
  command->add_option("--pod", flags->pod, "the pod that may (default: this one)");
  command->add_option("--discard", flags->discard,
                      "not to lead: to be rewound although that discards so many transactions, "
                      "more than --max-discarded-transactions");
  command->add_option("--system-identifier", flags->system_identifier,
                      "default: what the pod has published");
  command->add_option("--history", flags->history, "default: what the pod has published");
  command->footer(
      "Examples:\n"
      "  kubectl exec db-0 -c rejoin-init -- pg-rejoin approve\n"
      "  kubectl exec db-1 -c rejoin -- pg-rejoin approve --pod db-0 --discard 92\n"
      "For a pod that waits because nobody with authority says who is primary: it may start\n"
      "read-write. With --discard, for a pod that refuses a rewind because it would lose too "
      "much.\n"
      "Used once, by that pod and with exactly that data.");
}

void AddPauseOptions(CLI::App* command, PodOptions* options) {
  AddReleaseOptions(command, options);
  command->footer(
      "Example: kubectl exec db-0 -c rejoin -- pg-rejoin pause\n"
      "While you work: nobody is promoted, no directory is rewound or cloned, and no pod restarts\n"
      "itself to rejoin. Servers that run go on running, and pods that restart start as far as "
      "they\n"
      "can without that. `pg-rejoin resume` ends it; nothing else does.\n"
      "Exit status: 0 paused, also when it was already; 10 try again.");
}

void AddResumeOptions(CLI::App* command, PodOptions* options) {
  AddReleaseOptions(command, options);
  command->footer(
      "Example: kubectl exec db-0 -c rejoin -- pg-rejoin resume\n"
      "Ends a pause. Pods that waited for that go on by themselves, and servers that have to "
      "follow\n"
      "another primary get a new pod.\n"
      "Exit status: 0 not paused, also when it was not before; 10 try again.");
}

void AddStatusOptions(CLI::App* command, PodOptions* options, StatusFlags* flags) {
  AddReleaseOptions(command, options);
  AddMemberOptions(command, options);
  AddDiscoveryOption(command, options);
  command->add_flag("--json", flags->json, "the same as one JSON object");
  command->footer(
      "Example: kubectl exec db-0 -c rejoin -- pg-rejoin status\n"
      "Of a pod whose init container still runs: -c rejoin-init. From outside: --kubeconfig,\n"
      "--namespace, --record and --pod-selector.\n"
      "ROLE is the pod's label, * the pod that the record names. The rest is what the pod's last\n"
      "rejoin reported: OUTCOME with its reason unless everyday, where it parted from the primary\n"
      "(FORK), how many transactions it DISCARDED, what it COPIED, how long that TOOK and how "
      "long\n"
      "ago it ended (AGE). Reads only.\n"
      "Exit status: 0 all is well: the record's primary is labelled so, all others are replicas,\n"
      "every outcome is everyday, and nothing is paused; 1 not so, and below the table is what;\n"
      "2 usage or configuration; 10 the API does not answer, try again.");
}

void AddCheckOptions(CLI::App* command, PodOptions* options, CheckFlags* flags) {
  command->add_option("--server", flags->server,
                      "a connection string or URI, as a superuser or as the rewind role, to the "
                      "database where the grants are; better keep the password in a passfile or "
                      "PGPASSWORD than here (default: the server of this pod)");
  AddConnectionOptions(command, options);
  AddReplicationOptions(command, options);
  command->add_option("--pod-name", options->pod_name, "name of this pod")->envname("POD_NAME");
  command->add_option("--namespace", options->name_space, "its namespace")
      ->envname("POD_NAMESPACE");
  command
      ->add_option("--headless-service", options->headless_service,
                   "logins are tried at <pod>.<this>.<namespace>.svc")
      ->envname("PG_REJOIN_HEADLESS_SERVICE");
  command->add_flag("--json", flags->json, "the same as one JSON object");
  command->footer(
      "Examples:\n"
      "  kubectl exec db-0 -c rejoin -- pg-rejoin check\n"
      "  pg-rejoin check --server='host=db user=postgres dbname=postgres' \\\n"
      "    --rewind-password-file=rewind --replication-password-file=replication\n"
      "Could this server be rewound, or be the source of a rewind? For each thing that is missing, "
      "what\n"
      "to run. Changes nothing.\n"
      "Exit status: 0 yes; 1 no, or not to be told; 2 usage or configuration.");
}

void AddDiscoverOptions(CLI::App* command, PodOptions* options, DiscoverFlags* flags) {
  AddClusterOptions(command, options);
  AddConnectionOptions(command, options);
  AddPresetOptions(command, options);
  AddRestartPodOption(command, options);
  command->add_flag(
      "--rights", flags->rights,
      "also ask the API server whether this token may do what init and the sidecar do");
  command->add_flag("--json", flags->json, "the same as one JSON object");
  command->footer(
      "Example: kubectl exec db-0 -c rejoin -- pg-rejoin discover\n"
      "Shows who is named as primary, by what, whether that word still counts, and what the "
      "servers\n"
      "say of themselves. Where a holder has to be seen renewing its lock it takes up to the "
      "lock's\n"
      "time to live. Reads only.\n"
      "Exit status: 0 a primary is named and confirmed; 1 a right is denied; 2 usage or "
      "configuration;\n"
      "10 not known, or not confirmed; 20 the named server contradicts what is known (another "
      "system\nor branch).");
}

void PrintError(const std::string& message, const std::string& hint) {
  std::fprintf(stderr, "pg-rejoin: error: %s\n", message.c_str());
  if (!hint.empty()) std::fprintf(stderr, "hint: %s\n", hint.c_str());
}

// Runs the command; every exception ends here. status_of maps the kind of an Error.
template <typename Command, typename StatusOf>
int Guard(const Command& command, const StatusOf& status_of) {
  try {
    return command();
  } catch (const Error& error) {
    PrintError(error.message(), error.hint());
    return status_of(error.kind());
  } catch (const std::exception& error) {
    PrintError(error.what(), "This is a bug in pg-rejoin; please report it.");
    return status_of(ErrorKind::kInternal);
  }
}

// CLI11 answers --help and --version by exceptions whose status is 0.
int ParseFailed(const CLI::App& app, const CLI::ParseError& error, int usage_status) {
  if (error.get_exit_code() == 0) return app.exit(error);
  PrintError(error.what(), "Try --help for more information.");
  return usage_status;
}

int RunRewind(const RewindCommandOptions& options, const LogOptions& log) {
  StartLog(log);
  return Guard(
      [&] {
        if (options.list_kill_points) {
          for (const std::string_view point : kKillPoints) std::printf("%s\n", point.data());
          return 0;
        }
        StopSignal stop(kDropInFailure, std::nullopt);
        RunRewindCommand(options, stop.token());
        return 0;
      },
      [](ErrorKind) { return kDropInFailure; });
}

int RunAsPgRewind(int argc, char** argv) {
  CLI::App app("Makes a data directory a standby of another copy of the same cluster.",
               "pg_rewind");
  RewindCommandOptions options;
  LogOptions log;
  app.set_help_flag("-?,--help", "show this help, then exit");
  app.set_version_flag("-V,--version", "pg_rewind (pg-rejoin) " PG_REJOIN_VERSION,
                       "output version information, then exit");
  AddRewindOptions(&app, &options, &log);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ParseFailed(app, error, kDropInFailure);
  }
  return RunRewind(options, log);
}

int StatusOf(ErrorKind kind) { return ExitStatus(kind); }

// Runs a command of a pod: any status may come back.
template <typename Command>
int RunInPod(const LogOptions& log, std::optional<std::chrono::milliseconds> grace,
             int interrupted_status, const Command& command) {
  StartLog(log);
  return Guard(
      [&] {
        StopSignal stop(interrupted_status, grace);
        return command(stop.token());
      },
      StatusOf);
}

struct Commands {
  RewindCommandOptions rewind;
  PlanCommandOptions plan;
  PodOptions pod;
  PromoteFlags promote;
  ApproveFlags approve;
  StatusFlags status;
  CheckFlags check;
  DiscoverFlags discover;
  LogOptions log;
};

struct CommandEntry {
  const char* name;
  const char* what;
  void (*add_options)(CLI::App* command, Commands* commands);
  int (*run)(const Commands& commands);
};

constexpr int kInterrupted = ExitStatus(ErrorKind::kUnavailable);
// It leaves nothing half done, and the library that serves its metrics takes two seconds to stop.
constexpr std::chrono::milliseconds kSidecarGrace{250};
// For the report of an interrupted run; any state that init leaves may be continued from.
constexpr std::chrono::milliseconds kInitGrace{10000};

// A command that a person runs in a pod and waits for.
template <int (*run)(const PodOptions&, std::stop_token)>
int RunByHand(const Commands& commands) {
  return RunInPod(commands.log, std::nullopt, kInterrupted,
                  [&](std::stop_token stop) { return run(commands.pod, std::move(stop)); });
}

// ... with flags of its own.
template <auto run, auto flags>
int RunByHand(const Commands& commands) {
  return RunInPod(commands.log, std::nullopt, kInterrupted, [&](std::stop_token stop) {
    return run(commands.pod, commands.*flags, std::move(stop));
  });
}

int RunInit(const Commands& commands) {
  return RunInPod(commands.log, kInitGrace, kInterrupted, [&](std::stop_token stop) {
    return RunInitCommand(commands.pod, std::move(stop));
  });
}

int RunSidecar(const Commands& commands) {
  return RunInPod(commands.log, kSidecarGrace, 0, [&](std::stop_token stop) {
    return RunSidecarCommand(commands.pod, std::move(stop));
  });
}

int RunPlan(const Commands& commands) {
  return RunInPod(commands.log, std::nullopt, kInterrupted, [&](const std::stop_token& stop) {
    RunPlanCommand(commands.plan, stop);
    return 0;
  });
}

const CommandEntry kCommands[] = {
    {"init", "in an init container: make the data directory fit to start, or wait, or refuse",
     [](CLI::App* command, Commands* commands) { AddInitOptions(command, &commands->pod); },
     RunInit},
    {"sidecar", "beside the server: keep the role label and the record",
     [](CLI::App* command, Commands* commands) { AddSidecarOptions(command, &commands->pod); },
     RunSidecar},
    {"promote", "make this pod's standby the primary",
     [](CLI::App* command, Commands* commands) {
       AddPromoteOptions(command, &commands->pod, &commands->promote);
     },
     RunByHand<RunPromoteCommand, &Commands::promote>},
    {"approve", "let a pod start read-write once, where nothing else says so",
     [](CLI::App* command, Commands* commands) {
       AddApproveOptions(command, &commands->pod, &commands->approve);
     },
     RunByHand<RunApproveCommand, &Commands::approve>},
    {"pause", "stop promotions, rewinds, clones and restarts of pods while a person works",
     [](CLI::App* command, Commands* commands) { AddPauseOptions(command, &commands->pod); },
     RunByHand<RunPauseCommand>},
    {"resume", "end a pause",
     [](CLI::App* command, Commands* commands) { AddResumeOptions(command, &commands->pod); },
     RunByHand<RunResumeCommand>},
    {"status", "what each pod of the release is, and what became of it; changes nothing",
     [](CLI::App* command, Commands* all) { AddStatusOptions(command, &all->pod, &all->status); },
     RunByHand<RunStatusCommand, &Commands::status>},
    {"check", "whether a server could be rewound, and what to run if not; changes nothing",
     [](CLI::App* command, Commands* all) { AddCheckOptions(command, &all->pod, &all->check); },
     RunByHand<RunCheckCommand, &Commands::check>},
    {"discover", "who is primary, by which evidence; changes nothing",
     [](CLI::App* command, Commands* all) {
       AddDiscoverOptions(command, &all->pod, &all->discover);
     },
     RunByHand<RunDiscoverCommand, &Commands::discover>},
    {"rewind", "the drop-in for pg_rewind; also taken under that name",
     [](CLI::App* command, Commands* all) { AddRewindOptions(command, &all->rewind, &all->log); },
     [](const Commands& commands) { return RunRewind(commands.rewind, commands.log); }},
    {"plan", "what a rewind would do, as JSON; changes nothing",
     [](CLI::App* command, Commands* commands) { AddPlanOptions(command, &commands->plan); },
     RunPlan},
};

int RunAsPgRejoin(int argc, char** argv) {
  CLI::App app("Brings an old PostgreSQL primary back as a standby after a failover.", "pg-rejoin");
  app.set_help_flag("-?,-h,--help", "show this help, then exit");
  app.set_version_flag("-V,--version", "pg-rejoin " PG_REJOIN_VERSION,
                       "output version information, then exit");
  app.require_subcommand(1);
  app.footer(
      "Options can be given by the environment variables that pg-rejoin COMMAND --help shows; a\n"
      "flag wins.");
  Commands commands;
  const CommandEntry* chosen = nullptr;
  for (const CommandEntry& entry : kCommands) {
    CLI::App* command = app.add_subcommand(entry.name, entry.what);
    // CLI11 applies the environment to commands that were not chosen as well, so only the chosen
    // one has options.
    if (argc < 2 || std::strcmp(argv[1], entry.name) != 0) continue;
    chosen = &entry;
    entry.add_options(command, &commands);
    if (command->get_option_no_throw("--log-format") == nullptr) {
      AddLogOptions(command, &commands.log);
    }
  }
  const bool drop_in = chosen != nullptr && std::strcmp(chosen->name, "rewind") == 0;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ParseFailed(app, error, drop_in ? kDropInFailure : ExitStatus(ErrorKind::kUsage));
  }
  // Without options of its own before the command, the first argument is the command.
  if (chosen == nullptr) return ExitStatus(ErrorKind::kUsage);
  return chosen->run(commands);
}

// Passwords and the API token are in this process's memory. The limit keeps it out of files, and
// being undumpable also out of a core_pattern that is a program, which the limit does not bind
// (core(5)).
void LeaveNoCore() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  LeaveNoCore();
  const bool drop_in = argc > 0 && std::filesystem::path(argv[0]).filename() == "pg_rewind";
  return drop_in ? RunAsPgRewind(argc, argv) : RunAsPgRejoin(argc, argv);
}

}  // namespace pgrejoin
