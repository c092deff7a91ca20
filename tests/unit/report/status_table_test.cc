#include "report/status_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/utc_time.h"
#include "report/outcome.h"

namespace pgrejoin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int64_t kSeconds = 1'000'000;

int64_t At(const char* time) { return ParseUtc(time).value(); }

PodStatus Member(const std::string& name, const std::string& role, const std::string& outcome) {
  PodStatus pod;
  pod.name = name;
  pod.role = role;
  pod.outcome = outcome;
  return pod;
}

// After a failover: db-0 was rewound, db-1 leads.
ReleaseStatus Healthy() {
  ReleaseStatus status;
  status.record = RecordStatus{"db-1", 2, 2, false};
  status.now = At("2026-11-21T03:30:00Z");
  PodStatus rewound = Member("db-0", "replica", "rewound");
  rewound.reason = "Diverged";
  rewound.message = "rewound onto db-1";
  rewound.phase = "done";
  rewound.fork_lsn = "0/3000148";
  rewound.timeline = 2;
  rewound.discarded_transactions = 5;
  rewound.copied_bytes = 9912320;
  rewound.duration_s = 1.234;
  rewound.finished_at = At("2026-11-21T03:12:09Z");
  PodStatus leader = Member("db-1", "primary", "started");
  leader.reason = "StandbyWithoutPrimary";
  leader.timeline = 1;
  leader.finished_at = At("2026-11-12T03:12:09Z");
  status.pods = {rewound, leader};
  return status;
}

TEST(StatusTableTest, ARecordAndOneLineForEachPod) {
  EXPECT_EQ(StatusTable(Healthy()),
            R"(record: primary db-1, epoch 2, timeline 2, not paused

POD   ROLE      TIMELINE  OUTCOME  FORK       DISCARDED  COPIED  TOOK   AGE
db-0  replica   2         rewound  0/3000148  5          9.5 MB  1.2 s  17 min
db-1  primary*  1         started  -          -          -       -      9 d

all is well
)");
}

TEST(StatusTableTest, WhatIsNotWellIsInTheTableAndBelowIt) {
  ReleaseStatus status = Healthy();
  status.record->paused = true;
  status.pods[0] = Member("db-0", "", "waiting");
  status.pods[0].reason = "Paused";
  status.pods[0].phase = "waiting";
  status.pods[0].message = "a rewind is needed, but the authority record is paused";
  EXPECT_EQ(StatusTable(status),
            R"(record: primary db-1, epoch 2, timeline 2, PAUSED

POD   ROLE      TIMELINE  OUTCOME          FORK  DISCARDED  COPIED  TOOK  AGE
db-0  -         -         waiting: Paused  -     -          -       -     -
db-1  primary*  1         started          -     -          -       -     9 d

not well:
  paused: no promotion, no rewind, no clone, no restart of a pod until `pg-rejoin resume`
  db-0: waiting: Paused (a rewind is needed, but the authority record is paused)
)");
}

TEST(StatusTableTest, SpansAreRounded) {
  const std::vector<std::pair<double, const char*>> spans{
      {0.04, "0.0 s"}, {9.94, "9.9 s"},       {75, "75 s"},  {119, "119 s"},
      {120, "2 min"},  {7199, "119 min"},     {7200, "2 h"}, {172799, "47 h"},
      {172800, "2 d"}, {86400 * 400, "400 d"}};
  for (const auto& [seconds, text] : spans) {
    ReleaseStatus status = Healthy();
    status.pods[0].duration_s = seconds;
    EXPECT_THAT(StatusTable(status), HasSubstr("9.5 MB  " + std::string(text) + " ")) << seconds;
  }
}

TEST(StatusTableTest, AClockThatIsAheadMakesNoNegativeAge) {
  ReleaseStatus status = Healthy();
  status.pods[0].finished_at = status.now + 90 * kSeconds;
  EXPECT_THAT(StatusTable(status), HasSubstr("1.2 s  0.0 s\n"));
}

TEST(StatusTableTest, ARewindThatIsUnderWayIsShownByItsPhase) {
  ReleaseStatus status = Healthy();
  status.pods[0].outcome = "waiting";
  status.pods[0].phase = "rewinding";
  EXPECT_THAT(StatusTable(status), HasSubstr(" rewinding: Diverged "));
  // A run that waited in vain has ended.
  status.pods[0].phase = "done";
  EXPECT_THAT(StatusTable(status), HasSubstr(" waiting: Diverged "));
}

TEST(StatusTableTest, EveryOutcomeThatAServerMayRunAfterIsWell) {
  for (const char* outcome :
       {"started", "claimed", "followed", "rewound", "resumed", "cloning", "rejoined"}) {
    ReleaseStatus status = Healthy();
    status.pods[0].outcome = outcome;
    EXPECT_THAT(FindProblems(status), IsEmpty()) << outcome;
    EXPECT_THAT(StatusTable(status), Not(HasSubstr("Diverged")));
  }
  for (const OutcomeKind kind :
       {OutcomeKind::kWaiting, OutcomeKind::kRefused, OutcomeKind::kFailed}) {
    ReleaseStatus status = Healthy();
    status.pods[0].outcome = OutcomeName(kind);
    EXPECT_THAT(FindProblems(status), ElementsAre(HasSubstr("Diverged (rewound onto db-1)")));
  }
  ReleaseStatus status = Healthy();
  status.pods[0].outcome.clear();
  EXPECT_THAT(FindProblems(status), ElementsAre("db-0: has not reported an outcome"));
}

TEST(StatusTableTest, TheRecordsPrimaryAndNobodyElseIsLabelledSo) {
  ReleaseStatus status = Healthy();
  status.pods[1].role = "replica";
  EXPECT_THAT(FindProblems(status), ElementsAre(HasSubstr("db-1: the record's primary is not")));
  EXPECT_THAT(StatusTable(status), HasSubstr("db-1  replica*"));
  status = Healthy();
  status.pods[0].role = "primary";
  EXPECT_THAT(FindProblems(status), ElementsAre("db-0: labelled primary, which the record does not "
                                                "name"));
  // An old primary that still runs read-write had started long ago.
  status = Healthy();
  status.pods[0] = Member("db-0", "", "started");
  EXPECT_THAT(FindProblems(status), ElementsAre(HasSubstr("db-0: not labelled replica")));
}

TEST(StatusTableTest, ARecordThatNamesNobodyOrOneWhoIsGone) {
  ReleaseStatus status = Healthy();
  status.pods.pop_back();
  EXPECT_THAT(FindProblems(status), ElementsAre("db-1: the record's primary has no pod"));
  // Labels stay as they are then, and say nothing against anybody.
  status = Healthy();
  status.record = RecordStatus{};
  EXPECT_THAT(FindProblems(status), ElementsAre("the authority record names nobody"));
  EXPECT_THAT(StatusTable(status), HasSubstr("record: primary -, epoch -, timeline -, not paused"));
  status.record.reset();
  status.record_problem = "it does not exist";
  EXPECT_THAT(FindProblems(status),
              ElementsAre("the authority record cannot be read: it does not exist"));
  status.pods.clear();
  EXPECT_EQ(FindProblems(status).back(), "no pod has the labels of the release");
}

TEST(StatusTableTest, WithoutAnAuthorityTheRecordNamesNobodyAndSidecarsLabelNobody) {
  ReleaseStatus status = Healthy();
  status.record_decides = false;
  status.record = RecordStatus{};
  for (PodStatus& pod : status.pods) pod.role.clear();
  EXPECT_THAT(FindProblems(status), IsEmpty());
  status.record->paused = true;
  EXPECT_EQ(FindProblems(status).size(), 1u);
}

Pod Annotated(const std::map<std::string, std::string>& annotations) {
  Pod pod;
  pod.name = "db-0";
  for (const auto& [key, value] : annotations) pod.annotations["p/" + key] = value;
  return pod;
}

// What init writes is what is read.
TEST(StatusTableTest, ReadsTheAnnotationsOfAnOutcome) {
  Outcome outcome;
  outcome.kind = OutcomeKind::kRewound;
  outcome.reason = "Diverged";
  outcome.message = "rewound onto db-1";
  outcome.phase = kPhaseDone;
  outcome.rewind.emplace();
  outcome.rewind->source_timeline = 2;
  outcome.rewind->fork_lsn = {0x3000148};
  outcome.rewind->discarded_transactions = 17;
  outcome.rewind->bytes_copied = 123456;
  outcome.duration = std::chrono::milliseconds(1234);
  outcome.finished_at = At("2026-11-21T03:12:09Z");
  Pod pod = Annotated({});
  for (const auto& [key, value] : OutcomeToAnnotations(outcome, "p/")) {
    if (value) pod.annotations[key] = *value;
  }
  pod.labels = {{"operator/role", "replica"}, {"pg-rejoin.io/role", "primary"}};
  const PodStatus read = ReadPodStatus(pod, "operator/role", "p/");
  EXPECT_EQ(read.name, "db-0");
  EXPECT_EQ(read.role, "replica");
  EXPECT_EQ(read.outcome, "rewound");
  EXPECT_EQ(read.reason, "Diverged");
  EXPECT_EQ(read.message, "rewound onto db-1");
  EXPECT_EQ(read.phase, "done");
  EXPECT_EQ(read.fork_lsn, "0/3000148");
  EXPECT_EQ(read.timeline, 2u);
  EXPECT_EQ(read.discarded_transactions, 17u);
  EXPECT_EQ(read.copied_bytes, 123456u);
  EXPECT_EQ(read.duration_s, 1.234);
  EXPECT_EQ(read.finished_at, outcome.finished_at);
}

TEST(StatusTableTest, ANumberThatIsNoneIsMissing) {
  for (const char* text :
       {"", "x", "-1", "1x", " 1", "99999999999999999999", "inf", "nan", "1e999"}) {
    const PodStatus read = ReadPodStatus(Annotated({{"timeline", text},
                                                    {"discarded-transactions", text},
                                                    {"copied-bytes", text},
                                                    {"finished-at", text}}),
                                         "role", "p/");
    EXPECT_FALSE(read.timeline) << text;
    EXPECT_FALSE(read.discarded_transactions) << text;
    EXPECT_FALSE(read.copied_bytes) << text;
    EXPECT_FALSE(read.finished_at) << text;
  }
  for (const char* text : {"", "x", "-1", "1x", " 1", "inf", "nan", "1e999"}) {
    EXPECT_FALSE(ReadPodStatus(Annotated({{"duration", text}}), "role", "p/").duration_s) << text;
  }
}

TEST(StatusTableTest, HostileTextIsPrintableAndShort) {
  const std::string evil = "\x1b[2J\nrecord: primary evil\xff" + std::string(5000, 'x');
  Pod pod = Annotated({{"outcome", evil},
                       {"reason", evil},
                       {"message", evil},
                       {"phase", evil},
                       {"fork-lsn", evil},
                       {"duration", "1e300"}});
  pod.labels["role"] = evil;
  ReleaseStatus status = Healthy();
  status.pods[0] = ReadPodStatus(pod, "role", "p/");
  for (const std::string& text : {StatusTable(status), StatusJson(status)}) {
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    EXPECT_EQ(text.find('\xff'), std::string::npos);
    EXPECT_EQ(text.find("\nrecord: primary evil"), std::string::npos);
    EXPECT_LT(text.size(), 10000u);
  }
  const std::string table = StatusTable(status);
  const std::string row =
      table.substr(table.find("db-0"), table.find("\ndb-1") - table.find("db-0"));
  EXPECT_LT(row.size(), 250u) << row;
}

TEST(StatusTableTest, TheSameAsJson) {
  EXPECT_EQ(nlohmann::json::parse(StatusJson(Healthy())), nlohmann::json::parse(R"({
      "schema": 1, "well": true,
      "record": {"primary": "db-1", "epoch": 2, "timeline": 2, "paused": false},
      "pods": [
        {"pod": "db-0", "role": "replica", "holder": false, "timeline": 2, "outcome": "rewound",
         "reason": "Diverged", "message": "rewound onto db-1", "phase": "done",
         "forkLsn": "0/3000148", "discardedTransactions": 5, "copiedBytes": 9912320,
         "durationSeconds": 1.234, "finishedAt": "2026-11-21T03:12:09Z"},
        {"pod": "db-1", "role": "primary", "holder": true, "timeline": 1, "outcome": "started",
         "reason": "StandbyWithoutPrimary", "finishedAt": "2026-11-12T03:12:09Z"}],
      "problems": []})"));
  ReleaseStatus status;
  status.record_problem = "it does not exist";
  EXPECT_EQ(nlohmann::json::parse(StatusJson(status)), nlohmann::json::parse(R"({
      "schema": 1, "well": false, "pods": [],
      "problems": ["the authority record cannot be read: it does not exist",
                   "no pod has the labels of the release"]})"));
}

}  // namespace
}  // namespace pgrejoin
