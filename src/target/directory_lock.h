// Who holds this lock may change the data directory; the server runs under it. A flock on a file
// beside the directory ("<pgdata>.lock") and on the directory itself: the file is there before the
// directory is, and the directory is one and the same under whichever name and user it is reached.
// A killed holder frees it; a server that inherits the descriptors from pg-rejoin-gate keeps it for
// as long as any of its processes lives, across containers and pods of one node. Process ids prove
// nothing there: postmaster.pid says 1 in every container.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace pgrejoin {

// The name of what lies beside the directory, on its volume: "<pgdata><suffix>". A slash at the end
// of pgdata, which would put it into the directory, does not count.
std::string PathBeside(std::string pgdata, std::string_view suffix);

class DirectoryLock {
 public:
  // Throws Error(kTargetInUse) when someone else holds it. Never blocks.
  static DirectoryLock Acquire(const std::string& pgdata);

  const std::string& pgdata() const { return pgdata_; }

 private:
  explicit DirectoryLock(std::string pgdata) : pgdata_(std::move(pgdata)) {}
  void Take(UniqueFd fd);

  std::string pgdata_;
  std::vector<UniqueFd> held_;
};

}  // namespace pgrejoin
