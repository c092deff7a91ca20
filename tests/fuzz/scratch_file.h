// A file that a target writes each of its inputs to, in memory where there is such a file system.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "fuzz/fuzz.h"

namespace pgrejoin::fuzz {

class ScratchFile {
 public:
  // name may name folders.
  explicit ScratchFile(const std::string& name) {
    const char* memory = "/dev/shm";
    const auto parent = ::access(memory, W_OK) == 0 ? std::filesystem::path(memory)
                                                    : std::filesystem::temp_directory_path();
    std::string pattern = (parent / "pg-rejoin-fuzz-XXXXXX").string();
    Require(::mkdtemp(pattern.data()) != nullptr, "a scratch directory can be made");
    root_ = pattern;
    path_ = (root_ / name).string();
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path());
  }
  ~ScratchFile() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::string& path() const { return path_; }
  std::string root() const { return root_.string(); }

  void Write(std::string_view content) const {
    const UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    Require(fd.valid() && ::write(fd.get(), content.data(), content.size()) ==
                              static_cast<ssize_t>(content.size()),
            "the scratch file can be written");
  }

 private:
  std::filesystem::path root_;
  std::string path_;
};

}  // namespace pgrejoin::fuzz
