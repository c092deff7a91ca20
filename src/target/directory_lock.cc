#include "target/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include <spdlog/fmt/fmt.h>

#include "base/error.h"

namespace pgrejoin {
namespace {

// The same rule as in gate/gate.cc: both must meet at one lock.
UniqueFd OpenLockFile(const std::string& pgdata) {
  std::string path = pgdata;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  UniqueFd fd(::open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660));
  if (fd.valid()) return fd;
  if (errno != EACCES && errno != EROFS && errno != EPERM) {
    throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not open \"{}.lock\"", path));
  }
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) {
    throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not open \"{}\"", path));
  }
  return directory;
}

}  // namespace

DirectoryLock DirectoryLock::Acquire(const std::string& pgdata) {
  UniqueFd fd = OpenLockFile(pgdata);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not lock \"{}\"", pgdata));
    }
    throw Error(ErrorKind::kTargetInUse,
                fmt::format("data directory \"{}\" is in use by a server or another rejoin", pgdata),
                "Stop the other one first. The lock goes away by itself when its holder ends.");
  }
  return DirectoryLock(pgdata, std::move(fd));
}

}  // namespace pgrejoin
