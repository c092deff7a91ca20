#include "report/reporter.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "unit/topology/fake_api.h"

namespace pgrejoin {
namespace {

class ReporterTest : public testing::Test {
 protected:
  ReporterTest() {
    api_.AddPod("x-0");
    outcome_.kind = OutcomeKind::kRewound;
    outcome_.reason = "Diverged";
    outcome_.message = "rewound";
  }
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "report-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Reporter Make() {
    return {&api_,
            {.pod = "x-0", .pod_uid = uid_, .annotation_prefix = "p/", .termination_log = Log()}};
  }
  std::string Log() const { return directory_ / "termination-log"; }
  nlohmann::json Message() const {
    std::ostringstream text;
    text << std::ifstream(Log()).rdbuf();
    return nlohmann::json::parse(text.str(), nullptr, false);
  }

  FakeApi api_;
  std::string uid_ = "uid-x-0";
  Outcome outcome_;
  std::filesystem::path directory_;
};

TEST_F(ReporterTest, FinalOutcomeGoesEverywhere) {
  Make().PublishFinal(outcome_);
  EXPECT_EQ(api_.pods["x-0"].annotations["p/outcome"], "rewound");
  ASSERT_EQ(api_.events.size(), 1u);
  EXPECT_EQ(api_.events[0].reason, "RejoinRewound");
  EXPECT_EQ(api_.events[0].pod_uid, "uid-x-0");
  EXPECT_EQ(Message()["outcome"], "rewound");
  EXPECT_FALSE(Message().contains("reportProblem"));
}

TEST_F(ReporterTest, EverydayOutcomeIsOneWrite) {
  outcome_.kind = OutcomeKind::kStarted;
  Make().PublishFinal(outcome_);
  EXPECT_EQ(api_.writes, 1);
}

TEST_F(ReporterTest, DeniedPatchIsToldInTheTerminationMessage) {
  api_.patches_denied = true;
  Make().PublishFinal(outcome_);
  EXPECT_EQ(Message()["outcome"], "rewound");
  EXPECT_NE(Message()["reportProblem"].get<std::string>().find("403"), std::string::npos);
}

TEST_F(ReporterTest, DeadApiIsAskedOnce) {
  api_.down = true;
  Make().PublishFinal(outcome_);
  EXPECT_TRUE(Message().contains("reportProblem"));
}

TEST_F(ReporterTest, NamesakeIsNotAnnotated) {
  uid_ = "uid-of-a-predecessor";
  Make().PublishFinal(outcome_);
  EXPECT_TRUE(api_.pods["x-0"].annotations.empty());
  EXPECT_NE(Message()["reportProblem"].get<std::string>().find("gone"), std::string::npos);
}

TEST_F(ReporterTest, ProgressIsPublishedWhenItChanges) {
  Reporter reporter = Make();
  outcome_.kind = OutcomeKind::kWaiting;
  outcome_.reason = "PrimaryUnreachable";
  outcome_.phase = kPhaseWaiting;
  reporter.PublishProgress(outcome_);
  EXPECT_EQ(api_.patches.size(), 1u);
  EXPECT_EQ(api_.events.size(), 0u);
  outcome_.duration = std::chrono::seconds(6);
  reporter.PublishProgress(outcome_);
  reporter.PublishProgress(outcome_);
  EXPECT_EQ(api_.patches.size(), 1u);
  EXPECT_EQ(api_.events.size(), 1u);
  outcome_.reason = "PrimaryInRecovery";
  reporter.PublishProgress(outcome_);
  EXPECT_EQ(api_.patches.size(), 2u);
  EXPECT_EQ(api_.events.size(), 1u);  // still waiting: said once
}

TEST_F(ReporterTest, ProgressIsSaidAgainUntilTheApiHearsIt) {
  Reporter reporter = Make();
  outcome_.kind = OutcomeKind::kWaiting;
  api_.down = true;
  reporter.PublishProgress(outcome_);
  api_.down = false;
  outcome_.duration += std::chrono::seconds(1);
  reporter.PublishProgress(outcome_);
  EXPECT_EQ(api_.pods["x-0"].annotations["p/outcome"], "waiting");
}

TEST_F(ReporterTest, ApiThatRefusesIsNotAskedInEveryRound) {
  Reporter reporter = Make();
  outcome_.kind = OutcomeKind::kWaiting;
  outcome_.phase = kPhaseWaiting;
  api_.patches_denied = true;
  for (int round = 0; round < 150; ++round) {  // five minutes
    outcome_.duration = std::chrono::seconds(2 * round);
    reporter.PublishProgress(outcome_);
  }
  EXPECT_GE(api_.writes, 10);
  EXPECT_LE(api_.writes, 20);
  // Events alone are refused.
  class NoEvents : public FakeApi {
   public:
    void CreateEvent(const NewEvent&) override {
      ++refused;
      throw Error(ErrorKind::kUnavailable, "403 events is forbidden");
    }
    int refused = 0;
  } no_events;
  no_events.AddPod("x-0");
  Reporter other(&no_events,
                 {.pod = "x-0", .pod_uid = uid_, .annotation_prefix = "p/", .termination_log = ""});
  for (int round = 0; round < 150; ++round) {
    outcome_.duration = std::chrono::seconds(2 * round);
    other.PublishProgress(outcome_);
  }
  EXPECT_EQ(no_events.patches.size(), 1u);
  EXPECT_GE(no_events.refused, 10);
  EXPECT_LE(no_events.refused, 20);
}

TEST_F(ReporterTest, UnwritableTerminationLogIsNoDisaster) {
  Reporter reporter(&api_, {.pod = "x-0",
                            .pod_uid = uid_,
                            .annotation_prefix = "p/",
                            .termination_log = "/no/such/place"});
  EXPECT_NO_THROW(reporter.PublishFinal(outcome_));
}

}  // namespace
}  // namespace pgrejoin
