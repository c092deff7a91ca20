#include "pod/pod_options.h"

#include <algorithm>

#include "base/error.h"
#include "k8s/cluster_config.h"

namespace pgrejoin {
namespace {

// Short: a member that does not answer at once is asked again in the next round.
constexpr int kAskTimeoutSeconds = 3;
constexpr int kLastRoundSeconds = 10;

void Require(const std::string& value, const char* flag, const char* variable) {
  if (!value.empty()) return;
  throw Error(ErrorKind::kUsage, std::string("missing ") + flag,
              std::string("Give ") + flag + " or set " + variable + ".");
}

using Keywords = std::vector<std::pair<std::string, std::string>>;

std::string SelectorOf(const PodOptions& options) {
  if (!options.pod_selector.empty()) return options.pod_selector;
  return FillTemplate(PresetOf(options).pod_selector, options.cluster);
}

void AddTls(const PodOptions& options, Keywords* keywords) {
  keywords->emplace_back("sslmode", options.sslmode);
  if (!options.sslrootcert.empty()) keywords->emplace_back("sslrootcert", options.sslrootcert);
}

}  // namespace

std::string ReadPassword(const std::string& path) {
  if (path.empty()) return {};
  std::string password;
  try {
    password = ReadSmallFile(path, "password file");
  } catch (const Error& error) {
    // kubelet swaps the files of a Secret; a missing one may be there in a moment.
    throw Error(ErrorKind::kUnavailable, error.message());
  }
  while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) {
    password.pop_back();
  }
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
  if (std::any_of(password.begin(), password.end(), is_control)) {
    throw Error(ErrorKind::kUsage, "the password in \"" + path + "\" has a control character in it",
                "Put it into the Secret as one line.");
  }
  return password;
}

const DiscoveryPreset& PresetOf(const PodOptions& options) {
  const DiscoveryPreset* preset = FindPreset(options.discovery);
  if (preset != nullptr) return *preset;
  throw Error(ErrorKind::kUsage, "unknown discovery \"" + Printable(options.discovery) + "\"");
}

std::vector<std::string> DiscoveryNames() {
  std::vector<std::string> names;
  for (const DiscoveryPreset& row : DiscoveryPresets()) names.emplace_back(row.name);
  return names;
}

void CheckPromoteOptions(const PodOptions& options) {
  Require(options.pod_name, "--pod-name", "POD_NAME");
  CheckReleaseOptions(options);
  const DiscoveryPreset& preset = PresetOf(options);
  if (preset.primitive == Primitive::kRecord) return;
  throw Error(ErrorKind::kUsage,
              "with discovery " + options.discovery + " the authority record names no primary",
              "Promote with " + std::string(preset.promote_with) + ".");
}

void CheckApproveOptions(const PodOptions& options, bool to_lead) {
  Require(options.pod_name, "--pod-name", "POD_NAME");
  CheckReleaseOptions(options);
  const DiscoveryPreset& preset = PresetOf(options);
  if (!to_lead || !IsAuthority(preset) || preset.primitive == Primitive::kRecord) return;
  throw Error(ErrorKind::kUsage,
              "with discovery " + options.discovery +
                  " nobody waits for an approval to lead: another authority names who does",
              "Promote with " + std::string(preset.promote_with) + ".");
}

void CheckReleaseOptions(const PodOptions& options) {
  Require(options.name_space, "--namespace", "POD_NAMESPACE");
  Require(options.record, "--record", "PG_REJOIN_RECORD");
}

void CheckStatusOptions(const PodOptions& options) {
  CheckReleaseOptions(options);
  Require(options.pod_selector, "--pod-selector", "PG_REJOIN_POD_SELECTOR");
}

void CheckDiscoverOptions(const PodOptions& options) {
  Require(options.name_space, "--namespace", "POD_NAMESPACE");
  const DiscoveryPreset& preset = PresetOf(options);
  if (NeedsCluster(preset)) Require(options.cluster, "--cluster", "PG_REJOIN_CLUSTER");
  switch (preset.primitive) {
    case Primitive::kRecord:
      Require(options.record, "--record", "PG_REJOIN_RECORD");
      Require(options.headless_service, "--headless-service", "PG_REJOIN_HEADLESS_SERVICE");
      break;
    case Primitive::kService:
      Require(options.primary_service, "--primary-service", "PG_REJOIN_PRIMARY_SERVICE");
      break;
    case Primitive::kStatic:
      Require(options.primary_host, "--primary-host", "PG_REJOIN_PRIMARY_HOST");
      return;
    default:
      break;
  }
  Require(SelectorOf(options), "--pod-selector", "PG_REJOIN_POD_SELECTOR");
}

void CheckSidecarOptions(const PodOptions& options) {
  Require(options.pod_name, "--pod-name", "POD_NAME");
  Require(options.pod_uid, "--pod-uid", "POD_UID");
  Require(SelectorOf(options), "--pod-selector", "PG_REJOIN_POD_SELECTOR");
  CheckDiscoverOptions(options);
  const DiscoveryPreset& preset = PresetOf(options);
  const bool managed = preset.started_by == StartedBy::kManager;
  if (managed && !options.gate_dir.empty()) {
    throw Error(ErrorKind::kUsage, "--gate-dir makes no sense with discovery " + options.discovery,
                "What starts the server decides itself whether it runs read-write.");
  }
  if (options.restart_pod && (managed || !IsAuthority(preset))) {
    throw Error(
        ErrorKind::kUsage, "--restart-pod makes no sense with discovery " + options.discovery,
        managed ? "What starts the server also stops it, and makes it follow another primary."
                : "Only an authority may make a running primary follow another one.");
  }
}

void CheckInitOptions(const PodOptions& options) {
  Require(options.pgdata, "--pgdata", "PGDATA");
  CheckSidecarOptions(options);
  if (PresetOf(options).primitive != Primitive::kStatic) {
    Require(options.primary_service, "--primary-service", "PG_REJOIN_PRIMARY_SERVICE");
  }
  // A manager makes its servers stream by itself.
  if (PresetOf(options).started_by == StartedBy::kEntrypoint) {
    Require(options.replication_password_file, "--replication-password-file",
            "PG_REJOIN_REPLICATION_PASSWORD_FILE");
  }
  Require(options.rewind_password_file, "--rewind-password-file", "PG_REJOIN_REWIND_PASSWORD_FILE");
  DataDirectoryMode(options);
  if (options.replication_mode == "slave") {
    throw Error(ErrorKind::kUsage,
                "the image's entrypoint is told to make this server a standby at each start "
                "(POSTGRESQL_REPLICATION_MODE=slave): once promoted, it would demote itself",
                "Override the container's command so that it starts the server on the directory as "
                "it is, and do not pass that variable on.");
  }
  if (options.discovery == "label" && options.role_label == PodOptions().role_label) {
    throw Error(
        ErrorKind::kUsage,
        "the label " + options.role_label + " is kept by our own sidecar and proves nothing",
        "With --discovery=label give the label that your operator keeps: --role-label.");
  }
}

mode_t DataDirectoryMode(const PodOptions& options) {
  if (options.data_directory_mode == "0700") return 0700;
  if (options.data_directory_mode == "0750") return 0750;
  throw Error(ErrorKind::kUsage,
              "data directory mode \"" + Printable(options.data_directory_mode) +
                  "\" is neither 0700 nor 0750",
              "PostgreSQL accepts no other.");
}

DiscoveryOptions MakeDiscoveryOptions(const PodOptions& options) {
  DiscoveryOptions discovery;
  discovery.preset = &PresetOf(options);
  discovery.cluster = options.cluster;
  discovery.own_pod = options.pod_name;
  discovery.name_space = options.name_space;
  discovery.record = options.record;
  discovery.primary_service = options.primary_service;
  discovery.headless_service = options.headless_service;
  discovery.primary_host = options.primary_host;
  discovery.pod_selector = SelectorOf(options);
  const std::string_view kept_there = discovery.preset->role_label;
  discovery.role_label = kept_there.empty() ? options.role_label : std::string(kept_there);
  discovery.annotation_prefix = options.annotation_prefix;
  // The last round of a run is one that has seen enough.
  discovery.watch_max = std::chrono::seconds(std::max(options.deadline_s - kLastRoundSeconds, 0));
  for (size_t begin = 0; begin < options.members.size();) {
    const size_t comma = std::min(options.members.find(',', begin), options.members.size());
    if (comma > begin) discovery.members.push_back(options.members.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return discovery;
}

ConnectOptions RewindConnection(const PodOptions& options, const std::string& host) {
  Keywords keywords{{"host", host},
                    {"port", options.port},
                    {"user", options.rewind_user},
                    {"dbname", options.rewind_database},
                    {"application_name", "pg-rejoin"}};
  AddTls(options, &keywords);
  return {.conninfo = BuildConninfo(keywords),
          .password = ReadPassword(options.rewind_password_file),
          .connect_timeout_s = kAskTimeoutSeconds};
}

ConnectOptions LocalConnection(const PodOptions& options, const std::string& user,
                               const std::string& password_file) {
  // The loopback needs no proof of the server's name, and no certificate has one for it.
  return {.conninfo = BuildConninfo({{"host", "127.0.0.1"},
                                     {"port", options.port},
                                     {"user", user},
                                     {"dbname", options.rewind_database},
                                     {"application_name", "pg-rejoin"},
                                     {"sslmode", "prefer"}}),
          .password = ReadPassword(password_file),
          .connect_timeout_s = kAskTimeoutSeconds};
}

std::string PassfilePath(const PodOptions& options) { return options.run_dir + "/pgpass"; }

std::string PrimaryServiceHost(const PodOptions& options) {
  return options.primary_service + "." + options.name_space + ".svc";
}

std::string StandbyConninfo(const PodOptions& options) {
  const bool fixed = PresetOf(options).primitive == Primitive::kStatic;
  Keywords keywords{{"host", fixed ? options.primary_host : PrimaryServiceHost(options)},
                    {"port", options.port},
                    {"user", options.replication_user},
                    {"passfile", PassfilePath(options)},
                    {"application_name", options.pod_name}};
  AddTls(options, &keywords);
  return BuildConninfo(keywords);
}

std::string CloneConninfo(const PodOptions& options, const std::string& host) {
  Keywords keywords{{"host", host},
                    {"port", options.port},
                    {"user", options.replication_user},
                    {"passfile", PassfilePath(options)},
                    {"application_name", options.pod_name},
                    {"connect_timeout", "10"},
                    {"keepalives_idle", "10"},
                    {"keepalives_interval", "5"},
                    {"keepalives_count", "4"},
                    {"tcp_user_timeout", "60000"}};
  AddTls(options, &keywords);
  return BuildConninfo(keywords);
}

}  // namespace pgrejoin
