#include "pod/readiness_watch.h"

#include "pod/handover.h"
#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

class ReadinessWatchTest : public PodFixture {
 protected:
  void SetUp() override {
    PodFixture::SetUp();
    server_.version_number = 180000;
    server_.checksums = true;
    server_.full_page_writes = true;
    server_.wal_level = "replica";
    server_.wal_senders_max = 5;
    server_.wal_keep_bytes = 1000 << 20;
    server_.rewind_role = {"rewind", true};
    server_.replication_role = {"replicator", true};
    server_.replicates = true;
    watch_ = std::make_unique<ReadinessWatch>(
        options_, &api_,
        [this] {
          ++looks_;
          ReadinessFacts facts;
          if (answers_) facts.server = server_;
          if (answers_) facts.rewind_login = login_;
          facts.no_answer = answers_ ? "" : "no answer from the server";
          facts.disk = DiskSpace{100, 100, 0};
          facts.disk->free_bytes = facts.disk->total_bytes = uint64_t{1} << 40;
          return facts;
        },
        &metrics_);
  }
  // A look, at a time when it is due.
  void Look() {
    now_ += minutes(1);
    watch_->Step(now_);
  }
  std::string Annotation(const std::string& key) {
    return api_.pods["x-0"].Annotation("pg-rejoin.io/" + key);
  }

  ServerFacts server_;
  LoginAttempt login_;
  bool answers_ = true;
  int looks_ = 0;
  MetricsBoard metrics_;
  std::unique_ptr<ReadinessWatch> watch_;
  ReadinessWatch::Clock::time_point now_{seconds(100)};
};

TEST_F(ReadinessWatchTest, LooksOnceAMinuteAndWritesOnlyWhatHasChanged) {
  Look();
  EXPECT_EQ(Annotation("rewindable"), "true");
  EXPECT_EQ(Annotation("rewindable-reason"), "");
  watch_->Step(now_ + seconds(59));
  EXPECT_EQ(looks_, 1);
  Look();
  EXPECT_EQ(looks_, 2);
  EXPECT_EQ(api_.patches.size(), 1U);
  EXPECT_TRUE(api_.events.empty());
}

TEST_F(ReadinessWatchTest, ANoIsAnEventOnceAndIsTakenBack) {
  Look();
  server_.full_page_writes = false;
  Look();
  Look();
  EXPECT_EQ(Annotation("rewindable"), "false");
  EXPECT_EQ(Annotation("rewindable-reason"), "full_page_writes: full_page_writes is off");
  ASSERT_EQ(api_.events.size(), 1U);
  EXPECT_EQ(api_.events[0].reason, "NotRewindable");
  server_.checksums = false;  // the reason grows, the answer stays
  Look();
  EXPECT_EQ(api_.events.size(), 1U);
  EXPECT_NE(Annotation("rewindable-reason").find("checksums_or_hints"), std::string::npos);
  server_.full_page_writes = server_.checksums = true;
  Look();
  EXPECT_EQ(Annotation("rewindable"), "true");
  EXPECT_EQ(api_.pods["x-0"].annotations.count("pg-rejoin.io/rewindable-reason"), 0U);
  EXPECT_EQ(api_.events.size(), 1U);
}

TEST_F(ReadinessWatchTest, ARestartOfTheSidecarRepeatsNothing) {
  api_.pods["x-0"].annotations["pg-rejoin.io/rewindable"] = "false";
  api_.pods["x-0"].annotations["pg-rejoin.io/rewindable-reason"] =
      "full_page_writes: full_page_writes is off";
  server_.full_page_writes = false;
  Look();
  EXPECT_TRUE(api_.patches.empty());
  EXPECT_TRUE(api_.events.empty());
}

TEST_F(ReadinessWatchTest, ASilentServerIsUnknownAtTheSecondLook) {
  Look();
  answers_ = false;
  Look();
  EXPECT_EQ(Annotation("rewindable"), "true");
  watch_->Step(now_ + seconds(10));
  EXPECT_EQ(Annotation("rewindable"), "unknown");
  EXPECT_EQ(Annotation("rewindable-reason"), "no answer from the server");
  EXPECT_TRUE(api_.events.empty());
}

TEST_F(ReadinessWatchTest, ANameWithoutAnAddressIsNoRefusal) {
  login_ = {"could not translate host name", false};
  Look();
  EXPECT_EQ(Annotation("rewindable"), "");  // the DNS may not know a new pod yet
  watch_->Step(now_ + seconds(10));
  EXPECT_EQ(Annotation("rewindable"), "unknown");
  EXPECT_TRUE(api_.events.empty());
  login_ = {"no pg_hba.conf entry", true};
  Look();
  EXPECT_EQ(Annotation("rewindable"), "false");
}

TEST_F(ReadinessWatchTest, ALoginIsTriedByNameAndNotOverTheLoopback) {
  std::vector<ConnectOptions> tried;
  const LogIn log_in = [&](const ConnectOptions& connect, bool replication) {
    tried.push_back(connect);
    return LoginAttempt{replication ? "no pg_hba.conf entry" : ""};
  };
  const auto rewind =
      LogInAsMember(options_, "rewind", options_.rewind_password_file, false, log_in);
  const auto replication =
      LogInAsMember(options_, "repl", options_.replication_password_file, true, log_in);
  ASSERT_TRUE(rewind && replication);
  EXPECT_EQ(rewind->problem, "");
  EXPECT_EQ(replication->problem, "no pg_hba.conf entry");
  ASSERT_EQ(tried.size(), 2U);
  for (const ConnectOptions& connect : tried) {
    EXPECT_NE(connect.conninfo.find("x-0.x-headless.shop.svc"), std::string::npos)
        << connect.conninfo;
  }
  EXPECT_EQ(tried[0].user + " " + tried[0].password, "rewind c4nary-rewind");
  EXPECT_EQ(tried[1].user + " " + tried[1].password, "repl c4nary:repl\\");

  const auto unread = LogInAsMember(options_, "rewind", directory_ / "nosuch", false, log_in);
  ASSERT_TRUE(unread);
  EXPECT_NE(unread->problem, "");
  options_.headless_service = "";
  EXPECT_FALSE(LogInAsMember(options_, "rewind", options_.rewind_password_file, false, log_in));
  EXPECT_EQ(tried.size(), 2U);
}

TEST_F(ReadinessWatchTest, AnApiThatIsDownDelaysTheAnnotation) {
  api_.down = true;
  Look();
  api_.down = false;
  EXPECT_EQ(Annotation("rewindable"), "");
  Look();
  EXPECT_EQ(Annotation("rewindable"), "true");
}

TEST_F(ReadinessWatchTest, ANamesakeIsNotAnnotated) {
  api_.pods["x-0"].uid = "another";
  Look();
  EXPECT_EQ(Annotation("rewindable"), "");
}

TEST_F(ReadinessWatchTest, TheMostWalOfTheLastHourCounts) {
  server_.wal_since_checkpoint_bytes = 2000 << 20;
  Look();
  server_.wal_since_checkpoint_bytes = 0;
  for (int minute = 0; minute < 61; ++minute) Look();
  EXPECT_EQ(Annotation("rewindable-reason"), "warning: wal_kept");
  for (int minute = 0; minute < 61; ++minute) Look();
  EXPECT_EQ(Annotation("rewindable-reason"), "");
}

TEST_F(ReadinessWatchTest, FactsThatCannotBeHadAreNoException) {
  const ReadinessFacts facts = GatherReadinessFacts(
      options_, []() -> ConnectOptions { throw Error(ErrorKind::kUnavailable, "no password"); });
  EXPECT_FALSE(facts.server);
  EXPECT_FALSE(facts.disk);
  EXPECT_EQ(facts.no_answer, "no password");
  EXPECT_FALSE(facts.certificate_is_verified);
}

TEST_F(ReadinessWatchTest, TheNoteOfInitIsAmongTheFacts) {
  WriteDiskNote(options_);
  options_.sslmode = "verify-full";
  const ReadinessFacts facts = GatherReadinessFacts(
      options_, []() -> ConnectOptions { throw Error(ErrorKind::kUnavailable, "no password"); });
  ASSERT_TRUE(facts.disk);
  EXPECT_GT(facts.disk->total_bytes, 0U);
  EXPECT_LE(facts.now - facts.disk->measured_at, 60);
  EXPECT_TRUE(facts.certificate_is_verified);
}

}  // namespace
}  // namespace pgrejoin
