// Files that init leaves for the other containers of the pod: the gate, the passfile, and the three
// that the clone container reads. All below emptyDirs, written whole or not at all.
#pragma once

#include <sys/types.h>

#include <string>

#include "pod/pod_options.h"

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

// One line for libpq's passfile that fits every server; user and password escaped.
std::string PassfileLine(const std::string& user, const std::string& password);

// "primary_conninfo = '...'\n", quoted as postgresql.conf wants it.
std::string PrimaryConninfoLine(const std::string& conninfo);

}  // namespace pgrejoin
