#include "rewind/readiness.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "pgdata/versions.h"

namespace pgrejoin {
namespace {

constexpr int64_t kDay = 86400;
constexpr int64_t kCertificateWarning = 14 * kDay;
constexpr uint64_t kMegabyte = 1 << 20;
constexpr uint64_t kFreePercentMin = 5;

// What a check needs to know, and what it found.
struct Finding {
  CheckState state;
  std::string text;
  std::string fix;
};

Finding Ok(std::string text) { return {CheckState::kOk, std::move(text), ""}; }
Finding Warning(std::string text, std::string fix) {
  return {CheckState::kWarning, std::move(text), std::move(fix)};
}
Finding Failed(std::string text, std::string fix) {
  return {CheckState::kFailed, std::move(text), std::move(fix)};
}
Finding Unknown(std::string text, std::string fix) {
  return {CheckState::kUnknown, std::move(text), std::move(fix)};
}

std::string Quoted(const std::string& identifier) {
  std::string quoted = "\"";
  for (const char c : identifier) {
    if (c == '"') quoted += c;
    quoted += c;
  }
  return quoted + '"';
}

uint64_t Megabytes(uint64_t bytes) { return (bytes + kMegabyte - 1) / kMegabyte; }

Finding JudgeVersion(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  const unsigned major = server.version_number / 10000;
  const bool supported = std::ranges::any_of(
      kPgVersions, [major](const PgVersion& version) { return version.major == major; });
  if (supported) return Ok(fmt::format("PostgreSQL {}", major));
  return Failed(fmt::format("PostgreSQL {} is not supported", major),
                fmt::format("Use PostgreSQL {} to {}, or a pg-rejoin that knows this one.",
                            kPgVersions.front().major, kPgVersions.back().major));
}

Finding JudgeStreaming(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  if (server.wal_level == "minimal") {
    return Failed("wal_level is minimal: no standby can follow",
                  "ALTER SYSTEM SET wal_level = replica; then restart the server.");
  }
  if (server.wal_senders_max == 0) {
    return Failed("max_wal_senders is 0: no standby can follow",
                  "ALTER SYSTEM SET max_wal_senders = 10; then restart the server.");
  }
  return Ok(fmt::format("wal_level is {}, max_wal_senders is {}", server.wal_level,
                        server.wal_senders_max));
}

// Otherwise pages may differ from the other server's of which no WAL tells (pg_rewind's own
// condition).
Finding JudgeChecksumsOrHints(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  if (server.checksums) return Ok("data checksums are on");
  if (server.logs_hints) return Ok("wal_log_hints is on");
  return Failed("data checksums and wal_log_hints are off",
                "ALTER SYSTEM SET wal_log_hints = on; then restart the server. Or stop it and run "
                "pg_checksums --enable.");
}

Finding JudgeFullPageWrites(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  if (server.full_page_writes) return Ok("full_page_writes is on");
  return Failed("full_page_writes is off",
                "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();");
}

Finding JudgeRole(const RoleFacts& role, bool rights, const std::string& attributes) {
  if (role.may_log_in && rights) {
    return Ok(fmt::format("{} is there: {}", Quoted(role.name), attributes));
  }
  return Failed(
      fmt::format("{} is not there, or not {}, or its password has expired", Quoted(role.name),
                  attributes),
      fmt::format("CREATE ROLE {0} {1} PASSWORD '...'; or, if it is there: ALTER ROLE {0} {1} "
                  "VALID UNTIL 'infinity';",
                  Quoted(role.name), attributes));
}

Finding JudgeRewindRole(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  return JudgeRole(server.rewind_role, true, "LOGIN");
}

Finding JudgeReplicationRole(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  return JudgeRole(server.replication_role, server.replicates, "LOGIN REPLICATION");
}

Finding JudgeGrants(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  if (!server.rewind_role.may_log_in) {
    return Unknown("there is no such role yet", "See rewind_role.");
  }
  if (server.lacking_grants.empty()) {
    return Ok(fmt::format("{} has the four grants in database {}", Quoted(server.rewind_role.name),
                          Quoted(server.database)));
  }
  return Failed(
      fmt::format("{} lacks EXECUTE in database {} on {}", Quoted(server.rewind_role.name),
                  Quoted(server.database), server.lacking_grants),
      fmt::format("In database {}: GRANT EXECUTE ON FUNCTION {} TO {};", Quoted(server.database),
                  server.lacking_grants, Quoted(server.rewind_role.name)));
}

// A failover now needs WAL from the last common checkpoint on: of the old primary, which keeps its
// own, and of the new one, whose first checkpoint leaves only this much.
Finding JudgeWalKept(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  const uint64_t since = Megabytes(server.wal_since_checkpoint_bytes);
  const uint64_t keep = Megabytes(server.wal_keep_bytes);
  const std::string found = fmt::format(
      "up to {} MB of WAL since the last checkpoint, and wal_keep_size is {} MB", since, keep);
  if (since <= keep) return Ok(found);
  return Warning(
      found + ": a rewind after a failover may find WAL gone",
      fmt::format("ALTER SYSTEM SET wal_keep_size = '{}MB'; SELECT pg_reload_conf();", 2 * since));
}

Finding JudgeSlots(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  const std::string fix =
      "Drop what nobody needs: SELECT pg_drop_replication_slot('...'); and see "
      "max_slot_wal_keep_size.";
  if (!server.lost_slots.empty()) {
    return Warning("WAL of these slots has been removed: " + server.lost_slots, fix);
  }
  if (!server.trailing_slots.empty()) {
    return Warning("WAL of these slots is removed at the next checkpoint: " + server.trailing_slots,
                   fix);
  }
  return Ok("no replication slot has lost WAL");
}

Finding JudgeCertificate(const ServerFacts& server, const ReadinessFacts& facts) {
  if (!server.tls) return Ok("TLS is off");
  if (!server.certificate_not_after) {
    return Unknown("TLS is on, but not on this connection: the certificate was not seen",
                   "openssl x509 -enddate -noout -in FILE, of ssl_cert_file.");
  }
  const int64_t left = *server.certificate_not_after - facts.now;
  const std::string fix =
      "Renew the files that ssl_cert_file and ssl_key_file name; then SELECT "
      "pg_reload_conf();";
  if (left <= 0) {
    return facts.certificate_is_verified ? Failed("the server's certificate has expired", fix)
                                         : Warning("the server's certificate has expired", fix);
  }
  if (left < kCertificateWarning) {
    return Warning(fmt::format("the server's certificate expires in {} days", left / kDay), fix);
  }
  return Ok(fmt::format("the server's certificate is good for {} days", left / kDay));
}

Finding JudgeCrashRestart(const ServerFacts& server, const ReadinessFacts& /*unused*/) {
  if (!server.restarts_after_crash) return Ok("restart_after_crash is off");
  return Warning(
      "restart_after_crash is on: after a crash the server comes back read-write without "
      "asking who is primary",
      "ALTER SYSTEM SET restart_after_crash = off; SELECT pg_reload_conf();");
}

// A rewind stages the source's WAL in pg_wal before it changes anything.
Finding JudgeDisk(const ReadinessFacts& facts) {
  if (!facts.disk) return Unknown("init has left no measurement", "df PGDATA and its pg_wal.");
  const DiskSpace& disk = *facts.disk;
  const std::string found =
      fmt::format("{} of {} MB were free {} h ago, when init ran", Megabytes(disk.free_bytes),
                  Megabytes(disk.total_bytes), (facts.now - disk.measured_at) / 3600);
  uint64_t needed = disk.total_bytes / 100 * kFreePercentMin;
  if (facts.server) {
    needed =
        std::max({needed, facts.server->wal_keep_bytes, facts.server->wal_since_checkpoint_bytes});
  }
  if (disk.free_bytes >= needed) return Ok(found);
  return Warning(fmt::format("{}; a rewind may need {} MB", found, Megabytes(needed)),
                 "Enlarge the volume.");
}

Finding JudgeLogin(const LoginAttempt& attempt, const std::string& role) {
  if (attempt.problem.empty()) return Ok("can log in");
  if (!attempt.has_address) {
    return Unknown(attempt.problem, "See that the DNS answers, and --headless-service is right.");
  }
  return Failed(attempt.problem,
                fmt::format("Set the role's password to what --{0}-password-file holds, and let "
                            "pg_hba.conf admit it from the other members; then SELECT "
                            "pg_reload_conf();",
                            role));
}

Finding JudgeRewindLogin(const ReadinessFacts& facts) {
  if (facts.rewind_login) return JudgeLogin(*facts.rewind_login, "rewind");
  if (!facts.server) return Unknown(facts.no_answer, "");
  return Unknown("was not tried: this pod has no name that the other members know it by",
                 "Make a headless Service, and name it: --headless-service.");
}

struct Rule {
  const char* name;
  bool essential;  // without knowing it nobody can say that a rewind is possible
  Finding (*judge)(const ServerFacts& server, const ReadinessFacts& facts);
};

constexpr Rule kRules[] = {
    {"version", true, JudgeVersion},
    {"streaming", true, JudgeStreaming},
    {"checksums_or_hints", true, JudgeChecksumsOrHints},
    {"full_page_writes", true, JudgeFullPageWrites},
    {"rewind_role", true, JudgeRewindRole},
    {"rewind_grants", true, JudgeGrants},
    {"replication_role", true, JudgeReplicationRole},
    {"wal_kept", false, JudgeWalKept},
    {"slots", false, JudgeSlots},
    {"certificate", false, JudgeCertificate},
    {"restart_after_crash", false, JudgeCrashRestart},
};

class Judge {
 public:
  explicit Judge(const ReadinessFacts& facts) : facts_(facts) {}

  void Add(const char* name, bool essential, Finding finding) {
    failed_ = failed_ || finding.state == CheckState::kFailed;
    in_doubt_ = in_doubt_ || (essential && finding.state == CheckState::kUnknown);
    readiness_.checks.push_back(
        {name, finding.state, std::move(finding.text), std::move(finding.fix)});
  }
  void Add(const Rule& rule) {
    Add(rule.name, rule.essential,
        facts_.server ? rule.judge(*facts_.server, facts_) : Unknown(facts_.no_answer, ""));
  }
  Readiness Sum() {
    const std::string warnings = List(CheckState::kWarning, false);
    if (!warnings.empty()) readiness_.reason = "warning: " + warnings;
    if (!in_doubt_) readiness_.rewindable = Rewindable::kYes;
    if (in_doubt_)
      readiness_.reason = facts_.server ? List(CheckState::kUnknown, true) : facts_.no_answer;
    if (failed_) {
      readiness_.rewindable = Rewindable::kNo;
      readiness_.reason = List(CheckState::kFailed, true);
    }
    return std::move(readiness_);
  }

 private:
  // "name: text; name: text" of the checks in this state, or only "name; name".
  std::string List(CheckState state, bool with_text) const {
    std::string list;
    for (const ReadinessCheck& check : readiness_.checks) {
      if (check.state != state) continue;
      if (!list.empty()) list += "; ";
      list += check.name;
      if (with_text) list += ": " + check.text;
    }
    return list;
  }

  const ReadinessFacts& facts_;
  Readiness readiness_;
  bool failed_ = false;
  bool in_doubt_ = false;
};

}  // namespace

const char* CheckStateName(CheckState state) {
  switch (state) {
    case CheckState::kOk:
      return "ok";
    case CheckState::kWarning:
      return "warning";
    case CheckState::kFailed:
      return "failed";
    case CheckState::kUnknown:
      break;
  }
  return "unknown";
}

const char* RewindableName(Rewindable rewindable) {
  switch (rewindable) {
    case Rewindable::kYes:
      return "true";
    case Rewindable::kNo:
      return "false";
    case Rewindable::kUnknown:
      break;
  }
  return "unknown";
}

Readiness JudgeReadiness(const ReadinessFacts& facts) {
  Judge judge(facts);
  for (const Rule& rule : kRules) judge.Add(rule);
  judge.Add("rewind_login", true, JudgeRewindLogin(facts));
  if (facts.replication_login) {
    judge.Add("replication_login", true, JudgeLogin(*facts.replication_login, "replication"));
  }
  judge.Add("disk_space", false, JudgeDisk(facts));
  return judge.Sum();
}

}  // namespace pgrejoin
