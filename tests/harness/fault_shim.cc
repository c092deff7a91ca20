// Preloaded into the program under test: makes a chosen system call fail, come back short, or be
// the last one of the process, and records what is done to the data directory. The program itself
// is the one that users run.
//
//   FAULT_ROOT=DIR       only calls on files below it count, and all calls on sockets
//   FAULT=SITE:N:ACTION  the N-th call of SITE ("any": of all sites)
//                        ACTION: kill | short | slow<milliseconds> | an errno; "E+": from the N-th
//                        on, for ever
//   FAULT_COUNTS=FILE    at the end, and before a kill: a line "SITE COUNT" for each site
//   FAULT_TRACE=DIR      DIR/ops: what changed below FAULT_ROOT, a line each; DIR/data: what was
//   written
//
// Lines of DIR/ops, fields parted by tabs: create PATH | truncate PATH LENGTH | write PATH OFFSET
// LENGTH DATA_OFFSET | mkdir PATH | unlink PATH | rename FROM TO | fsync PATH | syncfs. A line
// stands there once the call has succeeded.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace {

constexpr std::array<std::string_view, 13> kSites = {
    "any",    "openat2", "pwrite",   "pread",    "read", "ftruncate", "fsync",
    "syncfs", "mkdirat", "unlinkat", "renameat", "recv", "send"};

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

template <typename Function>
Function* Real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}
#define REAL(name) Real(&name, #name)

struct Fault {
  Fault() {
    const std::string text = Environment("FAULT");
    if (text.empty()) return;
    const size_t first = text.find(':');
    const size_t second = text.find(':', first + 1);
    site = text.substr(0, first);
    at = std::atol(text.c_str() + first + 1);
    action = text.substr(second + 1);
    for_ever = action.ends_with('+');
    if (for_ever) action.pop_back();
  }
  std::string site;
  long at = 0;
  std::string action;
  bool for_ever = false;
};

class Shim {
 public:
  static Shim& Get() {
    static Shim* shim = new Shim;  // never destroyed: other threads live until the very end
    return *shim;
  }

  // 0: go on; otherwise the errno to fail with, or kShort.
  static constexpr int kShort = -1;
  int Before(std::string_view site) {
    const int result = Count(site);
    if (result != kSlow) return result;
    std::this_thread::sleep_for(delay_);
    return 0;
  }

  bool Concerns(int fd) { return Below(PathOf(fd)); }
  bool Concerns(int directory, const char* name) { return Below(PathOf(directory, name)); }

  std::string PathOf(int fd) const {
    char link[64];
    char path[PATH_MAX];
    std::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof(path));
    return length > 0 ? std::string(path, static_cast<size_t>(length)) : std::string();
  }
  std::string PathOf(int directory, const char* name) const {
    return std::strcmp(name, ".") == 0 ? PathOf(directory) : PathOf(directory) + "/" + name;
  }

  void Record(const std::string& line) {
    const std::scoped_lock lock(mutex_);
    if (ops_ != nullptr) std::fprintf(ops_, "%s\n", line.c_str());
  }
  void RecordWrite(const std::string& path, off_t offset, const void* data, size_t length) {
    const std::scoped_lock lock(mutex_);
    if (ops_ == nullptr) return;
    std::fprintf(ops_, "write\t%s\t%lld\t%zu\t%ld\n", path.c_str(), static_cast<long long>(offset),
                 length, std::ftell(data_));
    std::fwrite(data, 1, length, data_);
  }
  // Relative to the root.
  std::string Name(const std::string& path) const {
    return path.size() > root_.size() ? path.substr(root_.size() + 1) : ".";
  }
  void WriteCounts() {
    const std::string path = Environment("FAULT_COUNTS");
    if (path.empty()) return;
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) return;
    for (size_t i = 0; i < kSites.size(); ++i) {
      std::fprintf(file, "%s %ld\n", std::string(kSites[i]).c_str(), counts_[i]);
    }
    std::fclose(file);
  }
  void Close() {
    const std::scoped_lock lock(mutex_);
    WriteCounts();
    if (ops_ != nullptr) std::fflush(ops_);
    if (data_ != nullptr) std::fflush(data_);
  }

 private:
  static constexpr int kSlow = -2;
  static constexpr std::string_view kSlowAction = "slow";

  Shim() : root_(Environment("FAULT_ROOT")) {
    const std::string trace = Environment("FAULT_TRACE");
    if (trace.empty()) return;
    ops_ = std::fopen((trace + "/ops").c_str(), "w");
    data_ = std::fopen((trace + "/data").c_str(), "w");
  }

  bool Below(const std::string& path) const {
    return !root_.empty() && path.starts_with(root_) &&
           (path.size() == root_.size() || path[root_.size()] == '/');
  }
  int Count(std::string_view site) {
    const std::scoped_lock lock(mutex_);
    int result = 0;
    for (size_t i = 0; i < kSites.size(); ++i) {
      if (kSites[i] != site && kSites[i] != "any") continue;
      ++counts_[i];
      if (fault_.site != kSites[i]) continue;
      if (counts_[i] == fault_.at || (fault_.for_ever && counts_[i] > fault_.at)) result = Hit();
    }
    return result;
  }
  int Hit() {
    if (fault_.action == "kill") {
      WriteCounts();
      raise(SIGKILL);
    }
    if (fault_.action == "short") return kShort;
    if (fault_.action.starts_with(kSlowAction)) return kSlow;
    return std::atoi(fault_.action.c_str());
  }

  std::mutex mutex_;
  const Fault fault_;
  const std::chrono::milliseconds delay_{fault_.action.starts_with(kSlowAction)
                                             ? std::atol(fault_.action.c_str() + kSlowAction.size())
                                             : 0};
  const std::string root_;
  std::array<long, kSites.size()> counts_{};
  std::FILE* ops_ = nullptr;
  std::FILE* data_ = nullptr;
};

struct AtExit {
  ~AtExit() { Shim::Get().Close(); }
} at_exit;

size_t Shortened(size_t length, int fault) {
  return fault == Shim::kShort ? (length + 1) / 2 : length;
}

bool Fails(int fault) {
  if (fault <= 0) return false;
  errno = fault;
  return true;
}

// Such errors come with the end of the connection, never alone.
void Disconnect(int fd, int fault) {
  if (fault > 0 && fault != EINTR) ::shutdown(fd, SHUT_RDWR);
}

ssize_t ReadAt(int fd, void* buffer, size_t length, off_t offset) {
  static const auto real = REAL(pread);
  const int fault = Shim::Get().Concerns(fd) ? Shim::Get().Before("pread") : 0;
  return Fails(fault) ? -1 : real(fd, buffer, Shortened(length, fault), offset);
}

ssize_t ReadOn(int fd, void* buffer, size_t length) {
  static const auto real = REAL(read);
  const int fault = Shim::Get().Concerns(fd) ? Shim::Get().Before("read") : 0;
  return Fails(fault) ? -1 : real(fd, buffer, Shortened(length, fault));
}

ssize_t Receive(int fd, void* buffer, size_t length, int flags) {
  static const auto real = REAL(recv);
  const int fault = Shim::Get().Before("recv");
  Disconnect(fd, fault);
  return Fails(fault) ? -1 : real(fd, buffer, Shortened(length, fault), flags);
}

// A changed file's name before and after: what openat2() itself does to it.
long OpenAt2(int directory, const char* path, const open_how* how, size_t size) {
  static const auto real = REAL(syscall);
  Shim& shim = Shim::Get();
  const std::string full = shim.PathOf(directory, path);
  if (!shim.Concerns(directory)) return real(SYS_openat2, directory, path, how, size);
  if (Fails(shim.Before("openat2"))) return -1;
  struct stat status {};
  const bool there = ::lstat(full.c_str(), &status) == 0;
  const long fd = real(SYS_openat2, directory, path, how, size);
  if (fd < 0) return fd;
  if (!there && (how->flags & O_CREAT) != 0) shim.Record("create\t" + shim.Name(full));
  if (there && (how->flags & O_TRUNC) != 0 && status.st_size > 0) {
    shim.Record("truncate\t" + shim.Name(full) + "\t0");
  }
  return fd;
}

}  // namespace

extern "C" {

ssize_t pwrite(int fd, const void* data, size_t length, off_t offset) {
  static const auto real = REAL(pwrite);
  Shim& shim = Shim::Get();
  if (!shim.Concerns(fd)) return real(fd, data, length, offset);
  const int fault = shim.Before("pwrite");
  if (Fails(fault)) return -1;
  const ssize_t written = real(fd, data, Shortened(length, fault), offset);
  if (written > 0) {
    shim.RecordWrite(shim.Name(shim.PathOf(fd)), offset, data, static_cast<size_t>(written));
  }
  return written;
}
ssize_t pwrite64(int fd, const void* data, size_t length, off_t offset) {
  return pwrite(fd, data, length, offset);
}

ssize_t pread(int fd, void* buffer, size_t length, off_t offset) {
  return ReadAt(fd, buffer, length, offset);
}
ssize_t pread64(int fd, void* buffer, size_t length, off_t offset) {
  return ReadAt(fd, buffer, length, offset);
}
ssize_t __pread_chk(int fd, void* buffer, size_t length, off_t offset, size_t) {
  return ReadAt(fd, buffer, length, offset);
}
ssize_t __pread64_chk(int fd, void* buffer, size_t length, off_t offset, size_t) {
  return ReadAt(fd, buffer, length, offset);
}
ssize_t read(int fd, void* buffer, size_t length) { return ReadOn(fd, buffer, length); }
ssize_t __read_chk(int fd, void* buffer, size_t length, size_t) {
  return ReadOn(fd, buffer, length);
}
ssize_t recv(int fd, void* buffer, size_t length, int flags) {
  return Receive(fd, buffer, length, flags);
}
ssize_t __recv_chk(int fd, void* buffer, size_t length, size_t, int flags) {
  return Receive(fd, buffer, length, flags);
}
ssize_t send(int fd, const void* data, size_t length, int flags) {
  static const auto real = REAL(send);
  const int fault = Shim::Get().Before("send");
  Disconnect(fd, fault);
  return Fails(fault) ? -1 : real(fd, data, Shortened(length, fault), flags);
}

int ftruncate(int fd, off_t length) {
  static const auto real = REAL(ftruncate);
  Shim& shim = Shim::Get();
  if (!shim.Concerns(fd)) return real(fd, length);
  if (Fails(shim.Before("ftruncate"))) return -1;
  const int result = real(fd, length);
  if (result == 0) {
    shim.Record("truncate\t" + shim.Name(shim.PathOf(fd)) + "\t" + std::to_string(length));
  }
  return result;
}
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int fsync(int fd) {
  static const auto real = REAL(fsync);
  Shim& shim = Shim::Get();
  if (!shim.Concerns(fd)) return real(fd);
  if (Fails(shim.Before("fsync"))) return -1;
  const int result = real(fd);
  if (result == 0) shim.Record("fsync\t" + shim.Name(shim.PathOf(fd)));
  return result;
}

int syncfs(int fd) {
  static const auto real = REAL(syncfs);
  Shim& shim = Shim::Get();
  if (!shim.Concerns(fd)) return real(fd);
  if (Fails(shim.Before("syncfs"))) return -1;
  const int result = real(fd);
  if (result == 0) shim.Record("syncfs");
  return result;
}

int mkdirat(int directory, const char* name, mode_t mode) {
  static const auto real = REAL(mkdirat);
  Shim& shim = Shim::Get();
  if (!shim.Concerns(directory)) return real(directory, name, mode);
  if (Fails(shim.Before("mkdirat"))) return -1;
  const int result = real(directory, name, mode);
  if (result == 0) shim.Record("mkdir\t" + shim.Name(shim.PathOf(directory, name)));
  return result;
}

int unlinkat(int directory, const char* name, int flags) {
  static const auto real = REAL(unlinkat);
  Shim& shim = Shim::Get();
  if (!shim.Concerns(directory)) return real(directory, name, flags);
  if (Fails(shim.Before("unlinkat"))) return -1;
  const int result = real(directory, name, flags);
  if (result == 0) shim.Record("unlink\t" + shim.Name(shim.PathOf(directory, name)));
  return result;
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  static const auto real = REAL(renameat);
  Shim& shim = Shim::Get();
  if (!shim.Concerns(from_directory)) return real(from_directory, from, to_directory, to);
  if (Fails(shim.Before("renameat"))) return -1;
  const int result = real(from_directory, from, to_directory, to);
  if (result == 0) {
    shim.Record("rename\t" + shim.Name(shim.PathOf(from_directory, from)) + "\t" +
                shim.Name(shim.PathOf(to_directory, to)));
  }
  return result;
}

long syscall(long number, ...) {
  static const auto real = REAL(syscall);
  va_list list;
  va_start(list, number);
  std::array<long, 6> argument;
  for (long& value : argument) value = va_arg(list, long);
  va_end(list);
  if (number == SYS_openat2) {
    return OpenAt2(static_cast<int>(argument[0]), reinterpret_cast<const char*>(argument[1]),
                   reinterpret_cast<const open_how*>(argument[2]),
                   static_cast<size_t>(argument[3]));
  }
  return real(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}

}  // extern "C"
