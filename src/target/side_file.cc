#include "target/side_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/file_access.h"
#include "target/new_file.h"

namespace pgrejoin {
namespace {

[[noreturn]] void Fail(const char* what, const std::string& path) {
  throw SystemError(ErrorKind::kTargetFailed,
                    std::string("could not ") + what + " \"" + path + "\"");
}

void SyncParent(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path();
  const UniqueFd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0) Fail("fsync", parent);
}

}  // namespace

void WriteSideFile(const DirectoryLock& lock, std::string_view suffix, const std::string& text) {
  const std::string path = PathBeside(lock.pgdata(), suffix);
  const std::string temporary = path + ".new";
  const UniqueFd file = WriteNewFile(temporary, text, 0640);
  if (!file.valid()) Fail("write", temporary);
  if (::fsync(file.get()) != 0) Fail("fsync", temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) Fail("rename", temporary);
  SyncParent(path);
}

std::optional<std::string> ReadSideFile(const DirectoryLock& lock, std::string_view suffix) {
  const std::string path = PathBeside(lock.pgdata(), suffix);
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.valid() && errno == ENOENT) return std::nullopt;
  if (!file.valid()) Fail("open", path);
  auto text = ReadUpTo(file, kSideFileBytesMax);
  if (!text) Fail("read", path);
  if (text->size() > kSideFileBytesMax) {
    errno = EFBIG;
    Fail("read", path);
  }
  return text;
}

void RemoveSideFile(const DirectoryLock& lock, std::string_view suffix) {
  const std::string path = PathBeside(lock.pgdata(), suffix);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) Fail("remove", path);
}

}  // namespace pgrejoin
