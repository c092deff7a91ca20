#include "target/target_settings.h"

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/file_access.h"
#include "pgdata/guc_file.h"

namespace pgrejoin {
namespace {

namespace fs = std::filesystem;

constexpr int kDepthMax = 10;  // CONF_FILE_MAX_DEPTH
constexpr int kFilesMax = 1000;
constexpr size_t kFileBytesMax = 16 << 20;

[[noreturn]] void Fail(const fs::path& path, const std::string& why) {
  throw Error(
      ErrorKind::kUsage,
      fmt::format("could not open configuration file \"{}\": {}", Printable(path.string()), why),
      "Where the server's main configuration file is elsewhere, name it by --config-file.");
}

class SettingReader {
 public:
  explicit SettingReader(std::string_view name) : name_(name) {}

  const std::optional<std::string>& value() const { return value_; }

  // ParseConfigFile(): a file that is not strictly needed may be missing or unreadable.
  void ReadFile(const fs::path& path, int depth, bool strict) {
    if (depth > kDepthMax) Fail(path, "maximum nesting depth exceeded");
    if (++files_ > kFilesMax) Fail(path, "too many files");
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!fd.valid()) {
      if (!strict) return;
      Fail(path, std::generic_category().message(errno));
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) Fail(path, "no regular file");
    const auto content = ReadUpTo(fd, kFileBytesMax);
    if (!content) Fail(path, std::generic_category().message(errno));
    if (content->size() > kFileBytesMax) Fail(path, "it is too long");
    for (const GucLine& line : ParseGucFile(*content, path.string())) {
      // AbsoluteConfigLocation(): relative to the file that includes. An absolute path replaces it.
      const fs::path included = path.parent_path() / line.value;
      if (line.name == "include") {
        ReadFile(included, depth + 1, /*strict=*/true);
      } else if (line.name == "include_if_exists") {
        ReadFile(included, depth + 1, /*strict=*/false);
      } else if (line.name == "include_dir") {
        ReadDirectory(included, depth + 1);
      } else if (line.name == name_) {
        value_ = line.value;
      }
    }
  }

 private:
  // GetConfFilesInDir(): *.conf that are no directories and not hidden, in the order of their
  // bytes.
  void ReadDirectory(const fs::path& path, int depth) {
    std::error_code error;
    std::vector<fs::path> files;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      const bool wanted = name.size() >= 6 && name.front() != '.' && name.ends_with(".conf");
      if (wanted && !entry->is_directory()) files.push_back(entry->path());
    }
    if (error) Fail(path, error.message());
    std::ranges::sort(files, {}, [](const fs::path& file) { return file.string(); });
    for (const fs::path& file : files) ReadFile(file, depth, /*strict=*/true);
  }

  std::string_view name_;
  std::optional<std::string> value_;
  int files_ = 0;
};

}  // namespace

std::optional<std::string> ReadTargetSetting(const std::string& pgdata,
                                             const std::string& config_file,
                                             std::string_view name) {
  SettingReader reader(name);
  const fs::path data(pgdata);
  reader.ReadFile(config_file.empty() ? data / "postgresql.conf" : fs::path(config_file),
                  /*depth=*/0, /*strict=*/true);
  reader.ReadFile(data / "postgresql.auto.conf", /*depth=*/0, /*strict=*/false);
  return reader.value();
}

}  // namespace pgrejoin
