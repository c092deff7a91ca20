#include "cli/stop_signal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace pgrejoin {
namespace {

using std::chrono::milliseconds;

// In a process of its own, since the second signal ends it.
template <typename Body>
int InChild(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

bool WaitForStop(const StopSignal& stop) {
  for (int i = 0; i < 300; ++i) {
    if (stop.token().stop_requested()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

TEST(StopSignalTest, FirstSignalRequestsAStop) {
  for (const int signal : {SIGTERM, SIGINT}) {
    EXPECT_EQ(InChild([signal] {
                StopSignal stop(55, std::nullopt);
                ::kill(::getpid(), signal);
                ::_exit(WaitForStop(stop) ? 7 : 8);
              }),
              7);
  }
}

TEST(StopSignalTest, SecondSignalEndsAtOnce) {
  EXPECT_EQ(InChild([] {
              StopSignal stop(55, std::nullopt);
              ::kill(::getpid(), SIGTERM);
              WaitForStop(stop);
              ::kill(::getpid(), SIGTERM);
              std::this_thread::sleep_for(std::chrono::seconds(5));
            }),
            55);
}

TEST(StopSignalTest, GraceIsLimited) {
  EXPECT_EQ(InChild([] {
              StopSignal stop(55, milliseconds(100));
              ::kill(::getpid(), SIGTERM);
              std::this_thread::sleep_for(std::chrono::seconds(5));
            }),
            55);
}

TEST(StopSignalTest, EndsQuietlyWithoutASignalAndAfterOne) {
  EXPECT_EQ(InChild([] {
              { const StopSignal stop(55, std::nullopt); }
              StopSignal again(55, std::nullopt);
              ::kill(::getpid(), SIGTERM);
              WaitForStop(again);
            }),
            0);
}

}  // namespace
}  // namespace pgrejoin
