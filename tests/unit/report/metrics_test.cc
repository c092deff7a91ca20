#include "report/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace pgrejoin {
namespace {

using testing::HasSubstr;
using testing::Not;

SidecarMetrics Everything() {
  SidecarMetrics metrics;
  metrics.role = "standby";
  metrics.timeline = 3;
  metrics.authority_reachable = true;
  metrics.authority_last_success = 1'800'000'000;
  metrics.record = RecordStatus{"x-1", 4, 3, true};
  metrics.own.emplace();
  metrics.own->outcome = "rejoined";
  metrics.own->reason = "Div\"erged";
  metrics.own->discarded_transactions = 5;
  metrics.own->copied_bytes = 1000;
  metrics.own->duration_s = 1.5;
  metrics.own->finished_at = 1'800'000'000'500'000;
  metrics.pod_restarts = 1;
  metrics.api_requests = {{0, 2}, {200, 40}, {403, 1}, {404, 7}, {503, 3}};
  metrics.gate_answers = {{"go", 2}};
  metrics.readiness.emplace();
  metrics.readiness->rewindable = Rewindable::kNo;
  metrics.readiness->checks = {{"version", CheckState::kOk, "", ""},
                               {"full_page_writes", CheckState::kFailed, "", ""}};
  metrics.facts.server.emplace();
  metrics.facts.server->wal_keep_bytes = 512;
  metrics.facts.server->wal_since_checkpoint_bytes = 64;
  metrics.facts.server->certificate_not_after = 1'900'000'000;
  metrics.facts.disk = DiskSpace{7, 9, 1'700'000'000};
  return metrics;
}

TEST(Metrics, WhatIsKnownIsShown) {
  const std::string text = MetricsText(Everything());
  for (const char* line : {
           "pg_rejoin_role{role=\"standby\"} 1\n",
           "pg_rejoin_role{role=\"primary\"} 0\n",
           "pg_rejoin_timeline 3\n",
           "pg_rejoin_authority_reachable 1\n",
           "pg_rejoin_authority_last_success_timestamp_seconds 1800000000\n",
           "pg_rejoin_record_epoch 4\n",
           "pg_rejoin_record_holder 0\n",
           "pg_rejoin_record_paused 1\n",
           "pg_rejoin_outcome_info{outcome=\"rejoined\",reason=\"Div\\\"erged\"} 1\n",
           "pg_rejoin_rejoined 1\n",
           "pg_rejoin_outcome_finished_timestamp_seconds 1800000000.5\n",
           "pg_rejoin_outcome_duration_seconds 1.5\n",
           "pg_rejoin_outcome_discarded_transactions 5\n",
           "pg_rejoin_outcome_copied_bytes 1000\n",
           "pg_rejoin_rewindable{rewindable=\"false\"} 1\n",
           "pg_rejoin_rewindable{rewindable=\"true\"} 0\n",
           "pg_rejoin_check{check=\"full_page_writes\",state=\"failed\"} 1\n",
           "pg_rejoin_wal_since_checkpoint_bytes 64\n",
           "pg_rejoin_wal_keep_bytes 512\n",
           "pg_rejoin_certificate_not_after_timestamp_seconds 1900000000\n",
           "pg_rejoin_volume_free_bytes 7\n",
           "pg_rejoin_volume_measured_timestamp_seconds 1700000000\n",
           "pg_rejoin_api_requests_total{status=\"none\"} 2\n",
           "pg_rejoin_api_requests_total{status=\"404\"} 7\n",
           "pg_rejoin_api_errors_total 6\n",
           "pg_rejoin_pod_restarts_requested_total 1\n",
           "pg_rejoin_gate_answers_total{answer=\"go\"} 2\n",
           "pg_rejoin_gate_answers_total{answer=\"no\"} 0\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(Metrics, WhatIsNotKnownHasNoSample) {
  const std::string text = MetricsText({});
  EXPECT_THAT(text, HasSubstr("pg_rejoin_role{role=\"unknown\"} 1\n"));
  for (const char* name : {"authority_reachable", "record_holder", "record_paused", "rewindable",
                           "check", "outcome_info", "rejoined", "volume_free_bytes"}) {
    EXPECT_THAT(text, HasSubstr(std::string("# TYPE pg_rejoin_") + name + " gauge\n"));
    EXPECT_THAT(text, Not(HasSubstr(std::string("\npg_rejoin_") + name)));
  }
}

// "| `name` | type | help |" of each family.
std::set<std::string> RowsOf(const std::string& metrics) {
  std::set<std::string> rows;
  std::istringstream lines(metrics);
  std::string help;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, std::regex("# HELP \\S+ (.*)"))) help = match[1];
    if (std::regex_match(line, match, std::regex("# TYPE (\\S+) (\\S+)"))) {
      rows.insert("| `" + match[1].str() + "` | " + match[2].str() + " | " + help + " |");
    }
  }
  return rows;
}

TEST(Metrics, TheReferenceSaysTheSame) {
  const auto root = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  std::ifstream page(root.parent_path() / "docs/reference/metrics.md");
  ASSERT_TRUE(page);
  std::set<std::string> documented;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| `pg_rejoin_")) documented.insert(line);
  }
  EXPECT_EQ(documented, RowsOf(MetricsText(Everything())));
}

}  // namespace
}  // namespace pgrejoin
