// The only code that changes a data directory. Everything is named by a path relative to it, opened
// below its handle without following symbolic links (openat2 with RESOLVE_BENEATH and
// RESOLVE_NO_SYMLINKS). The links that PostgreSQL itself allows, pg_wal and pg_tblspc/<oid>, are
// resolved once, when the directory is opened, and are roots of their own from then on.
//
// Thread rule: all methods may be called from several threads, for different files.
// Errors are Error(kTargetFailed): the storage failed or disagrees with what was planned.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "pgdata/file_rules.h"
#include "target/directory_lock.h"

namespace pgrejoin {

struct TargetFile {
  std::string path;
  FileType type = FileType::kRegular;
  uint64_t size = 0;        // of a regular file
  std::string link_target;  // of a symlink
};

// A file being written; keeps its descriptor.
class TargetWriter {
 public:
  TargetWriter(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  void WriteAt(uint64_t offset, Bytes data);
  void SetLength(uint64_t bytes);
  void Sync();

 private:
  UniqueFd fd_;
  std::string path_;
};

class TargetDirectory {
 public:
  // For reading only: every method that changes something fails an internal check.
  static TargetDirectory OpenForReading(const std::string& pgdata);
  // lock proves that nobody else changes it.
  static TargetDirectory OpenForChange(const DirectoryLock& lock);

  // Every file, directory and symlink; directories before their content; content of pg_wal and of
  // tablespaces included when those are links. lost+found is left out, and so is what is not
  // PostgreSQL's and cannot be listed or has a name that no path may have.
  void ListFiles(const std::function<void(TargetFile)>& visit) const;
  // Invalid descriptor: no such file.
  UniqueFd OpenFile(const std::string& path) const;
  // For messages: path as it is outside.
  std::string FullPath(const std::string& path) const { return pgdata_ + "/" + path; }
  // nullopt: no such file. Throws when it is longer than bytes_max.
  std::optional<std::string> ReadFile(const std::string& path, size_t bytes_max) const;
  bool Exists(const std::string& path) const;
  // A WAL segment or history file of the target's own by its name: of pg_wal, set aside by a
  // rewind, or fetched from the archive, now or by the run whose journal is here. Invalid
  // descriptor: there is none.
  UniqueFd OpenWal(const std::string& name) const;
  // Throws Error(kNotRewindable) unless this process may write the file, which exists, and create
  // and remove entries in the directory that holds it.
  void CheckMayChange(const std::string& path) const;
  // Where the files of path's directory are: "pg_wal" and tablespaces may be on volumes of their
  // own.
  struct FileSystem {
    uint64_t id = 0;
    uint64_t free_bytes = 0;  // that can still be written
  };
  FileSystem FileSystemOf(const std::string& path) const;

  // Asked by OpenWal() for what is nowhere here; answers with an invalid descriptor if it has none
  // either.
  using WalArchiveLookup = std::function<UniqueFd(const std::string& name)>;
  void SetArchive(WalArchiveLookup archive) { archive_ = std::move(archive); }

  // Missing: created. Existing content stays unless truncate.
  TargetWriter OpenWriter(const std::string& path, bool truncate);
  // No error when it is there already.
  void CreateDirectory(const std::string& path);
  // No error when it is gone already. A directory must be empty.
  void Remove(const std::string& path, FileType type);
  // Removes a directory with all it holds.
  void RemoveTree(const std::string& path);
  void SetLength(const std::string& path, uint64_t bytes);
  // Atomic and durable: a temporary file, fsync, rename over path, fsync of the directory.
  void ReplaceFile(const std::string& path, Bytes content);
  // Atomic; durable after SyncPath() of the directory or SyncAll().
  void Rename(const std::string& from, const std::string& to);

  // fsync, also of a directory; "." is the data directory itself.
  void SyncPath(const std::string& path, FileType type);
  // syncfs on every file system the directory reaches. A failure is final: what was not written is
  // not known any more.
  void SyncAll();

 private:
  struct Place {
    int root = -1;       // one of ours, borrowed
    std::string inside;  // relative to root; "." for the root itself
  };

  explicit TargetDirectory(const std::string& pgdata, bool writable);
  void OpenRoot(const std::string& path);
  void NoteMount(const std::string& path);
  Place Resolve(const std::string& path) const;
  UniqueFd OpenBelow(const std::string& path, int flags, mode_t mode) const;
  // Handle of the directory that holds path, and path's last component.
  std::pair<UniqueFd, std::string> OpenParent(const std::string& path) const;
  void ListBelow(const std::string& path, int directory,
                 const std::function<void(TargetFile)>& visit) const;
  void CheckWritable() const;
  std::string Describe(std::string_view verb, const std::string& path) const;

  std::string pgdata_;
  bool writable_ = false;
  mode_t directory_mode_ = 0700;
  mode_t file_mode_ = 0600;
  UniqueFd data_;
  std::map<std::string, UniqueFd> linked_roots_;  // "pg_wal", "pg_tblspc/16400"
  std::vector<UniqueFd> mounts_;  // of other file systems mounted inside: only to sync them
  WalArchiveLookup archive_;
};

// Volumes with an fsGroup make the data directory group-writable at each mount, and the server then
// refuses it. Sets mode (0700 or 0750) where it differs; true when it did.
bool RestoreDirectoryMode(const DirectoryLock& lock, mode_t mode);

// Renames the directory to the first free of "<pgdata>.half-made.1" to ".3", durably, and returns
// that name. The caller's lock keeps everybody off both until it is released.
std::string SetAside(const DirectoryLock& lock);

// Throws Error(kTargetInUse) when postmaster.pid names a process that lives. Only where process ids
// mean something: not in a container.
void CheckNoPostmaster(const std::string& pgdata);

}  // namespace pgrejoin
