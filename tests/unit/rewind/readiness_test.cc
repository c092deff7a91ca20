#include "rewind/readiness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace pgrejoin {
namespace {

using testing::HasSubstr;

constexpr int64_t kNow = 1'800'000'000;
constexpr int64_t kDay = 86400;
constexpr uint64_t kGigabyte = uint64_t{1} << 30;

// A server that lacks nothing.
ReadinessFacts Well() {
  ServerFacts server;
  server.version_number = 170002;
  server.database = "postgres";
  server.checksums = true;
  server.full_page_writes = true;
  server.wal_level = "replica";
  server.wal_senders_max = 10;
  server.wal_keep_bytes = kGigabyte;
  server.wal_since_checkpoint_bytes = 100 << 20;
  server.rewind_role = {"rewind", true};
  server.replication_role = {"replicator", true};
  server.replicates = true;
  ReadinessFacts facts;
  facts.server = server;
  facts.rewind_login = LoginAttempt{};
  facts.disk = DiskSpace{50 * kGigabyte, 100 * kGigabyte, kNow - 7200};
  facts.now = kNow;
  return facts;
}

const ReadinessCheck& Find(const Readiness& readiness, const std::string& name) {
  for (const ReadinessCheck& check : readiness.checks) {
    if (check.name == name) return check;
  }
  throw std::runtime_error("no check " + name);
}

TEST(Readiness, AServerThatLacksNothingIsRewindable) {
  const Readiness readiness = JudgeReadiness(Well());
  EXPECT_EQ(readiness.rewindable, Rewindable::kYes);
  EXPECT_EQ(readiness.reason, "");
  std::set<std::string> names;
  for (const ReadinessCheck& check : readiness.checks) {
    EXPECT_EQ(check.state, CheckState::kOk) << check.name << ": " << check.text;
    EXPECT_EQ(check.fix, "") << check.name;
    EXPECT_TRUE(names.insert(check.name).second) << check.name;
  }
}

struct Case {
  const char* check;
  CheckState state;
  std::function<void(ReadinessFacts*)> change;
  const char* text;
  const char* fix;
};

const Case kCases[] = {
    {"version", CheckState::kFailed, [](auto* f) { f->server->version_number = 130004; }, "13",
     "14 to 18"},
    {"version", CheckState::kFailed, [](auto* f) { f->server->version_number = 190000; }, "19", ""},
    {"streaming", CheckState::kFailed, [](auto* f) { f->server->wal_level = "minimal"; }, "minimal",
     "wal_level = replica"},
    {"streaming", CheckState::kFailed, [](auto* f) { f->server->wal_senders_max = 0; },
     "max_wal_senders", "max_wal_senders = 10"},
    {"checksums_or_hints", CheckState::kFailed, [](auto* f) { f->server->checksums = false; },
     "wal_log_hints are off", "ALTER SYSTEM SET wal_log_hints = on"},
    {"full_page_writes", CheckState::kFailed, [](auto* f) { f->server->full_page_writes = false; },
     "off", "ALTER SYSTEM SET full_page_writes = on"},
    {"rewind_role", CheckState::kFailed,
     [](auto* f) {
       f->server->rewind_role = {"re\"wind", false};
     },
     "re\"\"wind", "CREATE ROLE \"re\"\"wind\" LOGIN"},
    {"rewind_grants", CheckState::kFailed,
     [](auto* f) { f->server->lacking_grants = "pg_catalog.pg_stat_file(text, boolean)"; },
     "in database \"postgres\"",
     "GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO \"rewind\";"},
    {"replication_role", CheckState::kFailed, [](auto* f) { f->server->replicates = false; },
     "replicator", "LOGIN REPLICATION"},
    {"replication_role", CheckState::kFailed,
     [](auto* f) { f->server->replication_role.may_log_in = false; }, "replicator", "LOGIN"},
    {"wal_kept", CheckState::kWarning,
     [](auto* f) { f->server->wal_since_checkpoint_bytes = kGigabyte + 1; }, "1025 MB",
     "wal_keep_size = '2050MB'"},
    {"slots", CheckState::kWarning, [](auto* f) { f->server->lost_slots = "s1"; },
     "has been removed: s1", "pg_drop_replication_slot"},
    {"slots", CheckState::kWarning, [](auto* f) { f->server->trailing_slots = "s2"; },
     "next checkpoint: s2", "max_slot_wal_keep_size"},
    {"certificate", CheckState::kWarning,
     [](auto* f) {
       f->server->tls = true;
       f->server->certificate_not_after = kNow + 3 * kDay;
     },
     "in 3 days", "ssl_cert_file"},
    {"certificate", CheckState::kWarning,
     [](auto* f) {
       f->server->tls = true;
       f->server->certificate_not_after = kNow;
     },
     "has expired", "ssl_cert_file"},
    {"certificate", CheckState::kFailed,
     [](auto* f) {
       f->server->tls = true;
       f->server->certificate_not_after = kNow;
       f->certificate_is_verified = true;
     },
     "has expired", "ssl_cert_file"},
    {"certificate", CheckState::kUnknown, [](auto* f) { f->server->tls = true; }, "was not seen",
     "openssl x509"},
    {"restart_after_crash", CheckState::kWarning,
     [](auto* f) { f->server->restarts_after_crash = true; }, "read-write",
     "restart_after_crash = off"},
    {"rewind_login", CheckState::kUnknown, [](auto* f) { f->rewind_login.reset(); }, "not tried",
     "--headless-service"},
    {"rewind_login", CheckState::kUnknown,
     [](auto* f) {
       f->rewind_login = LoginAttempt{"no such name", false};
     },
     "no such name", "DNS"},
    {"rewind_login", CheckState::kFailed,
     [](auto* f) { f->rewind_login = LoginAttempt{"password authentication failed"}; },
     "password authentication failed", "--rewind-password-file"},
    {"replication_login", CheckState::kFailed,
     [](auto* f) { f->replication_login = LoginAttempt{"no pg_hba.conf entry"}; },
     "no pg_hba.conf entry", "--replication-password-file"},
    {"disk_space", CheckState::kUnknown, [](auto* f) { f->disk.reset(); }, "no measurement", "df"},
    {"disk_space", CheckState::kWarning, [](auto* f) { f->disk->free_bytes = 4 * kGigabyte; },
     "2 h ago", "Enlarge"},
    {"disk_space", CheckState::kWarning,
     [](auto* f) { f->server->wal_keep_bytes = 60 * kGigabyte; }, "may need 61440 MB", "Enlarge"},
};

TEST(Readiness, EachCheckFindsWhatItIsFor) {
  for (const Case& one : kCases) {
    ReadinessFacts facts = Well();
    one.change(&facts);
    const Readiness readiness = JudgeReadiness(facts);
    const ReadinessCheck& check = Find(readiness, one.check);
    EXPECT_EQ(check.state, one.state) << one.check << ": " << check.text;
    EXPECT_THAT(check.text, HasSubstr(one.text));
    EXPECT_THAT(check.fix, HasSubstr(one.fix));
    for (const ReadinessCheck& other : readiness.checks) {
      if (other.name == std::string(one.check)) continue;
      const bool follows =
          other.name == std::string("rewind_grants") && one.check == std::string("rewind_role");
      EXPECT_EQ(other.state, follows ? CheckState::kUnknown : CheckState::kOk)
          << other.name << " when " << one.check;
    }
  }
}

TEST(Readiness, HintBitsDoInPlaceOfChecksums) {
  ReadinessFacts facts = Well();
  facts.server->checksums = false;
  facts.server->logs_hints = true;
  EXPECT_EQ(JudgeReadiness(facts).rewindable, Rewindable::kYes);
}

TEST(Readiness, OneFailureIsEnoughForNo) {
  ReadinessFacts facts = Well();
  facts.server->full_page_writes = false;
  facts.rewind_login.reset();
  const Readiness readiness = JudgeReadiness(facts);
  EXPECT_EQ(readiness.rewindable, Rewindable::kNo);
  EXPECT_EQ(readiness.reason, "full_page_writes: full_page_writes is off");
}

TEST(Readiness, WhatIsNotKnownIsNeverYes) {
  ReadinessFacts facts = Well();
  facts.rewind_login.reset();
  EXPECT_EQ(JudgeReadiness(facts).rewindable, Rewindable::kUnknown);
  EXPECT_THAT(JudgeReadiness(facts).reason, HasSubstr("rewind_login: was not tried"));

  facts.server.reset();
  facts.no_answer = "connection refused";
  const Readiness silent = JudgeReadiness(facts);
  EXPECT_EQ(silent.rewindable, Rewindable::kUnknown);
  EXPECT_EQ(silent.reason, "connection refused");
  for (const ReadinessCheck& check : silent.checks) {
    const bool of_the_volume = check.name == std::string("disk_space");
    EXPECT_EQ(check.state, of_the_volume ? CheckState::kOk : CheckState::kUnknown) << check.name;
  }
  EXPECT_EQ(silent.checks.size(), JudgeReadiness(Well()).checks.size());
}

TEST(Readiness, WarningsAreNamedAndDoNotCount) {
  ReadinessFacts facts = Well();
  facts.server->restarts_after_crash = true;
  facts.disk->free_bytes = 1;
  const Readiness readiness = JudgeReadiness(facts);
  EXPECT_EQ(readiness.rewindable, Rewindable::kYes);
  EXPECT_EQ(readiness.reason, "warning: restart_after_crash; disk_space");
}

TEST(Readiness, WhatIsUnknownButNotEssentialLeavesYes) {
  ReadinessFacts facts = Well();
  facts.disk.reset();
  EXPECT_EQ(JudgeReadiness(facts).rewindable, Rewindable::kYes);
}

}  // namespace
}  // namespace pgrejoin
