#include "source/directory_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file_access.h"
#include "pgdata/control_file.h"
#include "source/source_control.h"

namespace pgrejoin {
namespace {

constexpr size_t kHistoryBytesMax = 16 << 20;

struct DirDeleter {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// Classes whose links are never followed and whose files never fetched: what they are does not
// matter.
bool IsNeverFetched(FileClass kind) {
  return kind == FileClass::kConfiguration || kind == FileClass::kOwn ||
         kind == FileClass::kEmptied || kind == FileClass::kNeverFetched ||
         kind == FileClass::kTemporary;
}

[[noreturn]] void Modified(const std::string& what) {
  throw Error(ErrorKind::kSourceChanged,
              "the source data directory was modified during the rewind: " + what,
              "Let its server stay down until the end, shut down cleanly, and run again.");
}

// The directory with its links, by handles.
class SourceTree {
 public:
  explicit SourceTree(const std::string& pgdata) : pgdata_(pgdata) {
    data_ = UniqueFd(::open(pgdata.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!data_.valid()) {
      throw SystemError(ErrorKind::kUnavailable,
                        fmt::format("could not open source data directory \"{}\"", pgdata));
    }
    if (::flock(data_.get(), LOCK_SH | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) throw SystemError(ErrorKind::kUnavailable, Describe("lock", "."));
      throw Error(
          ErrorKind::kUnavailable,
          fmt::format("source data directory \"{}\" is in use by a server or another rejoin",
                      pgdata),
          "Stop the other one first.");
    }
    OpenLink("pg_wal");
    const UniqueFd tablespaces = OpenBeneath(data_.get(), "pg_tblspc", O_RDONLY | O_DIRECTORY, 0);
    if (!tablespaces.valid()) return;
    ForEachName(tablespaces.get(), "pg_tblspc",
                [&](const std::string& name) { OpenLink("pg_tblspc/" + name); });
  }

  // Invalid: no such file. What is no regular file is refused: a pipe or a device would hang the
  // run, a link could lead anywhere.
  UniqueFd OpenRegular(const std::string& path, struct stat* status) const {
    if (const std::string problem = PathProblem(path); !problem.empty()) {
      throw Error(ErrorKind::kNotRewindable,
                  fmt::format("file name is refused ({}): {}", problem, Printable(path)));
    }
    int root = data_.get();
    std::string inside = path;
    for (const auto& [prefix, fd] : links_) {
      if (!path.starts_with(prefix + "/")) continue;
      root = fd.get();
      inside = path.substr(prefix.size() + 1);
    }
    UniqueFd fd = OpenBeneath(root, inside, O_RDONLY | O_NONBLOCK, 0);
    if (!fd.valid()) {
      if (errno == ENOENT) return fd;
      throw SystemError(ErrorKind::kUnavailable, Describe("open file", path));
    }
    if (::fstat(fd.get(), status) != 0) {
      throw SystemError(ErrorKind::kUnavailable, Describe("stat file", path));
    }
    if (!S_ISREG(status->st_mode)) Refuse(path, "is not a regular file");
    return fd;
  }

  void List(const std::function<void(SourceFile)>& visit) const {
    ListBelow({}, data_.get(), visit);
  }

  std::string Describe(std::string_view verb, const std::string& path) const {
    return fmt::format("could not {} \"{}/{}\"", verb, pgdata_, Printable(path));
  }

 private:
  [[noreturn]] void Refuse(const std::string& path, std::string_view what) const {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("\"{}/{}\" {}", pgdata_, Printable(path), what),
                "Below a source data directory only pg_wal and tablespaces may be symbolic links.");
  }

  // Where the link leads is the choice of who owns this machine.
  void OpenLink(const std::string& path) {
    struct stat status {};
    if (::fstatat(data_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISLNK(status.st_mode)) {
      return;
    }
    UniqueFd fd(::openat(data_.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) {
      throw SystemError(ErrorKind::kUnavailable, Describe("open the directory behind", path));
    }
    links_.emplace(path, std::move(fd));
  }

  void ForEachName(int directory, const std::string& path,
                   const std::function<void(const std::string& name)>& visit) const {
    UniqueFd own(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const std::unique_ptr<DIR, DirDeleter> dir(own.valid() ? ::fdopendir(own.get()) : nullptr);
    if (dir == nullptr) throw SystemError(ErrorKind::kUnavailable, Describe("list", path));
    own.Release();
    errno = 0;
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string name = entry->d_name;
      // lost+found is a file system's own.
      if (name != "." && name != ".." && name != "lost+found") visit(name);
      errno = 0;
    }
    if (errno != 0) throw SystemError(ErrorKind::kUnavailable, Describe("list", path));
  }

  void ListBelow(const std::string& path, int directory,
                 const std::function<void(SourceFile)>& visit) const {
    ForEachName(directory, path, [&](const std::string& name) {
      SourceFile file;
      file.path = path.empty() ? name : path + "/" + name;
      if (const std::string problem = PathProblem(file.path); !problem.empty()) {
        throw Error(ErrorKind::kNotRewindable,
                    fmt::format("file name of the source is refused ({}): {}", problem,
                                Printable(file.path)),
                    "Rename or remove the file.");
      }
      struct stat status {};
      if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) Modified(fmt::format("\"{}\" is gone", Printable(file.path)));
        throw SystemError(ErrorKind::kUnavailable, Describe("stat", file.path));
      }
      ListEntry(std::move(file), status, directory, name, visit);
    });
  }

  void ListEntry(SourceFile file, const struct stat& status, int directory, const std::string& name,
                 const std::function<void(SourceFile)>& visit) const {
    const std::string path = file.path;
    const auto link = links_.find(path);
    if (link != links_.end()) {
      // As a server shows them: pg_wal is a directory wherever it is, and so a tablespace of this
      // machine. Its place is not to be compared with the target's, which has to be another one.
      file.type = path == "pg_wal" ? FileType::kDirectory : FileType::kSymlink;
      visit(std::move(file));
      return ListBelow(path, link->second.get(), visit);
    }
    if (S_ISLNK(status.st_mode)) {
      if (!IsNeverFetched(ClassifyPath(path))) Refuse(path, "is a symbolic link");
      file.type = FileType::kSymlink;
      file.link_target = ReadLinkAt(directory, name.c_str());
      return visit(std::move(file));
    }
    if (S_ISREG(status.st_mode)) {
      file.size = static_cast<uint64_t>(status.st_size);
      return visit(std::move(file));
    }
    if (!S_ISDIR(status.st_mode)) return;  // sockets and the like are nobody's data
    file.type = FileType::kDirectory;
    visit(std::move(file));
    const UniqueFd below = OpenBeneath(directory, name, O_RDONLY | O_DIRECTORY, 0);
    if (below.valid()) return ListBelow(path, below.get(), visit);
    if (!IsNeverFetched(ClassifyPath(path + "/x"))) {
      throw SystemError(ErrorKind::kUnavailable, Describe("open directory", path));
    }
  }

  std::string pgdata_;
  UniqueFd data_;
  std::map<std::string, UniqueFd> links_;  // "pg_wal", "pg_tblspc/16400"
};

// Size of each regular file that may be fetched, as it was listed first.
using ListedSizes = std::map<std::string, uint64_t>;

class DirectoryReader : public SourceReader {
 public:
  DirectoryReader(const SourceTree& tree, const ListedSizes& listed)
      : tree_(tree), listed_(listed) {}

  void Fetch(std::span<const FetchRequest> batch, const FetchSink& sink) override {
    for (const FetchRequest& request : batch) {
      if (request.path != path_ || !fd_.valid()) Open(request.path);
      if (!fd_.valid()) {
        sink(request, {}, /*missing=*/true);
        continue;
      }
      const size_t got = Read(request);
      bytes_received_ += got;
      sink(request, Bytes(buffer_).first(got), /*missing=*/false);
    }
  }

  void Digest(std::span<const FetchRequest> batch, const DigestSink& sink) override {
    Fetch(batch, [&](const FetchRequest& request, Bytes data, bool missing) {
      sink(request, missing ? std::nullopt : std::optional(ComputeSha256(data)));
    });
  }

  uint64_t bytes_received() const override { return bytes_received_; }

 private:
  void Open(const std::string& path) {
    struct stat status {};
    path_ = path;
    fd_ = tree_.OpenRegular(path, &status);
    const auto listed = listed_.find(path);
    if (listed == listed_.end()) return;
    if (!fd_.valid()) Modified(fmt::format("\"{}\" is gone", Printable(path)));
    if (static_cast<uint64_t>(status.st_size) != listed->second) {
      Modified(fmt::format("\"{}\" has {} bytes and had {}", Printable(path), status.st_size,
                           listed->second));
    }
  }

  size_t Read(const FetchRequest& request) {
    if (buffer_.size() < request.length) buffer_.resize(request.length);
    const auto got = ReadAt(fd_, request.offset, MutableBytes(buffer_).first(request.length));
    if (!got) throw SystemError(ErrorKind::kUnavailable, tree_.Describe("read", request.path));
    return *got;
  }

  const SourceTree& tree_;
  const ListedSizes& listed_;
  std::string path_;
  UniqueFd fd_;
  std::vector<std::byte> buffer_;
  uint64_t bytes_received_ = 0;
};

// The end of the checkpoint record at start: the last one of a cluster that was shut down. Its
// record has a header, a header of its data, and the data; what a page cannot hold goes on behind
// the next page's header.
Lsn EndOfCheckPointRecord(Lsn start, uint32_t segment_size) {
  constexpr uint64_t kPageBytes = 8192;
  constexpr uint64_t kRecordBytes = 24 + 2 + kCheckPointBytes;
  const auto aligned = [](uint64_t bytes) { return (bytes + 7) & ~uint64_t{7}; };
  const uint64_t left = kPageBytes - start.value % kPageBytes;
  if (kRecordBytes <= left) return start + aligned(kRecordBytes);
  const Lsn next_page = start + left;
  const uint64_t header = next_page.value % segment_size == 0 ? 40 : 24;
  return next_page + header + aligned(kRecordBytes - left);
}

class DirectorySourceImpl : public DirectorySource {
 public:
  explicit DirectorySourceImpl(const std::string& pgdata)
      : tree_(pgdata), pgdata_(pgdata), control_(ReadControl()) {}

  void CheckShutDown() const {
    if (!control_.clean_shutdown()) {
      throw Error(ErrorKind::kNotRewindable, "source data directory must be shut down cleanly",
                  "Start its server and stop it with pg_ctl stop -m fast, or, if it runs, give it "
                  "with --source-server.");
    }
  }

  SourceIdentity Identify() override {
    const ControlFile now = ReadControl();
    if (!std::ranges::equal(now.raw(), control_.raw())) Modified("its control file differs");
    SourceIdentity identity;
    identity.system_identifier = control_.system_identifier();
    identity.major_version = control_.version().major;
    identity.in_recovery = control_.in_recovery();
    identity.history = ReadHistory(control_.timeline());
    // What a standby has written to its files it has replayed up to its minimum recovery point.
    identity.flush_lsn = identity.in_recovery ? control_.min_recovery_point()
                                              : EndOfCheckPointRecord(control_.checkpoint_lsn(),
                                                                      control_.wal_segment_size());
    identity.full_page_writes = control_.checkpoint().full_page_writes;
    identity.incarnation = ToHex(control_.raw());
    identity.address = Printable(pgdata_);
    return identity;
  }

  void ListFiles(const std::function<void(SourceFile)>& sink) override {
    ListedSizes sizes;
    tree_.List([&](SourceFile file) {
      const FileClass kind = ClassifyPath(file.path);
      const bool matters = !IsNeverFetched(kind) && kind != FileClass::kForeign;
      if (matters && file.type == FileType::kRegular) sizes.emplace(file.path, file.size);
      sink(std::move(file));
    });
    if (listed_.empty()) {
      listed_ = std::move(sizes);
      return;
    }
    const auto [was, is] =
        std::mismatch(listed_.begin(), listed_.end(), sizes.begin(), sizes.end());
    if (was == listed_.end() && is == sizes.end()) return;
    const bool is_new = was == listed_.end() || (is != sizes.end() && is->first < was->first);
    Modified(is_new ? fmt::format("\"{}\" is new", Printable(is->first))
                    : fmt::format("\"{}\" is gone or of another size", Printable(was->first)));
  }

  std::optional<std::string> ReadFile(const std::string& path, size_t bytes_max) override {
    struct stat status {};
    const UniqueFd fd = tree_.OpenRegular(path, &status);
    if (!fd.valid()) return std::nullopt;
    auto content = ReadUpTo(fd, bytes_max);
    if (!content) throw SystemError(ErrorKind::kUnavailable, tree_.Describe("read", path));
    if (content->size() > bytes_max) {
      throw Error(
          ErrorKind::kNotRewindable,
          fmt::format("the source's \"{}\" has more than {} bytes", Printable(path), bytes_max));
    }
    return content;
  }

  std::unique_ptr<SourceReader> OpenReader() override {
    return std::make_unique<DirectoryReader>(tree_, listed_);
  }

 private:
  ControlFile ReadControl() {
    return ReadSourceControl([this] { return ReadFile(kControlFilePath, kControlFileBytes); });
  }

  TimelineHistory ReadHistory(TimelineId timeline) {
    if (timeline == 1) return TimelineHistory::Parse(1, {});
    const std::string path = "pg_wal/" + TimelineHistoryFileName(timeline);
    const auto content = ReadFile(path, kHistoryBytesMax);
    if (!content) {
      throw Error(
          ErrorKind::kNotRewindable, "the source has no " + path,
          "Restore the history file into the source's pg_wal, from the archive or a standby.");
    }
    return TimelineHistory::Parse(timeline, *content);
  }

  SourceTree tree_;
  std::string pgdata_;
  ControlFile control_;  // as it was at first
  ListedSizes listed_;
};

// The directory and what its links lead to.
std::vector<std::filesystem::path> PartsOf(const std::string& pgdata) {
  namespace fs = std::filesystem;
  std::vector<fs::path> parts;
  const auto add = [&](const fs::path& path) {
    std::error_code ignored;  // what is not there is not shared
    const fs::path real = fs::canonical(path, ignored);
    if (!real.empty()) parts.push_back(real);
  };
  add(pgdata);
  add(fs::path(pgdata) / "pg_wal");
  std::error_code ignored;
  for (fs::directory_iterator entry(fs::path(pgdata) / "pg_tblspc", ignored), end; entry != end;
       entry.increment(ignored)) {
    add(entry->path());
  }
  return parts;
}

bool IsWithin(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace

std::unique_ptr<DirectorySource> DirectorySource::Open(const std::string& pgdata) {
  auto source = std::make_unique<DirectorySourceImpl>(pgdata);
  source->CheckShutDown();
  return source;
}

void CheckNothingShared(const std::string& source_pgdata, const std::string& target_pgdata) {
  const auto targets = PartsOf(target_pgdata);
  for (const auto& source : PartsOf(source_pgdata)) {
    for (const auto& target : targets) {
      std::error_code ignored;
      if (!IsWithin(source, target) && !IsWithin(target, source) &&
          !std::filesystem::equivalent(source, target, ignored)) {
        continue;
      }
      throw Error(
          ErrorKind::kUsage,
          source == target
              ? fmt::format("source and target share the directory \"{}\"", source.string())
              : fmt::format("\"{}\" of the source and \"{}\" of the target are the same or one "
                            "inside the other",
                            source.string(), target.string()),
          "Source and target have to be two data directories that have nothing in common.");
    }
  }
}

}  // namespace pgrejoin
