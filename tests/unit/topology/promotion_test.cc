#include "topology/promotion.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "unit/topology/fake_api.h"

namespace pgrejoin {
namespace {

constexpr uint64_t kSystem = 7000000000000000001;

TimelineHistory History(const std::string& text) { return *TimelineHistory::FromString(text); }

// A standby that promotes to timeline 2 at 0/5000.
class PromotionTest : public testing::Test {
 protected:
  PromotionTest() : store_(&api_, "authority") {
    api_.AddRecord({{"primary", "x-0"},
                    {"epoch", "1"},
                    {"system-identifier", std::to_string(kSystem)},
                    {"timeline", "1"},
                    {"history", "1@0/0"}});
    own_.system_identifier = kSystem;
    own_.in_recovery = true;
    own_.history = History("1@0/0");
    own_.flush_lsn = {0x5000};
    server_.identify = [this] { return own_; };
    server_.promote = [this] {
      named_at_promotion_ = api_.record().at("primary");
      steps_.push_back("promote");
      own_.in_recovery = false;
      own_.history = History("1@0/0,2@0/5000");
      return true;
    };
    server_.checkpoint = [this] { steps_.push_back("checkpoint"); };
    options_.own_pod = "x-1";
    options_.ask_primary = [](const std::string&) { return std::optional<SourceIdentity>(); };
  }

  void ExpectRefused(ErrorKind kind) {
    const auto before = api_.record();
    try {
      Promote(&store_, server_, options_);
      FAIL() << "promoted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.message();
    }
    EXPECT_EQ(api_.record(), before);
    EXPECT_EQ(std::count(steps_.begin(), steps_.end(), "promote"), 0);
  }

  // Another pod has taken the record meanwhile.
  void ExpectLost() {
    try {
      Promote(&store_, server_, options_);
      FAIL() << "promoted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kSourceChanged) << error.message();
    }
    EXPECT_EQ(api_.record().at("primary"), "x-2");
    EXPECT_TRUE(steps_.empty());
  }

  FakeApi api_;
  AuthorityStore store_;
  SourceIdentity own_;
  LocalServer server_;
  PromoteOptions options_;
  std::vector<std::string> steps_;
  std::string named_at_promotion_;
};

TEST_F(PromotionTest, RecordFirstThenServerThenBranch) {
  const PromoteResult result = Promote(&store_, server_, options_);
  EXPECT_FALSE(result.was_primary_already);
  EXPECT_EQ(named_at_promotion_, "x-1");
  EXPECT_EQ(steps_, (std::vector<std::string>{"promote", "checkpoint"}));
  EXPECT_EQ(api_.record().at("epoch"), "2");
  EXPECT_EQ(api_.record().at("timeline"), "2");
  EXPECT_EQ(api_.record().at("switch-lsn"), "0/5000");
  EXPECT_EQ(api_.record().at("history"), "1@0/0,2@0/5000");
  EXPECT_EQ(result.record.timeline, 2u);
}

TEST_F(PromotionTest, DeathAfterTheSwapLeavesNobodyAuthorisedAndCanBeFinished) {
  const auto promote = std::exchange(server_.promote, [this]() -> bool {
    throw Error(ErrorKind::kUnavailable, "connection lost");
  });
  EXPECT_THROW(Promote(&store_, server_, options_), Error);
  EXPECT_EQ(api_.record().at("primary"), "x-1");  // no longer x-0, and x-1 is still a standby
  EXPECT_EQ(api_.record().at("history"), "1@0/0");
  server_.promote = promote;
  const PromoteResult result = Promote(&store_, server_, options_);
  EXPECT_EQ(result.record.timeline, 2u);
  EXPECT_EQ(result.record.epoch, 2u);  // not counted twice
}

TEST_F(PromotionTest, SlowPromotionIsReportedAndCanBeFinished) {
  server_.promote = [] { return false; };
  EXPECT_THROW(Promote(&store_, server_, options_), Error);
  EXPECT_EQ(api_.record().at("primary"), "x-1");
}

TEST_F(PromotionTest, AgainIsIdempotent) {
  Promote(&store_, server_, options_);
  const auto record = api_.record();
  steps_.clear();
  EXPECT_TRUE(Promote(&store_, server_, options_).was_primary_already);
  EXPECT_TRUE(steps_.empty());
  EXPECT_EQ(api_.record(), record);
}

TEST_F(PromotionTest, CheckpointMayFail) {
  server_.checkpoint = [] { throw Error(ErrorKind::kUnavailable, "permission denied"); };
  EXPECT_EQ(Promote(&store_, server_, options_).record.timeline, 2u);
}

TEST_F(PromotionTest, PausedRecordRefuses) {
  api_.record()["paused"] = "true";
  ExpectRefused(ErrorKind::kNotRewindable);
}

// An interrupted promotion, or a volume restored from an old backup as a standby.
TEST_F(PromotionTest, StandbyThatTheRecordNamesAlreadyIsCheckedLikeAnyOther) {
  api_.record()["primary"] = "x-1";
  api_.record()["paused"] = "true";
  ExpectRefused(ErrorKind::kNotRewindable);
  api_.record().erase("paused");
  own_.system_identifier = kSystem + 1;
  ExpectRefused(ErrorKind::kNotRewindable);
  own_.system_identifier = kSystem;
  options_.require_caught_up = true;
  ExpectRefused(ErrorKind::kNotRewindable);
  options_.require_caught_up = false;
  api_.record()["history"] = "1@0/0,2@0/4000";
  ExpectRefused(ErrorKind::kNotRewindable);
  options_.force = true;
  const PromoteResult result = Promote(&store_, server_, options_);
  EXPECT_EQ(result.record.history->ToString(), "1@0/0,2@0/5000");
  EXPECT_EQ(result.record.epoch, 1u);
}

TEST_F(PromotionTest, RogueServerIsNoStandby) {
  own_.in_recovery = false;
  ExpectRefused(ErrorKind::kNotRewindable);
}

TEST_F(PromotionTest, OtherSystemRefuses) {
  own_.system_identifier = kSystem + 1;
  ExpectRefused(ErrorKind::kNotRewindable);
}

TEST_F(PromotionTest, StandbyWithoutTheRecordsBranchRefusesUnlessForced) {
  api_.record()["history"] = "1@0/0,2@0/4000";
  ExpectRefused(ErrorKind::kNotRewindable);
  options_.force = true;
  EXPECT_EQ(Promote(&store_, server_, options_).record.history->ToString(), "1@0/0,2@0/5000");
}

TEST_F(PromotionTest, StandbyWhoseControlFileLagsBehindReplayIsAskedForARestartpoint) {
  api_.record()["history"] = "1@0/0,2@0/4000";
  const auto restartpoint = [this] {
    steps_.push_back("checkpoint");
    if (own_.in_recovery) own_.history = History("1@0/0,2@0/4000");
  };
  server_.checkpoint = restartpoint;
  server_.promote = [this] {
    steps_.push_back("promote");
    own_.in_recovery = false;
    own_.history = History("1@0/0,2@0/4000,3@0/5000");
    return true;
  };
  EXPECT_EQ(Promote(&store_, server_, options_).record.timeline, 3u);
  EXPECT_EQ(steps_, (std::vector<std::string>{"checkpoint", "promote", "checkpoint"}));
}

TEST_F(PromotionTest, LagRefusesOnlyWhenAsked) {
  SourceIdentity primary = own_;
  primary.in_recovery = false;
  primary.flush_lsn = {0x6000};
  options_.ask_primary = [&](const std::string& pod) {
    EXPECT_EQ(pod, "x-0");
    return std::optional(primary);
  };
  options_.require_caught_up = true;
  ExpectRefused(ErrorKind::kNotRewindable);
  primary.flush_lsn = own_.flush_lsn;
  EXPECT_EQ(Promote(&store_, server_, options_).record.timeline, 2u);
}

TEST_F(PromotionTest, SilentPrimaryRefusesWhenAsked) {
  options_.require_caught_up = true;
  ExpectRefused(ErrorKind::kNotRewindable);
}

TEST_F(PromotionTest, RaceWithAnotherPromotionIsSeen) {
  api_.before_update = [this] {
    ConfigMap& map = api_.config_maps.at("authority");
    map.data["primary"] = "x-2";
    map.data["epoch"] = "2";
    map.resource_version = "50";
  };
  ExpectLost();
}

TEST_F(PromotionTest, RecordTakenAwayBeforeTheServerIsPromotedIsSeen) {
  class TakenAfterTheSwap : public FakeApi {
   public:
    UpdateOutcome UpdateConfigMap(const std::string& name, const std::string& version,
                                  const KeyChanges& data) override {
      const UpdateOutcome outcome = FakeApi::UpdateConfigMap(name, version, data);
      record()["primary"] = "x-2";
      record()["epoch"] = "3";
      return outcome;
    }
  } taken;
  taken.AddRecord(api_.record());
  AuthorityStore store(&taken, "authority");
  EXPECT_THROW(Promote(&store, server_, options_), Error);
  EXPECT_TRUE(steps_.empty());
}

TEST_F(PromotionTest, SwapLostToAChangeThatIsNoPromotionIsTriedAgain) {
  api_.before_update = [this] {
    api_.record()["somebody's own key"] = "value";
    api_.config_maps.at("authority").resource_version = "50";
  };
  EXPECT_EQ(Promote(&store_, server_, options_).record.timeline, 2u);
}

TEST_F(PromotionTest, HolderThatLosesTheRecordMeanwhileIsTold) {
  server_.checkpoint = [this] {
    ConfigMap& map = api_.config_maps.at("authority");
    map.data["primary"] = "x-2";
    map.resource_version = "50";
  };
  EXPECT_THROW(Promote(&store_, server_, options_), Error);
}

class ClaimTest : public PromotionTest {
 protected:
  ClaimTest() {
    api_.AddRecord({});
    evidence_.own_pod = "x-0";
    evidence_.authority = AuthorityState::kUnclaimed;
  }
  Evidence evidence_;
  DirectoryState local_;
};

TEST_F(ClaimTest, FirstWins) {
  EXPECT_TRUE(Claim(&store_, evidence_, local_));
  evidence_.own_pod = "x-1";
  EXPECT_FALSE(Claim(&store_, evidence_, local_));
  EXPECT_EQ(api_.record(),
            (std::map<std::string, std::string>{{"primary", "x-0"}, {"epoch", "1"}}));
}

TEST_F(ClaimTest, RaceIsLostByTheSlower) {
  api_.before_update = [this] {
    ConfigMap& map = api_.config_maps.at("authority");
    map.data = {{"primary", "x-1"}, {"epoch", "1"}};
    map.resource_version = "2";
  };
  EXPECT_FALSE(Claim(&store_, evidence_, local_));
}

TEST_F(ClaimTest, ApprovalIsUsedUp) {
  local_.kind = DirectoryKind::kPrimary;
  local_.system_identifier = kSystem;
  local_.history = History("1@0/0,2@0/5000");
  Approve(&store_, {"x-0", kSystem, local_.history.ToString()}, std::nullopt);
  evidence_.record = store_.Read().record;
  EXPECT_TRUE(Claim(&store_, evidence_, local_));
  const AuthorityRecord record = store_.Read().record;
  EXPECT_FALSE(record.approval);
  EXPECT_EQ(record.primary, "x-0");
  EXPECT_EQ(record.history, local_.history);
  EXPECT_FALSE(Claim(&store_, evidence_, local_));
}

TEST_F(ClaimTest, ApprovalsToLeadAndToDiscardDoNotTouchEachOther) {
  Approve(&store_, {"x-0", kSystem, "1@0/0"}, std::nullopt);
  Approve(&store_, {"x-1", kSystem, "1@0/0"}, 92);
  EXPECT_EQ(store_.Read().record.approval->pod, "x-0");
  EXPECT_EQ(store_.Read().record.discard->transactions, 92u);
  ::testing::internal::CaptureStderr();
  Approve(&store_, {"x-2", kSystem, "1@0/0"}, 7);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("pod x-1"), std::string::npos);
  DropApproval(&store_, "x-0");
  EXPECT_FALSE(store_.Read().record.approval);
  EXPECT_EQ(store_.Read().record.discard->data.pod, "x-2");
  DropApproval(&store_, "x-2");
  EXPECT_FALSE(store_.Read().record.discard);
}

TEST_F(ClaimTest, WithoutAnAuthorityOnlyTheApprovalGoes) {
  local_.kind = DirectoryKind::kPrimary;
  local_.system_identifier = kSystem;
  local_.history = History("1@0/0");
  Approve(&store_, {"x-0", kSystem, "1@0/0"}, std::nullopt);
  evidence_.authority = AuthorityState::kNone;
  evidence_.record_decides = false;
  evidence_.record = store_.Read().record;
  EXPECT_TRUE(Claim(&store_, evidence_, local_));
  EXPECT_TRUE(api_.record().empty());
}

TEST_F(ClaimTest, MalformedHistoryIsNotApproved) {
  EXPECT_THROW(Approve(&store_, {"x-0", kSystem, "2@0/5"}, std::nullopt), Error);
  EXPECT_TRUE(api_.record().empty());
}

TEST_F(PromotionTest, APauseIsOneKeyAndIsWrittenOnce) {
  const auto before = api_.record();
  EXPECT_TRUE(SetPaused(&store_, true).paused);
  auto expected = before;
  expected["paused"] = "true";
  EXPECT_EQ(api_.record(), expected);
  SetPaused(&store_, true);
  EXPECT_EQ(api_.writes, 1);
  EXPECT_FALSE(SetPaused(&store_, false).paused);
  EXPECT_EQ(api_.record(), before);
  SetPaused(&store_, false);
  EXPECT_EQ(api_.writes, 2);
}

TEST_F(PromotionTest, APauseKeepsWhatSomebodyElseWroteMeanwhile) {
  api_.before_update = [this] {
    api_.record()["epoch"] = "2";
    api_.record()["primary"] = "x-2";
    api_.config_maps.at("authority").resource_version = "5";
  };
  const AuthorityRecord record = SetPaused(&store_, true);
  EXPECT_EQ(record.primary, "x-2");
  EXPECT_EQ(api_.record().at("primary"), "x-2");
  EXPECT_EQ(api_.record().at("epoch"), "2");
  EXPECT_EQ(api_.record().at("paused"), "true");
}

TEST_F(PromotionTest, APauseWhoseAnswerWasLostIsDone) {
  api_.lost_answers = 1;
  EXPECT_TRUE(SetPaused(&store_, true).paused);
  EXPECT_EQ(api_.writes, 1);
}

TEST_F(PromotionTest, APauseIsNotTriedForEver) {
  int updates = 0;
  std::function<void()> change = [&] {
    api_.config_maps.at("authority").resource_version = std::to_string(10 * ++updates);
    api_.before_update = change;
  };
  api_.before_update = change;
  try {
    SetPaused(&store_, true);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  }
  EXPECT_LT(updates, 20);
  EXPECT_EQ(api_.record().count("paused"), 0u);
}

TEST_F(PromotionTest, ARecordThatNamesNobodyIsPausedAndStaysUnclaimed) {
  api_.AddRecord({});
  SetPaused(&store_, true);
  EXPECT_EQ(api_.record(), (std::map<std::string, std::string>{{"paused", "true"}}));
  EXPECT_EQ(store_.Read().record.primary, "");
  SetPaused(&store_, false);
  EXPECT_TRUE(api_.record().empty());
}

// Who promotes by an old look at the record must not go on.
TEST_F(PromotionTest, APauseInTheMiddleOfAPromotionStopsIt) {
  options_.ask_primary = [this](const std::string&) -> std::optional<SourceIdentity> {
    if (!store_.Read().record.paused) SetPaused(&store_, true);
    return std::nullopt;
  };
  try {
    Promote(&store_, server_, options_);
    ADD_FAILURE() << "promoted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotRewindable) << error.message();
    EXPECT_NE(error.hint().find("pg-rejoin resume"), std::string::npos) << error.hint();
  }
  EXPECT_EQ(api_.record().at("primary"), "x-0");
  EXPECT_TRUE(steps_.empty());
}

TEST_F(PromotionTest, CompletionNeedsTheRecordsBranch) {
  own_.in_recovery = false;
  EXPECT_TRUE(CompleteRecord(&store_, store_.Read(), [this] {
    SourceIdentity later = own_;
    later.history = History("1@0/0,2@0/5000");
    return later;
  }()));
  EXPECT_EQ(api_.record().at("history"), "1@0/0,2@0/5000");
  EXPECT_THROW(CompleteRecord(&store_, store_.Read(), own_), Error);
}

}  // namespace
}  // namespace pgrejoin
