#include "pod/release_status.h"

#include <gmock/gmock.h>

#include "base/utc_time.h"
#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ReleaseStatusTest : public PodFixture {
 protected:
  ReleaseStatusTest() {
    api_.AddRecord({{"primary", "x-1"}, {"epoch", "2"}, {"timeline", "2"}, {"paused", "true"}});
  }
  ReleaseStatus Gather() { return GatherStatus(&api_, options_, now_); }

  const int64_t now_ = 1'795'300'200'000'000;
};

TEST_F(ReleaseStatusTest, RecordLabelsAndAnnotations) {
  api_.pods.at("x-0").labels[options_.role_label] = "replica";
  api_.pods.at("x-0").annotations = {{options_.annotation_prefix + "outcome", "rewound"},
                                     {options_.annotation_prefix + "discarded-transactions", "5"},
                                     {"other/outcome", "refused"}};
  const ReleaseStatus status = Gather();
  ASSERT_TRUE(status.record);
  EXPECT_EQ(status.record->primary, "x-1");
  EXPECT_EQ(status.record->epoch, 2u);
  EXPECT_EQ(status.record->timeline, 2u);
  EXPECT_TRUE(status.record->paused);
  EXPECT_EQ(status.now, now_);
  ASSERT_EQ(status.pods.size(), 2u);
  EXPECT_EQ(status.pods[0].name, "x-0");
  EXPECT_EQ(status.pods[0].role, "replica");
  EXPECT_EQ(status.pods[0].outcome, "rewound");
  EXPECT_EQ(status.pods[0].discarded_transactions, 5u);
  EXPECT_EQ(status.pods[1].outcome, "");
  EXPECT_EQ(api_.writes, 0);
}

TEST_F(ReleaseStatusTest, PodsInTheOrderOfTheirNumbers) {
  api_.AddPod("x-10");
  api_.AddPod("x-2");
  std::vector<std::string> names;
  for (const PodStatus& pod : Gather().pods) names.push_back(pod.name);
  EXPECT_THAT(names, ElementsAre("x-0", "x-1", "x-2", "x-10"));
}

TEST_F(ReleaseStatusTest, OnlyWithTheRecordAsAuthorityItDecides) {
  EXPECT_TRUE(Gather().record_decides);
  options_.discovery = "service";
  EXPECT_FALSE(Gather().record_decides);
}

// Then most of all somebody wants to see the pods.
TEST_F(ReleaseStatusTest, ARecordThatCannotBeReadIsShownAsAProblem) {
  api_.record()["epoch"] = "\x1b[31m";
  const ReleaseStatus malformed = Gather();
  EXPECT_FALSE(malformed.record);
  EXPECT_THAT(malformed.record_problem, HasSubstr("\"epoch\" is malformed"));
  EXPECT_EQ(malformed.record_problem.find('\x1b'), std::string::npos);
  EXPECT_EQ(malformed.pods.size(), 2u);
  api_.config_maps.clear();
  EXPECT_THAT(Gather().record_problem, HasSubstr("does not exist"));
}

TEST_F(ReleaseStatusTest, WithoutTheApiThereIsNothingToShow) {
  api_.down = true;
  EXPECT_THROW(Gather(), Error);
}

}  // namespace
}  // namespace pgrejoin
