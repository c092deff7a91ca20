#include "pod/pod_options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace pgrejoin {
namespace {

PodOptions Good() {
  PodOptions options;
  options.pgdata = "/data/pgdata";
  options.pod_name = "x-0";
  options.name_space = "shop";
  options.pod_uid = "uid";
  options.record = "x-authority";
  options.primary_service = "x-primary";
  options.headless_service = "x-headless";
  options.pod_selector = "app=x";
  options.rewind_password_file = "/secret/rewind";
  options.replication_password_file = "/secret/replication";
  return options;
}

std::string HintOf(const PodOptions& options) {
  try {
    CheckInitOptions(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.hint();
  }
  return "accepted";
}

TEST(PodOptionsTest, WhatIsMissingIsNamedWithItsVariable) {
  EXPECT_EQ(HintOf(Good()), "accepted");
  PodOptions options = Good();
  options.record.clear();
  EXPECT_EQ(HintOf(options), "Give --record or set PG_REJOIN_RECORD.");
  options.discovery = "service";
  EXPECT_EQ(HintOf(options), "accepted");
  options = Good();
  options.pod_uid.clear();
  EXPECT_EQ(HintOf(options), "Give --pod-uid or set POD_UID.");
}

TEST(PodOptionsTest, OnlyInitNeedsTheDataDirectory) {
  PodOptions options = Good();
  options.pgdata.clear();
  EXPECT_EQ(HintOf(options), "Give --pgdata or set PGDATA.");
  EXPECT_NO_THROW(CheckSidecarOptions(options));
}

TEST(PodOptionsTest, OurOwnLabelIsNoEvidence) {
  PodOptions options = Good();
  options.discovery = "label";
  EXPECT_NE(HintOf(options), "accepted");
  options.role_label = "cnpg.io/instanceRole";
  EXPECT_EQ(HintOf(options), "accepted");
}

TEST(PodOptionsTest, WhereAManagerMakesServersStreamThePasswordForItIsNotNeeded) {
  PodOptions options = Good();
  options.replication_password_file.clear();
  EXPECT_EQ(HintOf(options),
            "Give --replication-password-file or set PG_REJOIN_REPLICATION_PASSWORD_FILE.");
  options.discovery = "patroni";
  options.cluster = "c";
  EXPECT_EQ(HintOf(options), "accepted");
}

TEST(PodOptionsTest, APresetSaysWhatItNeeds) {
  PodOptions options = Good();
  options.record.clear();
  options.headless_service.clear();
  options.discovery = "etcd";
  EXPECT_THROW(CheckInitOptions(options), Error);
  options.discovery = "lease";
  EXPECT_EQ(HintOf(options), "Give --cluster or set PG_REJOIN_CLUSTER.");
  options.cluster = "db";
  EXPECT_EQ(HintOf(options), "accepted");
  options.discovery = "static";
  EXPECT_EQ(HintOf(options), "Give --primary-host or set PG_REJOIN_PRIMARY_HOST.");
  options.primary_host = "other.example";
  EXPECT_EQ(HintOf(options), "accepted");
  options.discovery = "spilo";
  options.pod_selector.clear();
  EXPECT_EQ(HintOf(options), "accepted");
  EXPECT_EQ(MakeDiscoveryOptions(options).pod_selector, "application=spilo,cluster-name=db");
  EXPECT_EQ(MakeDiscoveryOptions(options).role_label, "spilo-role");
  options.discovery = "lease";
  EXPECT_EQ(HintOf(options), "Give --pod-selector or set PG_REJOIN_POD_SELECTOR.");
}

TEST(PodOptionsTest, NothingThatAManagerDoesItself) {
  PodOptions options = Good();
  options.cluster = "db";
  options.restart_pod = true;
  for (const char* discovery : {"record", "lease"}) {
    options.discovery = discovery;
    EXPECT_EQ(HintOf(options), "accepted");
  }
  for (const char* discovery : {"patroni", "stolon", "cnpg", "service", "bitnami-ha"}) {
    options.discovery = discovery;
    EXPECT_NE(HintOf(options), "accepted") << discovery;
  }
  options.restart_pod = false;
  options.gate_dir = "/gate";
  EXPECT_EQ(HintOf(options), "accepted");  // bitnami-ha
  options.discovery = "patroni";
  EXPECT_EQ(HintOf(options), "What starts the server decides itself whether it runs read-write.");
  EXPECT_THROW(CheckPromoteOptions(options), Error);
  EXPECT_THROW(CheckApproveOptions(options, true), Error);
  EXPECT_NO_THROW(CheckApproveOptions(options, false));
  options.discovery = "service";
  EXPECT_THROW(CheckPromoteOptions(options), Error);
  EXPECT_NO_THROW(CheckApproveOptions(options, true));
  options.discovery = "record";
  EXPECT_NO_THROW(CheckPromoteOptions(options));
}

TEST(PodOptionsTest, AnEntrypointThatDemotesAPromotedServerIsRefused) {
  PodOptions options = Good();
  options.replication_mode = "slave";
  EXPECT_EQ(HintOf(options).find("Override the container's command"), 0u);
  options.replication_mode = "master";
  EXPECT_EQ(HintOf(options), "accepted");
}

TEST(PodOptionsTest, OnlyTheModesThatPostgresAccepts) {
  PodOptions options = Good();
  EXPECT_EQ(DataDirectoryMode(options), 0700u);
  options.data_directory_mode = "0750";
  EXPECT_EQ(DataDirectoryMode(options), 0750u);
  options.data_directory_mode = "0770";
  EXPECT_THROW(DataDirectoryMode(options), Error);
}

TEST(PodOptionsTest, MembersAreSplit) {
  PodOptions options = Good();
  options.members = "x-0,x-1,,x-2";
  EXPECT_EQ(MakeDiscoveryOptions(options).members, (std::vector<std::string>{"x-0", "x-1", "x-2"}));
  options.members.clear();
  EXPECT_TRUE(MakeDiscoveryOptions(options).members.empty());
}

TEST(PodOptionsTest, ConnectionStringsHoldNoPassword) {
  std::string name = (std::filesystem::temp_directory_path() / "options-test-XXXXXX").string();
  const int fd = ::mkstemp(name.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::ofstream(name) << "c4nary pass\n";
  PodOptions options = Good();
  options.rewind_password_file = name;
  options.sslrootcert = "/tls/ca.crt";
  const ConnectOptions remote = RewindConnection(options, "x-1.x-headless.shop.svc");
  EXPECT_EQ(remote.password, "c4nary pass");
  for (const std::string& text : {remote.conninfo, StandbyConninfo(options),
                                  CloneConninfo(options, "x-1.x-headless.shop.svc")}) {
    EXPECT_EQ(text.find("c4nary"), std::string::npos) << text;
  }
  EXPECT_NE(StandbyConninfo(options).find("x-primary.shop.svc"), std::string::npos);
  EXPECT_NE(StandbyConninfo(options).find("/run/pg-rejoin/pgpass"), std::string::npos);
  EXPECT_NE(StandbyConninfo(options).find("/tls/ca.crt"), std::string::npos);
  const ConnectOptions local = LocalConnection(options, "promoter", name);
  EXPECT_NE(local.conninfo.find("127.0.0.1"), std::string::npos);
  EXPECT_EQ(local.conninfo.find("/tls/ca.crt"), std::string::npos);
  std::ofstream(name) << "c4nary pass\r\n\n";  // made on Windows
  EXPECT_EQ(ReadPassword(name), "c4nary pass");
  for (const char* text : {"two\nlines", "a\ttab", "carriage\rreturn\n", "del\x7F"}) {
    std::ofstream(name) << text;
    try {
      ReadPassword(name);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_EQ((error.message() + error.hint()).find(text), std::string::npos);
    }
  }
  options.rewind_password_file = "/no/such/file";
  EXPECT_THROW(RewindConnection(options, "h"), Error);
  std::filesystem::remove(name);
}

}  // namespace
}  // namespace pgrejoin
