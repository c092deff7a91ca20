// SIGTERM and SIGINT become a std::stop_token. A thread of its own waits for them with sigwait(),
// so no code runs in signal context. A second signal ends the process at once: every state we leave
// behind is one that the next run can continue from.
#pragma once

#include <signal.h>

#include <chrono>
#include <optional>
#include <stop_token>
#include <thread>

namespace pgrejoin {

class StopSignal {
 public:
  // Call before any other thread is started: they inherit the blocked signals.
  // exit_status: of a process that a second signal, or the end of the grace period, cuts short.
  // grace: how long after the first signal the process may take to end by itself; none: no limit.
  StopSignal(int exit_status, std::optional<std::chrono::milliseconds> grace);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  std::stop_token token() const { return stop_.get_token(); }

 private:
  void Wait(int exit_status, std::optional<std::chrono::milliseconds> grace);

  sigset_t signals_;
  sigset_t signals_before_;
  std::stop_source stop_;
  std::thread waiter_;
};

}  // namespace pgrejoin
