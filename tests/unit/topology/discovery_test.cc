#include "topology/discovery.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>

#include "unit/topology/fake_api.h"

namespace pgrejoin {
namespace {

constexpr uint64_t kSystem = 7000000000000000001;

TimelineHistory History(const std::string& text) { return *TimelineHistory::FromString(text); }

class DiscoveryTest : public testing::Test {
 protected:
  DiscoveryTest() {
    options_.own_pod = "x-0";
    options_.name_space = "shop";
    options_.record = "authority";
    options_.primary_service = "x-primary";
    options_.headless_service = "x-headless";
    options_.pod_selector = "app=x";
    options_.role_label = "operator/role";
    options_.annotation_prefix = "pg-rejoin.io/";
    for (const char* pod : {"x-0", "x-1", "x-2"}) api_.AddPod(pod);
    local_.kind = DirectoryKind::kPrimary;
    local_.system_identifier = kSystem;
    local_.history = History("1@0/0");
    local_.end_of_wal = {0x5000};
  }

  Discovery Make() {
    return Discovery(&api_, options_, [this](const std::string& host) {
      const std::lock_guard lock(mutex_);
      asked_.insert(host);
      const auto found = servers_.find(host);
      if (found == servers_.end()) throw Error(ErrorKind::kUnavailable, "connection refused");
      return found->second;
    });
  }

  void AddServer(const std::string& host, bool in_recovery) {
    SourceIdentity identity;
    identity.system_identifier = kSystem;
    identity.history = History("1@0/0");
    identity.in_recovery = in_recovery;
    identity.flush_lsn = {0x4000};
    servers_[host] = identity;
  }

  FakeApi api_;
  DiscoveryOptions options_;
  DirectoryState local_;
  std::mutex mutex_;
  std::map<std::string, SourceIdentity> servers_;
  std::set<std::string> asked_;
};

TEST_F(DiscoveryTest, RecordNamesAnotherThatIsConfirmedBySql) {
  api_.AddRecord({{"primary", "x-1"}, {"epoch", "1"}});
  AddServer("x-1.x-headless.shop.svc", false);
  const Evidence evidence = Make().Gather(local_);
  EXPECT_EQ(evidence.authority, AuthorityState::kNamesOther);
  EXPECT_EQ(evidence.primary, "x-1");
  EXPECT_EQ(evidence.primary_state, PrimaryState::kConfirmed);
  EXPECT_EQ(evidence.primary_host, "x-1.x-headless.shop.svc");
}

TEST_F(DiscoveryTest, NamedButSilentIsUnreachable) {
  api_.AddRecord({{"primary", "x-1"}, {"epoch", "1"}});
  const Evidence evidence = Make().Gather(local_);
  EXPECT_EQ(evidence.primary_state, PrimaryState::kUnreachable);
  EXPECT_EQ(evidence.primary_problem, "connection refused");
}

TEST_F(DiscoveryTest, ApiDownIsUnreadable) {
  api_.down = true;
  const Evidence evidence = Make().Gather(local_);
  EXPECT_EQ(evidence.authority, AuthorityState::kUnreadable);
  EXPECT_EQ(evidence.authority_problem, "no answer from the API server");
  EXPECT_FALSE(evidence.peers_complete);
}

TEST_F(DiscoveryTest, ApiDownWithMembersAsksEachOne) {
  api_.down = true;
  options_.members = {"x-0", "x-1", "x-2"};
  AddServer("x-1.x-headless.shop.svc", true);
  const Evidence evidence = Make().Gather(local_);
  EXPECT_TRUE(evidence.peers_complete);
  ASSERT_EQ(evidence.peers.size(), 2u);
  EXPECT_TRUE(evidence.peers[0].identity);
  EXPECT_FALSE(evidence.peers[1].identity);
}

TEST_F(DiscoveryTest, MissingOrMalformedRecordIsUnreadable) {
  EXPECT_EQ(Make().Gather(local_).authority, AuthorityState::kUnreadable);
  api_.AddRecord({{"epoch", "5"}});
  EXPECT_EQ(Make().Gather(local_).authority, AuthorityState::kUnreadable);
}

// Annotations say what init has found, and stay: the first primary and every clone had found an
// empty directory.
TEST_F(DiscoveryTest, OnlyAPodThatWaitsWithAnEmptyDirectoryHasNoData) {
  local_ = {};
  struct Row {
    const char* phase;
    const char* outcome;
    const char* role;
    bool silent;
    bool has_data;
  };
  for (const Row& row : {
           Row{"Pending", "waiting", "empty", false, false},
           Row{"Running", "waiting", "empty", false, true},  // its last report was lost
           Row{"Running", "claimed", "empty", false, true},
           Row{"Pending", "started", "empty", false, true},
           Row{"Pending", "cloning", "empty", false, true},
           Row{"Pending", "waiting", "primary", false, true},
           Row{"Pending", "waiting", "", true, false},
           Row{"Pending", "", "", true, false},
       }) {
    api_.pods["x-1"].phase = row.phase;
    auto& annotations = api_.pods["x-1"].annotations;
    annotations = {{"pg-rejoin.io/outcome", row.outcome}, {"pg-rejoin.io/role", row.role}};
    using Data = std::map<std::string, std::string>;
    for (const Data& record : {Data{}, Data{{"primary", "x-0"}, {"epoch", "1"}}}) {
      api_.AddRecord(record);
      const Evidence evidence = Make().Gather(local_);
      ASSERT_EQ(evidence.peers.size(), 2u);
      EXPECT_EQ(evidence.peers[0].silent, row.silent) << row.outcome << " " << row.role;
      EXPECT_EQ(evidence.peers[0].has_data, row.has_data) << row.outcome << " " << row.role;
      EXPECT_TRUE(evidence.peers[1].silent);
    }
  }
}

TEST_F(DiscoveryTest, MembersWithoutAPodAreSilentPeers) {
  api_.AddRecord({});
  local_ = {};
  options_.members = {"x-0", "x-1", "x-2", "x-3"};
  const Evidence evidence = Make().Gather(local_);
  ASSERT_EQ(evidence.peers.size(), 3u);
  EXPECT_EQ(evidence.peers[2].pod, "x-3");
  EXPECT_TRUE(evidence.peers[2].silent);
  EXPECT_FALSE(evidence.peers[2].has_pod);
  EXPECT_TRUE(evidence.peers[0].has_pod);
}

TEST_F(DiscoveryTest, StandbyAsksOnlyThePrimary) {
  api_.AddRecord({{"primary", "x-1"}, {"epoch", "1"}});
  local_.kind = DirectoryKind::kStandby;
  Make().Gather(local_);
  EXPECT_EQ(asked_, std::set<std::string>{"x-1.x-headless.shop.svc"});
}

TEST_F(DiscoveryTest, ServiceNamesItsReadyEndpoint) {
  options_.preset = FindPreset("service");
  options_.record.clear();
  api_.endpoints = {
      {"10.0.0.5", "x-1", true}, {"fd00::5", "x-1", true}, {"10.0.0.6", "x-2", false}};
  AddServer("10.0.0.5", false);
  const Evidence evidence = Make().Gather(local_);
  EXPECT_EQ(evidence.authority, AuthorityState::kNone);
  EXPECT_EQ(evidence.primary, "x-1");
  EXPECT_EQ(evidence.primary_state, PrimaryState::kConfirmed);
}

TEST_F(DiscoveryTest, TwoReadyEndpointsAreAmbiguous) {
  options_.preset = FindPreset("service");
  api_.endpoints = {{"10.0.0.5", "x-1", true}, {"10.0.0.6", "x-2", true}};
  EXPECT_EQ(Make().Gather(local_).primary_state, PrimaryState::kAmbiguous);
}

TEST_F(DiscoveryTest, ServiceThatCannotBeReadIsNotNobody) {
  options_.preset = FindPreset("service");
  api_.down = true;
  options_.members = {"x-0"};
  const Evidence evidence = Make().Gather(local_);
  EXPECT_EQ(evidence.authority, AuthorityState::kNone);
  EXPECT_EQ(evidence.primary_state, PrimaryState::kUnreachable);
}

TEST_F(DiscoveryTest, LabelNamesThePodThatCarriesIt) {
  options_.preset = FindPreset("label");
  api_.pods["x-2"].labels["operator/role"] = "primary";
  api_.pods["x-2"].ip = "10.0.0.7";
  AddServer("10.0.0.7", true);
  const Evidence evidence = Make().Gather(local_);
  EXPECT_EQ(evidence.primary, "x-2");
  EXPECT_EQ(evidence.primary_state, PrimaryState::kInRecovery);
}

TEST_F(DiscoveryTest, ConfirmedAgainOnlyIfNothingChanged) {
  api_.AddRecord({{"primary", "x-1"}, {"epoch", "1"}});
  AddServer("x-1.x-headless.shop.svc", false);
  Discovery discovery = Make();
  const Evidence before = discovery.Gather(local_);
  EXPECT_NO_THROW(discovery.ConfirmAgain(before, local_));

  const auto kind_of = [&] {
    try {
      discovery.ConfirmAgain(before, local_);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  servers_.begin()->second.in_recovery = true;
  EXPECT_EQ(kind_of(), ErrorKind::kUnavailable);
  servers_.begin()->second.in_recovery = false;
  api_.record()["epoch"] = "2";
  EXPECT_EQ(kind_of(), ErrorKind::kSourceChanged);
  api_.record()["primary"] = "x-0";
  EXPECT_EQ(kind_of(), ErrorKind::kSourceChanged);
  api_.down = true;
  EXPECT_EQ(kind_of(), ErrorKind::kUnavailable);
}

}  // namespace
}  // namespace pgrejoin
