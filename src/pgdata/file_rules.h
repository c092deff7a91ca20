// What a path below the data directory is, and therefore how a rewind treats it.
// Sources: src/bin/pg_rewind/filemap.c (exclusion lists, isRelDataFile), src/common/relpath.c,
// src/backend/backup/basebackup.c; the table in docs/ARCHITECTURE.md, "Which files".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pgdata/types.h"

namespace pgrejoin {

enum class FileType : uint8_t { kRegular, kDirectory, kSymlink };

enum class FileClass {
  kControlFile,    // global/pg_control: fenced first, published last
  kRelation,       // main fork of a permanent or unlogged relation: copied block by block
  kRelationFork,   // _fsm, _vm, _init: copied whole
  kTemporary,      // temporary relations, pgsql_tmp: removed
  kOther,          // PostgreSQL's own, not block structured (pg_xact, pg_filenode.map): whole
  kVersionFile,    // PG_VERSION: only copied where it is missing
  kEmptied,        // content of directories the server rebuilds or that must not survive: removed
  kWal,            // below pg_wal: has rules of its own
  kNeverFetched,   // backup_label, postmaster.pid, ...: removed
  kConfiguration,  // configuration, certificates, logs: the target's are kept
  kOwn,            // our journal and what belongs to it: invisible
  kForeign,        // not PostgreSQL's: see ExtraFiles
};

FileClass ClassifyPath(std::string_view path);

// Directory at the top of PGDATA in which the journal and set-aside files of a rewind live.
inline constexpr std::string_view kOwnDirectory = "pg_rejoin";
// An unfinished rewind has one (rewind/journal.h).
inline constexpr const char* kJournalPath = "pg_rejoin/journal";
// The same for WAL, which is moved by rename and pg_wal may be another file system.
inline constexpr std::string_view kOwnWalDirectory = "pg_wal/pg_rejoin";
// Below it: the target's WAL of the line that is given up.
inline constexpr std::string_view kDivergedWalDirectory = "pg_wal/pg_rejoin/diverged";
// What the target's archive gave, until it is put into pg_wal.
inline constexpr std::string_view kRestoredWalDirectory = "pg_wal/pg_rejoin/restored";

// A main fork's segment file: "base/5/16384.1" is segment 1 of 1663/5/16384.
struct RelationSegment {
  RelFileLocator locator;
  uint32_t segment = 0;

  auto operator<=>(const RelationSegment&) const = default;
};

// nullopt when path is not the canonical name of a main-fork segment.
std::optional<RelationSegment> ParseRelationPath(std::string_view path);

// "base/5/16384_init" -> 1663/5/16384 and the fork; any fork, any segment.
struct RelationFork {
  RelFileLocator locator;
  ForkNumber fork = ForkNumber::kMain;
  uint32_t segment = 0;
};
std::optional<RelationFork> ParseRelationForkPath(std::string_view path);

// Directory of a database: "base/5", "pg_tblspc/16400/PG_15_202209061/5".
struct DatabaseDirectory {
  Oid tablespace = 0;
  Oid database = 0;
};
std::optional<DatabaseDirectory> ParseDatabaseDirectory(std::string_view path);

// Empty when the path may be used below a data directory; otherwise what is wrong with it. Every
// path that comes from a source passes here (CVE-2026-6475): relative, no empty, "." or ".."
// component, no NUL or control character, bounded length.
std::string PathProblem(std::string_view path);

}  // namespace pgrejoin
