// Files that init and the sidecar leave for the other containers of the pod: the gate, the
// passfile, the three that the clone container reads, what the directory is, how much room it has,
// and the answer to a gate that asks. All below emptyDirs, written whole or not at all.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "pgdata/timeline_history.h"
#include "pod/pod_options.h"
#include "rewind/readiness.h"

namespace pgrejoin {

// Copies pg-rejoin-gate, which lies beside our own program, into bin_dir.
void HandOverGate(const std::string& bin_dir);

// Writes the replication user's password where libpq accepts it (mode 0600): Secret volumes are
// group-readable. False when the file already says so.
bool WritePassfile(const PodOptions& options);

// Tells the clone container where to copy from: the confirmed primary, and for further tries the
// primary's Service; and takes back what an earlier run told it.
void WriteCloneRequest(const PodOptions& options, const std::string& host);
void RemoveCloneRequest(const PodOptions& options);

// Which system and branch the directory is of, for the sidecar, which cannot look: noted by init,
// and by the sidecar while the server runs.
struct DirectoryNote {
  uint64_t system_identifier = 0;
  TimelineHistory history;
};
void WriteDirectoryNote(const PodOptions& options, const DirectoryNote& note);
void RemoveDirectoryNote(const PodOptions& options);
// nullopt: nothing is noted, or what is there is not ours.
std::optional<DirectoryNote> ReadDirectoryNote(const PodOptions& options);

// How much room the volume has: init can measure it, the sidecar can not. No note where that fails,
// since nothing depends on it.
void WriteDiskNote(const PodOptions& options);
std::optional<DiskSpace> ReadDiskNote(const PodOptions& options);

// Below --gate-dir, where the gate waits for it (gate/gate.cc).
void WriteGateAnswer(const PodOptions& options, const std::string& line);

// One line for libpq's passfile that fits every server; user and password escaped.
std::string PassfileLine(const std::string& user, const std::string& password);

// "primary_conninfo = '...'\n", quoted as postgresql.conf wants it.
std::string PrimaryConninfoLine(const std::string& conninfo);

}  // namespace pgrejoin
