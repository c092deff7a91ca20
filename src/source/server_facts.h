// What a running server says about its own settings and roles, as far as a later rewind depends on
// them. One query on one connection, with no more rights than PUBLIC has: the rewind role can ask,
// also before it has its grants. Judged in rewind/readiness.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "source/libpq_source.h"

namespace pgrejoin {

struct RoleFacts {
  std::string name;
  bool may_log_in = false;  // it is there, has LOGIN, and its password has not expired
};

struct ServerFacts {
  unsigned version_number = 0;  // 170002
  std::string database;         // that was asked: where the grants have to be
  bool in_recovery = false;
  bool checksums = false;
  bool logs_hints = false;  // wal_log_hints
  bool full_page_writes = false;
  bool restarts_after_crash = false;
  bool tls = false;  // ssl = on
  std::string wal_level;
  unsigned wal_senders_max = 0;
  uint64_t wal_keep_bytes = 0;              // wal_keep_size
  uint64_t wal_since_checkpoint_bytes = 0;  // since the redo point of the last one
  RoleFacts rewind_role;
  std::string lacking_grants;  // of the four that a rewind needs: "pg_catalog.f(text), ..."
  RoleFacts replication_role;
  bool replicates = false;     // REPLICATION, or a superuser
  std::string lost_slots;      // replication slots whose WAL has been removed: "a, b"
  std::string trailing_slots;  // ... whose WAL the next checkpoint removes
  std::optional<int64_t> certificate_not_after;  // of the server's; seconds since 1970
};

// Throws Error(kUnavailable) when there is no answer or it cannot be read.
ServerFacts AskServerFacts(const ConnectOptions& server, const std::string& rewind_role,
                           const std::string& replication_role);

}  // namespace pgrejoin
