#include "pod/gatekeeper.h"

#include "pod/handover.h"
#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

using std::chrono::seconds;

constexpr uint64_t kSystem = 7000000000000000001;
const std::string kNonce = "0123456789abcdef0123456789abcdef";

class GatekeeperTest : public PodFixture {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    options_.gate_dir = directory_ / "gate";
    options_.restart_pod = true;
    options_.members = "x-0,x-1";
    std::filesystem::create_directory(options_.gate_dir);
    Note("1@0/0");
    NamePrimary("x-0");
    SetPeer("1@0/0", /*in_recovery=*/true);
    const AskServer ask = [this](const std::string& host) {
      ++asked_;
      if (!peer_) throw Error(ErrorKind::kUnavailable, "no answer from " + host);
      return *peer_;
    };
    keeper_ = std::make_unique<Gatekeeper>(options_, &api_, ask, &metrics_);
  }

  // What init has found.
  void Note(const std::string& history) {
    WriteDirectoryNote(options_, {kSystem, *TimelineHistory::FromString(history)});
  }
  void NamePrimary(const std::string& pod, const std::string& history = "1@0/0") {
    api_.AddRecord({{"primary", pod},
                    {"epoch", "1"},
                    {"system-identifier", std::to_string(kSystem)},
                    {"history", history}});
  }
  void SetPeer(const std::string& history, bool in_recovery) {
    peer_.emplace();
    peer_->system_identifier = kSystem;
    peer_->in_recovery = in_recovery;
    peer_->history = *TimelineHistory::FromString(history);
    peer_->flush_lsn = {0x9000};
  }
  void Request(const std::string& text) { std::ofstream(options_.gate_dir + "/request") << text; }
  // The answer after a look; "": none.
  std::string Look() {
    now_ += seconds(10);
    keeper_->Step(now_);
    return ReadText(options_.gate_dir + "/answer");
  }

  MetricsBoard metrics_;
  std::unique_ptr<Gatekeeper> keeper_;
  std::optional<SourceIdentity> peer_;
  int asked_ = 0;
  Gatekeeper::Clock::time_point now_{seconds(100)};
};

TEST_F(GatekeeperTest, NobodyAsks) {
  EXPECT_EQ(Look(), "");
  EXPECT_EQ(asked_, 0);
}

TEST_F(GatekeeperTest, TheHolderMayStart) {
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), kNonce + " go\n");
  const int asked = asked_;
  Look();
  EXPECT_EQ(asked_, asked);  // one answer for one request
}

TEST_F(GatekeeperTest, WhoeverIsNotNamedIsMadeAnew) {
  NamePrimary("x-1", "1@0/0,2@0/5000");
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/false);
  Request(kNonce + " primary\n");
  EXPECT_TRUE(Look().starts_with(kNonce + " no: ")) << Look();
  EXPECT_EQ(api_.deleted, std::vector<std::string>{"x-0"});
  ASSERT_EQ(api_.events.size(), 1u);
  EXPECT_EQ(api_.events[0].reason, "PodRestarted");
}

TEST_F(GatekeeperTest, WithoutLeaveToRestartThePodStays) {
  options_.restart_pod = false;
  NamePrimary("x-1", "1@0/0,2@0/5000");
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/false);
  Request(kNonce + " primary\n");
  EXPECT_TRUE(Look().starts_with(kNonce + " no: "));
  EXPECT_TRUE(api_.deleted.empty());
}

TEST_F(GatekeeperTest, TheNamedOneHasToBeThere) {
  NamePrimary("x-1", "1@0/0,2@0/5000");
  peer_.reset();
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), "");
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/true);
  EXPECT_EQ(Look(), "");
  EXPECT_TRUE(api_.deleted.empty());
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/false);
  EXPECT_TRUE(Look().starts_with(kNonce + " no: "));
}

TEST_F(GatekeeperTest, APausedRecordLeavesEverythingAsItIs) {
  NamePrimary("x-1", "1@0/0,2@0/5000");
  api_.record()["paused"] = "true";
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/false);
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), "");
  EXPECT_TRUE(api_.deleted.empty());
}

// Its server was promoted in this pod's life: init's note is of before.
TEST_F(GatekeeperTest, TheRecordKnowsTheHoldersLaterBranch) {
  NamePrimary("x-0", "1@0/0,2@0/5000");
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/true);
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), kNonce + " go\n");
}

TEST_F(GatekeeperTest, AVolumeOfAnotherBranchThanTheRecordsMayNotStart) {
  Note("1@0/0,2@0/4000");
  NamePrimary("x-0", "1@0/0,2@0/5000");
  Request(kNonce + " primary\n");
  EXPECT_TRUE(Look().starts_with(kNonce + " no: "));
  EXPECT_TRUE(api_.deleted.empty());  // init would refuse as well
}

TEST_F(GatekeeperTest, ARivalHoldsTheHolderBack) {
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/false);
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), "");
  SetPeer("1@0/0", /*in_recovery=*/true);
  EXPECT_EQ(Look(), kNonce + " go\n");
}

TEST_F(GatekeeperTest, FirstInstall) {
  RemoveDirectoryNote(options_);
  api_.AddRecord({{"primary", "x-0"}, {"epoch", "1"}});
  peer_.reset();
  Request(kNonce + " empty\n");
  EXPECT_EQ(Look(), kNonce + " go\n");
  // The container again, before the sidecar has completed the record.
  const std::string again = "1" + kNonce.substr(1);
  Request(again + " primary\n");
  EXPECT_EQ(Look(), again + " go\n");
}

TEST_F(GatekeeperTest, WithoutTheApiEveryMemberHasToFollow) {
  api_.down = true;
  peer_.reset();
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), "");
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/false);
  EXPECT_EQ(Look(), "");
  SetPeer("1@0/0", /*in_recovery=*/true);
  EXPECT_EQ(Look(), kNonce + " go\n");
}

// A container that dies before the sidecar has seen its server.
TEST_F(GatekeeperTest, WithoutANoteOnlyTheAuthorityIsJudged) {
  RemoveDirectoryNote(options_);
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), kNonce + " go\n");
  const std::string again = "1" + kNonce.substr(1);
  NamePrimary("x-1", "1@0/0,2@0/5000");
  Request(again + " primary\n");
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/true);
  EXPECT_EQ(Look(), kNonce + " go\n");  // no answer yet
  SetPeer("1@0/0,2@0/5000", /*in_recovery=*/false);
  EXPECT_TRUE(Look().starts_with(again + " no: "));
  EXPECT_EQ(api_.deleted, std::vector<std::string>{"x-0"});
}

TEST_F(GatekeeperTest, WithoutANoteNorTheApiNothingStarts) {
  RemoveDirectoryNote(options_);
  api_.down = true;
  Request(kNonce + " primary\n");
  EXPECT_EQ(Look(), "");
}

TEST_F(GatekeeperTest, AnotherSystemIsRefused) {
  WriteDirectoryNote(options_, {kSystem + 1, *TimelineHistory::FromString("1@0/0")});
  Request(kNonce + " primary\n");
  EXPECT_TRUE(Look().starts_with(kNonce + " no: system identifier"));
  EXPECT_TRUE(api_.deleted.empty());
}

TEST_F(GatekeeperTest, ALongAnswerFitsTheGate) {
  std::string history = "1@0/0";
  for (int n = 2; n < 60; ++n)
    history += "," + std::to_string(n) + "@0/" + std::to_string(n) + "000";
  Note(history);
  NamePrimary("x-0", "1@0/0,2@0/7000");
  Request(kNonce + " primary\n");
  const std::string answer = Look();
  EXPECT_TRUE(answer.starts_with(kNonce + " no: ")) << answer;
  EXPECT_LT(answer.size(), 512u);
  EXPECT_TRUE(answer.ends_with('\n'));
}

TEST_F(GatekeeperTest, ForeignTextIsNoRequest) {
  for (const std::string& text :
       {std::string(), kNonce, kNonce + " primary", kNonce + " other\n",
        "go " + kNonce + " primary\n", std::string(40, 'a') + " primary\n",
        "../" + kNonce.substr(3) + " primary\n", std::string(1 << 20, 'x')}) {
    Request(text);
    EXPECT_EQ(Look(), "") << text.substr(0, 60);
  }
  EXPECT_EQ(asked_, 0);
}

}  // namespace
}  // namespace pgrejoin
