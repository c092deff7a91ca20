#include "pod/init.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "pod/handover.h"
#include "target/directory_lock.h"
#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

constexpr uint64_t kSystem = 7000000000000000001;

TimelineHistory History(const std::string& text) { return *TimelineHistory::FromString(text); }

// init never reads from it here: rewind is the test's own.
class SilentSource : public RewindSource {
 public:
  SourceIdentity Identify() override { return {}; }
  void ListFiles(const std::function<void(SourceFile)>&) override {}
  std::optional<std::string> ReadFile(const std::string&, size_t) override { return {}; }
  std::unique_ptr<SourceReader> OpenReader() override { return nullptr; }
  std::string PrimaryConninfo() const override { return "host=never-used"; }
};

class InitTest : public PodFixture {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    options_.deadline_s = 0;  // one look, unless a test wants more
    outside_.api = &api_;
    outside_.report_api = &api_;
    outside_.ask = [this](const std::string& host) {
      if (!primary_) throw Error(ErrorKind::kUnavailable, "connection to " + host + " refused");
      return *primary_;
    };
    outside_.connect = [this](const std::string& host) {
      connected_to_ = host;
      return std::make_unique<SilentSource>();
    };
    outside_.inspect = [this](const std::string&) {
      ++inspections_;
      return local_;
    };
    outside_.rewind = [this](const DirectoryLock& lock, RewindSource&,
                             const RewindOptions& rewind) {
      EXPECT_EQ(lock.pgdata(), options_.pgdata);
      rewind_options_ = rewind;
      if (before_publication_) before_publication_();
      rewind.confirm_source();
      if (result_.outcome != RewindOutcome::kNothingToDo) {
        ServerWrites("published");
        rewind.on_published(result_);
        if (after_publication_) after_publication_();
      }
      return result_;
    };
    local_.kind = DirectoryKind::kPrimary;
    local_.system_identifier = kSystem;
    local_.history = History("1@0/0");
    local_.end_of_wal = {0x5000};
    result_.outcome = RewindOutcome::kRewound;
    result_.source_timeline = 2;
    result_.fork_lsn = {0x4000};
    result_.discarded_transactions = 3;
  }

  void RecordNames(const std::string& pod) {
    api_.AddRecord({{"primary", pod},
                    {"epoch", "1"},
                    {"system-identifier", std::to_string(kSystem)},
                    {"history", "1@0/0"}});
  }
  void PrimaryRuns(const std::string& history) {
    SourceIdentity identity;
    identity.system_identifier = kSystem;
    identity.history = History(history);
    identity.flush_lsn = {0x9000};
    primary_ = identity;
  }
  void ServerWrites(const std::string& control) {
    std::filesystem::create_directories(options_.pgdata + "/global");
    std::ofstream(options_.pgdata + "/global/pg_control") << control;
  }
  int Run() { return RunInit(options_, outside_, stop_.get_token()); }
  std::string Annotation(const std::string& key) {
    return api_.pods["x-0"].annotations["pg-rejoin.io/" + key];
  }
  nlohmann::json Message() {
    return nlohmann::json::parse(ReadText(options_.termination_log), nullptr, false);
  }

  InitDependencies outside_;
  DirectoryState local_;
  std::optional<SourceIdentity> primary_;
  RewindResult result_;
  std::optional<RewindOptions> rewind_options_;
  std::function<void()> before_publication_;
  std::function<void()> after_publication_;
  std::string connected_to_;
  int inspections_ = 0;
  std::stop_source stop_;
};

TEST_F(InitTest, HealthyPrimaryStartsWithOneWrite) {
  RecordNames("x-0");
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "started");
  EXPECT_EQ(api_.writes, 1);
  EXPECT_FALSE(rewind_options_);
}

TEST_F(InitTest, OldPrimaryIsRewoundOntoTheConfirmedOne) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0,2@0/4000");
  EXPECT_EQ(Run(), 0);
  ASSERT_TRUE(rewind_options_);
  EXPECT_EQ(connected_to_, "x-1.x-headless.shop.svc");
  EXPECT_EQ(rewind_options_->extra_files, ExtraFiles::kKeepTarget);
  EXPECT_TRUE(rewind_options_->create_standby_signal);
  EXPECT_NE(rewind_options_->primary_conninfo.find("x-primary.shop.svc"), std::string::npos);
  EXPECT_EQ(rewind_options_->primary_conninfo.find("c4nary"), std::string::npos);
  EXPECT_EQ(Annotation("outcome"), "rewound");
  EXPECT_EQ(Annotation("discarded-transactions"), "3");
  EXPECT_EQ(Message()["outcome"], "rewound");
  ASSERT_EQ(api_.events.size(), 1u);
  EXPECT_EQ(api_.events[0].reason, "RejoinRewound");
  ASSERT_TRUE(ReadDirectoryNote(options_));
  EXPECT_EQ(ReadDirectoryNote(options_)->history.ToString(), "1@0/0,2@0/4000");
}

// For the sidecar, which cannot look.
TEST_F(InitTest, NotesWhatTheDirectoryIs) {
  RecordNames("x-0");
  EXPECT_EQ(Run(), 0);
  ASSERT_TRUE(ReadDirectoryNote(options_));
  EXPECT_EQ(ReadDirectoryNote(options_)->system_identifier, kSystem);
  EXPECT_EQ(ReadDirectoryNote(options_)->history.ToString(), "1@0/0");
  RecordNames("x-1");  // and is not there: what was noted before is not true any more
  EXPECT_EQ(Run(), 10);
  EXPECT_FALSE(ReadDirectoryNote(options_));
}

TEST_F(InitTest, ApprovalThatWasNotNeededIsTakenBack) {
  for (const auto& [approved, left] : {std::pair("x-0", 0), std::pair("x-1", 1)}) {
    RecordNames("x-1");
    PrimaryRuns("1@0/0,2@0/4000");
    api_.record()["approval-pod"] = approved;
    api_.record()["approval-system-identifier"] = std::to_string(kSystem);
    api_.record()["approval-history"] = "1@0/0";
    EXPECT_EQ(Run(), 0);
    EXPECT_EQ(Annotation("outcome"), "rewound");
    EXPECT_EQ(api_.record().count("approval-pod"), static_cast<size_t>(left)) << approved;
    EXPECT_EQ(api_.record().at("primary"), "x-1");
  }
}

// What a person may approve has to be known, also after a refusal by the rewind itself.
TEST_F(InitTest, LimitOfWhatIsDiscardedHoldsUntilThatMuchIsApproved) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0,2@0/4000");
  options_.max_discarded_transactions = 2;
  before_publication_ = [&] {
    if (rewind_options_->discarded_transactions_max < std::optional<uint64_t>(3)) {
      throw Error(ErrorKind::kNotRewindable, "would discard 3 transactions");
    }
  };
  EXPECT_EQ(Run(), 20);
  EXPECT_EQ(Annotation("outcome"), "refused");
  EXPECT_EQ(Annotation("history"), "1@0/0");
  EXPECT_EQ(Annotation("system-identifier"), std::to_string(kSystem));

  const auto approve = [&](const std::string& prefix, const char* transactions) {
    api_.record()[prefix + "-pod"] = "x-0";
    api_.record()[prefix + "-system-identifier"] = std::to_string(kSystem);
    api_.record()[prefix + "-history"] = "1@0/0";
    if (prefix == "discard") api_.record()["discard-transactions"] = transactions;
  };
  approve("approval", "");  // that is the word to lead, which is another
  EXPECT_EQ(Run(), 20);
  approve("discard", "1");  // no lower limit
  EXPECT_EQ(Run(), 20);
  EXPECT_EQ(rewind_options_->discarded_transactions_max, 2u);
  approve("discard", "3");
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "rewound");
  EXPECT_EQ(api_.record().count("discard-pod"), 0u);  // used up
  EXPECT_EQ(api_.record().count("approval-pod"), 0u);
  EXPECT_EQ(Run(), 20);
}

// What a rewind discarded, and whether it becomes known.
class DiscardsTest : public InitTest {
 protected:
  void SetUp() override {
    InitTest::SetUp();
    RecordNames("x-1");
    PrimaryRuns("1@0/0,2@0/4000");
    result_.target_timeline = 1;
    result_.target_end = {0x5000};
  }
  // The next pod's init: the directory is a standby on the primary's line by now.
  int RunAgain() {
    api_.AddPod("x-0");
    local_.kind = DirectoryKind::kStandby;
    local_.history = History("1@0/0,2@0/4000");
    result_ = {};
    result_.source_timeline = 2;
    return Run();
  }
  bool Noted() const { return std::filesystem::exists(options_.pgdata + ".discarded"); }
};

TEST_F(DiscardsTest, AreForgottenOnceTheyWereReportedAndAServerRan) {
  EXPECT_EQ(Run(), 0);
  EXPECT_TRUE(Noted());
  ServerWrites("a server's");
  EXPECT_EQ(RunAgain(), 0);
  EXPECT_EQ(Annotation("outcome"), "followed");
  EXPECT_EQ(Annotation("discarded-transactions"), "0");
  EXPECT_FALSE(Noted());
}

TEST_F(DiscardsTest, OfARunThatEndedBeforeItsReportAreToldByTheNext) {
  after_publication_ = [] { throw Error(ErrorKind::kInternal, "killed"); };
  EXPECT_NE(Run(), 0);
  EXPECT_EQ(Annotation("discarded-transactions"), "");
  EXPECT_EQ(RunAgain(), 0);
  EXPECT_EQ(Annotation("outcome"), "rewound");
  EXPECT_EQ(Annotation("discarded-transactions"), "3");
  EXPECT_NE(Annotation("message").find("an earlier run discarded 3 transactions"),
            std::string::npos);
  EXPECT_EQ(Message()["discardedTransactions"], 3);
  ServerWrites("a server's");
  EXPECT_EQ(RunAgain(), 0);
  EXPECT_EQ(Annotation("discarded-transactions"), "0");
}

// It is not written twice what one rewind discarded, however often it is finished.
TEST_F(DiscardsTest, OfOneRewindCountOnce) {
  after_publication_ = [] { throw Error(ErrorKind::kInternal, "killed"); };
  EXPECT_NE(Run(), 0);
  after_publication_ = nullptr;
  result_.outcome = RewindOutcome::kResumed;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "resumed");
  EXPECT_EQ(Annotation("discarded-transactions"), "3");
  EXPECT_EQ(Annotation("message").find("an earlier run"), std::string::npos);
}

TEST_F(DiscardsTest, ThatNobodyHeardOfAreAddedToThoseOfALaterRewind) {
  api_.patches_denied = true;
  EXPECT_EQ(Run(), 0);
  api_.patches_denied = false;
  ServerWrites("a server's, which was primary later");
  local_.history = History("1@0/0,2@0/4000");
  result_.target_timeline = 2;
  result_.target_end = {0x7000};
  result_.discarded_transactions = 4;
  PrimaryRuns("1@0/0,2@0/4000,3@0/4800");
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("discarded-transactions"), "7");
  EXPECT_NE(Annotation("message").find("4 transactions discarded, 0 bytes copied; an earlier run "
                                       "discarded 3 transactions"),
            std::string::npos)
      << Annotation("message");
}

TEST_F(DiscardsTest, AreToldTwiceWhereNobodyLetsUsAnnotate) {
  api_.patches_denied = true;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Message()["discardedTransactions"], 3);
  ServerWrites("a server's");
  EXPECT_EQ(RunAgain(), 0);
  EXPECT_EQ(Message()["outcome"], "rewound");
  EXPECT_EQ(Message()["discardedTransactions"], 3);
  EXPECT_EQ(RunAgain(), 0);
  EXPECT_EQ(Message()["outcome"], "followed");
  EXPECT_EQ(Message()["discardedTransactions"], 0);
  EXPECT_FALSE(Noted());
}

// The note says where the directory was then, not where it is.
TEST_F(DiscardsTest, TheTimelineIsTheOneOfNow) {
  api_.patches_denied = true;
  EXPECT_EQ(Run(), 0);
  api_.patches_denied = false;
  ServerWrites("a server's, which was promoted");
  RecordNames("x-0");
  local_.history = History("1@0/0,2@0/4000,3@0/6000");
  primary_.reset();
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "started");
  EXPECT_EQ(Annotation("timeline"), "3");
  EXPECT_EQ(Annotation("discarded-transactions"), "3");
  EXPECT_FALSE(Message().contains("timeline"));
}

TEST_F(DiscardsTest, ThatWereReportedAreNotAddedToALaterRewind) {
  EXPECT_EQ(Run(), 0);
  result_.target_timeline = 2;  // no server has run in between
  result_.target_end = {0x7000};
  result_.discarded_transactions = 4;
  PrimaryRuns("1@0/0,2@0/4000,3@0/4800");
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("discarded-transactions"), "4");
}

TEST_F(DiscardsTest, ANoteThatIsDamagedKeepsNoServerDown) {
  std::ofstream(options_.pgdata + ".discarded") << "{}";
  EXPECT_EQ(RunAgain(), 0);
  EXPECT_EQ(Annotation("outcome"), "followed");
}

TEST_F(InitTest, StandbyWithNothingToDoIsOneWrite) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0");
  local_.kind = DirectoryKind::kStandby;
  result_ = {};
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "followed");
  EXPECT_EQ(api_.writes, 1);
}

TEST_F(InitTest, UnreachablePrimaryEndsInStatus10AfterTellingOurState) {
  RecordNames("x-1");
  options_.deadline_s = 1;
  EXPECT_EQ(Run(), 10);
  EXPECT_EQ(Annotation("outcome"), "waiting");
  EXPECT_EQ(Annotation("reason"), "PrimaryUnreachable");
  EXPECT_EQ(Annotation("system-identifier"), std::to_string(kSystem));
  EXPECT_EQ(Annotation("end-of-wal"), "0/5000");
  EXPECT_EQ(Annotation("history"), "1@0/0");
  EXPECT_EQ(Annotation("role"), "primary");
  EXPECT_EQ(inspections_, 1);  // nothing was changed: one look is enough
  EXPECT_EQ(Message()["exitStatus"], 10);
  EXPECT_FALSE(rewind_options_);
}

TEST_F(InitTest, WaitsUntilThePrimaryIsThere) {
  RecordNames("x-1");
  options_.deadline_s = 30;
  std::jthread later([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop_.request_stop();
  });
  EXPECT_EQ(Run(), 10);
  EXPECT_EQ(Message()["reason"], "Interrupted");
}

TEST_F(InitTest, PrimaryThatChangesJustBeforePublicationLeavesTheDirectoryFenced) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0,2@0/4000");
  before_publication_ = [this] { api_.record()["epoch"] = "2"; };
  EXPECT_EQ(Run(), 11);
  EXPECT_EQ(Annotation("reason"), "SourceChanged");
}

TEST_F(InitTest, LostSourceIsTriedAgainWithinTheDeadline) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0,2@0/4000");
  options_.deadline_s = 10;
  int tries = 0;
  const auto rewind = outside_.rewind;
  outside_.rewind = [&, rewind](const DirectoryLock& lock, RewindSource& source,
                                const RewindOptions& rewind_options) {
    if (++tries == 1) {
      local_.kind = DirectoryKind::kHalfRewound;
      throw Error(ErrorKind::kUnavailable, "connection lost");
    }
    return rewind(lock, source, rewind_options);
  };
  result_.outcome = RewindOutcome::kResumed;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(tries, 2);
  EXPECT_EQ(inspections_, 2);
  EXPECT_EQ(Annotation("outcome"), "resumed");
  EXPECT_EQ(Annotation("attempt"), "2");
}

TEST_F(InitTest, UntouchedRefusalIsStatus20AndFailingTargetIs30) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0,2@0/4000");
  outside_.rewind = [](const DirectoryLock&, RewindSource&, const RewindOptions&) -> RewindResult {
    throw Error(ErrorKind::kNotRewindable, "WAL is missing", "Clone it.");
  };
  EXPECT_EQ(Run(), 20);
  EXPECT_EQ(Annotation("outcome"), "refused");
  EXPECT_EQ(Message()["hint"], "Clone it.");
  outside_.rewind = [](const DirectoryLock&, RewindSource&, const RewindOptions&) -> RewindResult {
    throw Error(ErrorKind::kTargetFailed, "no space left on device");
  };
  EXPECT_EQ(Run(), 30);
  EXPECT_EQ(Annotation("outcome"), "failed");
}

TEST_F(InitTest, OtherSystemIsRefusedWithStatus20) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0");
  local_.system_identifier = kSystem + 1;
  EXPECT_EQ(Run(), 20);
  EXPECT_EQ(Annotation("reason"), "OtherSystem");
  EXPECT_EQ(api_.events.back().reason, "RejoinRefused");
}

TEST_F(InitTest, FirstInstallIsClaimedByOne) {
  api_.AddRecord({});
  api_.pods["x-1"].annotations["pg-rejoin.io/role"] = "empty";
  api_.pods["x-1"].annotations["pg-rejoin.io/outcome"] = "waiting";
  api_.pods["x-1"].phase = "Pending";
  local_ = {};
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "claimed");
  EXPECT_EQ(api_.record().at("primary"), "x-0");
  // Killed before initdb: the next run finds itself named and starts.
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "started");
}

TEST_F(InitTest, FirstInitialisationThatWasCutShortBeginsAnewBesideWhatItLeft) {
  api_.AddRecord({{"primary", "x-0"}, {"epoch", "1"}});
  outside_.inspect = InspectDirectory;
  const std::filesystem::path pgdata = options_.pgdata;
  for (const char* aside : {".half-made.1", ".half-made.2", ".half-made.3"}) {
    std::filesystem::create_directories(pgdata / "global");
    std::ofstream(pgdata / "PG_VERSION") << "17\n";
    std::ofstream(options_.pgdata + ".initialising").flush();
    EXPECT_EQ(Run(), 0);
    EXPECT_EQ(Annotation("reason"), "InitdbCutShort");
    EXPECT_FALSE(std::filesystem::exists(pgdata));
    EXPECT_EQ(ReadText(options_.pgdata + aside + "/PG_VERSION"), "17\n");
  }
  // Killed again before initdb: an empty directory beside the mark is an empty one.
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("reason"), "Claimed");
  // Not for ever.
  std::filesystem::create_directories(pgdata);
  std::ofstream(pgdata / "PG_VERSION") << "17\n";
  EXPECT_EQ(Run(), 30);
  EXPECT_TRUE(std::filesystem::exists(pgdata / "PG_VERSION"));
}

TEST_F(InitTest, MarkedDirectoryIsNotTouchedWhereTheRecordKnowsTheSystem) {
  RecordNames("x-0");
  outside_.inspect = InspectDirectory;
  std::ofstream(options_.pgdata + "/PG_VERSION") << "17\n";
  std::ofstream(options_.pgdata + ".initialising").flush();
  EXPECT_EQ(Run(), 30);
  EXPECT_EQ(Annotation("reason"), "HalfMade");
  EXPECT_EQ(ReadText(options_.pgdata + "/PG_VERSION"), "17\n");
}

TEST_F(InitTest, EmptyReplicaAsksForACloneOfTheConfirmedPrimary) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0");
  local_ = {};
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Annotation("outcome"), "cloning");
  EXPECT_NE(ReadText(directory_ / "run/clone-from").find("x-1.x-headless.shop.svc"),
            std::string::npos);
  ASSERT_TRUE(ReadDirectoryNote(options_));
  EXPECT_EQ(ReadDirectoryNote(options_)->system_identifier, kSystem);
  // The next run has other plans, and the clone container must not act on the old ones.
  primary_.reset();
  EXPECT_EQ(Run(), 10);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "run/clone-from"));
}

TEST_F(InitTest, DirectoryOfARunningServerIsWaitedFor) {
  RecordNames("x-0");
  options_.deadline_s = 20;
  std::optional<DirectoryLock> old_server = DirectoryLock::Acquire(options_.pgdata);
  std::jthread ends([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    old_server.reset();
  });
  EXPECT_EQ(Run(), 0);
  ASSERT_GE(api_.patches.size(), 2u);
  EXPECT_EQ(api_.patches[0].annotations.at("pg-rejoin.io/reason"), "TargetInUse");
  EXPECT_EQ(Annotation("outcome"), "started");
}

TEST_F(InitTest, DirectoryThatStaysInUseIsStatus21) {
  RecordNames("x-0");
  const DirectoryLock old_server = DirectoryLock::Acquire(options_.pgdata);
  EXPECT_EQ(Run(), 21);
  EXPECT_EQ(inspections_, 0);
  EXPECT_EQ(Message()["outcome"], "waiting");
  EXPECT_EQ(Message()["reason"], "TargetInUse");
}

TEST_F(InitTest, WidenedDirectoryModeIsRestored) {
  RecordNames("x-0");
  ASSERT_EQ(::chmod(options_.pgdata.c_str(), 02770), 0);
  EXPECT_EQ(Run(), 0);
  struct stat status {};
  ASSERT_EQ(::stat(options_.pgdata.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_F(InitTest, DeniedPatchChangesNothingOfTheWork) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0,2@0/4000");
  api_.patches_denied = true;
  EXPECT_EQ(Run(), 0);
  EXPECT_TRUE(rewind_options_);
  EXPECT_EQ(Message()["outcome"], "rewound");
  EXPECT_NE(Message()["reportProblem"].get<std::string>().find("403"), std::string::npos);
}

TEST_F(InitTest, ApiDownNeverStartsAFormerPrimary) {
  api_.down = true;
  EXPECT_EQ(Run(), 10);
  EXPECT_EQ(Message()["reason"], "AuthorityUnreadable");
}

TEST_F(InitTest, ApiDownLetsAStandbyServe) {
  api_.down = true;
  local_.kind = DirectoryKind::kStandby;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Message()["outcome"], "started");
}

TEST_F(InitTest, NoSecretIsToldAnywhere) {
  RecordNames("x-1");
  PrimaryRuns("1@0/0,2@0/4000");
  EXPECT_EQ(Run(), 0);
  std::string told = ReadText(options_.termination_log);
  for (const auto& [key, value] : api_.pods["x-0"].annotations) told += key + value;
  for (const NewEvent& event : api_.events) told += event.note;
  EXPECT_EQ(told.find("c4nary"), std::string::npos);
}

}  // namespace
}  // namespace pgrejoin
