#include "cli/cli.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/log.h"
#include "cli/rewind_command.h"
#include "cli/stop_signal.h"

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

void AddRewindOptions(CLI::App* command, RewindCommandOptions* options, LogOptions* log) {
  command->add_flag("-c,--restore-target-wal", options->restore_target_wal,
                    "fetch missing WAL with the target's restore_command (not supported yet)");
  command->add_option("-D,--target-pgdata", options->target_pgdata,
                      "existing data directory to modify");
  command->add_option("--source-pgdata", options->source_pgdata,
                      "source data directory to synchronize with (not supported yet)");
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
                      "the target's main configuration file (not supported yet)");
  command->add_flag("--debug", log->debug, "write a lot of debug messages");
  command->add_flag("--no-ensure-shutdown", options->no_ensure_shutdown,
                    "accepted for compatibility: the target is never started for crash recovery");
  command->add_option("--sync-method", options->sync_method, "fsync (default) or syncfs")
      ->check(CLI::IsMember({"fsync", "syncfs"}));
  command->add_option("--connections", options->connections, "connections that copy (default 4)")
      ->check(CLI::Range(1, 64))
      ->group("Of pg-rejoin");
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
        StopSignal stop(kDropInFailure, std::nullopt);
        RunRewindCommand(options, stop.token());
        return 0;
      },
      [](ErrorKind) { return kDropInFailure; });
}

int RunAsPgRewind(int argc, char** argv) {
  CLI::App app("Makes a data directory a standby of another copy of the same cluster.", "pg_rewind");
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

int RunAsPgRejoin(int argc, char** argv) {
  CLI::App app("Brings an old PostgreSQL primary back as a standby after a failover.", "pg-rejoin");
  app.set_help_flag("-?,-h,--help", "show this help, then exit");
  app.set_version_flag("-V,--version", "pg-rejoin " PG_REJOIN_VERSION,
                       "output version information, then exit");
  app.require_subcommand(1);
  RewindCommandOptions rewind_options;
  LogOptions log;
  CLI::App* rewind =
      app.add_subcommand("rewind", "the drop-in for pg_rewind; also taken under that name");
  AddRewindOptions(rewind, &rewind_options, &log);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ParseFailed(app, error, rewind->parsed() ? kDropInFailure : ExitStatus(ErrorKind::kUsage));
  }
  return RunRewind(rewind_options, log);
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  const bool drop_in = argc > 0 && std::filesystem::path(argv[0]).filename() == "pg_rewind";
  return drop_in ? RunAsPgRewind(argc, argv) : RunAsPgRejoin(argc, argv);
}

}  // namespace pgrejoin
