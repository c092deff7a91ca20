#include "cli/stop_signal.h"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>

namespace pgrejoin {
namespace {
// Wakes the waiting thread when the StopSignal is destroyed.
constexpr int kWakeSignal = SIGUSR1;
}  // namespace

StopSignal::StopSignal(int exit_status, std::optional<std::chrono::milliseconds> grace) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, kWakeSignal);
  pthread_sigmask(SIG_BLOCK, &signals_, &signals_before_);
  waiter_ = std::thread([this, exit_status, grace] { Wait(exit_status, grace); });
}

StopSignal::~StopSignal() {
  pthread_kill(waiter_.native_handle(), kWakeSignal);
  waiter_.join();
  pthread_sigmask(SIG_SETMASK, &signals_before_, nullptr);
}

void StopSignal::Wait(int exit_status, std::optional<std::chrono::milliseconds> grace) {
  int signal = 0;
  if (sigwait(&signals_, &signal) != 0 || signal == kWakeSignal) return;
  stop_.request_stop();
  if (grace) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*grace);
    const timespec limit{static_cast<time_t>(seconds.count()),
                         static_cast<long>((*grace - seconds).count() * 1'000'000)};
    signal = sigtimedwait(&signals_, nullptr, &limit);
    if (signal == -1 && errno == EINTR) signal = SIGTERM;
  } else {
    sigwait(&signals_, &signal);
  }
  if (signal == kWakeSignal) return;
  _exit(exit_status);
}

}  // namespace pgrejoin
