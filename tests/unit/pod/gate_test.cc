// The gate as a program: it and DirectoryLock must meet at one lock.
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "target/directory_lock.h"
#include "unit/pod/pod_fixture.h"

namespace pgrejoin {
namespace {

std::string GatePath() {
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  return self.parent_path().parent_path() / "src/pg-rejoin-gate";
}

class GateTest : public PodFixture {
 protected:
  pid_t Start(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {GatePath()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& argument : all) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      ::execv(argv[0], argv.data());
      ::_exit(99);
    }
    return child;
  }
  static int Wait(pid_t child) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  int Run(const std::vector<std::string>& arguments) { return Wait(Start(arguments)); }
  bool Locked() {
    try {
      DirectoryLock::Acquire(options_.pgdata);
      return false;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kTargetInUse);
      return true;
    }
  }
  bool WaitUntilLocked() {
    for (int i = 0; i < 200 && !Locked(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return Locked();
  }
};

TEST_F(GateTest, BecomesTheCommand) {
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--", "sh", "-c", "exit 7"}), 7);
}

TEST_F(GateTest, LockIsInheritedByTheServerAndItsChildren) {
  const pid_t server = Start({"--pgdata", options_.pgdata, "--", "sleep", "60"});
  EXPECT_TRUE(WaitUntilLocked());
  ::kill(server, SIGTERM);
  EXPECT_EQ(Wait(server), 1000 + SIGTERM);  // the command's own default action
  EXPECT_FALSE(Locked());
}

TEST_F(GateTest, TrailingSlashIsTheSameDirectory) {
  const DirectoryLock lock = DirectoryLock::Acquire(options_.pgdata);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata + "//", "--wait-seconds", "0", "--", "true"}), 21);
}

TEST_F(GateTest, WaitsForTheLock) {
  std::optional<DirectoryLock> lock = DirectoryLock::Acquire(options_.pgdata);
  const pid_t gate = Start({"--pgdata", options_.pgdata, "--", "true"});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  lock.reset();
  EXPECT_EQ(Wait(gate), 0);
}

TEST_F(GateTest, SigtermEndsTheWaitAtOnce) {
  const DirectoryLock lock = DirectoryLock::Acquire(options_.pgdata);
  const auto begin = std::chrono::steady_clock::now();
  const pid_t gate = Start({"--pgdata", options_.pgdata, "--wait-seconds", "60", "--", "true"});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ::kill(gate, SIGTERM);
  EXPECT_EQ(Wait(gate), 143);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(GateTest, DirectoryThatIsNotThereYetIsLockedBesideIt) {
  std::filesystem::remove(options_.pgdata);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--", "true"}), 0);
  EXPECT_TRUE(std::filesystem::exists(options_.pgdata + ".lock"));
}

TEST_F(GateTest, InitdbIsMarkedAndItsHalfIsNotStarted) {
  const std::string mark = options_.pgdata + ".initialising";
  const std::vector<std::string> gate = {"--pgdata", options_.pgdata + "/", "--marks-initdb", "--"};
  const auto with = [&](const std::string& script) {
    std::vector<std::string> all = gate;
    all.insert(all.end(), {"sh", "-c", script});
    return all;
  };
  // An entrypoint that is killed after initdb's first files.
  EXPECT_EQ(Run(with("[ -e " + mark + " ] && touch " + options_.pgdata + "/PG_VERSION")), 0);
  EXPECT_EQ(Run(with("exit 7")), 30);
  std::filesystem::remove(mark);  // as the last script does
  EXPECT_EQ(Run(with("exit 7")), 7);
  EXPECT_FALSE(std::filesystem::exists(mark));  // a cluster is not marked
  // Nobody removes the mark of an entrypoint that knows nothing of it.
  std::filesystem::remove(options_.pgdata + "/PG_VERSION");
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--", "true"}), 0);
  EXPECT_FALSE(std::filesystem::exists(mark));
}

class AskingGateTest : public GateTest {
 protected:
  void SetUp() override {
    GateTest::SetUp();
    gate_ = directory_ / "gate";
    std::filesystem::create_directory(gate_);
    std::ofstream(options_.pgdata + "/PG_VERSION") << "15\n";
  }
  pid_t Ask(const std::string& seconds = "30") {
    return Start({"--pgdata", options_.pgdata, "--ask", gate_, "--ask-seconds", seconds, "--", "sh",
                  "-c", "exit 7"});
  }
  // The nonce and what follows it.
  std::pair<std::string, std::string> WaitForRequest() {
    std::string text;
    for (int i = 0; i < 200 && text.empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      text = ReadText(gate_ + "/request");
    }
    const size_t space = text.find(' ');
    return {text.substr(0, space), text.substr(space + 1)};
  }
  void Answer(const std::string& line) {
    std::ofstream(gate_ + "/answer.new") << line << "\n";
    std::filesystem::rename(gate_ + "/answer.new", gate_ + "/answer");
  }

  std::string gate_;
};

TEST_F(AskingGateTest, StartsWhenItMay) {
  const pid_t gate = Ask();
  const auto [nonce, kind] = WaitForRequest();
  EXPECT_EQ(nonce.size(), 32u);
  EXPECT_EQ(kind, "primary\n");
  Answer(nonce + " go");
  EXPECT_EQ(Wait(gate), 7);
  EXPECT_FALSE(std::filesystem::exists(gate_ + "/request"));  // nobody is to answer it again
}

TEST_F(AskingGateTest, DoesNotStartWhenItMayNot) {
  const pid_t gate = Ask();
  Answer(WaitForRequest().first + " no: another pod is primary");
  EXPECT_EQ(Wait(gate), 10);
}

TEST_F(AskingGateTest, AnAnswerToAnotherRequestIsNone) {
  Answer("00000000000000000000000000000000 go");
  const pid_t gate = Ask("1");
  const std::string nonce = WaitForRequest().first;
  for (const std::string& wrong :
       {nonce, nonce + "go", nonce.substr(1) + " go", std::string("go"), std::string()}) {
    Answer(wrong);
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
  }
  EXPECT_EQ(Wait(gate), 10);
  // And the answer to an earlier request of this very directory.
  Answer(nonce + " go");
  EXPECT_EQ(Wait(Ask("0")), 10);
}

TEST_F(AskingGateTest, AStandbyNeedsNoLeave) {
  for (const char* name : {"/standby.signal", "/recovery.signal"}) {
    std::ofstream(options_.pgdata + name) << "";
    EXPECT_EQ(Wait(Ask("0")), 7) << name;
    std::filesystem::remove(options_.pgdata + name);
  }
  EXPECT_FALSE(std::filesystem::exists(gate_ + "/request"));
  EXPECT_EQ(Wait(Ask("0")), 10);
}

TEST_F(AskingGateTest, AnEmptyDirectorySaysSo) {
  std::filesystem::remove(options_.pgdata + "/PG_VERSION");
  const pid_t gate = Ask();
  const auto [nonce, kind] = WaitForRequest();
  EXPECT_EQ(kind, "empty\n");
  Answer(nonce + " go");
  EXPECT_EQ(Wait(gate), 7);
}

TEST_F(AskingGateTest, BreakGlassLetsOneStartThrough) {
  const pid_t gate = Ask();
  WaitForRequest();
  std::ofstream(gate_ + "/break-glass") << "";
  EXPECT_EQ(Wait(gate), 7);
  EXPECT_EQ(Wait(Ask("0")), 10);
}

TEST_F(AskingGateTest, SigtermEndsTheQuestionAtOnce) {
  const pid_t gate = Ask("3600");
  WaitForRequest();
  ::kill(gate, SIGTERM);
  EXPECT_EQ(Wait(gate), 143);
}

TEST_F(AskingGateTest, WithoutThePlaceToAskNothingStarts) {
  std::filesystem::remove_all(gate_);
  EXPECT_EQ(Wait(Ask()), 30);
}

TEST_F(GateTest, WhatCannotBeLockedOrRunIsAnError) {
  EXPECT_EQ(Run({"--pgdata", directory_ / "no/such/place", "--", "true"}), 30);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--", "/no/such/program"}), 127);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--", options_.pgdata}), 126);
}

TEST_F(GateTest, UsageErrors) {
  EXPECT_EQ(Run({}), 2);
  EXPECT_EQ(Run({"--pgdata"}), 2);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata}), 2);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--"}), 2);
  EXPECT_EQ(Run({"--pgdata", "", "--", "true"}), 2);
  EXPECT_EQ(Run({"--what", "--", "true"}), 2);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--wait-seconds", "soon", "--", "true"}), 2);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--ask", "--", "true"}), 2);
  EXPECT_EQ(Run({"--pgdata", options_.pgdata, "--ask-seconds", "-1", "--", "true"}), 2);
  EXPECT_EQ(Run({"--pgdata", std::string(5000, 'x'), "--", "true"}), 2);
}

}  // namespace
}  // namespace pgrejoin
