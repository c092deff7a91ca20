#!/bin/sh
# `helm test`: what a rejoin will rely on, asked from outside of the pods: the primary's Service leads to a
# server that takes writes, and the roles can do their work there with the passwords of the Secret.
set -eu

# as USER PASSWORD-NAME DATABASE SQL: a line of the answer. The password is in psql's environment only.
as() {
  PGPASSWORD=$(tr -d '\r\n' <"$PG_REJOIN_CREDENTIALS_DIR/$2-password") \
    psql --no-psqlrc --no-password --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 \
    --username "$1" --dbname "$3" --command "$4"
}

# expect WHAT EXPECTED ACTUAL
expect() {
  if [ "$2" != "$3" ]; then
    echo "FAILED: $1: expected '$2', got '$3'" >&2
    exit 1
  fi
  echo "ok: $1"
}

expect "the primary's Service leads to a server that takes writes" f \
  "$(as "$PG_REJOIN_REWIND_USER" rewind postgres 'SELECT pg_is_in_recovery()')"
expect "the rewind role lists files" t \
  "$(as "$PG_REJOIN_REWIND_USER" rewind postgres "SELECT count(*) > 0 FROM pg_ls_dir('.', true, false)")"
expect "the rewind role reads files" t \
  "$(as "$PG_REJOIN_REWIND_USER" rewind postgres "SELECT length(pg_read_binary_file('global/pg_control', 0, 8192, true)) = (pg_stat_file('global/pg_control', true)).size")"
expect "the rewind role is no superuser" off \
  "$(as "$PG_REJOIN_REWIND_USER" rewind postgres 'SHOW is_superuser')"
expect "the replication role may replicate" 1 \
  "$(as "$PG_REJOIN_REPLICATION_USER" replication 'dbname=postgres replication=true' IDENTIFY_SYSTEM | wc -l)"
expect "the promotion role may promote and nothing else" "t|off" \
  "$(as "$PG_REJOIN_PROMOTE_USER" promote postgres "SELECT has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE'), current_setting('is_superuser')")"
