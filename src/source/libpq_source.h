// A running server, read through the four functions that a rewind role needs EXECUTE on:
// pg_ls_dir(text,boolean,boolean), pg_stat_file(text,boolean), pg_read_binary_file(text) and
// pg_read_binary_file(text,bigint,bigint,boolean) (doc: pg_rewind, "Notes").
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "source/rewind_source.h"

namespace pgrejoin {

struct ConnectOptions {
  std::string conninfo;  // connection string or URI; libpq's environment and passfile apply
  std::string password;  // used in memory only; empty: libpq finds one itself
  std::string user{};    // wins over the connection string's, if given
  int connect_timeout_s = 10;
  // Of IdentifyServer() and RunSql(): how long the answer may take once connected.
  std::chrono::milliseconds answer_timeout{5000};
  // Of a LibpqSource: a copy takes as long as it takes, but not without a sign of life.
  std::chrono::milliseconds silence_max{300'000};
  // Of a LibpqSource: what all its readers together receive, or have digested, of files other than
  // WAL; 0 = no limit.
  uint64_t bytes_per_second_max = 0;
  std::stop_token stop{};  // ends the waiting
};

class LibpqSource : public RewindSource {
 public:
  // Throws Error(kUnavailable) when there is no connection to be had.
  static std::unique_ptr<LibpqSource> Connect(const ConnectOptions& options);
};

// One short question on a connection of its own. Throws Error(kUnavailable) when there is no answer
// in time: a server can hang behind a kernel that still acknowledges every packet.
SourceIdentity IdentifyServer(const ConnectOptions& options);

// Runs one statement and returns the first column of the first row ("" for NULL or no row).
// For the few commands that are not about reading files: pg_promote(), CHECKPOINT.
std::string RunSql(const ConnectOptions& options, const std::string& sql);

// One row of text columns (nullopt for NULL), and what the connection itself tells.
struct ServerRow {
  std::vector<std::optional<std::string>> columns;
  bool over_tls = false;
  std::optional<int64_t> certificate_not_after;  // of the server's; seconds since 1970
};

// Runs one query that has one row, with parameters. Throws Error(kUnavailable) when there is no
// answer, or no row.
ServerRow QueryRow(const ConnectOptions& options, const std::string& sql,
                   const std::vector<std::string>& parameters);

struct LoginAttempt {
  std::string problem;      // "" = the server let it in
  bool has_address = true;  // false: none is known of the server's name, so nobody was asked
};
// Logs in and leaves; replication: as a standby does.
LoginAttempt TryLogin(const ConnectOptions& options, bool replication);

// The connection string without passwords, fit for a log.
std::string RedactedConninfo(const std::string& conninfo);

// Joins keywords and values into a connection string, quoted as libpq wants it.
std::string BuildConninfo(const std::vector<std::pair<std::string, std::string>>& options);

}  // namespace pgrejoin
