#include "base/file_access.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace pgrejoin {

UniqueFd OpenBeneath(int root, const std::string& path, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd;
  do {
    fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return UniqueFd(static_cast<int>(fd));
}

std::optional<std::string> ReadUpTo(const UniqueFd& fd, size_t bytes_max) {
  std::string content;
  char buffer[64 * 1024];
  while (content.size() <= bytes_max) {
    const size_t wanted = std::min(sizeof(buffer), bytes_max + 1 - content.size());
    const ssize_t got = ::read(fd.get(), buffer, wanted);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    content.append(buffer, static_cast<size_t>(got));
  }
  return content;
}

std::optional<size_t> ReadAt(const UniqueFd& fd, uint64_t offset, MutableBytes out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

std::string ReadLinkAt(int directory, const char* name) {
  char target[PATH_MAX];
  const ssize_t length = ::readlinkat(directory, name, target, sizeof(target));
  if (length < 0 || length == static_cast<ssize_t>(sizeof(target))) return {};
  return {target, static_cast<size_t>(length)};
}

}  // namespace pgrejoin
