#include "pod/discover.h"

#include <gmock/gmock.h>

#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

using testing::HasSubstr;

class DiscoverTest : public PodFixture {
 protected:
  DiscoverTest() {
    api_.AddRecord({{"primary", "x-0"}, {"epoch", "2"}});
    identity_.system_identifier = 7;
    identity_.history = *TimelineHistory::FromString("1@0/0");
  }
  DiscoveryReport Look() {
    return Discover(&api_, options_,
                    [this](const std::string& host) {
                      if (host.find("x-0") == std::string::npos) {
                        throw Error(ErrorKind::kUnavailable, "connection refused");
                      }
                      return identity_;
                    },
                    {});
  }

  SourceIdentity identity_;
};

// Also this pod itself is asked.
TEST_F(DiscoverTest, WhoeverIsNamedAndConfirmed) {
  api_.pods.at("x-1").labels[options_.role_label] = "replica";
  const DiscoveryReport report = Look();
  EXPECT_EQ(report.exit_status, 0);
  EXPECT_EQ(report.verdict, "x-0 is the primary");
  EXPECT_EQ(report.primary_state, "confirmed");
  ASSERT_EQ(report.members.size(), 1u);
  EXPECT_EQ(report.members[0].role, "replica");
  EXPECT_EQ(report.members[0].says, "does not answer");
  EXPECT_EQ(api_.writes, 0);
  const std::string text = DiscoveryText(report);
  EXPECT_THAT(text, HasSubstr("read-write, system 7, history 1@0/0"));
  EXPECT_THAT(text, HasSubstr("verdict    x-0 is the primary\n"));
  EXPECT_THAT(DiscoveryJson(report), HasSubstr(R"("verdict":"x-0 is the primary")"));
}

TEST_F(DiscoverTest, ARightThatIsDeniedIsNamed) {
  options_.members = "x-0,x-1";
  options_.restart_pod = true;
  DiscoveryReport report = Look();
  AddRights(AskForRights(&api_, options_), &report);
  EXPECT_EQ(report.exit_status, 0) << report.verdict;
  EXPECT_EQ(report.rights.size(), 3u + 1 + 2 * 3 + 1);
  api_.denied = {"patch pods/x-1", "create events/"};
  report = Look();
  AddRights(AskForRights(&api_, options_), &report);
  EXPECT_EQ(report.exit_status, kRightDenied);
  EXPECT_EQ(report.verdict, "x-0 is the primary; 2 of 11 rights are denied");
  const std::string text = DiscoveryText(report);
  EXPECT_THAT(text, HasSubstr("right      patch configmaps/authority: yes\n"));
  EXPECT_THAT(text,
              HasSubstr("right      patch pods/x-1: DENIED: without it its outcome and role"));
  EXPECT_THAT(text, HasSubstr("right      create events.events.k8s.io: DENIED"));
  EXPECT_THAT(DiscoveryJson(report), HasSubstr(R"("access":"delete pods/x-0","allowed":true)"));
}

// What a person has to do about the primary comes first.
TEST_F(DiscoverTest, ADoubtCountsMoreThanARight) {
  identity_.in_recovery = true;
  api_.denied = {"create events/"};
  DiscoveryReport report = Look();
  AddRights(AskForRights(&api_, options_), &report);
  EXPECT_EQ(report.exit_status, 10);
}

TEST_F(DiscoverTest, EachPresetNeedsTheRightsOfItsObjects) {
  const auto names = [this](const char* discovery) {
    options_.discovery = discovery;
    options_.cluster = "c";
    std::vector<std::string> found;
    for (const Right& right : NeededRights(options_)) found.push_back(AccessName(right.access));
    return found;
  };
  EXPECT_THAT(names("patroni"),
              testing::IsSupersetOf({"get endpoints/c", "get endpoints/c-config"}));
  EXPECT_THAT(names("lease"), testing::Contains("get leases.coordination.k8s.io/c"));
  EXPECT_THAT(names("service"), testing::Contains("list endpointslices.discovery.k8s.io"));
  EXPECT_THAT(names("static"), testing::Not(testing::Contains("list pods")));
}

TEST_F(DiscoverTest, EachDoubtHasItsStatus) {
  identity_.in_recovery = true;
  EXPECT_EQ(Look().exit_status, 10);
  identity_.in_recovery = false;
  api_.AddRecord({{"primary", "x-0"}, {"epoch", "2"}, {"system-identifier", "8"}});
  EXPECT_EQ(Look().exit_status, 20);
  api_.AddRecord({});
  EXPECT_EQ(Look().verdict, "nobody is named as primary");
  api_.down = true;
  const DiscoveryReport report = Look();
  EXPECT_EQ(report.exit_status, 10);
  EXPECT_EQ(report.verdict, "not known: the authority cannot be read");
  EXPECT_EQ(report.authority_says, "no answer from the API server");
}

TEST_F(DiscoverTest, ALockIsWatchedUntilItHasShownWhetherItCounts) {
  options_.discovery = "lease";
  options_.cluster = "db";
  api_.objects["Lease db"] =
      R"({"spec":{"holderIdentity":"x-0","renewTime":"t","leaseDurationSeconds":1}})";
  const DiscoveryReport report = Look();
  EXPECT_EQ(report.freshness, "stale");
  EXPECT_EQ(report.exit_status, 10);
  EXPECT_THAT(report.authority_says, HasSubstr("Lease db names x-0, and was not renewed for 1 s"));
}

}  // namespace
}  // namespace pgrejoin
