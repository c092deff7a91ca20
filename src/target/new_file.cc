#include "target/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace pgrejoin {

UniqueFd WriteNewFile(const std::string& path, std::string_view content, mode_t mode) {
  ::unlink(path.c_str());
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  while (fd.valid() && !content.empty()) {
    const ssize_t bytes = ::write(fd.get(), content.data(), content.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return {};
    content.remove_prefix(static_cast<size_t>(bytes));
  }
  return fd;
}

}  // namespace pgrejoin
