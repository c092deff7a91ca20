-- The roles that pg-rejoin needs besides the one that standbys stream with, run once on the primary, in the database
-- "postgres". Passwords come as psql variables: README.md.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET password_encryption = 'scram-sha-256';

BEGIN;

-- The four functions that pg_rewind's documentation lists, in this database.
CREATE ROLE rewind LOGIN PASSWORD :'rewind_password';
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO rewind;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO rewind;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO rewind;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO rewind;

-- For `pg-rejoin promote`, inside the pod only.
CREATE ROLE promoter LOGIN PASSWORD :'promote_password';
GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO promoter;
SELECT current_setting('server_version_num')::integer >= 150000 AS has_pg_checkpoint \gset
\if :has_pg_checkpoint
GRANT pg_checkpoint TO promoter;
\endif

COMMIT;
