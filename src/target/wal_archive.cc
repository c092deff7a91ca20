#include "target/wal_archive.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/fmt/fmt.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file_access.h"
#include "base/log.h"
#include "pgdata/control_file.h"
#include "pgdata/wal_segment_name.h"

namespace pgrejoin {
namespace {

namespace fs = std::filesystem;

constexpr int kStopPollMs = 100;
// wait_result_is_any_signal(): what a shell says when it could not run a command, or a signal ended
// it.
constexpr int kOrdinaryStatusMax = 125;

struct SpawnAttributes {
  SpawnAttributes() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnAttributes() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

// In a process group of its own, so that all of it can be stopped, and with the signals that a
// program begins with: ours are blocked for a thread that waits for them.
pid_t Spawn(const std::string& command, const std::string& directory) {
  SpawnAttributes spawn;
  ::posix_spawn_file_actions_addchdir_np(&spawn.actions, directory.c_str());
  ::posix_spawn_file_actions_addopen(&spawn.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&spawn.attributes, &none);
  ::posix_spawnattr_setsigdefault(&spawn.attributes, &all);
  ::posix_spawnattr_setpgroup(&spawn.attributes, 0);
  ::posix_spawnattr_setflags(
      &spawn.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::string words[] = {"sh", "-c", command};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t child = 0;
  errno = ::posix_spawn(&child, "/bin/sh", &spawn.actions, &spawn.attributes, arguments, environ);
  if (errno != 0) throw SystemError(ErrorKind::kUnavailable, "could not run \"restore_command\"");
  return child;
}

// Throws Error(kUnavailable) when it was told to stop, and when limit (0: none) is over.
int WaitFor(pid_t child, std::chrono::seconds limit, const std::stop_token& stop) {
  const auto begin = std::chrono::steady_clock::now();
  bool over = false;
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  while (true) {
    int status = 0;
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended < 0 && errno != EINTR) {
      throw SystemError(ErrorKind::kUnavailable, "could not wait for \"restore_command\"");
    }
    if (ended == child) {
      if (stop.stop_requested()) throw Error(ErrorKind::kUnavailable, "interrupted");
      if (!over) return status;
      throw Error(ErrorKind::kUnavailable,
                  fmt::format("\"restore_command\" did not end within {} s", limit.count()));
    }
    over = limit.count() > 0 && std::chrono::steady_clock::now() - begin > limit;
    if (stop.stop_requested()) ::kill(-child, SIGTERM);
    if (over) ::kill(-child, SIGKILL);
    pollfd wait{process.get(), POLLIN, 0};
    ::poll(&wait, 1, kStopPollMs);
  }
}

// True: done. False: the archive has no such file.
bool Succeeded(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) <= kOrdinaryStatusMax) {
    return WEXITSTATUS(status) == 0;
  }
  std::string what;
  if (!WIFEXITED(status)) {
    const int number = WTERMSIG(status);
    what =
        fmt::format("child process was terminated by signal {}: {}", number, ::strsignal(number));
  } else if (WEXITSTATUS(status) == 127) {
    what = "command not found";
  } else if (WEXITSTATUS(status) == 126) {
    what = "command not executable";
  } else {
    what = fmt::format("child process exited with exit code {}", WEXITSTATUS(status));
  }
  throw Error(ErrorKind::kUnavailable, "\"restore_command\" failed: " + what,
              "Whether the archive has the file cannot be told. See to the command and run again.");
}

// Of this process: a command that outlived another run may still be writing.
std::string TemporaryName() { return fmt::format("restoring.{}", ::getpid()); }

std::string MakeTemporaryDirectory() {
  std::string pattern = (fs::temp_directory_path() / "pg-rejoin-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw SystemError(ErrorKind::kUnavailable, "could not create a temporary directory");
  }
  return pattern;
}

}  // namespace

std::string ExpandRestoreCommand(std::string_view command, const std::string& name,
                                 const std::string& path) {
  std::string expanded;
  for (size_t i = 0; i < command.size(); ++i) {
    if (command[i] != '%') {
      expanded += command[i];
      continue;
    }
    const char placeholder = ++i < command.size() ? command[i] : '\0';
    switch (placeholder) {
      case '%':
        expanded += '%';
        break;
      case 'f':
        expanded += name;
        break;
      case 'p':
        expanded += path;
        break;
      case 'r':
        expanded += WalSegmentName{0, 0}.ToString(1 << 20);
        break;
      default:
        throw Error(ErrorKind::kUsage,
                    placeholder == '\0'
                        ? "\"restore_command\" ends unexpectedly after escape character \"%\""
                        : fmt::format("\"restore_command\" contains unexpected placeholder \"%{}\"",
                                      Printable({&placeholder, 1})),
                    "It may contain %f, %p, %r and %%.");
    }
  }
  return expanded;
}

WalArchive::WalArchive(const DirectoryLock& lock, Options options)
    : options_(std::move(options)),
      pgdata_(lock.pgdata()),
      target_(options_.dry_run ? TargetDirectory::OpenForReading(pgdata_)
                               : TargetDirectory::OpenForChange(lock)) {
  ExpandRestoreCommand(options_.restore_command, {}, {});
  const auto control = target_.ReadFile(kControlFilePath, kControlFileBytes);
  if (!control) throw Error(ErrorKind::kTargetFailed, "the target has no control file");
  segment_size_ = ControlFile::Parse(AsBytes(*control), "target").wal_segment_size();
  struct stat status {};
  const bool group_reads = ::stat(pgdata_.c_str(), &status) == 0 && (status.st_mode & 0777) == 0750;
  file_mode_ = group_reads ? 0640 : 0600;
}

WalArchive::~WalArchive() {
  std::error_code ignored;
  if (!temporary_directory_.empty()) fs::remove_all(temporary_directory_, ignored);
  if (options_.dry_run) return;
  try {
    if (target_.Exists(kJournalPath) || !target_.Exists(std::string(kRestoredWalDirectory))) {
      return;
    }
    target_.RemoveTree(std::string(kRestoredWalDirectory));
    target_.Remove(std::string(kOwnWalDirectory), FileType::kDirectory);
  } catch (const Error& error) {
    LogDebug("{}", error.message());  // it holds more, or the next run removes it
  }
}

WalArchive::Place WalArchive::ReadyPlace() {
  if (options_.dry_run) {
    if (temporary_directory_.empty()) temporary_directory_ = MakeTemporaryDirectory();
    return {UniqueFd(::open(temporary_directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
            temporary_directory_};
  }
  const std::string path(kRestoredWalDirectory);
  target_.CreateDirectory(std::string(kOwnWalDirectory));
  target_.CreateDirectory(path);
  Place place{target_.OpenFile(path), path};
  if (!place.directory.valid()) {
    throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not open \"{}\"", path));
  }
  return place;
}

UniqueFd WalArchive::Restore(const std::string& name) {
  if (missing_.contains(name)) return {};
  const Place place = ReadyPlace();
  UniqueFd fd = OpenBeneath(place.directory.get(), name, O_RDONLY, 0);
  if (fd.valid()) return fd;
  const std::string temporary = TemporaryName();
  fd = Fetch(place, temporary, name, /*limit=*/{});
  if (!fd.valid()) {
    LogInfo("could not restore file \"{}\" from archive", name);
    missing_.insert(name);
    return fd;
  }
  if (::fchmod(fd.get(), file_mode_) != 0 || ::renameat(place.directory.get(), temporary.c_str(),
                                                        place.directory.get(), name.c_str()) != 0) {
    throw SystemError(ErrorKind::kTargetFailed,
                      fmt::format("could not take over restored file \"{}\"", name));
  }
  LogInfo("restored file \"{}\" from archive", name);
  return fd;
}

UniqueFd WalArchive::Peek(const std::string& name) {
  const Place place = ReadyPlace();
  const std::string temporary = TemporaryName();
  UniqueFd fd = Fetch(place, temporary, name, options_.peek_limit);
  ::unlinkat(place.directory.get(), temporary.c_str(), 0);
  return fd;
}

UniqueFd WalArchive::Fetch(const Place& place, const std::string& temporary,
                           const std::string& name, std::chrono::seconds limit) const {
  ::unlinkat(place.directory.get(), temporary.c_str(), 0);
  const pid_t child = Spawn(ExpandRestoreCommand(options_.restore_command, name,
                                                 fmt::format("{}/{}", place.path, temporary)),
                            pgdata_);
  if (!Succeeded(WaitFor(child, limit, options_.stop))) return {};
  return Open(place, temporary, name);
}

// What the command left is anybody's: it may be taken for a segment when it can be one. Invalid: it
// left nothing.
UniqueFd WalArchive::Open(const Place& place, const std::string& temporary,
                          const std::string& name) const {
  UniqueFd fd = OpenBeneath(place.directory.get(), temporary, O_RDONLY | O_NONBLOCK, 0);
  if (!fd.valid() && errno == ENOENT) return fd;
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    ::unlinkat(place.directory.get(), temporary.c_str(), 0);
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("what \"restore_command\" made of \"{}\" is not a regular file", name),
                "It has to copy the file; a link into the archive is not enough.");
  }
  if (WalSegmentName::Parse(name) && status.st_size != static_cast<off_t>(segment_size_)) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("unexpected file size for \"{}\": {} instead of {}", name,
                            status.st_size, segment_size_));
  }
  return fd;
}

}  // namespace pgrejoin
