#!/usr/bin/env bash
# Installs what a group of commands needs, and nothing when it is already there:
#
#   scripts/deps.sh build     compiler and libraries
#   scripts/deps.sh test      test tools: GoogleTest, pytest
#   scripts/deps.sh servers   PostgreSQL 14-18, Patroni (scripts/servers.sh)
#   scripts/deps.sh helm      Helm 3 and 4
#   scripts/deps.sh cluster   the test cluster, compiled (e2e/cluster)
#   scripts/deps.sh lint      formatter and linters
#   scripts/deps.sh coverage  gcovr
#   scripts/deps.sh fuzz      clang with its fuzzer
#   scripts/deps.sh [all]     all of them
#
# Expects a Debian 12 with its package archive, and root when something is missing. Where npm or Go is
# missing, they come from Debian and from Go's module proxy.
set -euo pipefail
umask 022

ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
PACKAGES=$ROOT/scripts/packages.txt
CACHE=${PG_REJOIN_CACHE:?set by ./dev}
GO_RELEASE=go1.24.9
GO_LEAST=1.24

say() { printf 'deps: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

packages_of() { sed -n "s/^$1 \+//p" "$PACKAGES"; }

# install PACKAGE...: those that are missing, with one apt-get.
install() {
  local installed missing=() package
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
  for package; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  [[ $EUID == 0 ]] || die "missing Debian packages; as root: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  mkdir -p "$CACHE"
  {
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}"
  } >"$CACHE/apt.log" 2>&1 || { cat "$CACHE/apt.log" >&2; die "apt-get failed"; }
}

install_group() {
  local packages
  mapfile -t packages < <(packages_of "$1" | tr ' ' '\n')
  install "${packages[@]}"
}

install_npm() {
  install_group cluster
  if ! command -v npm >/dev/null; then install npm; fi
}

go_is_new_enough() {
  local version
  version=$("$1" env GOVERSION 2>/dev/null) || return 1
  [[ $(printf '%s\n' "$GO_LEAST" "${version#go}" | sort -V | head -n1) == "$GO_LEAST" ]]
}

# Debian's Go is too old for Kubernetes, but new enough to fetch a newer one: Go releases are modules.
# ./dev puts $CACHE/go/bin first in PATH.
install_go() {
  local modules version
  if go_is_new_enough go; then return; fi
  install golang-go
  say "fetching $GO_RELEASE"
  version=v0.0.1-$GO_RELEASE.linux-$(dpkg --print-architecture)
  mkdir -p "$CACHE"
  rm -rf "$CACHE"/go.new.* # of a run that failed
  modules=$(mktemp -d "$CACHE/go.new.XXXXXX")
  # Outside of any module, and without a work space or module flags of the caller.
  (cd "$modules" && GOFLAGS=-modcacherw GOWORK=off GOMODCACHE=$modules go mod download "golang.org/toolchain@$version")
  # Modules carry no permissions.
  chmod -R u+w,a+rX "$modules"
  find "$modules/golang.org/toolchain@$version"/{bin,pkg/tool} -type f -exec chmod a+x {} +
  rm -rf "$CACHE/go"
  mv "$modules/golang.org/toolchain@$version" "$CACHE/go"
  rm -rf "$modules"
  "$CACHE/go/bin/go" version >&2
  PATH=$CACHE/go/bin:$PATH
}

# Only root may install; for others what is there has to do.
install_helm() {
  if [[ $EUID != 0 && -x $CACHE/bin/helm && -x $CACHE/bin/helm3 ]]; then return; fi
  install_npm
  "$ROOT/e2e/cluster/cluster" deps
}

main() {
  [[ ${1:-all} != all ]] || set -- build test servers cluster bench lint coverage fuzz
  local group
  for group; do
    case $group in
      build | test | bench | lint | coverage | fuzz) install_group "$group" ;;
      servers) install_npm; "$ROOT/scripts/servers.sh" >&2 ;;
      helm) install_helm ;;
      cluster) install_helm; install_go; "$ROOT/e2e/cluster/cluster" build ;;
      *) die "no group $group: build, test, servers, helm, cluster, bench, lint, coverage, fuzz or all" ;;
    esac
  done
}

main "$@"
