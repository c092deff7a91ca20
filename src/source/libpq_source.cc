#include "source/libpq_source.h"

#include <libpq-fe.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/parse_number.h"
#include "pgdata/file_rules.h"
#include "pgdata/wal_segment_name.h"
#include "source/rate_limit.h"
#include "source/source_control.h"

namespace pgrejoin {
namespace {

constexpr size_t kHistoryBytesMax = 16 << 20;
constexpr uint64_t kFileBytesMax = uint64_t{1} << 46;
constexpr uint64_t kAllFilesBytesMax = uint64_t{1} << 60;
constexpr size_t kFilesMax = 10'000'000;
constexpr int kSessionResultsMax = 20;
constexpr std::string_view kHidden = "********";

struct ResultDeleter {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ResultDeleter>;

struct ConninfoDeleter {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using ConninfoOptions = std::unique_ptr<PQconninfoOption, ConninfoDeleter>;

// libpq and server messages end in a newline and may hold anything, the password that the server
// was given included.
std::string Message(const char* text, const PGconn* conn) {
  std::string message = text == nullptr ? "" : text;
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  const char* given = PQpass(conn);
  const std::string password = given == nullptr ? "" : given;
  for (size_t at = 0;
       !password.empty() && (at = message.find(password, at)) != std::string::npos;) {
    message.replace(at, password.size(), kHidden);
    at += kHidden.size();
  }
  return Printable(message);
}

[[noreturn]] void Nonsense(std::string_view what, std::string_view value) {
  throw Error(ErrorKind::kUnavailable,
              fmt::format("the source server sent an unexpected {}: {}", what, Printable(value)));
}

// As pg_utf8_islegal() has it.
bool IsUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto byte = [&](size_t n) { return static_cast<unsigned char>(text[at + n]); };
    const unsigned lead = byte(0);
    const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (length == 0 || lead > 0xf4 || at + length > text.size()) return false;
    for (size_t n = 1; n < length; ++n) {
      if ((byte(n) & 0xc0) != 0x80) return false;
    }
    const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
    const bool surrogate = lead == 0xed && byte(1) > 0x9f;
    if (overlong || surrogate || (lead == 0xf4 && byte(1) > 0x8f)) return false;
    at += length;
  }
  return true;
}

std::string QuoteArrayItem(std::string_view item) {
  std::string quoted = "\"";
  for (const char c : item) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

// How often a wait for an answer looks at the stop token.
constexpr std::chrono::milliseconds kStopPoll{100};

class Connection {
 public:
  using Parameters = std::vector<std::pair<std::string, std::string>>;

  static Connection Open(const Parameters& parameters) {
    Connection connection = Try(parameters);
    const std::string problem = connection.Problem();
    if (!problem.empty()) throw Error(ErrorKind::kUnavailable, problem);
    return connection;
  }

  // One that may have failed: see Problem().
  static Connection Try(const Parameters& parameters) {
    std::vector<const char*> keywords;
    std::vector<const char*> values;
    for (const auto& [keyword, value] : parameters) {
      keywords.push_back(keyword.c_str());
      values.push_back(value.c_str());
    }
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    return Connection(PQconnectdbParams(keywords.data(), values.data(), /*expand_dbname=*/1));
  }

  std::string Problem() const {
    if (PQstatus(get()) == CONNECTION_OK) return "";
    return fmt::format("could not connect to the source server: {}",
                       Message(PQerrorMessage(get()), get()));
  }

  // Whether the name was found: libpq keeps each address that it tries. A socket's directory has
  // none.
  bool HasAddress() const {
    const std::string_view host = PQhost(get());
    return host.empty() || host.starts_with('/') || host.starts_with('@') ||
           *PQhostaddr(get()) != '\0';
  }

  // All queries together have to be answered in time from now on.
  void LimitAnswers(const ConnectOptions& options) {
    deadline_ = std::chrono::steady_clock::now() + options.answer_timeout;
    stop_ = options.stop;
  }
  void LimitSilence(const ConnectOptions& options) {
    silence_max_ = options.silence_max;
    stop_ = options.stop;
  }

  PGconn* get() const { return conn_.get(); }
  unsigned major_version() const { return static_cast<unsigned>(PQserverVersion(get())) / 10000; }

  bool IsUtf8Database() const {
    const char* encoding = PQparameterStatus(get(), "server_encoding");
    return encoding != nullptr && std::string_view(encoding) == "UTF8";
  }

  // Row by row: what a server sends is never collected before it was looked at. format 1 is binary.
  void Send(const char* sql, const std::vector<std::string>& parameters, int format) {
    std::vector<const char*> values;
    for (const std::string& parameter : parameters) values.push_back(parameter.c_str());
    const int sent = PQsendQueryParams(get(), sql, static_cast<int>(values.size()), nullptr,
                                       values.data(), nullptr, nullptr, format);
    if (sent == 0 || PQsetSingleRowMode(get()) == 0) Fail(nullptr);
  }
  // The next row of what was sent; nullptr behind the last one.
  Result NextRow() {
    Result result = NextResult();
    const auto status = PQresultStatus(result.get());
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
      result = NextResult();
      if (result == nullptr) return result;
    }
    if (PQresultStatus(result.get()) != PGRES_SINGLE_TUPLE) Fail(result.get());
    return result;
  }
  // The one row of a query's answer; nullptr when there is none.
  Result Query(const char* sql, const std::vector<std::string>& parameters = {}, int format = 0) {
    Send(sql, parameters, format);
    Result row = NextRow();
    if (row != nullptr && NextRow() != nullptr) Nonsense("row", "more than one");
    return row;
  }

  // As PQgetResult(), but not for ever: a server that is stopped keeps its connections.
  Result NextResult() {
    WaitForResult();
    return Result(PQgetResult(get()));
  }

  [[noreturn]] void Fail(const PGresult* result) const {
    const char* state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    std::string text =
        Message(result == nullptr ? PQerrorMessage(get()) : PQresultErrorMessage(result), get());
    if (text.empty()) text = "the answer is not what was asked for";
    if (state != nullptr && std::string_view(state) == "42501") {
      throw Error(
          ErrorKind::kNotRewindable, "the source server refused: " + text,
          "Grant the rewind role EXECUTE on pg_ls_dir(text,boolean,boolean), "
          "pg_stat_file(text,boolean), pg_read_binary_file(text) and "
          "pg_read_binary_file(text,bigint,bigint,boolean) in the database it connects to. A file "
          "that the server itself may not read has no place in its data directory.");
    }
    throw Error(ErrorKind::kUnavailable, "query on the source server failed: " + text);
  }

  // No timeout may cut a long copy, nothing is written, and nobody's search_path is trusted. One
  // round trip.
  void PrepareSession() {
    std::string sql =
        "SET statement_timeout = 0; SET lock_timeout = 0;"
        "SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0;"
        "SET default_transaction_read_only = on; SET jit = off;";
    if (major_version() >= 17) sql += "SET transaction_timeout = 0;";
    sql += "SELECT pg_catalog.set_config('search_path', '', false)";
    if (PQsendQuery(get(), sql.c_str()) == 0 || PQsetSingleRowMode(get()) == 0) Fail(nullptr);
    for (int results = 0;; ++results) {
      const Result result = NextResult();
      if (result == nullptr) return;
      const auto status = PQresultStatus(result.get());
      const bool good =
          status == PGRES_COMMAND_OK || status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK;
      if (!good) Fail(result.get());
      if (results >= kSessionResultsMax) Nonsense("number of results", "to SET");
    }
  }

 private:
  struct Deleter {
    void operator()(PGconn* conn) const { PQfinish(conn); }
  };

  // Until PQgetResult() would not block.
  void WaitForResult() {
    using Clock = std::chrono::steady_clock;
    Clock::time_point last_byte = Clock::now();
    while (PQisBusy(get()) != 0) {
      const Clock::time_point end = deadline_.value_or(last_byte + silence_max_);
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
      if (stop_.stop_requested()) {
        throw Error(ErrorKind::kUnavailable, "interrupted while waiting for the server's answer");
      }
      if (left.count() <= 0) {
        throw Error(ErrorKind::kUnavailable, "connected, but the server does not answer in time");
      }
      // Small queries are sent whole by now, so there is only something to be read.
      pollfd socket{PQsocket(get()), POLLIN, 0};
      ::poll(&socket, 1, static_cast<int>(std::min(left, kStopPoll).count()));
      if (socket.revents == 0) continue;
      if (PQconsumeInput(get()) == 0) return;  // PQgetResult() says why
      last_byte = Clock::now();
    }
  }

  explicit Connection(PGconn* conn) : conn_(conn) {
    if (conn == nullptr) throw std::bad_alloc();
    PQsetNoticeProcessor(
        conn, [](void*, const char*) {}, nullptr);
  }
  std::unique_ptr<PGconn, Deleter> conn_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::chrono::milliseconds silence_max_ = ConnectOptions().silence_max;
  std::stop_token stop_;
};

std::string_view Field(const Result& result, int row, int column) {
  return {PQgetvalue(result.get(), row, column),
          static_cast<size_t>(PQgetlength(result.get(), row, column))};
}

void ExpectShape(const Result& result, int rows, int columns) {
  if (PQntuples(result.get()) != rows || PQnfields(result.get()) != columns) {
    Nonsense("result shape",
             fmt::format("{} x {}", PQntuples(result.get()), PQnfields(result.get())));
  }
}

Lsn ParseLsn(std::string_view text) {
  const auto lsn = Lsn::Parse(text);
  if (!lsn) Nonsense("LSN", text);
  return *lsn;
}

Connection::Parameters ToParameters(const ConnectOptions& options) {
  // Later ones win, so what stands before dbname is a default and what stands after it is fixed.
  Connection::Parameters parameters = {
      {"connect_timeout", std::to_string(options.connect_timeout_s)},
      {"keepalives_idle", "10"},
      {"keepalives_interval", "5"},
      {"keepalives_count", "4"},
      {"tcp_user_timeout", "60000"},
      {"dbname", options.conninfo},
      {"fallback_application_name", "pg-rejoin"},
      {"client_encoding", "SQL_ASCII"}};
  if (!options.user.empty()) parameters.emplace_back("user", options.user);
  if (!options.password.empty()) parameters.emplace_back("password", options.password);
  return parameters;
}

// Of the certificate that the server has shown; libpq has no function for it.
std::optional<int64_t> CertificateNotAfter(const Connection& connection) {
  auto* ssl = static_cast<SSL*>(PQsslStruct(connection.get(), "OpenSSL"));
  const X509* certificate = ssl == nullptr ? nullptr : SSL_get0_peer_certificate(ssl);
  std::tm end{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) {
    return std::nullopt;
  }
  return ::timegm(&end);
}

std::optional<std::string> ReadWholeFile(Connection& connection, const std::string& path,
                                         size_t bytes_max) {
  const Result result =
      connection.Query("SELECT pg_catalog.pg_read_binary_file($1, 0, $2::int8, true)",
                       {path, std::to_string(bytes_max + 1)}, /*format=*/1);
  ExpectShape(result, 1, 1);
  if (PQgetisnull(result.get(), 0, 0) != 0) return std::nullopt;
  const std::string_view content = Field(result, 0, 0);
  if (content.size() > bytes_max) {
    Nonsense("file", fmt::format("{} has more than {} bytes", path, bytes_max));
  }
  return std::string(content);
}

TimelineHistory ReadHistory(Connection& connection, TimelineId timeline) {
  if (timeline == 1) return TimelineHistory::Parse(1, {});
  const std::string path = "pg_wal/" + TimelineHistoryFileName(timeline);
  const auto content = ReadWholeFile(connection, path, kHistoryBytesMax);
  if (!content) {
    throw Error(
        ErrorKind::kNotRewindable, "the source has no " + path,
        "Restore the history file into the source's pg_wal, from the archive or a standby.");
  }
  return TimelineHistory::Parse(timeline, *content);
}

// A standby's control file tells of a change of timeline only after the next restartpoint, or when
// it flushes a page; the segment that it replays is there at once. 0: none.
TimelineId NewestTimelineAt(Connection& connection, Lsn lsn, uint32_t segment_size) {
  const uint64_t segment = (lsn.valid() ? lsn.value - 1 : 0) / segment_size;
  const std::string any_timeline = WalSegmentName{1, segment}.ToString(segment_size).substr(8);
  const Result result = connection.Query(
      "SELECT pg_catalog.max(f.name) FROM pg_catalog.pg_ls_dir('pg_wal', true, false) AS f(name)"
      " WHERE f.name OPERATOR(pg_catalog.~) '^[0-9A-F]{24}$'"
      " AND pg_catalog.right(f.name, 16) OPERATOR(pg_catalog.=) $1",
      {any_timeline});
  ExpectShape(result, 1, 1);
  if (PQgetisnull(result.get(), 0, 0) != 0) return 0;
  const auto name = WalSegmentName::Parse(Field(result, 0, 0));
  if (!name) Nonsense("WAL file name", Field(result, 0, 0));
  return name->tli;
}

struct IdentityAndControl {
  SourceIdentity identity;
  ControlFile control;
};

IdentityAndControl Identify(Connection& connection) {
  const Result result = connection.Query(
      "SELECT r.recovery,"
      " CASE WHEN r.recovery THEN pg_catalog.pg_last_wal_replay_lsn()"
      "      ELSE pg_catalog.pg_current_wal_flush_lsn() END,"
      " CASE WHEN r.recovery THEN ''"
      "      ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END,"
      " pg_catalog.current_setting('full_page_writes'),"
      " pg_catalog.pg_postmaster_start_time()::pg_catalog.text,"
      " pg_catalog.inet_server_addr()::pg_catalog.text,"
      " pg_catalog.inet_server_port()::pg_catalog.text,"
      " pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()))"
      "::pg_catalog.int8"
      " FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery OFFSET 0) r");
  ExpectShape(result, 1, 8);
  SourceIdentity identity;
  const ControlFile control = ReadSourceControl(
      [&] { return ReadWholeFile(connection, kControlFilePath, kControlFileBytes); });
  identity.system_identifier = control.system_identifier();
  identity.major_version = connection.major_version();
  const std::string_view recovery = Field(result, 0, 0);
  if (recovery != "t" && recovery != "f") Nonsense("boolean", recovery);
  identity.in_recovery = recovery == "t";
  identity.flush_lsn = ParseLsn(Field(result, 0, 1));
  identity.full_page_writes = Field(result, 0, 3) == "on";
  identity.incarnation = Field(result, 0, 4);
  identity.address =
      PQgetisnull(result.get(), 0, 5) != 0
          ? "local socket"
          : fmt::format("{}:{}", Printable(Field(result, 0, 5)), Printable(Field(result, 0, 6)));
  const auto clock = ParseNumber<int64_t>(Field(result, 0, 7));
  if (!clock) Nonsense("time", Field(result, 0, 7));
  identity.clock_seconds = *clock;
  TimelineId timeline = 0;
  if (identity.in_recovery) {
    timeline = std::max(control.timeline(), NewestTimelineAt(connection, identity.flush_lsn,
                                                             control.wal_segment_size()));
  } else {
    const auto name = WalSegmentName::Parse(Field(result, 0, 2));
    if (!name) Nonsense("WAL file name", Field(result, 0, 2));
    timeline = name->tli;
  }
  identity.history = ReadHistory(connection, timeline);
  return {std::move(identity), control};
}

std::string PostmasterStart(Connection& connection) {
  const Result result =
      connection.Query("SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text");
  ExpectShape(result, 1, 1);
  return std::string(Field(result, 0, 0));
}

class LibpqReader : public SourceReader {
 public:
  LibpqReader(Connection connection, std::shared_ptr<RateLimit> rate_limit, std::stop_token stop)
      : connection_(std::move(connection)),
        rate_limit_(std::move(rate_limit)),
        stop_(std::move(stop)) {}

  void Fetch(std::span<const FetchRequest> batch, const FetchSink& sink) override {
    constexpr const char* kContent = "pg_catalog.pg_read_binary_file(x.path, x.start, x.len, true)";
    Ask(kContent, batch, [&](const FetchRequest& request, std::string_view data, bool missing) {
      if (data.size() > request.length) Nonsense("chunk", "longer than asked: " + request.path);
      bytes_received_ += data.size();
      // WAL does not wait: the source may remove it, and without it nothing can be finished.
      if (!request.path.starts_with("pg_wal/")) rate_limit_->Take(data.size(), stop_);
      sink(request, AsBytes(data), missing);
    });
  }

  void Digest(std::span<const FetchRequest> batch, const DigestSink& sink) override {
    constexpr const char* kDigest =
        "pg_catalog.sha256(pg_catalog.pg_read_binary_file(x.path, x.start, x.len, true))";
    Ask(kDigest, batch, [&](const FetchRequest& request, std::string_view data, bool missing) {
      if (missing) return sink(request, std::nullopt);
      // The source has read it all the same.
      rate_limit_->Take(request.length, stop_);
      Sha256 digest;
      if (data.size() != digest.size()) Nonsense("digest", ToHex(AsBytes(data)));
      std::ranges::copy(AsBytes(data), digest.begin());
      sink(request, digest);
    });
  }

  uint64_t bytes_received() const override { return bytes_received_; }

 private:
  using OnValue = std::function<void(const FetchRequest&, std::string_view value, bool null)>;

  // expression: of x.path, x.start and x.len. Its values arrive row by row, in the batch's order.
  void Ask(const char* expression, std::span<const FetchRequest> batch, const OnValue& on_value) {
    std::string paths = "{";
    std::string offsets = "{";
    std::string lengths = "{";
    for (const FetchRequest& request : batch) {
      const char* separator = paths.size() > 1 ? "," : "";
      paths.append(separator).append(QuoteArrayItem(request.path));
      offsets.append(separator).append(std::to_string(request.offset));
      lengths.append(separator).append(std::to_string(request.length));
    }
    paths += '}';
    offsets += '}';
    lengths += '}';
    const std::string sql = fmt::format(
        "SELECT x.ord, {}"
        " FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),"
        " pg_catalog.unnest($2::pg_catalog.int8[]),"
        " pg_catalog.unnest($3::pg_catalog.int4[]))"
        " WITH ORDINALITY AS x(path, start, len, ord)",
        expression);
    connection_.Send(sql.c_str(), {paths, offsets, lengths}, /*format=*/1);
    size_t next = 0;
    while (const Result result = connection_.NextRow()) {
      ExpectShape(result, 1, 2);
      if (next >= batch.size()) Nonsense("row", "more rows than requests");
      CheckOrdinal(Field(result, 0, 0), next + 1);
      const bool null = PQgetisnull(result.get(), 0, 1) != 0;
      on_value(batch[next++], Field(result, 0, 1), null);
    }
    if (next != batch.size()) Nonsense("end of rows", "fewer rows than requests");
  }

  static void CheckOrdinal(std::string_view ordinal, uint64_t expected) {
    uint64_t value = 0;
    if (ordinal.size() != 8) Nonsense("row number", ToHex(AsBytes(ordinal)));
    for (const char c : ordinal) value = value << 8 | static_cast<unsigned char>(c);
    if (value != expected) Nonsense("row number", std::to_string(value));
  }

  Connection connection_;
  std::shared_ptr<RateLimit> rate_limit_;
  std::stop_token stop_;
  uint64_t bytes_received_ = 0;
};

// What lies in these is never wanted, and lost+found cannot even be listed.
constexpr const char* kListQuery =
    "WITH RECURSIVE files (path, filename, size, isdir) AS ("
    " SELECT ''::pg_catalog.text, fn.filename, this.size, this.isdir"
    "  FROM (SELECT pg_catalog.pg_ls_dir('.', true, false) AS filename) AS fn,"
    "       pg_catalog.pg_stat_file(fn.filename, true) AS this"
    " UNION ALL"
    " SELECT parent.path || parent.filename || '/', fn.filename, this.size, this.isdir"
    "  FROM files AS parent,"
    "       pg_catalog.pg_ls_dir(parent.path || parent.filename, true, false) AS fn(filename),"
    "       pg_catalog.pg_stat_file(parent.path || parent.filename || '/' || fn.filename, true)"
    "         AS this"
    "  WHERE parent.isdir AND parent.filename OPERATOR(pg_catalog.<>) 'lost+found'"
    "   AND NOT (parent.path OPERATOR(pg_catalog.=) '' AND parent.filename OPERATOR(pg_catalog.=)"
    "            ANY "
    "('{pg_rejoin,pg_replslot,pg_stat_tmp,pg_stat,pg_notify,pg_subtrans,log,pg_log}'"
    "                 ::pg_catalog.text[])))"
    " SELECT files.path || files.filename, files.size, files.isdir,"
    "        pg_catalog.pg_tablespace_location(spc.oid)"
    "  FROM files LEFT JOIN pg_catalog.pg_tablespace AS spc"
    "   ON files.path OPERATOR(pg_catalog.=) 'pg_tblspc/'"
    "   AND spc.oid::pg_catalog.text OPERATOR(pg_catalog.=) files.filename"
    "  WHERE files.isdir IS NOT NULL";

class LibpqSourceImpl : public LibpqSource {
 public:
  explicit LibpqSourceImpl(const ConnectOptions& options)
      : options_(options),
        parameters_(ToParameters(options)),
        connection_(Connection::Open(parameters_)),
        rate_limit_(std::make_shared<RateLimit>(options.bytes_per_second_max)) {
    connection_.LimitSilence(options_);
    // Further connections go to the very address that answered, not to another one of the name.
    if (const char* address = PQhostaddr(connection_.get());
        address != nullptr && *address != '\0') {
      parameters_.emplace_back("host", PQhost(connection_.get()));
      parameters_.emplace_back("hostaddr", address);
      parameters_.emplace_back("port", PQport(connection_.get()));
    }
    connection_.PrepareSession();
    incarnation_ = PostmasterStart(connection_);
  }

  SourceIdentity Identify() override {
    auto [identity, control] = pgrejoin::Identify(connection_);
    relation_bytes_max_ = uint64_t{control.blocks_per_segment()} * control.block_size();
    return std::move(identity);
  }

  void ListFiles(const std::function<void(SourceFile)>& sink) override {
    // What is missing in a list is removed on the target: one that was cut short is not believed.
    std::set<std::string_view> expected = {"PG_VERSION", kControlFilePath, "base", "pg_xact"};
    size_t count = 0;
    uint64_t bytes = 0;
    connection_.Send(kListQuery, {}, /*format=*/0);
    while (const Result result = connection_.NextRow()) {
      ExpectShape(result, 1, 4);
      SourceFile file = ToSourceFile(result);
      bytes += file.size;
      if (++count > kFilesMax || bytes > kAllFilesBytesMax) {
        Nonsense("list of files", fmt::format("{} files of {} bytes in all", count, bytes));
      }
      expected.erase(file.path);
      sink(std::move(file));
    }
    if (!expected.empty()) {
      Nonsense("list of files", fmt::format("{} is not in it", *expected.begin()));
    }
  }

  std::optional<std::string> ReadFile(const std::string& path, size_t bytes_max) override {
    return ReadWholeFile(connection_, path, bytes_max);
  }

  std::unique_ptr<SourceReader> OpenReader() override {
    Connection connection = Connection::Open(parameters_);
    connection.LimitSilence(options_);
    connection.PrepareSession();
    if (PostmasterStart(connection) != incarnation_) {
      throw Error(ErrorKind::kSourceChanged,
                  "connections to the source reach different servers, or it has restarted",
                  "Use an address that always leads to the one primary.");
    }
    return std::make_unique<LibpqReader>(std::move(connection), rate_limit_, options_.stop);
  }

  std::string PrimaryConninfo() const override {
    const ConninfoOptions options(PQconninfo(connection_.get()));
    if (options == nullptr) throw std::bad_alloc();
    std::vector<std::pair<std::string, std::string>> kept;
    for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
      const std::string_view keyword = option->keyword;
      if (option->val == nullptr || *option->val == '\0' || keyword == "dbname" ||
          keyword == "replication" || keyword == "fallback_application_name" ||
          keyword == "client_encoding") {
        continue;
      }
      kept.emplace_back(keyword, option->val);
    }
    return BuildConninfo(kept);
  }

 private:
  // No query can name a file whose name is not in the encoding of the database.
  void CheckPath(const std::string& path) const {
    std::string problem = PathProblem(path);
    if (problem.empty() && connection_.IsUtf8Database() && !IsUtf8(path)) problem = "not UTF-8";
    if (problem.empty()) return;
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("the source sent a file name that is refused ({}): {}", problem,
                            Printable(path)),
                "If there is such a file in the source's data directory, rename or remove it.");
  }

  SourceFile ToSourceFile(const Result& result) const {
    SourceFile file;
    file.path = Field(result, 0, 0);
    CheckPath(file.path);
    const std::string_view link = Field(result, 0, 3);
    // An in-place tablespace has a relative link text and is a plain directory.
    if (link.starts_with('/')) {
      file.type = FileType::kSymlink;
      file.link_target = link;
    } else if (Field(result, 0, 2) == "t") {
      file.type = FileType::kDirectory;
    } else {
      const std::string_view text = Field(result, 0, 1);
      const auto size = ParseNumber<uint64_t>(text);
      const uint64_t bytes_max =
          ParseRelationForkPath(file.path) ? relation_bytes_max_ : kFileBytesMax;
      if (!size || *size > bytes_max) Nonsense("file size", text);
      file.size = *size;
    }
    return file;
  }

  ConnectOptions options_;
  Connection::Parameters parameters_;
  Connection connection_;
  std::shared_ptr<RateLimit> rate_limit_;  // also of the readers
  std::string incarnation_;
  uint64_t relation_bytes_max_ = kFileBytesMax;  // of a segment file, once the server is known
};

}  // namespace

std::unique_ptr<LibpqSource> LibpqSource::Connect(const ConnectOptions& options) {
  return std::make_unique<LibpqSourceImpl>(options);
}

SourceIdentity IdentifyServer(const ConnectOptions& options) {
  Connection connection = Connection::Open(ToParameters(options));
  connection.LimitAnswers(options);
  connection.PrepareSession();
  return Identify(connection).identity;
}

std::string RunSql(const ConnectOptions& options, const std::string& sql) {
  Connection connection = Connection::Open(ToParameters(options));
  connection.LimitAnswers(options);
  const Result result = connection.Query(sql.c_str());
  if (result == nullptr || PQnfields(result.get()) == 0) return {};
  return std::string(Field(result, 0, 0));
}

ServerRow QueryRow(const ConnectOptions& options, const std::string& sql,
                   const std::vector<std::string>& parameters) {
  Connection connection = Connection::Open(ToParameters(options));
  connection.LimitAnswers(options);
  connection.PrepareSession();
  const Result result = connection.Query(sql.c_str(), parameters);
  if (result == nullptr) Nonsense("answer", "no row");
  ServerRow row;
  for (int column = 0; column < PQnfields(result.get()); ++column) {
    const bool null = PQgetisnull(result.get(), 0, column) != 0;
    row.columns.emplace_back(null ? std::nullopt
                                  : std::optional<std::string>(Field(result, 0, column)));
  }
  row.over_tls = PQsslInUse(connection.get()) != 0;
  row.certificate_not_after = CertificateNotAfter(connection);
  return row;
}

LoginAttempt TryLogin(const ConnectOptions& options, bool replication) {
  Connection::Parameters parameters = ToParameters(options);
  if (replication) parameters.emplace_back("replication", "true");
  const Connection connection = Connection::Try(parameters);
  return {connection.Problem(), connection.HasAddress()};
}

std::string RedactedConninfo(const std::string& conninfo) {
  char* error = nullptr;
  const ConninfoOptions options(PQconninfoParse(conninfo.c_str(), &error));
  if (options == nullptr) {
    PQfreemem(error);  // may quote the text, password included
    return "(malformed connection string)";
  }
  std::vector<std::pair<std::string, std::string>> shown;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val == nullptr || *option->val == '\0') continue;
    const bool secret = option->dispchar != nullptr && *option->dispchar == '*';
    shown.emplace_back(option->keyword, secret ? std::string(kHidden) : option->val);
  }
  return Printable(BuildConninfo(shown));
}

std::string BuildConninfo(const std::vector<std::pair<std::string, std::string>>& options) {
  std::string conninfo;
  for (const auto& [keyword, value] : options) {
    if (!conninfo.empty()) conninfo += ' ';
    conninfo += keyword + "='";
    for (const char c : value) {
      if (c == '\'' || c == '\\') conninfo += '\\';
      conninfo += c;
    }
    conninfo += '\'';
  }
  return conninfo;
}

}  // namespace pgrejoin
