#include "pod/handover.h"

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "base/parse_number.h"
#include "base/unique_fd.h"
#include "base/utc_time.h"
#include "k8s/cluster_config.h"
#include "target/new_file.h"

namespace pgrejoin {
namespace {

constexpr size_t kGateBytesMax = 16 * 1024 * 1024;

Error CouldNotWrite(const std::string& path) {
  return SystemError(ErrorKind::kUnavailable, "could not write \"" + path + "\"");
}

std::string DiskNotePath(const PodOptions& options) { return options.run_dir + "/disk"; }
std::string DirectoryNotePath(const PodOptions& options) { return options.run_dir + "/directory"; }

void WriteWhole(const std::string& path, const std::string& content, mode_t mode) {
  const std::string temporary = path + ".new";
  const UniqueFd fd = WriteNewFile(temporary, content, 0600);
  if (!fd.valid()) throw CouldNotWrite(temporary);
  if (::fchmod(fd.get(), mode) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
    throw CouldNotWrite(path);
  }
}

std::string ReadProgram(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    throw SystemError(ErrorKind::kUsage, "could not open \"" + path + "\"");
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (size > kGateBytesMax) throw Error(ErrorKind::kUsage, "\"" + path + "\" is too long");
  std::string content(size, '\0');
  for (size_t read = 0; read < size;) {
    const ssize_t bytes = ::read(fd.get(), content.data() + read, size - read);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) throw SystemError(ErrorKind::kUsage, "could not read \"" + path + "\"");
    read += static_cast<size_t>(bytes);
  }
  return content;
}

}  // namespace

void HandOverGate(const std::string& bin_dir) {
  if (bin_dir.empty()) return;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string gate = self.parent_path() / "pg-rejoin-gate";
  WriteWhole(bin_dir + "/pg-rejoin-gate", ReadProgram(gate), 0755);
}

std::string PassfileLine(const std::string& user, const std::string& password) {
  const auto escape = [](const std::string& text) {
    std::string out;
    for (const char c : text) {
      if (c == ':' || c == '\\') out += '\\';
      out += c;
    }
    return out;
  };
  return "*:*:*:" + escape(user) + ":" + escape(password) + "\n";
}

bool WritePassfile(const PodOptions& options) {
  const std::string& source = options.replication_password_file;
  if (source.empty()) return false;
  const std::string line = PassfileLine(options.replication_user, ReadPassword(source));
  const std::string path = PassfilePath(options);
  if (std::filesystem::exists(path) && ReadSmallFile(path, "passfile") == line) return false;
  WriteWhole(path, line, 0600);
  return true;
}

void WriteDirectoryNote(const PodOptions& options, const DirectoryNote& note) {
  const std::string path = DirectoryNotePath(options);
  const std::string text = fmt::format("{} {}\n", note.system_identifier, note.history.ToString());
  if (std::filesystem::exists(path) && ReadSmallFile(path, "note") == text) return;
  WriteWhole(path, text, 0600);
}

void RemoveDirectoryNote(const PodOptions& options) {
  std::error_code ignored;  // absent is what we want
  std::filesystem::remove(DirectoryNotePath(options), ignored);
}

std::optional<DirectoryNote> ReadDirectoryNote(const PodOptions& options) {
  const std::string path = DirectoryNotePath(options);
  if (!std::filesystem::exists(path)) return std::nullopt;
  const std::string text = ReadSmallFile(path, "the note of init");
  const size_t space = text.find(' ');
  if (space == std::string::npos || !text.ends_with('\n')) return std::nullopt;
  const auto identifier = ParseNumber<uint64_t>(std::string_view(text).substr(0, space));
  const auto history = TimelineHistory::FromString(text.substr(space + 1, text.size() - space - 2));
  if (!identifier || !history) return std::nullopt;
  return DirectoryNote{*identifier, *history};
}

void WriteDiskNote(const PodOptions& options) {
  const std::filesystem::path pgdata = options.pgdata;
  std::error_code failed;
  auto least = std::filesystem::space(pgdata, failed);
  if (failed) least = std::filesystem::space(pgdata.parent_path(), failed);
  if (failed) return;
  // It may be a volume of its own.
  const auto wal = std::filesystem::space(pgdata / "pg_wal", failed);
  if (!failed && wal.available < least.available) least = wal;
  try {
    WriteWhole(DiskNotePath(options),
               fmt::format("{} {} {}\n", least.available, least.capacity, UnixSecondsNow()), 0600);
  } catch (const Error& error) {
    LogDebug("{}", error.message());
  }
}

std::optional<DiskSpace> ReadDiskNote(const PodOptions& options) {
  const std::string path = DiskNotePath(options);
  if (!std::filesystem::exists(path)) return std::nullopt;
  std::istringstream text(ReadSmallFile(path, "the note of init"));
  DiskSpace disk;
  text >> disk.free_bytes >> disk.total_bytes >> disk.measured_at;
  if (!text) return std::nullopt;
  return disk;
}

void WriteGateAnswer(const PodOptions& options, const std::string& line) {
  WriteWhole(options.gate_dir + "/answer", line, 0644);
}

std::string PrimaryConninfoLine(const std::string& conninfo) {
  std::string line = "primary_conninfo = '";
  for (const char c : conninfo) {
    if (c == '\'' || c == '\\') line += c;
    line += c;
  }
  return line + "'\n";
}

void WriteCloneRequest(const PodOptions& options, const std::string& host) {
  WriteWhole(options.run_dir + "/primary-conninfo.conf",
             PrimaryConninfoLine(StandbyConninfo(options)), 0600);
  WriteWhole(options.run_dir + "/clone-from-service",
             CloneConninfo(options, PrimaryServiceHost(options)), 0600);
  // Last: its presence is what the clone container goes by.
  WriteWhole(options.run_dir + "/clone-from", CloneConninfo(options, host), 0600);
}

void RemoveCloneRequest(const PodOptions& options) {
  std::error_code ignored;  // absent is what we want
  std::filesystem::remove(options.run_dir + "/clone-from", ignored);
  std::filesystem::remove(options.run_dir + "/clone-from-service", ignored);
}

}  // namespace pgrejoin
