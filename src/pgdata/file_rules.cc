#include "pgdata/file_rules.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/parse_number.h"

namespace pgrejoin {
namespace {

constexpr size_t kPathBytesMax = 1024;  // MAXPGPATH
constexpr size_t kNameBytesMax = 255;   // NAME_MAX

std::string_view BaseName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string_view TopDirectory(std::string_view path) { return path.substr(0, path.find('/')); }

bool IsBelow(std::string_view path, std::string_view directory) {
  return path.size() > directory.size() && path.starts_with(directory) &&
         path[directory.size()] == '/';
}

template <size_t N>
bool Contains(const std::array<std::string_view, N>& set, std::string_view item) {
  return std::find(set.begin(), set.end(), item) != set.end();
}

// Contents are rebuilt at every start, or must not survive on another node (replication slots).
constexpr std::array<std::string_view, 11> kEmptiedDirectories = {
    "pg_stat_tmp",         "pg_replslot",     "pg_dynshmem",
    "pg_notify",           "pg_serial",       "pg_snapshots",
    "pg_subtrans",         "pg_stat",         "pg_logical/snapshots",
    "pg_logical/mappings", "pg_wal/summaries"};

constexpr std::array<std::string_view, 9> kNeverFetchedNames = {
    "backup_label",       "backup_label.old",         "tablespace_map",
    "tablespace_map.old", "backup_manifest",          "postmaster.pid",
    "postmaster.opts",    "postgresql.auto.conf.tmp", "current_logfiles.tmp"};

constexpr std::array<std::string_view, 12> kConfigurationNames = {
    "postgresql.conf", "postgresql.auto.conf", "pg_hba.conf",      "pg_ident.conf",
    "recovery.conf",   "recovery.done",        "current_logfiles", "standby.signal",
    "recovery.signal", "patroni.dynamic.json", "promote",          "logfile"};

constexpr std::array<std::string_view, 5> kConfigurationDirectories = {"log", "pg_log", "conf.d",
                                                                       "certs", "ssl"};

constexpr std::array<std::string_view, 6> kConfigurationEndings = {".conf", ".crt", ".key",
                                                                   ".pem",  ".crl", ".log"};

constexpr std::array<std::string_view, 12> kPostgresDirectories = {
    "base",      "global",     "pg_xact", "pg_multixact", "pg_commit_ts", "pg_twophase",
    "pg_tblspc", "pg_logical", "pg_wal",  "pg_clog",      "pg_serial",    "pg_notify"};

// Digits without a leading zero that fit an Oid.
std::optional<uint32_t> ParseCanonical(std::string_view text) {
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return ParseNumber<uint32_t>(text);
}

std::vector<std::string_view> Split(std::string_view path) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

// Tablespace and database of the directory that holds relation files, from its components.
std::optional<DatabaseDirectory> DirectoryOf(const std::vector<std::string_view>& parts,
                                             size_t count) {
  if (count == 1 && parts[0] == "global") return DatabaseDirectory{kGlobalTablespaceOid, 0};
  if (count == 2 && parts[0] == "base") {
    const auto database = ParseCanonical(parts[1]);
    if (!database) return std::nullopt;
    return DatabaseDirectory{kDefaultTablespaceOid, *database};
  }
  if (count == 4 && parts[0] == "pg_tblspc" && parts[2].starts_with("PG_")) {
    const auto tablespace = ParseCanonical(parts[1]);
    const auto database = ParseCanonical(parts[3]);
    if (!tablespace || !database) return std::nullopt;
    return DatabaseDirectory{*tablespace, *database};
  }
  return std::nullopt;
}

// "t3_16384", "t3_16384_fsm.1": temporary relations of a backend.
bool IsTemporaryRelationName(std::string_view name) {
  if (!name.starts_with('t')) return false;
  const size_t underscore = name.find('_');
  return underscore != std::string_view::npos &&
         ParseCanonical(name.substr(1, underscore - 1)).has_value() &&
         underscore + 1 < name.size() && name[underscore + 1] >= '0' && name[underscore + 1] <= '9';
}

bool IsTemporary(std::string_view path) {
  if (path.find("/pgsql_tmp") != std::string_view::npos) return true;
  const auto parts = Split(path);
  return parts.size() >= 2 && DirectoryOf(parts, parts.size() - 1) &&
         IsTemporaryRelationName(parts.back());
}

bool IsConfiguration(std::string_view path) {
  if (path.find('/') == std::string_view::npos) {
    if (Contains(kConfigurationNames, path)) return true;
    for (const std::string_view ending : kConfigurationEndings) {
      if (path.ends_with(ending)) return true;
    }
  }
  return Contains(kConfigurationDirectories, TopDirectory(path));
}

bool IsEmptied(std::string_view path) {
  if (BaseName(path).starts_with("pg_internal.init")) return true;
  return std::any_of(kEmptiedDirectories.begin(), kEmptiedDirectories.end(),
                     [&](std::string_view directory) { return IsBelow(path, directory); });
}

// Unix sockets and their lock files, where unix_socket_directories leads into the data directory.
bool IsSocket(std::string_view path) { return BaseName(path).starts_with(".s.PGSQL."); }

bool IsPostgresOwned(std::string_view path) {
  const std::string_view top = TopDirectory(path);
  if (Contains(kPostgresDirectories, top)) return true;
  return std::any_of(kEmptiedDirectories.begin(), kEmptiedDirectories.end(),
                     [&](std::string_view directory) { return top == directory; });
}

}  // namespace

FileClass ClassifyPath(std::string_view path) {
  if (path == "global/pg_control") return FileClass::kControlFile;
  if (TopDirectory(path) == kOwnDirectory || path == kOwnWalDirectory ||
      IsBelow(path, kOwnWalDirectory)) {
    return FileClass::kOwn;
  }
  if (IsConfiguration(path)) return FileClass::kConfiguration;
  if (Contains(kNeverFetchedNames, BaseName(path)) || IsSocket(path)) {
    return FileClass::kNeverFetched;
  }
  if (IsEmptied(path)) return FileClass::kEmptied;
  if (IsBelow(path, "pg_wal")) return FileClass::kWal;
  if (IsTemporary(path)) return FileClass::kTemporary;
  if (BaseName(path) == "PG_VERSION") return FileClass::kVersionFile;
  if (const auto fork = ParseRelationForkPath(path)) {
    return fork->fork == ForkNumber::kMain ? FileClass::kRelation : FileClass::kRelationFork;
  }
  return IsPostgresOwned(path) ? FileClass::kOther : FileClass::kForeign;
}

std::optional<RelationSegment> ParseRelationPath(std::string_view path) {
  const auto fork = ParseRelationForkPath(path);
  if (!fork || fork->fork != ForkNumber::kMain) return std::nullopt;
  return RelationSegment{fork->locator, fork->segment};
}

std::optional<RelationFork> ParseRelationForkPath(std::string_view path) {
  const auto parts = Split(path);
  if (parts.size() < 2) return std::nullopt;
  const auto directory = DirectoryOf(parts, parts.size() - 1);
  if (!directory) return std::nullopt;

  std::string_view name = parts.back();
  RelationFork result;
  if (const size_t dot = name.find('.'); dot != std::string_view::npos) {
    const auto segment = ParseCanonical(name.substr(dot + 1));
    if (!segment || *segment == 0) return std::nullopt;
    result.segment = *segment;
    name = name.substr(0, dot);
  }
  if (const size_t underscore = name.find('_'); underscore != std::string_view::npos) {
    const std::string_view suffix = name.substr(underscore);
    if (suffix == "_fsm") {
      result.fork = ForkNumber::kFsm;
    } else if (suffix == "_vm") {
      result.fork = ForkNumber::kVisibilityMap;
    } else if (suffix == "_init") {
      result.fork = ForkNumber::kInit;
    } else {
      return std::nullopt;
    }
    name = name.substr(0, underscore);
  }
  const auto number = ParseCanonical(name);
  if (!number) return std::nullopt;
  result.locator = {directory->tablespace, directory->database, *number};
  return result;
}

std::optional<DatabaseDirectory> ParseDatabaseDirectory(std::string_view path) {
  const auto parts = Split(path);
  const auto directory = DirectoryOf(parts, parts.size());
  if (!directory || directory->database == 0) return std::nullopt;
  return directory;
}

std::string PathProblem(std::string_view path) {
  if (path.empty()) return "empty path";
  if (path.size() > kPathBytesMax) return "path is too long";
  if (path.front() == '/') return "absolute path";
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return "control character in path";
  }
  for (const std::string_view part : Split(path)) {
    if (part.empty() || part == "." || part == "..") return "path is not canonical";
    if (part.size() > kNameBytesMax) return "file name is too long";
  }
  return {};
}

}  // namespace pgrejoin
