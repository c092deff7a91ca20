#include "target/target_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "base/file_access.h"
#include "base/kill_point.h"

namespace pgrejoin {
namespace {

// A file system's own, also where a volume is mounted at the data directory.
constexpr std::string_view kLostAndFound = "lost+found";
// More of them say that something is wrong, and they take room.
constexpr int kSetAsideMax = 3;

struct DirDeleter {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

std::string TemporaryName(const std::string& path) { return path + ".pg_rejoin.tmp"; }

}  // namespace

void TargetWriter::WriteAt(uint64_t offset, Bytes data) {
  while (!data.empty()) {
    const ssize_t written =
        ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      if (written == 0) errno = ENOSPC;
      throw SystemError(ErrorKind::kTargetFailed,
                        fmt::format("could not write file \"{}\"", path_));
    }
    data = data.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  KillPoint("target-write");
}

void TargetWriter::SetLength(uint64_t bytes) {
  int result;
  do {
    result = ::ftruncate(fd_.get(), static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    throw SystemError(ErrorKind::kTargetFailed,
                      fmt::format("could not truncate file \"{}\"", path_));
  }
  KillPoint("target-truncate");
}

void TargetWriter::Sync() {
  if (::fsync(fd_.get()) != 0) {
    throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not fsync file \"{}\"", path_));
  }
  KillPoint("target-fsync");
}

TargetDirectory TargetDirectory::OpenForReading(const std::string& pgdata) {
  return TargetDirectory(pgdata, /*writable=*/false);
}

TargetDirectory TargetDirectory::OpenForChange(const DirectoryLock& lock) {
  return TargetDirectory(lock.pgdata(), /*writable=*/true);
}

TargetDirectory::TargetDirectory(const std::string& pgdata, bool writable)
    : pgdata_(pgdata), writable_(writable) {
  data_ = UniqueFd(::open(pgdata.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status {};
  if (!data_.valid() || ::fstat(data_.get(), &status) != 0) {
    throw SystemError(ErrorKind::kTargetFailed,
                      fmt::format("could not open data directory \"{}\"", pgdata));
  }
  // GetDataDirectoryCreatePerm(): files are readable by the group where the directory is.
  if ((status.st_mode & 0777) == 0750) {
    directory_mode_ = 0750;
    file_mode_ = 0640;
  }
  for (const char* name : {"base", "global", "pg_xact"}) NoteMount(name);
  OpenRoot("pg_wal");
  const UniqueFd tablespaces(
      ::openat(data_.get(), "pg_tblspc", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!tablespaces.valid()) return;
  const std::unique_ptr<DIR, DirDeleter> dir(::fdopendir(::dup(tablespaces.get())));
  if (dir == nullptr) throw SystemError(ErrorKind::kTargetFailed, "could not list pg_tblspc");
  while (const dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] != '.') OpenRoot(fmt::format("pg_tblspc/{}", entry->d_name));
  }
}

void TargetDirectory::NoteMount(const std::string& path) {
  UniqueFd directory = OpenBelow(path, O_RDONLY | O_DIRECTORY, 0);
  struct stat inside {};
  struct stat outside {};
  if (directory.valid() && ::fstat(directory.get(), &inside) == 0 &&
      ::fstat(data_.get(), &outside) == 0 && inside.st_dev != outside.st_dev) {
    mounts_.push_back(std::move(directory));
  }
}

// Only a symbolic link becomes a root of its own; its target is this node's own doing.
void TargetDirectory::OpenRoot(const std::string& path) {
  struct stat status {};
  if (::fstatat(data_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      !S_ISLNK(status.st_mode)) {
    return NoteMount(path);
  }
  UniqueFd root(::openat(data_.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) {
    throw SystemError(ErrorKind::kNotRewindable,
                      fmt::format("could not open the directory that \"{}\" leads to", path));
  }
  linked_roots_.emplace(path, std::move(root));
}

TargetDirectory::Place TargetDirectory::Resolve(const std::string& path) const {
  if (path == ".") return {data_.get(), "."};
  const std::string problem = PathProblem(path);
  Check(problem.empty(), fmt::format("path \"{}\": {}", path, problem));
  for (const auto& [prefix, root] : linked_roots_) {
    if (path == prefix) return {root.get(), "."};
    if (path.size() > prefix.size() && path.starts_with(prefix) && path[prefix.size()] == '/') {
      return {root.get(), path.substr(prefix.size() + 1)};
    }
  }
  return {data_.get(), path};
}

UniqueFd TargetDirectory::OpenBelow(const std::string& path, int flags, mode_t mode) const {
  const Place place = Resolve(path);
  return OpenBeneath(place.root, place.inside, flags, mode);
}

std::pair<UniqueFd, std::string> TargetDirectory::OpenParent(const std::string& path) const {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {UniqueFd(::dup(data_.get())), path};
  UniqueFd parent = OpenBelow(path.substr(0, slash), O_RDONLY | O_DIRECTORY, 0);
  return {std::move(parent), path.substr(slash + 1)};
}

std::string TargetDirectory::Describe(std::string_view verb, const std::string& path) const {
  return fmt::format("could not {} \"{}/{}\"", verb, pgdata_, path);
}

void TargetDirectory::CheckWritable() const {
  Check(writable_, "a data directory that was opened for reading is changed");
}

void TargetDirectory::ListFiles(const std::function<void(TargetFile)>& visit) const {
  ListBelow({}, data_.get(), visit);
}

void TargetDirectory::ListBelow(const std::string& path, int directory,
                                const std::function<void(TargetFile)>& visit) const {
  const UniqueFd own(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, DirDeleter> dir(own.valid() ? ::fdopendir(::dup(own.get())) : nullptr);
  if (dir == nullptr) throw SystemError(ErrorKind::kTargetFailed, Describe("list", path));
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || name == kLostAndFound) continue;
    TargetFile file;
    file.path = path.empty() ? std::string(name) : fmt::format("{}/{}", path, name);
    if (const std::string problem = PathProblem(file.path); !problem.empty()) {
      const FileClass kind = ClassifyPath(file.path);
      if (kind == FileClass::kForeign || kind == FileClass::kConfiguration) continue;
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("file name is refused ({}): {}", problem, Printable(file.path)),
                  "Rename or remove the file.");
    }
    struct stat status {};
    if (::fstatat(own.get(), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;  // somebody rotates logs
      throw SystemError(ErrorKind::kTargetFailed, Describe("stat", file.path));
    }
    const auto linked = linked_roots_.find(file.path);
    if (S_ISLNK(status.st_mode)) {
      file.type = FileType::kSymlink;
      file.link_target = ReadLinkAt(own.get(), entry->d_name);
    } else if (S_ISDIR(status.st_mode)) {
      file.type = FileType::kDirectory;
    } else if (S_ISREG(status.st_mode)) {
      file.size = static_cast<uint64_t>(status.st_size);
    } else {
      continue;  // sockets and the like are nobody's data
    }
    const FileType type = file.type;
    const std::string child = file.path;
    visit(std::move(file));
    if (linked != linked_roots_.end()) {
      ListBelow(child, linked->second.get(), visit);
    } else if (type == FileType::kDirectory) {
      const UniqueFd below(
          ::openat(own.get(), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (below.valid()) {
        ListBelow(child, below.get(), visit);
      } else if (ClassifyPath(child) != FileClass::kForeign) {
        throw SystemError(ErrorKind::kNotRewindable, Describe("open directory", child));
      }
    }
    errno = 0;
  }
  if (errno != 0) throw SystemError(ErrorKind::kTargetFailed, Describe("list", path));
}

UniqueFd TargetDirectory::OpenFile(const std::string& path) const {
  UniqueFd fd = OpenBelow(path, O_RDONLY, 0);
  if (!fd.valid() && errno != ENOENT) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("open file", path));
  }
  return fd;
}

std::optional<std::string> TargetDirectory::ReadFile(const std::string& path,
                                                     size_t bytes_max) const {
  const UniqueFd fd = OpenFile(path);
  if (!fd.valid()) return std::nullopt;
  auto content = ReadUpTo(fd, bytes_max);
  if (!content) throw SystemError(ErrorKind::kTargetFailed, Describe("read file", path));
  if (content->size() > bytes_max) {
    throw Error(ErrorKind::kTargetFailed,
                fmt::format("file \"{}/{}\" has more than {} bytes", pgdata_, path, bytes_max));
  }
  return content;
}

bool TargetDirectory::Exists(const std::string& path) const {
  const UniqueFd fd = OpenBelow(path, O_PATH, 0);
  if (!fd.valid() && errno != ENOENT) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("open", path));
  }
  return fd.valid();
}

UniqueFd TargetDirectory::OpenWal(const std::string& name) const {
  UniqueFd fd = OpenFile("pg_wal/" + name);
  if (!fd.valid()) fd = OpenFile(fmt::format("{}/{}", kDivergedWalDirectory, name));
  if (!fd.valid() && archive_) return archive_(name);
  // A run that was killed while it read may have restored some segments and not the next: taken for
  // all there is, they would hide where the target's WAL ends. A journal knows that already.
  if (!fd.valid() && Exists(kJournalPath)) {
    fd = OpenFile(fmt::format("{}/{}", kRestoredWalDirectory, name));
  }
  return fd;
}

void TargetDirectory::CheckMayChange(const std::string& path) const {
  const auto [parent, name] = OpenParent(path);
  const bool may = parent.valid() && ::faccessat(parent.get(), ".", W_OK | X_OK, AT_EACCESS) == 0 &&
                   ::faccessat(parent.get(), name.c_str(), W_OK, AT_EACCESS) == 0;
  if (!may) throw SystemError(ErrorKind::kNotRewindable, Describe("change", path));
}

TargetDirectory::FileSystem TargetDirectory::FileSystemOf(const std::string& path) const {
  const auto [parent, name] = OpenParent(path);
  const int directory = parent.valid() ? parent.get() : data_.get();  // it is to be made
  struct stat status {};
  struct statvfs space {};
  if (::fstat(directory, &status) != 0 || ::fstatvfs(directory, &space) != 0) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("stat the file system of", path));
  }
  return {status.st_dev, uint64_t{space.f_bavail} * space.f_frsize};
}

TargetWriter TargetDirectory::OpenWriter(const std::string& path, bool truncate) {
  CheckWritable();
  UniqueFd fd =
      OpenBelow(path, O_RDWR | O_CREAT | O_NOFOLLOW | (truncate ? O_TRUNC : 0), file_mode_);
  if (!fd.valid()) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("open for writing", path));
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kTargetFailed, Describe("write to what is no regular file:", path));
  }
  if (truncate) KillPoint("target-truncate");
  return TargetWriter(std::move(fd), path);
}

void TargetDirectory::CreateDirectory(const std::string& path) {
  CheckWritable();
  const auto [parent, name] = OpenParent(path);
  if (!parent.valid() ||
      (::mkdirat(parent.get(), name.c_str(), directory_mode_) != 0 && errno != EEXIST)) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("create directory", path));
  }
  KillPoint("target-mkdir");
}

void TargetDirectory::Remove(const std::string& path, FileType type) {
  CheckWritable();
  const auto [parent, name] = OpenParent(path);
  if (!parent.valid() && errno == ENOENT) return;
  const int flags = type == FileType::kDirectory ? AT_REMOVEDIR : 0;
  if (!parent.valid() || (::unlinkat(parent.get(), name.c_str(), flags) != 0 && errno != ENOENT)) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("remove", path));
  }
  KillPoint("target-unlink");
}

void TargetDirectory::RemoveTree(const std::string& path) {
  CheckWritable();
  const UniqueFd directory = OpenBelow(path, O_RDONLY | O_DIRECTORY, 0);
  if (!directory.valid()) {
    if (errno == ENOENT) return;
    throw SystemError(ErrorKind::kTargetFailed, Describe("open directory", path));
  }
  std::vector<TargetFile> found;
  ListBelow(path, directory.get(), [&](TargetFile file) { found.push_back(std::move(file)); });
  for (auto file = found.rbegin(); file != found.rend(); ++file) Remove(file->path, file->type);
  Remove(path, FileType::kDirectory);
}

void TargetDirectory::SetLength(const std::string& path, uint64_t bytes) {
  OpenWriter(path, /*truncate=*/false).SetLength(bytes);
}

void TargetDirectory::ReplaceFile(const std::string& path, Bytes content) {
  CheckWritable();
  const std::string temporary = TemporaryName(path);
  {
    TargetWriter writer = OpenWriter(temporary, /*truncate=*/true);
    writer.WriteAt(0, content);
    writer.Sync();
  }
  Rename(temporary, path);
  const auto [parent, name] = OpenParent(path);
  if (!parent.valid() || ::fsync(parent.get()) != 0) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("fsync the directory of", path));
  }
}

void TargetDirectory::Rename(const std::string& from, const std::string& to) {
  CheckWritable();
  const auto [from_parent, from_name] = OpenParent(from);
  const auto [to_parent, to_name] = OpenParent(to);
  if (!from_parent.valid() || !to_parent.valid() ||
      ::renameat(from_parent.get(), from_name.c_str(), to_parent.get(), to_name.c_str()) != 0) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("rename a file to", to));
  }
  KillPoint("target-rename");
}

void TargetDirectory::SyncPath(const std::string& path, FileType type) {
  CheckWritable();
  const int flags = type == FileType::kDirectory ? O_RDONLY | O_DIRECTORY : O_RDONLY;
  const UniqueFd fd = OpenBelow(path, flags, 0);
  if (!fd.valid() && errno == ENOENT) return;
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    throw SystemError(ErrorKind::kTargetFailed, Describe("fsync", path));
  }
  KillPoint("target-fsync");
}

void TargetDirectory::SyncAll() {
  CheckWritable();
  const auto sync = [&](int fd, const std::string& path) {
    if (::syncfs(fd) != 0) {
      throw SystemError(ErrorKind::kTargetFailed, Describe("sync the file system of", path));
    }
  };
  sync(data_.get(), ".");
  for (const auto& [path, root] : linked_roots_) sync(root.get(), path);
  for (const UniqueFd& mount : mounts_) sync(mount.get(), "what is mounted inside");
  KillPoint("target-fsync");
}

bool RestoreDirectoryMode(const DirectoryLock& lock, mode_t mode) {
  const UniqueFd fd(::open(lock.pgdata().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    throw SystemError(ErrorKind::kTargetFailed,
                      fmt::format("could not open data directory \"{}\"", lock.pgdata()));
  }
  if ((status.st_mode & 07777) == mode) return false;
  if (::fchmod(fd.get(), mode) != 0) {
    throw SystemError(ErrorKind::kTargetFailed,
                      fmt::format("could not set the mode of \"{}\"", lock.pgdata()));
  }
  return true;
}

std::string SetAside(const DirectoryLock& lock) {
  const std::string pgdata = PathBeside(lock.pgdata(), "");
  for (int number = 1; number <= kSetAsideMax; ++number) {
    const std::string aside = fmt::format("{}.half-made.{}", pgdata, number);
    struct stat status {};
    if (::lstat(aside.c_str(), &status) == 0) continue;
    if (::rename(pgdata.c_str(), aside.c_str()) != 0) {
      throw SystemError(ErrorKind::kTargetFailed,
                        fmt::format("could not rename \"{}\" to \"{}\"", pgdata, aside));
    }
    const UniqueFd fd(::open(aside.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() || ::syncfs(fd.get()) != 0) {
      throw SystemError(ErrorKind::kTargetFailed, fmt::format("could not sync \"{}\"", aside));
    }
    return aside;
  }
  throw Error(ErrorKind::kTargetFailed,
              fmt::format("\"{}.half-made.1\" to \".{}\" are all there", pgdata, kSetAsideMax),
              "Remove them: they are what initialisations that were cut short have left.");
}

void CheckNoPostmaster(const std::string& pgdata) {
  const TargetDirectory target = TargetDirectory::OpenForReading(pgdata);
  const auto content = target.ReadFile("postmaster.pid", 64 * 1024);
  if (!content) return;
  const long pid = std::strtol(content->c_str(), nullptr, 10);
  if (pid <= 0 || (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH)) return;
  throw Error(
      ErrorKind::kTargetInUse,
      fmt::format("a server with process id {} seems to run on data directory \"{}\"", pid, pgdata),
      "Stop it with pg_ctl stop. If it is not this server, remove postmaster.pid.");
}

}  // namespace pgrejoin
