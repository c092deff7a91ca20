#!/usr/bin/env bash
# The fuzzers, each for a number of executions, and a table of what they did. ./dev fuzz compiles them first.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/fuzz.sh BUILD [--runs N] [--jobs N] [TARGET...]

  BUILD     the tree of the preset "fuzz"
  --runs N  executions of each target; 10,000,000 when not given
  --jobs N  so many targets at a time; one a processor when not given

Inputs that reach new code are kept in $PG_REJOIN_CACHE/fuzz/TARGET and are where the next run begins. A finding ends its
target, is kept in BUILD/findings, and makes this exit with 1. tests/fuzz/README.md says what to do with it.
USAGE
}

die() { echo "fuzz: $*" >&2; exit 2; }

# run_target NAME: its log ends with the fuzzer's statistics.
run_target() {
  local name=$1 known=$PG_REJOIN_CACHE/fuzz/$1 work
  # In memory: a new input is a new file, and there are thousands.
  work=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" "pg-rejoin-fuzz-$name-XXXXXX")
  mkdir -p "$known"
  local options=(-runs="$RUNS" -max_len=4096 -timeout=20 -rss_limit_mb=2500 -print_final_stats=1)
  local status=0
  # Leaks are looked for by the replay; a stack for every allocation would take most of the time.
  ASAN_OPTIONS=detect_leaks=0:malloc_context_size=2:quarantine_size_mb=16 \
    "$BUILD/tests/fuzz/${name}_fuzz" "${options[@]}" -artifact_prefix="$BUILD/findings/$name-" \
    "$work" "$known" "tests/fuzz/corpus/$name" >"$BUILD/findings/$name.log" 2>&1 || status=$?
  find "$work" -type f -exec mv -t "$known" {} +
  rm -rf "$work"
  local executions
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$BUILD/findings/$name.log")
  ((status || ${executions:-0} < RUNS)) || { printf '%-18s %12s  ok\n' "$name" "$executions"; return; }
  printf '%-18s %12s  FINDING: %s\n' "$name" "${executions:-?}" "$BUILD/findings/$name.log"
  return 1
}

main() {
  case ${1:-} in
    -h | --help) usage; return ;;
    '') usage >&2; exit 2 ;;
  esac
  BUILD=$(cd "$1" && pwd)
  shift
  RUNS=10000000
  local jobs targets=()
  jobs=$(nproc)
  while (($#)); do
    case $1 in
      --runs) RUNS=${2:?}; shift ;;
      --jobs) jobs=${2:?}; shift ;;
      -*) die "no option $1" ;;
      *) [[ -x $BUILD/tests/fuzz/${1}_fuzz ]] || die "no target $1"; targets+=("$1") ;;
    esac
    shift
  done
  [[ $RUNS$jobs =~ ^[1-9][0-9]*$ ]] || die "--runs and --jobs want numbers"
  if ((!${#targets[@]})); then mapfile -t targets < <(basename -s _fuzz.cc tests/fuzz/*_fuzz.cc); fi
  mkdir -p "$BUILD/findings"
  export BUILD RUNS
  export -f run_target
  # xargs goes on with the others and tells at its end whether one failed.
  printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'set -euo pipefail; run_target {}' || exit 1
}

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
export PG_REJOIN_CACHE=${PG_REJOIN_CACHE:?}
main "$@"
