#include "target/directory_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "base/error.h"
#include "harness/scratch_directory.h"

namespace pgrejoin {
namespace {

class Lock : public ::testing::Test {
 protected:
  Lock() { std::filesystem::create_directory(scratch_ / "data"); }
  std::string pgdata() const { return (scratch_ / "data").string(); }
  // What an attempt ends with: 0 for success, otherwise the kind.
  static int Attempt(const std::string& path) {
    try {
      const DirectoryLock lock = DirectoryLock::Acquire(path);
      return 0;
    } catch (const Error& error) {
      return ExitStatus(error.kind());
    }
  }
  // The same from another process.
  static int AttemptElsewhere(const std::string& path) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(Attempt(path));
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  testing::ScratchDirectory scratch_;
};

TEST_F(Lock, OneHolderAtATime) {
  {
    const DirectoryLock lock = DirectoryLock::Acquire(pgdata());
    EXPECT_EQ(lock.pgdata(), pgdata());
    EXPECT_EQ(AttemptElsewhere(pgdata()), ExitStatus(ErrorKind::kTargetInUse));
    EXPECT_EQ(Attempt(pgdata()), ExitStatus(ErrorKind::kTargetInUse)) << "nor in the same process";
  }
  EXPECT_EQ(AttemptElsewhere(pgdata()), 0);
}

TEST_F(Lock, ATrailingSlashIsTheSameDirectory) {
  const DirectoryLock lock = DirectoryLock::Acquire(pgdata() + "//");
  EXPECT_EQ(AttemptElsewhere(pgdata()), ExitStatus(ErrorKind::kTargetInUse));
}

TEST_F(Lock, AKilledHolderFreesIt) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const DirectoryLock lock = DirectoryLock::Acquire(pgdata());
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(Attempt(pgdata()), ExitStatus(ErrorKind::kTargetInUse));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(Attempt(pgdata()), 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

// The server that is exec'ed under the gate inherits the descriptor; ours must not leak into
// children.
TEST_F(Lock, IsNotInheritedOverExec) {
  std::optional<DirectoryLock> lock = DirectoryLock::Acquire(pgdata());
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sleep", "sleep", "60", nullptr);
    ::_exit(1);
  }
  // Until exec has happened the child holds it too.
  lock.reset();
  int outcome = 1;
  for (int i = 0; i < 500 && outcome != 0; ++i) {
    outcome = Attempt(pgdata());
    ::usleep(10'000);
  }
  EXPECT_EQ(outcome, 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(Lock, ASymbolicLinkInItsPlaceIsNotFollowed) {
  std::filesystem::create_symlink("/dev/null", scratch_ / "data.lock");
  EXPECT_EQ(Attempt(pgdata()), ExitStatus(ErrorKind::kTargetFailed));
}

}  // namespace
}  // namespace pgrejoin
