#include "cli/rewind_command.h"

#include <unistd.h>

#include <cstdio>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "report/progress_meter.h"
#include "rewind/plan_report.h"
#include "rewind/rewind.h"
#include "source/directory_source.h"
#include "source/libpq_source.h"
#include "target/directory_lock.h"
#include "target/target_directory.h"
#include "target/target_settings.h"
#include "target/wal_archive.h"

namespace pgrejoin {
namespace {

void ReportResult(const RewindCommandOptions& options, const RewindResult& result) {
  if (result.outcome == RewindOutcome::kNothingToDo) {
    LogInfo("no rewind required");
    return;
  }
  const double seconds = std::chrono::duration<double>(result.duration).count();
  LogInfo("{} {} in {:.1f} s; {} transactions in {} of WAL {}",
          options.dry_run ? "would copy" : "copied",
          FormatBytes(options.dry_run ? result.bytes_to_copy : result.bytes_copied), seconds,
          result.discarded_transactions, FormatBytes(result.discarded_bytes),
          options.dry_run ? "would be discarded" : "were discarded");
  LogInfo("Done!");
}

ProgressMeter MakeProgressMeter() {
  if (isatty(STDERR_FILENO) == 1) {
    return {true, [](const std::string& text) { std::fputs(text.c_str(), stderr); }};
  }
  return {false, [](const std::string& line) { LogInfo("{}", line); }};
}

// One of the two is empty.
std::unique_ptr<RewindSource> OpenSource(const std::string& source_pgdata,
                                         const std::string& source_server,
                                         const std::string& target_pgdata, uint64_t max_rate_kb,
                                         const std::stop_token& stop) {
  if (source_pgdata.empty()) {
    return LibpqSource::Connect({.conninfo = source_server,
                                 .password = {},
                                 .bytes_per_second_max = max_rate_kb * 1024,
                                 .stop = stop});
  }
  CheckNothingShared(source_pgdata, target_pgdata);
  std::unique_ptr<RewindSource> source = DirectorySource::Open(source_pgdata);
  CheckNoPostmaster(source_pgdata);
  return source;
}

// nullptr: no restore_command is set in config_file (RewindCommandOptions).
std::unique_ptr<WalArchive> OpenArchive(const std::string& config_file, const DirectoryLock& lock,
                                        bool dry_run, const std::stop_token& stop) {
  const auto command = ReadTargetSetting(lock.pgdata(), config_file, "restore_command");
  if (!command || command->empty()) return nullptr;
  return std::make_unique<WalArchive>(lock, WalArchive::Options{*command, dry_run, stop});
}

// For what depends on it: --restore-target-wal.
std::unique_ptr<WalArchive> RequireArchive(const std::string& config_file,
                                           const DirectoryLock& lock, bool dry_run,
                                           const std::stop_token& stop) {
  auto archive = OpenArchive(config_file, lock, dry_run, stop);
  if (archive != nullptr) return archive;
  throw Error(ErrorKind::kUsage, "\"restore_command\" is not set in the target cluster",
              "Set it in the target's configuration, or leave out --restore-target-wal.");
}

// For a rewind that does not.
std::unique_ptr<WalArchive> TryOpenArchive(const std::string& config_file,
                                           const DirectoryLock& lock, bool dry_run,
                                           const std::stop_token& stop) {
  try {
    return OpenArchive(config_file, lock, dry_run, stop);
  } catch (const Error& error) {
    LogWarning("what recovery will find in the archive is not checked: {}", error.message());
    return nullptr;
  }
}

// A command that cannot be run here may be one that the server can run.
TargetDirectory::WalArchiveLookup TolerantLookup(WalArchive& archive, const std::stop_token& stop) {
  return [&archive, stop, failed = false](const std::string& name) mutable -> UniqueFd {
    if (failed) return {};
    try {
      return archive.Peek(name);
    } catch (const Error& error) {
      if (stop.stop_requested()) throw;
      // A file of the wrong size recovery does not take either; the next one may be right.
      failed = error.kind() != ErrorKind::kNotRewindable;
      LogWarning("what recovery will find in the archive is not checked: {}", error.message());
      return {};
    }
  };
}

}  // namespace

void CheckRewindCommandOptions(const RewindCommandOptions& options) {
  const auto refuse = [](std::string message, std::string hint = {}) {
    throw Error(ErrorKind::kUsage, std::move(message), std::move(hint));
  };
  if (options.source_pgdata.empty() && options.source_server.empty()) {
    refuse("no source specified (--source-pgdata or --source-server)",
           "Give the running new primary: --source-server='host=... user=... dbname=postgres'.");
  }
  if (!options.source_pgdata.empty() && !options.source_server.empty()) {
    refuse("only one of --source-pgdata or --source-server can be specified");
  }
  if (options.target_pgdata.empty()) {
    refuse("no target data directory specified (--target-pgdata)");
  }
  if (options.write_recovery_conf && options.source_server.empty()) {
    refuse("no source server information (--source-server) specified for --write-recovery-conf");
  }
  if (geteuid() == 0) {
    refuse("cannot be executed by \"root\"",
           "Run it as the user that owns the data directory, usually postgres.");
  }
}

void RunRewindCommand(const RewindCommandOptions& options, std::stop_token stop) {
  CheckRewindCommandOptions(options);
  const DirectoryLock lock = DirectoryLock::Acquire(options.target_pgdata);
  CheckNoPostmaster(options.target_pgdata);
  const auto open_archive = options.restore_target_wal ? RequireArchive : TryOpenArchive;
  const std::unique_ptr<WalArchive> archive =
      open_archive(options.config_file, lock, options.dry_run, stop);
  const std::unique_ptr<RewindSource> source =
      OpenSource(options.source_pgdata, options.source_server, options.target_pgdata,
                 options.max_rate_kb, stop);

  RewindOptions rewind;
  rewind.connections = options.connections;
  rewind.discarded_transactions_max = options.max_discarded_transactions;
  rewind.dry_run = options.dry_run;
  rewind.sync = !options.no_sync;
  rewind.sync_with_syncfs = options.sync_method == "syncfs";
  rewind.extra_files = ExtraFiles::kFollowSource;
  rewind.standby_source = true;
  rewind.copy_replayed_blocks = options.copy_replayed_blocks;
  rewind.copy_same_files = options.copy_same_files;
  rewind.create_standby_signal = options.write_recovery_conf;
  if (options.write_recovery_conf) rewind.primary_conninfo = source->PrimaryConninfo();
  if (options.restore_target_wal) {
    rewind.archive = [&](const std::string& name) { return archive->Restore(name); };
  }
  if (archive) rewind.recovery_archive = TolerantLookup(*archive, stop);
  if (!options.source_pgdata.empty()) {
    rewind.confirm_source = [&options] { CheckNoPostmaster(options.source_pgdata); };
  }
  rewind.stop = std::move(stop);
  ProgressMeter meter = MakeProgressMeter();
  if (options.progress) {
    rewind.on_progress = [&meter](const RewindProgress& progress) {
      meter.Update(progress, ProgressMeter::Clock::now());
    };
  }
  try {
    const RewindResult result = Rewind(lock, *source, rewind);
    meter.Finish();
    ReportResult(options, result);
  } catch (...) {
    meter.Finish();
    throw;
  }
}

void RunPlanCommand(const PlanCommandOptions& options, const std::stop_token& stop) {
  if (options.target_pgdata.empty() ||
      options.source_server.empty() == options.source_pgdata.empty()) {
    throw Error(ErrorKind::kUsage,
                "--target-pgdata and one of --source-server or --source-pgdata are needed");
  }
  std::optional<DirectoryLock> lock;  // the archive's; nothing else needs one
  std::unique_ptr<WalArchive> archive;
  if (options.restore_target_wal) {
    lock.emplace(DirectoryLock::Acquire(options.target_pgdata));
    archive = RequireArchive(options.config_file, *lock, /*dry_run=*/true, stop);
  }
  const std::unique_ptr<RewindSource> source = OpenSource(
      options.source_pgdata, options.source_server, options.target_pgdata, /*max_rate_kb=*/0, stop);
  TargetDirectory target = TargetDirectory::OpenForReading(options.target_pgdata);
  if (archive) {
    target.SetArchive([&](const std::string& name) { return archive->Restore(name); });
  }
  std::printf("%s\n", PlanAsJson(target, *source, options.blocks_file).c_str());
}

}  // namespace pgrejoin
