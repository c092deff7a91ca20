#!/usr/bin/env bash
# Starts PostgreSQL under the same contract as the official image's script of this name: makes
# the cluster in an empty PGDATA from POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB,
# POSTGRES_INITDB_ARGS (each also as ..._FILE), POSTGRES_INITDB_WALDIR and
# POSTGRES_HOST_AUTH_METHOD, runs what is in /docker-entrypoint-initdb.d, and becomes the server.
set -Eeo pipefail

# from_file NAME DEFAULT: takes the variable NAME, or the content of the file that NAME_FILE names.
from_file() {
  local name=$1 default=${2:-} file_variable=$1_FILE
  if [[ -n ${!name:-} && -n ${!file_variable:-} ]]; then
    echo >&2 "error: both $name and $file_variable are set (but are exclusive)"
    exit 1
  fi
  local value=${!name:-$default}
  [[ -z ${!file_variable:-} ]] || value=$(<"${!file_variable}")
  export "$name=$value"
  unset "$file_variable"
}

# From 18 on the data lies elsewhere: a volume mounted where it used to be would stay empty.
refuse_old_mount() {
  local old=/var/lib/postgresql/data
  ((PG_MAJOR >= 18)) && [[ $PGDATA != "$old"* ]] || return 0
  if [[ -s $old/PG_VERSION ]] || grep -q " $old " /proc/self/mountinfo; then
    echo >&2 "Error: in 18+, there must be no database and no mount in $old (unused mount/volume): mount /var/lib/postgresql"
    exit 1
  fi
}

make_directories() {
  local user
  user=$(id -u)
  mkdir -p "$PGDATA"
  # Neither may be ours to change, when Kubernetes mounted it: the server will judge.
  chmod 00700 "$PGDATA" || :
  mkdir -p /var/run/postgresql || :
  chmod 03775 /var/run/postgresql || :
  [[ -z ${POSTGRES_INITDB_WALDIR:-} ]] || { mkdir -p "$POSTGRES_INITDB_WALDIR" && chmod 700 "$POSTGRES_INITDB_WALDIR"; }
  if [[ $user == 0 ]]; then
    find "$PGDATA" /var/run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} \
      \! -user postgres -exec chown postgres '{}' +
  fi
}

# A user without a name, as Kubernetes gives us, is one that initdb refuses: lend it one.
lend_user_name() {
  getent passwd "$(id -u)" >/dev/null && return
  local library
  for library in /usr/lib/*/libnss_wrapper.so; do
    NSS_WRAPPER_PASSWD=$(mktemp) NSS_WRAPPER_GROUP=$(mktemp)
    export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP LD_PRELOAD=$library
    echo "postgres:x:$(id -u):$(id -g):PostgreSQL:$PGDATA:/bin/false" >"$NSS_WRAPPER_PASSWD"
    echo "postgres:x:$(id -g):" >"$NSS_WRAPPER_GROUP"
    return
  done
}

return_user_name() {
  [[ ${LD_PRELOAD:-} == */libnss_wrapper.so ]] || return 0
  rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
  unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
}

require_password() {
  [[ -n $POSTGRES_PASSWORD || ${POSTGRES_HOST_AUTH_METHOD:-} == trust ]] && return
  cat >&2 <<'EOE'
Error: Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser, or
       POSTGRES_HOST_AUTH_METHOD=trust to let everybody in.
EOE
  exit 1
}

make_cluster() {
  lend_user_name
  [[ -z ${POSTGRES_INITDB_WALDIR:-} ]] || set -- --waldir "$POSTGRES_INITDB_WALDIR" "$@"
  # The arguments come as shell words: quotes in them count. initdb refuses an empty password file.
  eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"$POSTGRES_INITDB_ARGS"' "$@"'
  return_user_name
}

allow_hosts() {
  local method=${POSTGRES_HOST_AUTH_METHOD:-}
  [[ -n $method ]] || method=$(postgres -C password_encryption "$@")
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# (Named as there: sourced scripts of users call it.)
docker_process_sql() {
  [[ -z $POSTGRES_DB ]] || set -- --dbname "$POSTGRES_DB" "$@"
  PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc "$@"
}

# Only reachable by its socket: nobody outside meets a half-made database.
start_temporary_server() {
  NOTIFY_SOCKET='' PGUSER=$POSTGRES_USER \
    pg_ctl -D "$PGDATA" -w start -o "$(printf '%q ' "$@" -c listen_addresses='' -p "${PGPORT:-5432}")"
}

make_database() {
  [[ $POSTGRES_DB != postgres ]] || return 0
  docker_process_sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
}

run_initdb_scripts() {
  local script
  for script; do
    case $script in
      *.sh)
        if [[ -x $script ]]; then
          echo "$0: running $script"
          "$script"
        else
          echo "$0: sourcing $script"
          # shellcheck source=/dev/null
          . "$script"
        fi
        ;;
      *.sql) echo "$0: running $script"; docker_process_sql -f "$script" ;;
      *.sql.gz) echo "$0: running $script"; gunzip -c "$script" | docker_process_sql ;;
      *.sql.xz) echo "$0: running $script"; xzcat "$script" | docker_process_sql ;;
      *.sql.zst) echo "$0: running $script"; zstd -dc "$script" | docker_process_sql ;;
      *) echo "$0: ignoring $script" ;;
    esac
  done
}

is_only_asking() { # for help or the version
  local argument
  for argument; do
    case $argument in -'?' | --help | --describe-config | -V | --version) return 0 ;; esac
  done
  return 1
}

main() {
  [[ ${1:0:1} != - ]] || set -- postgres "$@"
  if [[ ${1:-} == postgres ]] && ! is_only_asking "$@"; then
    make_directories
    [[ $(id -u) != 0 ]] || exec gosu postgres "${BASH_SOURCE[0]}" "$@"
    if [[ -s $PGDATA/PG_VERSION ]]; then
      printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    else
      refuse_old_mount
      from_file POSTGRES_PASSWORD
      from_file POSTGRES_USER postgres
      from_file POSTGRES_DB "$POSTGRES_USER"
      from_file POSTGRES_INITDB_ARGS
      require_password
      # Listed before anything is made: an unreadable folder must not leave half a cluster.
      ls /docker-entrypoint-initdb.d/ >/dev/null
      make_cluster
      allow_hosts "${@:2}"
      export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
      start_temporary_server "${@:2}"
      make_database
      shopt -s nullglob
      run_initdb_scripts /docker-entrypoint-initdb.d/*
      PGUSER=${PGUSER:-postgres} pg_ctl -D "$PGDATA" -m fast -w stop
      unset PGPASSWORD
      printf '\nPostgreSQL init process complete; ready for start up.\n\n'
    fi
  fi
  exec "$@"
}

# Sourced, it only defines its functions, as the official one.
[[ ${BASH_SOURCE[0]} != "$0" ]] || main "$@"
