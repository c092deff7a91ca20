#include "pod/sidecar.h"

#include <atomic>
#include <thread>

#include "pod/handover.h"
#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

using std::chrono::seconds;

constexpr uint64_t kSystem = 7000000000000000001;

class SidecarTest : public PodFixture {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    outside_.api = &api_;
    outside_.metrics = &metrics_;
    outside_.probe = [this] { return role_; };
    outside_.identify = [this] {
      ++identifications_;
      SourceIdentity identity;
      identity.system_identifier = kSystem;
      identity.in_recovery = role_ == LocalRole::kInRecovery;
      identity.history = *TimelineHistory::FromString(history_);
      identity.flush_lsn = flush_;
      return identity;
    };
    outside_.ask = [this](const std::string&) {
      if (primary_history_.empty()) throw Error(ErrorKind::kUnavailable, "no answer");
      SourceIdentity identity;
      identity.system_identifier = kSystem;
      identity.in_recovery = primary_in_recovery_;
      identity.history = *TimelineHistory::FromString(primary_history_);
      identity.flush_lsn = primary_flush_;
      return identity;
    };
    outside_.readiness_facts = [] { return ReadinessFacts(); };
    outside_.receives = [this] { return receives_; };
    outside_.keeps_wal = [this](const std::string& host, const TimelineHistory& line, Lsn lsn) {
      EXPECT_EQ(lsn, Lsn{0x5000});
      EXPECT_EQ(line.ToString(), host.empty() ? history_ : primary_history_);
      return host.empty() ? own_wal_ : primary_wal_;
    };
    options_.restart_pod = true;
    api_.AddRecord({{"primary", "x-0"}, {"epoch", "1"}});
    sidecar_ = std::make_unique<Sidecar>(options_, outside_);
  }

  // A step at a time when the API is asked again.
  void Step() {
    now_ += seconds(5);
    sidecar_->Step(now_);
  }
  // "": no label.
  std::string Label(const std::string& pod) {
    const auto& labels = api_.pods[pod].labels;
    const auto found = labels.find("pg-rejoin.io/role");
    return found == labels.end() ? "" : found->second;
  }
  void SetLabel(const std::string& pod, const std::string& role) {
    api_.pods[pod].labels["pg-rejoin.io/role"] = role;
  }

  MetricsBoard metrics_;
  SidecarDependencies outside_;
  std::unique_ptr<Sidecar> sidecar_;
  LocalRole role_ = LocalRole::kReadWrite;
  std::string history_ = "1@0/0";
  Lsn flush_{0x6000};
  std::string primary_history_;  // what the named other pod says; "": it does not answer
  bool primary_in_recovery_ = false;
  Lsn primary_flush_{0x9000};
  bool own_wal_ = true;
  bool primary_wal_ = true;
  bool receives_ = true;
  int identifications_ = 0;
  Sidecar::Clock::time_point now_{seconds(100)};
};

TEST_F(SidecarTest, HolderTakesTheLabelFromEveryoneElse) {
  SetLabel("x-1", "primary");
  Step();
  EXPECT_EQ(Label("x-0"), "primary");
  EXPECT_EQ(Label("x-1"), "");  // it may still run read-write; its own sidecar knows
  const size_t patches = api_.patches.size();
  Step();
  EXPECT_EQ(api_.patches.size(), patches);  // right already
}

TEST_F(SidecarTest, HolderIsLabelledThoughItMayNotTakeTheLabelFromAnother) {
  class Confined : public FakeApi {
   public:
    PatchOutcome PatchPodMetadata(const PodMetadataPatch& patch) override {
      if (patch.pod_name != "x-0") throw Error(ErrorKind::kUnavailable, "403 denied");
      return FakeApi::PatchPodMetadata(patch);
    }
  } confined;
  confined.AddRecord({{"primary", "x-0"}, {"epoch", "1"}});
  for (const char* pod : {"x-0", "x-1"}) confined.AddPod(pod);
  confined.pods["x-1"].labels["pg-rejoin.io/role"] = "primary";
  outside_.api = &confined;
  Sidecar sidecar(options_, outside_);
  sidecar.Step(now_);
  EXPECT_EQ(confined.pods["x-0"].labels["pg-rejoin.io/role"], "primary");
}

TEST_F(SidecarTest, HolderCompletesTheRecordAfterTheFirstStart) {
  Step();
  EXPECT_EQ(api_.record().at("system-identifier"), std::to_string(kSystem));
  EXPECT_EQ(api_.record().at("history"), "1@0/0");
  Step();
  Step();
  EXPECT_EQ(identifications_, 1);
}

TEST_F(SidecarTest, HolderFinishesTheRecordOfAPromotionThatWasCutShort) {
  api_.AddRecord({{"primary", "x-0"},
                  {"epoch", "2"},
                  {"system-identifier", std::to_string(kSystem)},
                  {"history", "1@0/0"}});
  role_ = LocalRole::kInRecovery;
  Step();
  EXPECT_EQ(Label("x-0"), "replica");
  role_ = LocalRole::kReadWrite;
  history_ = "1@0/0,2@0/5000";
  sidecar_->Step(now_ + seconds(1));  // at once: the role has changed
  EXPECT_EQ(Label("x-0"), "primary");
  EXPECT_EQ(api_.record().at("timeline"), "2");
}

TEST_F(SidecarTest, HolderOnAnotherBranchIsNotShownToClients) {
  api_.AddRecord({{"primary", "x-0"},
                  {"epoch", "2"},
                  {"system-identifier", std::to_string(kSystem)},
                  {"history", "1@0/0,2@0/4000"}});
  SetLabel("x-0", "primary");
  Step();
  EXPECT_EQ(Label("x-0"), "");
  EXPECT_EQ(api_.record().at("history"), "1@0/0,2@0/4000");
}

TEST_F(SidecarTest, ReadWritePodThatIsNotNamedIsOfferedToNobody) {
  api_.record()["primary"] = "x-1";
  SetLabel("x-1", "primary");
  for (const char* label : {"primary", "replica"}) {
    SetLabel("x-0", label);
    Step();
    EXPECT_EQ(Label("x-0"), "") << label;
    EXPECT_EQ(Label("x-1"), "primary");  // only the holder takes it from others
  }
}

TEST_F(SidecarTest, OnlyAServerInRecoveryIsCalledReplica) {
  api_.record()["primary"] = "x-1";
  role_ = LocalRole::kUnknown;
  Step();
  EXPECT_EQ(Label("x-0"), "");
  role_ = LocalRole::kInRecovery;
  Step();
  EXPECT_EQ(Label("x-0"), "replica");
  role_ = LocalRole::kUnknown;  // no free connection for a moment
  Step();
  EXPECT_EQ(Label("x-0"), "replica");
  SetLabel("x-0", "primary");
  Step();
  EXPECT_EQ(Label("x-0"), "");
}

TEST_F(SidecarTest, EmptiedOrUnreadableRecordChangesNoLabel) {
  Step();
  ASSERT_EQ(Label("x-0"), "primary");
  using Data = std::map<std::string, std::string>;
  for (const Data& data : {Data{}, Data{{"epoch", "5"}}, Data{{"primary", "no name!"}}}) {
    api_.AddRecord(data);
    for (const LocalRole role :
         {LocalRole::kReadWrite, LocalRole::kUnknown, LocalRole::kInRecovery}) {
      role_ = role;
      Step();
      EXPECT_EQ(Label("x-0"), "primary");
    }
  }
}

TEST_F(SidecarTest, SilentServerOfTheHolderKeepsItsLabel) {
  Step();
  role_ = LocalRole::kUnknown;
  Step();
  EXPECT_EQ(Label("x-0"), "primary");
}

class CountingApi : public FakeApi {
 public:
  std::optional<ConfigMap> GetConfigMap(const std::string& name) override {
    ++reads;
    return FakeApi::GetConfigMap(name);
  }
  int reads = 0;
};

TEST_F(SidecarTest, ApiIsAskedAtAModerateRate) {
  CountingApi counting;
  counting.AddRecord({{"primary", "x-1"}, {"epoch", "1"}});
  counting.AddPod("x-0");
  outside_.api = &counting;
  role_ = LocalRole::kInRecovery;
  Sidecar sidecar(options_, outside_);
  for (int second = 0; second < 20; ++second) sidecar.Step(now_ + seconds(second));
  EXPECT_EQ(counting.reads, 4 + 2);  // for the labels every 5 s, to compare every 15 s
}

// The watch of another record than the sidecar's, so that it is told of news by the test.
class WatchedTest : public SidecarTest {
 protected:
  void SetUp() override {
    SidecarTest::SetUp();
    watched_.AddRecord({});
    outside_.watch = &watch_;
    sidecar_ = std::make_unique<Sidecar>(options_, outside_);
    Step();
    thread_ = std::jthread([this](const std::stop_token& stop) { watch_.Run(stop); });
    while (!watch_.Works()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  class Watched : public FakeApi {
   public:
    bool AwaitConfigMapChange(const std::string&, const std::string&, seconds) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return changed.exchange(false);
    }
    std::atomic<bool> changed = false;
  } watched_;
  RecordWatch watch_{&watched_, "authority", seconds(0)};
  std::jthread thread_;
};

TEST_F(WatchedTest, AskedTwiceAMinuteWhileAllIsWell) {
  CountingApi counting;
  counting.AddRecord({{"primary", "x-1"}, {"epoch", "1"}});
  counting.AddPod("x-0");
  outside_.api = &counting;
  role_ = LocalRole::kInRecovery;
  primary_history_ = "1@0/0";
  int probes = 0;
  outside_.probe = [&] {
    ++probes;
    return role_;
  };
  Sidecar sidecar(options_, outside_);
  for (int second = 0; second < 60; ++second) sidecar.Step(now_ + seconds(second));
  EXPECT_EQ(counting.reads, 2 + 2);  // for the labels, and to compare
  EXPECT_EQ(probes, 12);
}

TEST_F(WatchedTest, AskedEveryFewSecondsWhileSomethingIsToBeDone) {
  CountingApi counting;
  counting.AddRecord({{"primary", "x-1"}, {"epoch", "1"}});
  counting.AddPod("x-0");
  outside_.api = &counting;
  role_ = LocalRole::kReadWrite;  // without the record
  Sidecar sidecar(options_, outside_);
  for (int second = 0; second < 20; ++second) sidecar.Step(now_ + seconds(second));
  EXPECT_EQ(counting.reads, 4 + 4);
}

TEST_F(WatchedTest, NewRecordIsActedOnAtOnce) {
  Step();
  sidecar_->Step(now_ + seconds(1));
  EXPECT_TRUE(api_.deleted.empty());
  api_.AddRecord({{"primary", "x-1"},
                  {"epoch", "2"},
                  {"system-identifier", std::to_string(kSystem)},
                  {"history", "1@0/0,2@0/5000"}});
  primary_history_ = "1@0/0,2@0/5000";
  sidecar_->Step(now_ + seconds(2));
  EXPECT_TRUE(api_.deleted.empty()) << "without news: this test shows nothing";
  watched_.changed = true;
  int rounds = 0;
  while (api_.deleted.empty() && ++rounds < 2000) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    sidecar_->Step(now_ + seconds(3));
  }
  EXPECT_FALSE(api_.deleted.empty());
}

TEST_F(SidecarTest, DeadApiIsLivedWith) {
  api_.down = true;
  for (int i = 0; i < 3; ++i) EXPECT_NO_THROW(Step());
  api_.down = false;
  Step();
  EXPECT_EQ(Label("x-0"), "primary");
}

TEST_F(SidecarTest, PassfileFollowsTheSecretEvenWithoutAnApi) {
  api_.down = true;
  Step();
  EXPECT_FALSE(ReadText(directory_ / "run/pgpass").empty());
}

TEST_F(SidecarTest, NamesakeIsNotLabelled) {
  api_.pods["x-0"].uid = "uid-of-the-next-one";
  Step();
  EXPECT_EQ(Label("x-0"), "");
}

TEST_F(SidecarTest, OtherDiscoveriesKeepNoLabels) {
  options_.discovery = "service";
  Step();
  EXPECT_TRUE(api_.patches.empty());
}

// Somebody else's Service leads to x-1; x-0 was rewound onto it.
class WithoutRecordTest : public SidecarTest {
 protected:
  void SetUp() override {
    SidecarTest::SetUp();
    options_.discovery = "service";
    options_.primary_service = "writer";
    options_.restart_pod = false;
    sidecar_ = std::make_unique<Sidecar>(options_, outside_);
    api_.endpoints = {{"10.0.0.1", "x-1", true}};
    api_.pods["x-0"].annotations["pg-rejoin.io/outcome"] = "rewound";
    role_ = LocalRole::kInRecovery;
    history_ = primary_history_ = "1@0/0,2@0/5000";
    primary_flush_ = flush_;
    receives_ = true;
  }
  std::string Outcome() { return api_.pods["x-0"].annotations["pg-rejoin.io/outcome"]; }
};

TEST_F(WithoutRecordTest, ARejoinIsProven) {
  Step();
  EXPECT_EQ(Outcome(), "rejoined");
  EXPECT_EQ(Label("x-0"), "");
}

TEST_F(WithoutRecordTest, NothingIsProvenByAServerThatIsNotConfirmed) {
  primary_in_recovery_ = true;
  Step();
  EXPECT_EQ(Outcome(), "rewound");
  primary_in_recovery_ = false;
  receives_ = false;
  Step();
  EXPECT_EQ(Outcome(), "rewound");
  receives_ = true;
  Step();
  EXPECT_EQ(Outcome(), "rejoined");
}

TEST_F(WithoutRecordTest, ItsRoleAndTimelineAreMetrics) {
  Step();
  const SidecarMetrics seen = metrics_.Read();
  EXPECT_EQ(seen.role, "standby");
  EXPECT_EQ(seen.timeline, 2u);
}

// x-1 was promoted at 0/5000.
class RejoinTest : public SidecarTest {
 protected:
  void SetUp() override {
    SidecarTest::SetUp();
    api_.AddRecord({{"primary", "x-1"},
                    {"epoch", "2"},
                    {"system-identifier", std::to_string(kSystem)},
                    {"history", "1@0/0,2@0/5000"}});
    primary_history_ = "1@0/0,2@0/5000";
  }
  bool Restarted() const { return !api_.deleted.empty(); }
};

TEST_F(RejoinTest, AStalePrimaryIsMadeAnewAtOnce) {
  Step();
  EXPECT_TRUE(Restarted());
  Step();
  EXPECT_EQ(api_.deleted, std::vector<std::string>{"x-0"});
}

TEST_F(RejoinTest, AlsoOneThatHasNothingToUndo) {
  flush_ = {0x5000};
  Step();
  EXPECT_TRUE(Restarted());
}

TEST_F(RejoinTest, OnlyForAPrimaryThatHasConfirmedIt) {
  primary_history_.clear();
  Step();
  EXPECT_FALSE(Restarted());
  primary_history_ = "1@0/0";  // still on the old branch
  Step();
  EXPECT_FALSE(Restarted());
  primary_history_ = "1@0/0,2@0/5000";
  primary_in_recovery_ = true;
  Step();
  EXPECT_FALSE(Restarted());
  primary_in_recovery_ = false;
  Step();
  EXPECT_TRUE(Restarted());
}

TEST_F(RejoinTest, AStandbyPastTheForkAfterTwoLooks) {
  role_ = LocalRole::kInRecovery;
  for (int step = 0; step < 3; ++step) Step();
  EXPECT_FALSE(Restarted());
  Step();
  EXPECT_TRUE(Restarted());
}

// It would be down for good afterwards; as it is, it answers reads.
TEST_F(RejoinTest, NotAStandbyThatCouldNotBeRewound) {
  role_ = LocalRole::kInRecovery;
  for (bool* kept : {&own_wal_, &primary_wal_}) {
    *kept = false;
    ::testing::internal::CaptureStderr();
    for (int step = 0; step < 20; ++step) Step();
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_FALSE(Restarted());
    const char* who = kept == &own_wal_ ? "its own server does not keep" : "x-1 does not keep";
    EXPECT_NE(log.find(who), std::string::npos) << log;
    EXPECT_EQ(log.find(who), log.rfind(who)) << log;  // once
    *kept = true;
  }
  own_wal_ = primary_wal_ = false;
  role_ = LocalRole::kReadWrite;  // that one must not go on, whatever comes after
  Step();
  EXPECT_TRUE(Restarted());
}

// What would be discarded is not known here: init might refuse, and nothing would answer.
TEST_F(RejoinTest, NotAStandbyWhereALimitMightRefuseItsRewind) {
  options_.max_discarded_transactions = 10;
  role_ = LocalRole::kInRecovery;
  ::testing::internal::CaptureStderr();
  for (int step = 0; step < 20; ++step) Step();
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_FALSE(Restarted());
  EXPECT_NE(log.find("delete pod x-0"), std::string::npos) << log;
  EXPECT_EQ(log.find("delete pod x-0"), log.rfind("delete pod x-0")) << log;  // once
  role_ = LocalRole::kReadWrite;
  Step();
  EXPECT_TRUE(Restarted());
}

TEST_F(RejoinTest, AStandbyThatOnlyLagsIsLeftAlone) {
  role_ = LocalRole::kInRecovery;
  flush_ = {0x5000};
  for (int step = 0; step < 20; ++step) Step();
  EXPECT_FALSE(Restarted());
}

TEST_F(RejoinTest, NotWhilePaused) {
  api_.record()["paused"] = "true";
  Step();
  EXPECT_FALSE(Restarted());
  api_.record().erase("paused");
  Step();
  EXPECT_TRUE(Restarted());
}

TEST_F(RejoinTest, NotWithoutLeave) {
  options_.restart_pod = false;
  Step();
  EXPECT_FALSE(Restarted());
}

// A person promoted it past the one that the record names.
TEST_F(RejoinTest, NotWhereInitWouldRefuse) {
  history_ = "1@0/0,2@0/5000,3@0/9800";
  flush_ = {0xa000};
  Step();
  EXPECT_FALSE(Restarted());
}

TEST_F(RejoinTest, AnApiThatStumblesIsAskedAgain) {
  api_.patches_denied = true;
  EXPECT_NO_THROW(Step());
  EXPECT_FALSE(Restarted());
  EXPECT_TRUE(api_.events.empty());  // of what has not happened
  api_.patches_denied = false;
  Step();
  EXPECT_TRUE(Restarted());
  EXPECT_EQ(api_.events.size(), 1u);
}

class RejoinedTest : public RejoinTest {
 protected:
  void SetUp() override {
    RejoinTest::SetUp();
    role_ = LocalRole::kInRecovery;
    history_ = primary_history_;
    flush_ = {0x9000};
    SetOutcome("rewound");
  }
  void SetOutcome(const std::string& outcome, const std::string& role = "primary") {
    auto& annotations = api_.pods["x-0"].annotations;
    annotations = {{"pg-rejoin.io/outcome", outcome},
                   {"pg-rejoin.io/role", role},
                   {"pg-rejoin.io/discarded-transactions", "5"}};
  }
  bool SaysRejoined() {
    Step();
    return api_.pods["x-0"].annotations["pg-rejoin.io/outcome"] == "rejoined";
  }
};

TEST_F(RejoinedTest, IsSaidOnceWhenTheServerFollows) {
  EXPECT_TRUE(SaysRejoined());
  auto& annotations = api_.pods["x-0"].annotations;
  EXPECT_EQ(annotations["pg-rejoin.io/message"],
            "streams from x-1 on timeline 2 and has replayed 0/9000");
  EXPECT_EQ(annotations["pg-rejoin.io/discarded-transactions"], "5");
  EXPECT_FALSE(annotations["pg-rejoin.io/rejoined-at"].empty());
  const size_t patches = api_.patches.size();
  Step();
  Step();
  EXPECT_EQ(api_.patches.size(), patches);
  ASSERT_EQ(api_.events.size(), 1u);
  EXPECT_EQ(api_.events[0].reason, "Rejoined");
}

TEST_F(RejoinedTest, NotBeforeItHasWhatThePrimaryHadAtTheFirstLook) {
  flush_ = {0x8fff};
  EXPECT_FALSE(SaysRejoined());
  primary_flush_ = {0xa000};  // runs ahead
  flush_ = {0x9000};
  EXPECT_TRUE(SaysRejoined());
}

TEST_F(RejoinedTest, NotWithoutAConnectedReceiver) {
  receives_ = false;
  EXPECT_FALSE(SaysRejoined());
  receives_ = true;
  EXPECT_TRUE(SaysRejoined());
}

TEST_F(RejoinedTest, NotOnAnotherTimelineThanThePrimarys) {
  history_ = "1@0/0";
  flush_ = {0x5000};
  EXPECT_FALSE(SaysRejoined());
}

TEST_F(RejoinedTest, NotByTheWordOfAPrimaryThatIsNotConfirmed) {
  primary_in_recovery_ = true;
  EXPECT_FALSE(SaysRejoined());
  primary_in_recovery_ = false;
  primary_history_.clear();  // no answer
  EXPECT_FALSE(SaysRejoined());
}

TEST_F(RejoinedTest, OnlyWhereSomethingHadToRejoin) {
  for (const char* outcome : {"started", "claimed", "waiting", "refused", "failed", ""}) {
    SetOutcome(outcome);
    EXPECT_FALSE(SaysRejoined()) << outcome;
  }
  SetOutcome("followed", "standby");  // an everyday restart
  EXPECT_FALSE(SaysRejoined());
  for (const char* outcome : {"followed", "resumed", "cloning"}) {
    SetOutcome(outcome);
    EXPECT_TRUE(SaysRejoined()) << outcome;
  }
}

TEST_F(RejoinTest, TheRunningServersBranchIsNotedForTheGate) {
  Step();
  const auto note = ReadDirectoryNote(options_);
  ASSERT_TRUE(note);
  EXPECT_EQ(note->system_identifier, kSystem);
  EXPECT_EQ(note->history.ToString(), "1@0/0");
}

TEST_F(SidecarTest, StopEndsItAtOnce) {
  std::stop_source stop;
  stop.request_stop();
  const auto begin = std::chrono::steady_clock::now();
  RunSidecar(options_, outside_, stop.get_token());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(500));
}

}  // namespace
}  // namespace pgrejoin
