#include "report/outcome.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pgrejoin {
namespace {

Outcome Rewound() {
  Outcome outcome;
  outcome.kind = OutcomeKind::kRewound;
  outcome.reason = "Diverged";
  outcome.message = "rewound onto x-1";
  outcome.phase = kPhaseDone;
  outcome.source = "x-1";
  DirectoryState local;
  local.kind = DirectoryKind::kPrimary;
  local.system_identifier = 7000000000000000001;
  local.history = *TimelineHistory::FromString("1@0/0");
  local.end_of_wal = {0x5000};
  outcome.local = local;
  RewindResult result;
  result.outcome = RewindOutcome::kRewound;
  result.source_timeline = 2;
  result.fork_lsn = {0x4000};
  result.discarded_transactions = 17;
  result.discarded_bytes = 4096;
  result.discarded_from = "2026-11-21T03:12:07.000000Z";
  result.discarded_to = "2026-11-21T03:12:09.000000Z";
  result.bytes_copied = 123456;
  outcome.rewind = result;
  outcome.duration = std::chrono::milliseconds(1234);
  outcome.finished_at = 0;
  return outcome;
}

TEST(OutcomeTest, TerminationMessageIsTheWholeStory) {
  const auto json = nlohmann::json::parse(OutcomeToJson(Rewound(), ""));
  EXPECT_EQ(json, nlohmann::json::parse(R"({
      "schema": 1, "outcome": "rewound", "exitStatus": 0, "reason": "Diverged",
      "message": "rewound onto x-1", "source": "x-1",
      "systemIdentifier": "7000000000000000001", "history": "1@0/0", "timeline": 2,
      "forkLsn": "0/4000", "discardedTransactions": 17, "discardedBytes": 4096,
      "discardedFrom": "2026-11-21T03:12:07.000000Z", "discardedTo": "2026-11-21T03:12:09.000000Z",
      "copiedBytes": 123456, "durationSeconds": 1.234, "attempt": 1,
      "finishedAt": "1970-01-01T00:00:00Z"})"));
}

TEST(OutcomeTest, TerminationMessageFitsWhateverComes) {
  Outcome outcome = Rewound();
  outcome.message = std::string(100000, '\xff');
  outcome.hint = std::string(100000, '"');
  outcome.source = std::string(5000, '\\');
  const std::string text = OutcomeToJson(outcome, std::string(100000, '\n'));
  EXPECT_LE(text.size(), kTerminationMessageBytesMax);
  EXPECT_FALSE(nlohmann::json::parse(text, nullptr, false).is_discarded());
}

TEST(OutcomeTest, TroubleWithTheReportIsTold) {
  const auto json = nlohmann::json::parse(OutcomeToJson(Rewound(), "403 forbidden"));
  EXPECT_EQ(json["reportProblem"], "403 forbidden");
}

TEST(OutcomeTest, OneScalarAnAnnotation) {
  const KeyChanges changes = OutcomeToAnnotations(Rewound(), "p/");
  const std::map<std::string, std::string> expected = {
      {"p/outcome", "rewound"},
      {"p/reason", "Diverged"},
      {"p/message", "rewound onto x-1"},
      {"p/phase", "done"},
      {"p/source", "x-1"},
      {"p/timeline", "2"},
      {"p/fork-lsn", "0/4000"},
      {"p/discarded-transactions", "17"},
      {"p/discarded-bytes", "4096"},
      {"p/discarded-from", "2026-11-21T03:12:07.000000Z"},
      {"p/discarded-to", "2026-11-21T03:12:09.000000Z"},
      {"p/copied-bytes", "123456"},
      {"p/duration", "1.234"},
      {"p/attempt", "1"},
      {"p/finished-at", "1970-01-01T00:00:00Z"},
      {"p/role", "primary"},
      {"p/system-identifier", "7000000000000000001"},
      {"p/history", "1@0/0"},
      {"p/end-of-wal", "0/5000"}};
  std::map<std::string, std::string> set;
  for (const auto& [key, value] : changes) {
    if (key == "p/rejoined-at") continue;  // of the sidecar, later: removed
    ASSERT_TRUE(value) << key;
    set[key] = *value;
  }
  EXPECT_EQ(set, expected);
}

TEST(OutcomeTest, WhatIsNotSaidIsRemoved) {
  Outcome outcome;
  outcome.kind = OutcomeKind::kWaiting;
  outcome.reason = "NoPrimary";
  outcome.local = DirectoryState{};
  const KeyChanges changes = OutcomeToAnnotations(outcome, "p/");
  EXPECT_EQ(changes.size(), OutcomeToAnnotations(Rewound(), "p/").size());
  for (const char* key : {"p/source", "p/fork-lsn", "p/discarded-transactions", "p/timeline",
                          "p/system-identifier", "p/history", "p/end-of-wal", "p/rejoined-at"}) {
    ASSERT_TRUE(changes.count(key)) << key;
    EXPECT_FALSE(changes.at(key)) << key;
  }
  EXPECT_EQ(changes.at("p/role"), "empty");
}

TEST(OutcomeTest, EverydayLifeMakesNoEvent) {
  Outcome outcome = Rewound();
  EXPECT_EQ(OutcomeToEvent(outcome)->reason, "RejoinRewound");
  outcome.kind = OutcomeKind::kStarted;
  EXPECT_FALSE(OutcomeToEvent(outcome));
  outcome.kind = OutcomeKind::kFollowed;
  EXPECT_TRUE(OutcomeToEvent(outcome));  // a former primary that follows is news
  outcome.local->kind = DirectoryKind::kStandby;
  EXPECT_FALSE(OutcomeToEvent(outcome));
  outcome.kind = OutcomeKind::kWaiting;
  outcome.phase = "rewinding";
  EXPECT_FALSE(OutcomeToEvent(outcome));
  outcome.phase = kPhaseWaiting;
  outcome.duration = std::chrono::milliseconds(4999);
  EXPECT_FALSE(OutcomeToEvent(outcome));
  outcome.duration = std::chrono::seconds(5);
  EXPECT_TRUE(OutcomeToEvent(outcome)->warning);
  outcome.phase = kPhaseDone;  // waited in vain, however short the deadline
  outcome.duration = std::chrono::milliseconds(1);
  EXPECT_TRUE(OutcomeToEvent(outcome)->warning);
}

}  // namespace
}  // namespace pgrejoin
