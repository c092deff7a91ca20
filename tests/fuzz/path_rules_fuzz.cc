// Paths that a source names. Input: a path.
#include <string>

#include "fuzz/fuzz.h"
#include "pgdata/file_rules.h"

namespace pgrejoin::fuzz {
namespace {

// Walks as a file system would: false when it would leave the data directory.
bool StaysBelow(std::string_view path) {
  if (path.starts_with('/')) return false;
  int depth = 0;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t slash = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, slash - begin);
    if (part == "..") --depth;
    if (part != ".." && part != "." && !part.empty()) ++depth;
    if (depth < 0) return false;
    begin = slash + 1;
  }
  return depth > 0;
}

std::string CanonicalPath(std::string_view path, const RelationFork& file) {
  std::string canonical;
  if (file.locator.tablespace == kGlobalTablespaceOid && path.starts_with("global/")) {
    canonical = "global/";
  } else if (path.starts_with("base/")) {
    canonical = "base/" + std::to_string(file.locator.database) + "/";
  } else {
    const size_t version = path.find("/PG_") + 1;
    canonical = "pg_tblspc/" + std::to_string(file.locator.tablespace) + "/" +
                std::string(path.substr(version, path.find('/', version) - version)) + "/" +
                std::to_string(file.locator.database) + "/";
  }
  constexpr const char* kSuffix[] = {"", "_fsm", "_vm", "_init"};
  canonical += std::to_string(file.locator.number) + kSuffix[static_cast<int>(file.fork)];
  return file.segment == 0 ? canonical : canonical + "." + std::to_string(file.segment);
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  const std::string path(reinterpret_cast<const char*>(data), size);

  if (PathProblem(path).empty()) {
    Require(!path.empty() && path.size() <= 1024, "a path that is accepted is bounded");
    Require(StaysBelow(path), "and stays below the data directory");
    Require(!HasControlCharacter(path), "and has no control characters");
    Require(path.find("//") == std::string::npos && !path.ends_with('/'), "and is canonical");
  }
  const FileClass what = ClassifyPath(path);
  const auto file = ParseRelationForkPath(path);
  if (what == FileClass::kRelation || what == FileClass::kRelationFork) {
    Require(file.has_value(), "a relation file has a relation's name");
    Require((file->fork == ForkNumber::kMain) == (what == FileClass::kRelation), "and its fork");
  }
  if (file) Require(CanonicalPath(path, *file) == path, "no file has two names");
  if (const auto main = ParseRelationPath(path)) {
    Require(file && file->fork == ForkNumber::kMain && file->locator == main->locator &&
                file->segment == main->segment,
            "main forks are forks");
  }
  if (ParseDatabaseDirectory(path)) Require(!file, "a directory is no file");
  return 0;
}
