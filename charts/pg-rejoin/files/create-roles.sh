#!/bin/bash
# Run once by the image's entrypoint, after initdb and before the server is reachable: three roles
# with no more rights than their work takes, and the right of standbys to connect.
#
# Passwords go from their files into psql variables, never into an argument or the environment, and
# the statements that carry them stay out of the server's log, even when they fail.
set -Eeuo pipefail

# What pg-rejoin and libpq will send: a file without the line breaks at its end. A control character inside
# would be one that nobody can send, or a second line of a passfile.
check_passwords() {
  local name password
  local LC_ALL=C # byte by byte, whatever the image's locale: UTF-8 has control characters of its own
  for name in replication rewind promote; do
    password=$(<"$PG_REJOIN_CREDENTIALS_DIR/$name-password")
    while [[ $password == *[$'\r\n'] ]]; do
      password=${password%?}
    done
    if [[ -z $password ]]; then
      echo "create-roles: error: the $name password is empty" >&2
      exit 1
    fi
    if [[ $password == *[[:cntrl:]]* ]]; then
      echo "create-roles: error: the $name password has a control character in it, perhaps a line break" >&2
      exit 1
    fi
  done
}
check_passwords

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set replication_user="$PG_REJOIN_REPLICATION_USER" \
  --set rewind_user="$PG_REJOIN_REWIND_USER" \
  --set promote_user="$PG_REJOIN_PROMOTE_USER" <<'SQL'
\set replication_password `tr -d '\r\n' <"$PG_REJOIN_CREDENTIALS_DIR/replication-password"`
\set rewind_password `tr -d '\r\n' <"$PG_REJOIN_CREDENTIALS_DIR/rewind-password"`
\set promote_password `tr -d '\r\n' <"$PG_REJOIN_CREDENTIALS_DIR/promote-password"`

SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET log_transaction_sample_rate = 0;
-- pg_stat_statements, where it is loaded, keeps the text of CREATE ROLE as it is; elsewhere this says nothing.
SET pg_stat_statements.track = 'none';
SET password_encryption = 'scram-sha-256';

BEGIN;

CREATE ROLE :"replication_user" LOGIN REPLICATION PASSWORD :'replication_password';

-- The four functions that pg_rewind's documentation lists, in this database.
CREATE ROLE :"rewind_user" LOGIN PASSWORD :'rewind_password';
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO :"rewind_user";
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO :"rewind_user";
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO :"rewind_user";
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO :"rewind_user";

CREATE ROLE :"promote_user" LOGIN PASSWORD :'promote_password';
GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO :"promote_user";
-- Since 15 a checkpoint after the promotion takes no superuser.
SELECT current_setting('server_version_num')::integer >= 150000 AS has_pg_checkpoint \gset
\if :has_pg_checkpoint
GRANT pg_checkpoint TO :"promote_user";
\endif

COMMIT;
SQL

# The image has written "host all all all" already; "all" does not cover replication connections.
{
  echo
  echo "# pg-rejoin: standbys and clones"
  echo "host replication \"$PG_REJOIN_REPLICATION_USER\" all scram-sha-256"
} >>"$PGDATA/pg_hba.conf"
