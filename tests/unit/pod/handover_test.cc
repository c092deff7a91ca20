#include "pod/handover.h"

#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

class HandoverTest : public PodFixture {
 protected:
  static mode_t ModeOf(const std::filesystem::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  }
};

TEST_F(HandoverTest, PassfileIsPrivateAndFollowsTheSecret) {
  const std::filesystem::path passfile = directory_ / "run/pgpass";
  const mode_t before = ::umask(0);
  EXPECT_TRUE(WritePassfile(options_));
  ::umask(before);
  EXPECT_EQ(ReadText(passfile), "*:*:*:replicator:c4nary\\:repl\\\\\n");
  EXPECT_EQ(ModeOf(passfile), 0600u);
  EXPECT_FALSE(WritePassfile(options_));
  std::ofstream(directory_ / "secret/replication") << "rotated";
  EXPECT_TRUE(WritePassfile(options_));
  EXPECT_EQ(ReadText(passfile), "*:*:*:replicator:rotated\n");
}

TEST_F(HandoverTest, PasswordOfTwoLinesMakesNoSecondLineOfAPassfile) {
  std::ofstream(directory_ / "secret/replication") << "one\n*:*:*:other:two";
  EXPECT_THROW(WritePassfile(options_), Error);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "run/pgpass"));
}

TEST_F(HandoverTest, MissingSecretIsTriedAgain) {
  options_.replication_password_file = directory_ / "secret/none";
  try {
    WritePassfile(options_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  }
}

TEST_F(HandoverTest, CloneRequestNamesTheConfirmedPrimaryAndNoPassword) {
  WriteCloneRequest(options_, "x-1.x-headless.shop.svc");
  const std::string from = ReadText(directory_ / "run/clone-from");
  const std::string conninfo = ReadText(directory_ / "run/primary-conninfo.conf");
  EXPECT_NE(from.find("x-1.x-headless.shop.svc"), std::string::npos) << from;
  EXPECT_TRUE(conninfo.starts_with("primary_conninfo = '")) << conninfo;
  EXPECT_NE(conninfo.find("x-primary.shop.svc"), std::string::npos) << conninfo;
  // Where a failover has happened since, only the Service knows.
  const std::string service = ReadText(directory_ / "run/clone-from-service");
  EXPECT_NE(service.find("x-primary.shop.svc"), std::string::npos) << service;
  for (const char* keyword : {"connect_timeout", "keepalives_idle", "tcp_user_timeout"}) {
    EXPECT_NE(from.find(keyword), std::string::npos) << from;
    EXPECT_NE(service.find(keyword), std::string::npos) << service;
  }
  EXPECT_EQ((from + service + conninfo).find("c4nary"), std::string::npos);
  RemoveCloneRequest(options_);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "run/clone-from"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "run/clone-from-service"));
  EXPECT_NO_THROW(RemoveCloneRequest(options_));
}

TEST_F(HandoverTest, PrimaryConninfoIsQuotedAsPostgresqlConfWantsIt) {
  EXPECT_EQ(PrimaryConninfoLine("user='a b' x=\\"), "primary_conninfo = 'user=''a b'' x=\\\\'\n");
}

TEST_F(HandoverTest, GateIsCopiedFromBesideOurselves) {
  // Our program is this test; something of that name lies beside it for the time of the test.
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::filesystem::path gate = self.parent_path() / "pg-rejoin-gate";
  std::ofstream(gate) << "the gate";
  HandOverGate(directory_ / "run");
  HandOverGate(directory_ / "run");  // a container restart finds the old one
  std::filesystem::remove(gate);
  EXPECT_EQ(ReadText(directory_ / "run/pg-rejoin-gate"), "the gate");
  EXPECT_EQ(ModeOf(directory_ / "run/pg-rejoin-gate"), 0755u);
  EXPECT_NO_THROW(HandOverGate(""));
  EXPECT_THROW(HandOverGate(directory_ / "run"), Error);
}

TEST_F(HandoverTest, TheRoomOfTheVolumeIsNotedForTheSidecar) {
  EXPECT_FALSE(ReadDiskNote(options_));
  options_.pgdata = directory_ / "data/not-there-yet";
  WriteDiskNote(options_);
  const auto disk = ReadDiskNote(options_);
  ASSERT_TRUE(disk);
  EXPECT_GT(disk->total_bytes, disk->free_bytes);
  EXPECT_GT(disk->measured_at, 1'700'000'000);
  std::ofstream(directory_ / "run/disk") << "12 many";
  EXPECT_FALSE(ReadDiskNote(options_));
  options_.pgdata = directory_ / "not/there";
  options_.run_dir = directory_ / "nor/this";
  WriteDiskNote(options_);  // nothing depends on it
}

}  // namespace
}  // namespace pgrejoin
