// Waits for a file to be put into a directory by rename, instead of looking again and again.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>

#include "base/unique_fd.h"

namespace pgrejoin {

// inotify(7). A machine that has no more of its instances to give, or a directory that is not
// there, makes Wait() last as long as it may: who waits has to look by itself then, as it has to
// after a file system that reports nothing.
class DirectoryWatch {
 public:
  explicit DirectoryWatch(const std::string& directory);

  // Returns when a file was renamed into the directory since the last call, or when the time is
  // over; false at once when stop is requested. For one thread.
  bool Wait(std::chrono::milliseconds longest, std::stop_token stop);

 private:
  void Drain() const;

  UniqueFd inotify_;
  UniqueFd stopped_;  // eventfd
};

}  // namespace pgrejoin
