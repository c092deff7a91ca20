// Who holds this lock may change the data directory; the server runs under it. A flock on a file
// beside the directory ("<pgdata>.lock"; where that place cannot be written, on the directory
// itself), so a killed holder frees it and a server that inherits the descriptor from
// pg-rejoin-gate keeps it for as long as any of its processes lives, across containers and pods of
// one node. Process ids prove nothing there: postmaster.pid says 1 in every container.
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace pgrejoin {

class DirectoryLock {
 public:
  // Throws Error(kTargetInUse) when someone else holds it. Never blocks.
  static DirectoryLock Acquire(const std::string& pgdata);

  const std::string& pgdata() const { return pgdata_; }

 private:
  DirectoryLock(std::string pgdata, UniqueFd fd) : pgdata_(std::move(pgdata)), fd_(std::move(fd)) {}

  std::string pgdata_;
  UniqueFd fd_;
};

}  // namespace pgrejoin
