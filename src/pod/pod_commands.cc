#include "pod/pod_commands.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <cstdio>

#include "base/error.h"
#include "base/log.h"
#include "base/parse_number.h"
#include "base/utc_time.h"
#include "pod/discover.h"
#include "pod/init.h"
#include "pod/readiness_watch.h"
#include "pod/release_status.h"
#include "pod/rights.h"
#include "pod/sidecar.h"
#include "report/metrics_server.h"
#include "report/readiness_report.h"
#include "source/libpq_source.h"
#include "source/wal_presence.h"
#include "topology/promotion.h"

namespace pgrejoin {
namespace {

constexpr std::chrono::milliseconds kEvidenceTimeout{5000};
constexpr std::chrono::milliseconds kReportTimeout{2000};
constexpr std::chrono::seconds kHealthyFor{60};
constexpr std::chrono::seconds kPromoteWait{60};
constexpr std::chrono::seconds kPromoteMargin{10};  // for pg_promote() to say that it gave up
constexpr std::chrono::seconds kCheckpointTimeout{600};

ApiClient MakeApi(
    const PodOptions& options, std::chrono::milliseconds timeout, int attempts,
    std::stop_token stop, std::function<void(int status)> on_request = [](int) {}) {
  return ApiClient(LoadClusterConfig(options.kubeconfig), {.name_space = options.name_space,
                                                           .timeout = timeout,
                                                           .attempts = attempts,
                                                           .stop = std::move(stop),
                                                           .on_request = std::move(on_request)});
}

AskServer MakeAskServer(const PodOptions& options, std::stop_token stop) {
  return [&options, stop](const std::string& host) {
    ConnectOptions connect = RewindConnection(options, host);
    connect.stop = stop;
    return IdentifyServer(connect);
  };
}

ConnectOptions LocalRewindConnection(const PodOptions& options, const std::stop_token& stop) {
  ConnectOptions connect =
      LocalConnection(options, options.rewind_user, options.rewind_password_file);
  connect.stop = stop;
  return connect;
}

LocalRole ProbeLocal(const PodOptions& options, const std::stop_token& stop) {
  try {
    const std::string answer =
        RunSql(LocalRewindConnection(options, stop), "SELECT pg_catalog.pg_is_in_recovery()");
    return answer == "f" ? LocalRole::kReadWrite : LocalRole::kInRecovery;
  } catch (const Error& error) {
    LogDebug("local server: {}", error.message());
    return LocalRole::kUnknown;
  }
}

LocalServer MakeLocalServer(const PodOptions& options, const std::stop_token& stop) {
  const auto promoter = [&options, stop](std::chrono::seconds answer_timeout) {
    ConnectOptions connect =
        LocalConnection(options, options.promote_user, options.promote_password_file);
    connect.answer_timeout = answer_timeout;
    connect.stop = stop;
    return connect;
  };
  LocalServer server;
  server.identify = [&options, stop] {
    return IdentifyServer(LocalRewindConnection(options, stop));
  };
  server.promote = [promoter] {
    return RunSql(promoter(kPromoteWait + kPromoteMargin),
                  fmt::format("SELECT pg_catalog.pg_promote(true, {})", kPromoteWait.count())) ==
           "t";
  };
  server.checkpoint = [promoter] { RunSql(promoter(kCheckpointTimeout), "CHECKPOINT"); };
  return server;
}

std::string PublishedState(const std::optional<Pod>& pod, const PodOptions& options,
                           const std::string& key) {
  return pod ? pod->Annotation(options.annotation_prefix + key) : std::string();
}

// The sidecar goes on without: it must not end for such a thing.
std::unique_ptr<MetricsServer> ServeMetrics(const PodOptions& options, MetricsBoard* board) {
  if (options.metrics_port == 0) return nullptr;
  board->Change([](SidecarMetrics* metrics) { metrics->stepped_at = Sidecar::Clock::now(); });
  MetricsPages pages;
  pages.metrics = [board] { return MetricsText(board->Read()); };
  pages.healthy = [board] {
    return Sidecar::Clock::now() - board->Read().stepped_at < kHealthyFor;
  };
  try {
    return std::make_unique<MetricsServer>(options.metrics_port, std::move(pages));
  } catch (const Error& error) {
    LogWarning("no metrics: {}", error.message());
    return nullptr;
  }
}

void ChangePause(const PodOptions& options, bool paused, std::stop_token stop) {
  CheckReleaseOptions(options);
  ApiClient api = MakeApi(options, kEvidenceTimeout, 3, std::move(stop));
  AuthorityStore store(&api, options.record);
  SetPaused(&store, paused);
}

}  // namespace

int RunInitCommand(const PodOptions& options, std::stop_token stop) {
  CheckInitOptions(options);
  if (geteuid() == 0) {
    throw Error(ErrorKind::kUsage, "cannot be executed by \"root\"",
                "Set securityContext.runAsUser to the user that owns the data directory.");
  }
  ApiClient api = MakeApi(options, kEvidenceTimeout, 2, stop);
  // A report that SIGTERM cuts short is still sent: no stop token.
  ApiClient report_api = MakeApi(options, kReportTimeout, 1, {});
  InitDependencies outside;
  outside.api = &api;
  outside.report_api = &report_api;
  outside.ask = MakeAskServer(options, stop);
  outside.connect = [&options, stop](const std::string& host) -> std::unique_ptr<RewindSource> {
    ConnectOptions connect = RewindConnection(options, host);
    connect.bytes_per_second_max = options.max_rate_kb * 1024;
    connect.stop = stop;
    return LibpqSource::Connect(connect);
  };
  outside.inspect = InspectDirectory;
  outside.rewind = Rewind;
  return RunInit(options, outside, std::move(stop));
}

int RunSidecarCommand(const PodOptions& options, std::stop_token stop) {
  CheckSidecarOptions(options);
  MetricsBoard metrics;
  ApiClient api = MakeApi(options, kReportTimeout, 1, stop, [&metrics](int status) {
    metrics.Change([status](SidecarMetrics* changed) { ++changed->api_requests[status]; });
  });
  SidecarDependencies outside;
  outside.api = &api;
  RecordWatch watch(&api, options.record);
  if (options.discovery == "record") outside.watch = &watch;
  outside.metrics = &metrics;
  outside.ask = MakeAskServer(options, stop);
  outside.probe = [&options, stop] { return ProbeLocal(options, stop); };
  outside.identify = [&options, stop] {
    return IdentifyServer(LocalRewindConnection(options, stop));
  };
  outside.receives = [&options, stop] {
    // Of a role without pg_read_all_stats the view shows only this, and not before it is connected.
    return RunSql(LocalRewindConnection(options, stop),
                  "SELECT pid FROM pg_catalog.pg_stat_wal_receiver") != "";
  };
  outside.keeps_wal = [&options, stop](const std::string& host, const TimelineHistory& line,
                                       Lsn lsn) {
    ConnectOptions connect =
        host.empty() ? LocalRewindConnection(options, stop) : RewindConnection(options, host);
    connect.stop = stop;
    return KeepsWalFrom(connect, line, lsn);
  };
  outside.readiness_facts = [&options, stop] {
    ReadinessFacts facts =
        GatherReadinessFacts(options, [&] { return LocalRewindConnection(options, stop); });
    // Of a server that does not answer at all this would say nothing.
    if (facts.server) {
      facts.rewind_login = LogInAsMember(options, options.rewind_user, options.rewind_password_file,
                                         false, TryLogin);
    }
    return facts;
  };
  const auto server = ServeMetrics(options, &metrics);
  RunSidecar(options, outside, std::move(stop));
  return 0;
}

int RunPromoteCommand(const PodOptions& options, const PromoteFlags& flags, std::stop_token stop) {
  CheckPromoteOptions(options);
  ApiClient api = MakeApi(options, kEvidenceTimeout, 3, stop);
  AuthorityStore store(&api, options.record);
  const AskServer ask = MakeAskServer(options, stop);
  const Discovery discovery(&api, MakeDiscoveryOptions(options), ask);
  PromoteOptions promote;
  promote.own_pod = options.pod_name;
  promote.force = flags.force;
  promote.require_caught_up = flags.require_caught_up;
  promote.ask_primary = [&](const std::string& pod) -> std::optional<SourceIdentity> {
    try {
      return ask(discovery.MemberHost(pod));
    } catch (const Error& error) {
      LogDebug("{}: {}", pod, error.message());
      return std::nullopt;
    }
  };
  const PromoteResult result = Promote(&store, MakeLocalServer(options, stop), promote);
  std::printf("%s %s primary on timeline %u since %s (epoch %llu)\n", options.pod_name.c_str(),
              result.was_primary_already ? "already is" : "is now", result.record.timeline,
              result.record.switch_lsn.ToString().c_str(),
              static_cast<unsigned long long>(result.record.epoch));
  try {
    if (!options.pod_uid.empty() && !options.pod_selector.empty()) {
      LabelHolder(&api, options, true);
    }
  } catch (const Error& error) {
    LogWarning("the sidecar will put the role labels right: {}", error.message());
  }
  return 0;
}

int RunApproveCommand(const PodOptions& options, const ApproveFlags& flags, std::stop_token stop) {
  CheckApproveOptions(options, !flags.discard);
  if (flags.discard && flags.pod.empty()) {
    // It is run in another pod: the one that refused has no container to run it in.
    throw Error(ErrorKind::kUsage, "--discard needs --pod",
                "Name the pod that refused its rewind.");
  }
  ApiClient api = MakeApi(options, kEvidenceTimeout, 3, std::move(stop));
  AuthorityStore store(&api, options.record);
  Approval approval;
  approval.pod = flags.pod.empty() ? options.pod_name : flags.pod;
  const std::optional<Pod> pod = api.GetPod(approval.pod);
  approval.history =
      flags.history.empty() ? PublishedState(pod, options, "history") : flags.history;
  const std::string identifier = flags.system_identifier.empty()
                                     ? PublishedState(pod, options, "system-identifier")
                                     : flags.system_identifier;
  const auto number = ParseNumber<uint64_t>(identifier);
  if (!number || approval.history.empty()) {
    throw Error(ErrorKind::kUsage,
                "pod " + approval.pod + " has not published its system identifier and history",
                "Wait until its init container does, or give --system-identifier and --history.");
  }
  approval.system_identifier = *number;
  Approve(&store, approval, flags.discard);
  const std::string what =
      flags.discard ? fmt::format("discard {} transactions", *flags.discard) : "start read-write";
  std::printf("%s may %s once, with system identifier %llu and history %s\n", approval.pod.c_str(),
              what.c_str(), static_cast<unsigned long long>(approval.system_identifier),
              approval.history.c_str());
  return 0;
}

int RunCheckCommand(const PodOptions& options, const CheckFlags& flags, std::stop_token stop) {
  const auto given_server = [&](const std::string& user, const std::string& password_file) {
    ConnectOptions connect;
    connect.conninfo = flags.server;
    connect.password = ReadPassword(password_file);
    connect.user = user;
    connect.stop = stop;
    return connect;
  };
  const auto try_login = [&](const std::string& user, const std::string& password_file,
                             bool replication) -> std::optional<LoginAttempt> {
    if (flags.server.empty()) {
      return LogInAsMember(options, user, password_file, replication, TryLogin);
    }
    try {
      return TryLogin(given_server(user, password_file), replication);
    } catch (const Error& error) {
      return LoginAttempt{error.message()};
    }
  };
  ReadinessFacts facts = GatherReadinessFacts(options, [&] {
    return flags.server.empty() ? LocalRewindConnection(options, stop) : given_server("", "");
  });
  facts.rewind_login = try_login(options.rewind_user, options.rewind_password_file, false);
  facts.replication_login =
      try_login(options.replication_user, options.replication_password_file, true);
  const Readiness readiness = JudgeReadiness(facts);
  const std::string text = flags.json ? ReadinessJson(readiness) : ReadinessTable(readiness);
  std::fputs(text.c_str(), stdout);
  return readiness.rewindable == Rewindable::kYes ? 0 : kNotWell;
}

int RunPauseCommand(const PodOptions& options, std::stop_token stop) {
  ChangePause(options, true, std::move(stop));
  std::printf(
      "%s is paused: no promotion, no rewind, no clone, no restart of a pod to rejoin\n"
      "To go on: pg-rejoin resume\n",
      options.record.c_str());
  return 0;
}

int RunResumeCommand(const PodOptions& options, std::stop_token stop) {
  ChangePause(options, false, std::move(stop));
  std::printf("%s is not paused: pods that waited for that go on by themselves\n",
              options.record.c_str());
  return 0;
}

int RunDiscoverCommand(const PodOptions& options, const DiscoverFlags& flags,
                       std::stop_token stop) {
  CheckDiscoverOptions(options);
  ApiClient api = MakeApi(options, kEvidenceTimeout, 2, stop);
  DiscoveryReport report = Discover(&api, options, MakeAskServer(options, stop), stop);
  if (flags.rights) {
    try {
      AddRights(AskForRights(&api, options), &report);
    } catch (const Error& error) {
      report.verdict += "; rights are not known: " + Printable(error.message());
      if (report.exit_status == 0) report.exit_status = kRightDenied;
    }
  }
  const std::string text = flags.json ? DiscoveryJson(report) : DiscoveryText(report);
  std::fputs(text.c_str(), stdout);
  return report.exit_status;
}

int RunStatusCommand(const PodOptions& options, const StatusFlags& flags, std::stop_token stop) {
  CheckStatusOptions(options);
  ApiClient api = MakeApi(options, kEvidenceTimeout, 3, std::move(stop));
  const ReleaseStatus status = GatherStatus(&api, options, UnixMicrosecondsNow());
  const std::string text = flags.json ? StatusJson(status) : StatusTable(status);
  std::fputs(text.c_str(), stdout);
  return FindProblems(status).empty() ? 0 : kNotWell;
}

}  // namespace pgrejoin
