// The server (or stopped directory) that the target is made to follow. Two implementations:
// LibpqSource (a running server) and DirectorySource; the rest of the code does not care which.
// Everything that comes out of a source is hostile until parsed.
//
// Thread rule: a RewindSource and each SourceReader belong to one thread at a time; several
// readers work in parallel. OpenReader() may be called by any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/sha256.h"
#include "pgdata/file_rules.h"
#include "pgdata/timeline_history.h"
#include "pgdata/types.h"

namespace pgrejoin {

// Who the source is, as it says itself now.
struct SourceIdentity {
  uint64_t system_identifier = 0;
  unsigned major_version = 0;  // 15
  bool in_recovery = false;
  TimelineHistory history;  // ends in the timeline it writes (primary) or replays (standby)
  // Primary: flushed WAL. Standby: replayed WAL. Everything below it is durable on the source.
  Lsn flush_lsn;
  bool full_page_writes = false;  // as the server says; see ControlFile for a standby
  std::string incarnation;        // changes when the postmaster restarts
  std::string address;            // "10.0.0.7:5432", "local socket"
  int64_t clock_seconds = 0;      // since 1970, by its host's clock when it was asked; 0 = unknown
};

struct SourceFile {
  std::string path;  // relative to the data directory, validated: no "..", not absolute
  FileType type = FileType::kRegular;
  uint64_t size = 0;        // of a regular file
  std::string link_target;  // of a symlink; empty where the target's may lead elsewhere
};

// A range of a file. Up to the end of the file at the time of reading, if that is shorter.
struct FetchRequest {
  std::string path;
  uint64_t offset = 0;
  uint32_t length = 0;
};

// Called for each request of a batch in order. missing: the file is gone on the source.
// data may be shorter than asked, when the file has become shorter; never longer.
using FetchSink = std::function<void(const FetchRequest&, Bytes data, bool missing)>;

// Called for each request of a batch in order. nullopt: the file is gone on the source.
using DigestSink = std::function<void(const FetchRequest&, const std::optional<Sha256>& digest)>;

// One connection, pinned to the same server incarnation as the source that opened it.
class SourceReader {
 public:
  virtual ~SourceReader() = default;
  // Throws Error(kUnavailable) when the connection is lost, Error(kSourceChanged) when another
  // incarnation answers.
  virtual void Fetch(std::span<const FetchRequest> batch, const FetchSink& sink) = 0;
  // What Fetch() would give, digested where the files are. Throws like Fetch().
  virtual void Digest(std::span<const FetchRequest> batch, const DigestSink& sink) = 0;
  // Bytes of file content received so far.
  virtual uint64_t bytes_received() const = 0;
};

class RewindSource {
 public:
  virtual ~RewindSource() = default;
  // Asked anew each time.
  virtual SourceIdentity Identify() = 0;
  // Every file, directory and symlink, directories before what is in them. May contain an entry
  // twice and files that are gone by now: the source is running.
  virtual void ListFiles(const std::function<void(SourceFile)>& sink) = 0;
  // The whole content of a small file; nullopt when there is none. Throws when longer than max.
  virtual std::optional<std::string> ReadFile(const std::string& path, size_t bytes_max) = 0;
  virtual std::unique_ptr<SourceReader> OpenReader() = 0;
  // What a standby needs to connect to this source, as a connection string without replication and
  // dbname. May hold a password: never log it. Empty where nobody can connect.
  virtual std::string PrimaryConninfo() const = 0;
};

}  // namespace pgrejoin
