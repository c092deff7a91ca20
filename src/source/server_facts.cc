#include "source/server_facts.h"

#include "base/error.h"
#include "base/parse_number.h"

namespace pgrejoin {
namespace {

// The session's search_path is empty, so every name is pg_catalog's. pg_roles, the slots and
// pg_control are for everybody to see (system_functions.sql revokes none of them). Who is not there
// has NULLs.
constexpr const char* kQuestion = R"sql(
WITH state AS MATERIALIZED (SELECT pg_is_in_recovery() AS recovery)
SELECT current_setting('server_version_num'), current_database()::text,
       state.recovery,
       current_setting('data_checksums'), current_setting('wal_log_hints'),
       current_setting('full_page_writes'), current_setting('restart_after_crash'),
       current_setting('ssl'), current_setting('wal_level'), current_setting('max_wal_senders'),
       pg_size_bytes(current_setting('wal_keep_size')),
       coalesce(greatest(0, pg_wal_lsn_diff(
           CASE WHEN state.recovery THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_flush_lsn() END,
           (pg_control_checkpoint()).redo_lsn)), 0)::bigint,
       rewind.rolcanlogin AND coalesce(rewind.rolvaliduntil > now(), true),
       (SELECT string_agg('pg_catalog.' || f, ', ')
        FROM unnest(ARRAY['pg_ls_dir(text, boolean, boolean)', 'pg_stat_file(text, boolean)',
                          'pg_read_binary_file(text)',
                          'pg_read_binary_file(text, bigint, bigint, boolean)']) AS f
        WHERE NOT has_function_privilege(rewind.oid, f, 'EXECUTE')),
       replicator.rolcanlogin AND coalesce(replicator.rolvaliduntil > now(), true),
       replicator.rolreplication OR replicator.rolsuper,
       (SELECT string_agg(slot_name, ', ') FROM pg_replication_slots WHERE wal_status = 'lost'),
       (SELECT string_agg(slot_name, ', ') FROM pg_replication_slots
        WHERE wal_status = 'unreserved')
FROM state
LEFT JOIN pg_roles AS rewind ON rewind.rolname = $1
LEFT JOIN pg_roles AS replicator ON replicator.rolname = $2
)sql";

// The columns in their order, each taken once.
class Columns {
 public:
  explicit Columns(const ServerRow& row) : row_(row) {}

  std::optional<std::string> Next() {
    if (at_ == row_.columns.size()) throw Unreadable("fewer columns than asked for");
    return row_.columns[at_++];
  }
  std::string Text() { return Printable(Next().value_or("")); }
  bool IsOn() {
    const std::string text = Next().value_or("");
    return text == "on" || text == "t";
  }
  template <typename Number>
  Number Count() {
    const std::string text = Next().value_or("");
    const auto number = ParseNumber<Number>(text);
    if (!number) throw Unreadable(text);
    return *number;
  }

 private:
  static Error Unreadable(const std::string& what) {
    return Error(ErrorKind::kUnavailable,
                 "the server's answer about its settings is not understood: " + Printable(what));
  }

  const ServerRow& row_;
  size_t at_ = 0;
};

}  // namespace

ServerFacts AskServerFacts(const ConnectOptions& server, const std::string& rewind_role,
                           const std::string& replication_role) {
  const ServerRow row = QueryRow(server, kQuestion, {rewind_role, replication_role});
  Columns columns(row);
  ServerFacts facts;
  facts.version_number = columns.Count<unsigned>();
  facts.database = columns.Text();
  facts.in_recovery = columns.IsOn();
  facts.checksums = columns.IsOn();
  facts.logs_hints = columns.IsOn();
  facts.full_page_writes = columns.IsOn();
  facts.restarts_after_crash = columns.IsOn();
  facts.tls = columns.IsOn();
  facts.wal_level = columns.Text();
  facts.wal_senders_max = columns.Count<unsigned>();
  facts.wal_keep_bytes = columns.Count<uint64_t>();
  facts.wal_since_checkpoint_bytes = columns.Count<uint64_t>();
  facts.rewind_role.name = rewind_role;
  facts.rewind_role.may_log_in = columns.IsOn();
  facts.lacking_grants = columns.Text();
  facts.replication_role.name = replication_role;
  facts.replication_role.may_log_in = columns.IsOn();
  facts.replicates = columns.IsOn();
  facts.lost_slots = columns.Text();
  facts.trailing_slots = columns.Text();
  facts.certificate_not_after = row.certificate_not_after;
  return facts;
}

}  // namespace pgrejoin
