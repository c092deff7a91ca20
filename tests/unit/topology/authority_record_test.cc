#include "topology/authority_record.h"

#include <gtest/gtest.h>

#include "unit/topology/fake_api.h"

namespace pgrejoin {
namespace {

using Data = std::map<std::string, std::string>;

AuthorityRecord FullRecord() {
  AuthorityRecord record;
  record.epoch = 4;
  record.primary = "x-1";
  SetBranch(&record, 7000000000000000001, *TimelineHistory::FromString("1@0/0,2@0/3000148"));
  record.paused = true;
  record.approval = Approval{"x-0", 7000000000000000001, "1@0/0"};
  record.discard = DiscardApproval{{"x-2", 7000000000000000001, "1@0/0"}, 92};
  return record;
}

Data Written(const AuthorityRecord& record) {
  Data data;
  for (const auto& [key, value] : AuthorityRecordToData(record)) {
    if (value) data[key] = *value;
  }
  return data;
}

TEST(AuthorityRecordTest, SurvivesTheConfigMap) {
  EXPECT_EQ(ParseAuthorityRecord(Written(FullRecord())), FullRecord());
  EXPECT_EQ(ParseAuthorityRecord(Written(AuthorityRecord{})), AuthorityRecord{});
}

TEST(AuthorityRecordTest, KeysAreTheDocumentedOnes) {
  EXPECT_EQ(Written(FullRecord()), (Data{{"system-identifier", "7000000000000000001"},
                                         {"epoch", "4"},
                                         {"primary", "x-1"},
                                         {"timeline", "2"},
                                         {"switch-lsn", "0/3000148"},
                                         {"history", "1@0/0,2@0/3000148"},
                                         {"paused", "true"},
                                         {"approval-pod", "x-0"},
                                         {"approval-system-identifier", "7000000000000000001"},
                                         {"approval-history", "1@0/0"},
                                         {"discard-pod", "x-2"},
                                         {"discard-system-identifier", "7000000000000000001"},
                                         {"discard-history", "1@0/0"},
                                         {"discard-transactions", "92"}}));
}

TEST(AuthorityRecordTest, EmptyIsUnclaimed) {
  EXPECT_EQ(ParseAuthorityRecord({}).primary, "");
  EXPECT_EQ(ParseAuthorityRecord({{"somebody-elses", "key"}}).primary, "");
}

TEST(AuthorityRecordTest, MalformedIsUnreadableNeverUnclaimed) {
  for (const Data& data :
       {Data{{"epoch", "-1"}, {"primary", "x"}}, Data{{"epoch", "1x"}, {"primary", "x"}},
        Data{{"epoch", "99999999999999999999999"}, {"primary", "x"}}, Data{{"primary", "x 0"}},
        Data{{"primary", std::string(300, 'x')}}, Data{{"primary", "x"}, {"switch-lsn", "0-3"}},
        Data{{"primary", "x"}, {"history", "2@0/30"}}, Data{{"primary", "x"}, {"paused", "maybe"}},
        Data{{"epoch", "3"}}, Data{{"system-identifier", "7"}},
        Data{{"primary", "x"}, {"approval-pod", "x-0"}},
        Data{{"primary", "x"}, {"discard-pod", "x-0"}, {"discard-system-identifier", "7"}},
        Data{{"primary", "x"}, {"discard-pod", "x-0"}, {"discard-transactions", "7"}}}) {
    EXPECT_THROW(ParseAuthorityRecord(data), Error);
  }
}

TEST(AuthorityStoreTest, MissingConfigMapIsAnError) {
  FakeApi api;
  EXPECT_THROW(AuthorityStore(&api, "authority").Read(), Error);
}

TEST(AuthorityStoreTest, TheSlowerOfTwoLoses) {
  FakeApi api;
  api.AddRecord({});
  AuthorityStore store(&api, "authority");
  const auto seen = store.Read();
  AuthorityRecord first;
  first.primary = "x-0";
  first.epoch = 1;
  AuthorityRecord second = first;
  second.primary = "x-1";
  EXPECT_TRUE(store.CompareAndSwap(seen, first));
  EXPECT_FALSE(store.CompareAndSwap(seen, second));
  EXPECT_EQ(store.Read().record.primary, "x-0");
}

TEST(AuthorityStoreTest, LostAnswerOfAWonSwapIsAWin) {
  FakeApi api;
  api.AddRecord({});
  api.lost_answers = 1;
  AuthorityStore store(&api, "authority");
  AuthorityRecord mine;
  mine.primary = "x-0";
  mine.epoch = 1;
  EXPECT_TRUE(store.CompareAndSwap(store.Read(), mine));
}

TEST(AuthorityStoreTest, SwapClearsWhatTheRecordNoLongerHasAndKeepsForeignKeys) {
  FakeApi api;
  Data data = Written(FullRecord());
  data["note"] = "of a person";
  api.AddRecord(data);
  AuthorityStore store(&api, "authority");
  AuthorityRecord desired = FullRecord();
  desired.approval.reset();
  desired.paused = false;
  EXPECT_TRUE(store.CompareAndSwap(store.Read(), desired));
  EXPECT_EQ(api.record().count("approval-pod"), 0u);
  EXPECT_EQ(api.record().count("paused"), 0u);
  EXPECT_EQ(api.record().at("note"), "of a person");
}

}  // namespace
}  // namespace pgrejoin
