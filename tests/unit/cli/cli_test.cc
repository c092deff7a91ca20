#include "cli/cli.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "unit/k8s/fake_api_server.h"

namespace pgrejoin {
namespace {

struct Ended {
  int status = 0;
  std::string out;
  std::string err;
};

Ended RunWith(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ended ended;
  ended.status = RunCommandLine(static_cast<int>(words.size()), argv.data());
  ended.out = testing::internal::GetCapturedStdout();
  ended.err = testing::internal::GetCapturedStderr();
  return ended;
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(CliTest, VersionByBothNames) {
  EXPECT_EQ(RunWith({"/usr/bin/pg_rewind", "-V"}).out,
            "pg_rewind (pg-rejoin) " PG_REJOIN_VERSION "\n");
  EXPECT_EQ(RunWith({"pg-rejoin", "--version"}).out, "pg-rejoin " PG_REJOIN_VERSION "\n");
}

TEST(CliTest, SecretsAreLeftInNoCore) {
  rlimit limit{};
  RunWith({"pg-rejoin", "--version"});
  ASSERT_EQ(::getrlimit(RLIMIT_CORE, &limit), 0);
  EXPECT_EQ(limit.rlim_max, 0u);
  EXPECT_EQ(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
}

TEST(CliTest, HelpOfTheDropInNamesEveryOptionOfPgRewind) {
  for (const auto& words : {std::vector<std::string>{"pg_rewind", "-?"},
                            std::vector<std::string>{"pg-rejoin", "rewind", "--help"}}) {
    const Ended ended = RunWith(words);
    EXPECT_EQ(ended.status, 0);
    for (const char* option :
         {"-c,--restore-target-wal", "-D,--target-pgdata", "--source-pgdata", "--source-server",
          "-n,--dry-run", "-N,--no-sync", "-P,--progress", "-R,--write-recovery-conf",
          "--config-file", "--debug", "--no-ensure-shutdown", "--sync-method", "--help"}) {
      EXPECT_TRUE(Has(ended.out, option)) << option;
    }
    EXPECT_FALSE(Has(ended.out, "not supported"));
    EXPECT_TRUE(Has(ended.out, "Example:"));
    EXPECT_TRUE(Has(ended.out, "Exit status:"));
  }
}

TEST(CliTest, HelpOfEveryCommandTeaches) {
  for (const char* command :
       {"init", "promote", "approve", "pause", "resume", "status", "check", "discover"}) {
    const Ended ended = RunWith({"pg-rejoin", command, "--help"});
    EXPECT_EQ(ended.status, 0);
    EXPECT_TRUE(Has(ended.out, "POD_NAME")) << command;
  }
  const Ended top = RunWith({"pg-rejoin", "--help"});
  for (const char* command : {"init", "sidecar", "promote", "approve", "pause", "resume", "status",
                              "check", "discover", "rewind"}) {
    EXPECT_TRUE(Has(top.out, command)) << command;
  }
}

TEST(CliTest, UsageErrorsAreStatus2AndStatus1ForTheDropIn) {
  EXPECT_EQ(RunWith({"pg-rejoin"}).status, 2);
  EXPECT_EQ(RunWith({"pg-rejoin", "dance"}).status, 2);
  EXPECT_EQ(RunWith({"pg-rejoin", "init", "--no-such-option"}).status, 2);
  EXPECT_EQ(RunWith({"pg-rejoin", "rewind", "--no-such-option"}).status, 1);
  EXPECT_EQ(RunWith({"pg_rewind", "--no-such-option"}).status, 1);
  const Ended extra = RunWith({"pg_rewind", "-D", "/d", "--source-server", "x", "superfluous"});
  EXPECT_EQ(extra.status, 1);
  EXPECT_TRUE(Has(extra.err, "superfluous")) << extra.err;
  EXPECT_EQ(
      RunWith({"pg_rewind", "-D", "/d", "--source-server", "x", "--sync-method=magic"}).status, 1);
}

class RefusedOption
    : public testing::TestWithParam<std::pair<std::vector<std::string>, const char*>> {};

TEST_P(RefusedOption, IsStatus1AndSaysWhat) {
  std::vector<std::string> words{"pg_rewind"};
  words.insert(words.end(), GetParam().first.begin(), GetParam().first.end());
  const Ended ended = RunWith(words);
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(Has(ended.err, std::string("pg-rejoin: error: ") + GetParam().second)) << ended.err;
}

INSTANTIATE_TEST_SUITE_P(
    PgRewind, RefusedOption,
    testing::Values(
        std::pair{std::vector<std::string>{"-D", "/d"},
                  "no source specified (--source-pgdata or --source-server)"},
        std::pair{std::vector<std::string>{"-D", "/d", "--source-server=x", "--source-pgdata=/s"},
                  "only one of --source-pgdata or --source-server"},
        std::pair{std::vector<std::string>{"--source-server=x"},
                  "no target data directory specified"},
        std::pair{std::vector<std::string>{"-D", "/d", "--source-pgdata=/s", "-R"},
                  "no source server information"},
        std::pair{std::vector<std::string>{"--max-rate=31"}, "--max-rate: Value 31 not in range"},
        std::pair{std::vector<std::string>{"--max-rate=5T"}, "--max-rate: T unit not recognized"},
        // Far above the range without its unit.
        std::pair{std::vector<std::string>{"--max-rate=1G", "-D", "/d"}, "no source specified"},
        std::pair{std::vector<std::string>{"-D", "/d", "--source-server=x", "--config-file"},
                  "--config-file"}));

TEST(CliTest, APlanNeedsATargetAndOneSource) {
  for (const auto& words :
       {std::vector<std::string>{"-D", "/d"}, std::vector<std::string>{"--source-pgdata=/s"},
        std::vector<std::string>{"-D", "/d", "--source-pgdata=/s", "--source-server=x"}}) {
    std::vector<std::string> all{"pg-rejoin", "plan"};
    all.insert(all.end(), words.begin(), words.end());
    const Ended ended = RunWith(all);
    EXPECT_EQ(ended.status, 2);
    EXPECT_TRUE(Has(ended.err, "one of --source-server or --source-pgdata")) << ended.err;
  }
}

TEST(CliTest, FlagsWinOverEnvironmentOverDefaults) {
  ::setenv("PG_REJOIN_DISCOVERY", "guessing", 1);
  const Ended bad = RunWith({"pg-rejoin", "init"});
  EXPECT_EQ(bad.status, 2);
  EXPECT_TRUE(Has(bad.err, "guessing")) << bad.err;
  // The flag is taken instead, and the next thing is missing.
  const Ended flag = RunWith({"pg-rejoin", "init", "--discovery", "record"});
  EXPECT_TRUE(Has(flag.err, "missing --pgdata")) << flag.err;
  // What is not for a command does not disturb it.
  EXPECT_TRUE(Has(RunWith({"pg-rejoin", "rewind", "-D", "/d"}).err, "no source specified"));
  ::unsetenv("PG_REJOIN_DISCOVERY");
  EXPECT_TRUE(Has(RunWith({"pg-rejoin", "init"}).err, "missing --pgdata"));
  ::setenv("PGDATA", "/data", 1);
  const Ended named = RunWith({"pg-rejoin", "init"});
  ::unsetenv("PGDATA");
  EXPECT_TRUE(Has(named.err, "missing --pod-name")) << named.err;
  EXPECT_TRUE(Has(named.err, "hint: Give --pod-name or set POD_NAME.")) << named.err;
}

TEST(CliTest, CheckOfAServerThatDoesNotAnswerIsStatus1AndSaysSo) {
  const Ended ended = RunWith({"pg-rejoin", "check", "--server=host=/nonexistent user=u dbname=d"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(Has(ended.out, "rewindable: false")) << ended.out;
  EXPECT_TRUE(Has(ended.out, "could not connect")) << ended.out;
  const Ended json = RunWith({"pg-rejoin", "check", "--json", "--server=host=/nonexistent user=u"});
  EXPECT_EQ(json.status, 1);
  EXPECT_TRUE(Has(json.out, "\"rewindable\": \"false\"")) << json.out;
}

TEST(CliTest, StatusPauseAndResumeSayHowTheyEndAndHowTheyAreCalled) {
  for (const char* command : {"pause", "resume", "status"}) {
    const Ended ended = RunWith({"pg-rejoin", command, "--help"});
    EXPECT_TRUE(Has(ended.out, "Example: kubectl exec")) << command;
    EXPECT_TRUE(Has(ended.out, "Exit status: 0")) << command;
    // They are about a release, not about the pod that they run in.
    EXPECT_FALSE(Has(ended.out, "--pod-name")) << command;
    const Ended bare = RunWith({"pg-rejoin", command});
    EXPECT_EQ(bare.status, 2);
    EXPECT_TRUE(Has(bare.err, "missing --namespace")) << bare.err;
  }
  const Ended ended = RunWith({"pg-rejoin", "status", "--namespace=n", "--record=r"});
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(Has(ended.err, "missing --pod-selector")) << ended.err;
}

// From outside of the cluster, against a server that speaks HTTPS.
TEST(CliTest, APauseIsSeenUntilItIsLifted) {
  const FakeApiServer server;
  const std::filesystem::path kubeconfig = server.directory() / "kubeconfig";
  WriteText(kubeconfig,
            R"({"clusters":[{"name":"c","cluster":{"certificate-authority":"ca.crt","server":")" +
                server.url() +
                R"("}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],
                "current-context":"x","users":[{"name":"u","user":{"token":"first-token"}}]})");
  const auto run = [&](const std::string& command, const std::vector<std::string>& more) {
    std::vector<std::string> words{"pg-rejoin", command, "--kubeconfig=" + kubeconfig.string(),
                                   "--namespace=shop", "--record=authority"};
    words.insert(words.end(), more.begin(), more.end());
    return RunWith(words);
  };
  const std::string selector = "--pod-selector=app=x";
  const Ended before = run("status", {selector});
  EXPECT_EQ(before.status, 1) << before.err;  // that server's record names nobody
  EXPECT_TRUE(Has(before.out, "record: primary -, epoch -, timeline -, not paused\n"))
      << before.out;
  EXPECT_TRUE(Has(before.out, "\nx-0  primary  -         started")) << before.out;
  EXPECT_TRUE(Has(before.out, "\nx-1  primary")) << before.out;
  EXPECT_TRUE(Has(before.out, "not well:\n  the authority record names nobody\n")) << before.out;

  const Ended pause = run("pause", {});
  EXPECT_EQ(pause.status, 0) << pause.err;
  EXPECT_TRUE(Has(pause.out, "authority is paused")) << pause.out;
  EXPECT_TRUE(Has(pause.out, "pg-rejoin resume")) << pause.out;
  EXPECT_TRUE(Has(run("status", {selector}).out, "PAUSED"));
  const Ended json = run("status", {selector, "--json"});
  EXPECT_EQ(json.status, 1);
  EXPECT_TRUE(Has(json.out, "\"paused\": true")) << json.out;

  const Ended resume = run("resume", {});
  EXPECT_EQ(resume.status, 0) << resume.err;
  EXPECT_TRUE(Has(resume.out, "authority is not paused")) << resume.out;
  // Where the record is no authority, it need not name anybody.
  const Ended well = run("status", {selector, "--discovery=service"});
  EXPECT_EQ(well.status, 0) << well.out;
  EXPECT_TRUE(Has(well.out, "not paused")) << well.out;

  WriteText(server.directory() / "token", "another");
  for (const char* command : {"status", "pause", "resume"}) {
    const bool lists = std::string(command) == "status";
    const Ended refused = run(command, lists ? std::vector{selector} : std::vector<std::string>{});
    EXPECT_EQ(refused.status, 10) << command;
    EXPECT_EQ(refused.out, "") << command;
    EXPECT_TRUE(Has(refused.err, "401")) << refused.err;
  }
}

TEST(CliTest, OutsideAClusterWithoutKubeconfigIsAUsageError) {
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  const Ended ended = RunWith(
      {"pg-rejoin", "approve", "--pod-name", "x-0", "--namespace", "n", "--record", "authority"});
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(Has(ended.err, "no kubeconfig given")) << ended.err;
}

}  // namespace
}  // namespace pgrejoin
