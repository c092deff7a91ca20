#include "topology/authority_word.h"

#include <gtest/gtest.h>

#include "unit/topology/fake_api.h"

namespace pgrejoin {
namespace {

using std::chrono::seconds;

AuthorityWord LockOf(const std::string& holder, const std::string& renewed, int ttl = 30) {
  AuthorityWord word;
  word.object = "Endpoints db";
  word.holder = holder;
  word.renewed = renewed;
  word.ttl = seconds(ttl);
  return word;
}

TEST(RenewedLatelyTest, ByTheHoldersOwnClock) {
  const AuthorityWord lock = LockOf("db-1", "2026-11-22T11:16:14.360029+00:00");
  const int64_t renewed = 1795346174;
  EXPECT_TRUE(RenewedLately(lock, renewed));
  EXPECT_TRUE(RenewedLately(lock, renewed + 29));
  EXPECT_FALSE(RenewedLately(lock, renewed + 30));
  EXPECT_FALSE(RenewedLately(lock, renewed - 1)) << "a clock that was set back proves nothing";
  EXPECT_FALSE(RenewedLately(lock, 0));
  for (const char* no_utc_time : {"", "+00:00", "now+00:00", "2026-11-22T11:16:14+01:00"}) {
    EXPECT_FALSE(RenewedLately(LockOf("db-1", no_utc_time), renewed)) << no_utc_time;
  }
}

class RenewalWatchTest : public testing::Test {
 protected:
  Freshness LookAfter(int pause_s, const AuthorityWord& word) {
    now_ += seconds(pause_s);
    return watch_.Look(word, now_);
  }

  RenewalWatch watch_;
  RenewalWatch::TimePoint now_{seconds(1000)};
};

TEST_F(RenewalWatchTest, OneLookProvesNothingHoweverRecentItsTime) {
  EXPECT_EQ(LookAfter(0, LockOf("db-1", "2026-03-01T11:22:33Z")), Freshness::kUnproven);
  EXPECT_EQ(LookAfter(29, LockOf("db-1", "2026-03-01T11:22:33Z")), Freshness::kUnproven);
  EXPECT_EQ(LookAfter(1, LockOf("db-1", "2026-03-01T11:22:33Z")), Freshness::kStale);
}

// The holder's clock may be an hour off, or jump back: only that it changes counts.
TEST_F(RenewalWatchTest, AChangeProvesIt) {
  LookAfter(0, LockOf("db-1", "2026-03-01T11:22:33Z"));
  EXPECT_EQ(LookAfter(2, LockOf("db-1", "2026-03-01T10:22:35Z")), Freshness::kFresh);
  EXPECT_EQ(LookAfter(28, LockOf("db-1", "2026-03-01T10:22:35Z")), Freshness::kFresh);
  EXPECT_EQ(LookAfter(1, LockOf("db-1", "2026-03-01T10:22:35Z")), Freshness::kUnproven);
  EXPECT_EQ(LookAfter(1, LockOf("db-1", "2026-03-01T10:22:35Z")), Freshness::kStale);
  EXPECT_EQ(LookAfter(1, LockOf("db-1", "2026-03-01T12:22:45Z")), Freshness::kFresh);
}

// Between two looks far apart the renewal may have been the last.
TEST_F(RenewalWatchTest, AChangeCountsFromTheLookBefore) {
  LookAfter(0, LockOf("db-1", "a"));
  EXPECT_EQ(LookAfter(600, LockOf("db-1", "b")), Freshness::kUnproven);
  EXPECT_EQ(LookAfter(10, LockOf("db-1", "c")), Freshness::kFresh);
}

TEST_F(RenewalWatchTest, TakingItIsASignOfLife) {
  LookAfter(0, LockOf("db-0", "a"));
  EXPECT_EQ(LookAfter(5, LockOf("db-1", "a")), Freshness::kFresh);
}

TEST_F(RenewalWatchTest, AWordThatDoesNotExpireCountsAtOnceUnlessItIsBeingChanged) {
  AuthorityWord word = LockOf("db-1", "", 0);
  EXPECT_EQ(LookAfter(0, word), Freshness::kTimeless);
  word.target = "db-2";
  EXPECT_EQ(LookAfter(0, word), Freshness::kInTransition);
}

class AuthorityWordTest : public testing::Test {
 protected:
  AuthorityWord Read(const std::string& preset, const std::string& object,
                     const std::string& text) {
    api_.objects = {{object, text}};
    return ReadAuthorityWord(&api_, *FindPreset(preset), "db");
  }
  std::string ProblemOf(const std::string& preset, const std::string& object,
                        const std::string& text) {
    try {
      Read(preset, object, text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
      return error.message();
    }
    return "none";
  }

  FakeApi api_;
};

TEST_F(AuthorityWordTest, ALeasesHolderMayAppendAnIdentity) {
  for (const char* identity : {"db-1", "db-1_5f0c", "db-1/5f0c"}) {
    const AuthorityWord word =
        Read("lease", "Lease db",
             R"({"spec":{"renewTime":"t","leaseDurationSeconds":15,"holderIdentity":")" +
                 std::string(identity) + R"("}})");
    EXPECT_EQ(word.holder, "db-1");
    EXPECT_EQ(word.ttl, seconds(15));
    EXPECT_TRUE(word.Names("db-1"));
    EXPECT_FALSE(word.Names("db-0"));
    EXPECT_FALSE(word.Names(""));
  }
}

TEST_F(AuthorityWordTest, WhatCannotBeUnderstoodIsUnreadable) {
  EXPECT_EQ(ProblemOf("lease", "Lease other", "{}"), "there is no Lease db");
  EXPECT_EQ(ProblemOf("lease", "Lease db", R"({"spec":{"holderIdentity":"_x"}})"),
            "Lease db names \"_x\", which does not begin with a pod's name");
  for (const char* duration : {"0", "-1", "3601", "\"\"", "1.5", "99999999999999999999"}) {
    const std::string problem =
        ProblemOf("lease", "Lease db",
                  R"({"spec":{"renewTime":"t","holderIdentity":"db-1","leaseDurationSeconds":)" +
                      std::string(duration) + "}}");
    EXPECT_NE(problem.find("Lease db"), std::string::npos) << duration << ": " << problem;
  }
  EXPECT_NE(ProblemOf("lease", "Lease db",
                      R"({"spec":{"holderIdentity":"db-1","leaseDurationSeconds":15}})"),
            "none");
}

TEST_F(AuthorityWordTest, AReleasedLockNeedsNoTimes) {
  EXPECT_EQ(Read("patroni", "Endpoints db", R"({"metadata":{"annotations":{"ttl":"30"}}})").holder,
            "");
  EXPECT_EQ(Read("patroni", "Endpoints db", R"({"metadata":{}})").holder, "");
  EXPECT_EQ(Read("lease", "Lease db", R"({"spec":{"holderIdentity":""}})").holder, "");
}

TEST_F(AuthorityWordTest, PatronisPauseIsSeen) {
  api_.objects["Endpoints db-config"] =
      R"({"metadata":{"annotations":{"config":"{\"pause\":true}","initialize":"7"}}})";
  api_.objects["Endpoints db"] = R"({"metadata":{}})";
  const AuthorityWord word = ReadAuthorityWord(&api_, *FindPreset("patroni"), "db");
  EXPECT_TRUE(word.paused);
  EXPECT_EQ(word.system_identifier, 7u);
}

TEST_F(AuthorityWordTest, StolonsKeeperIsNamedByItsPodsOrdinal) {
  AuthorityWord word;
  word.is_keeper = true;
  word.holder = "keeper1";
  EXPECT_TRUE(word.Names("stolon-keeper-1"));
  EXPECT_FALSE(word.Names("stolon-keeper-11"));
  EXPECT_FALSE(word.Names("keeper1"));
}

}  // namespace
}  // namespace pgrejoin
