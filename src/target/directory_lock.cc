#include "target/directory_lock.h"

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <sys/file.h>

#include <cerrno>

#include "base/error.h"

namespace pgrejoin {
namespace {

// The same rule as in gate/gate.cc: both must meet at one lock. A file of another user is opened
// for reading, which is enough for flock. Invalid: the place cannot be written and there is no such
// file.
UniqueFd OpenLockFile(const std::string& name) {
  UniqueFd fd(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660));
  if (fd.valid() || (errno != EACCES && errno != EROFS && errno != EPERM)) {
    if (!fd.valid()) {
      throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not open \"{}\"", name));
    }
    return fd;
  }
  return UniqueFd(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
}

}  // namespace

std::string PathBeside(std::string pgdata, std::string_view suffix) {
  while (pgdata.size() > 1 && pgdata.back() == '/') pgdata.pop_back();
  return pgdata.append(suffix);
}

void DirectoryLock::Take(UniqueFd fd) {
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not lock \"{}\"", pgdata_));
    }
    throw Error(
        ErrorKind::kTargetInUse,
        fmt::format("data directory \"{}\" is in use by a server or another rejoin", pgdata_),
        "Stop the other one first. The lock goes away by itself when its holder ends.");
  }
  held_.push_back(std::move(fd));
}

DirectoryLock DirectoryLock::Acquire(const std::string& pgdata) {
  DirectoryLock lock(pgdata);
  UniqueFd file = OpenLockFile(PathBeside(pgdata, ".lock"));
  UniqueFd directory(::open(PathBeside(pgdata, "").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.valid() && !directory.valid()) {
    throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not open \"{}\"", pgdata));
  }
  if (file.valid()) lock.Take(std::move(file));
  if (directory.valid()) lock.Take(std::move(directory));
  return lock;
}

}  // namespace pgrejoin
