#!/usr/bin/env bash
# image.sh [patroni]: prints the name of the pg-rejoin image of this tree, or of one with Patroni, built and loaded
# into the cluster that e2e/cluster has started. The tag is a hash of all that the image is made from, so nothing is
# built twice.
#
# The Dockerfile compiles. With PG_REJOIN_PROGRAMS=DIR the programs in DIR, compiled on this (Debian 12) machine, are
# put onto the Dockerfile's runtime stage instead: quicker while one works on the sources.
set -euo pipefail

HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
ROOT=$(dirname "$HERE")
PROGRAMS=(pg-rejoin pg-rejoin-gate)

# hash PATH...: one name for the content of files and folders.
hash() { find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16; }

# provide TAG FOLDER [BUILDAH ARGUMENTS...]: loads the image, builds it if there is none.
provide() { "$HERE/cluster/cluster" load-image "$1" 2>/dev/null || "$HERE/cluster/cluster" build-image "$@"; }

from_dockerfile() {
  local image
  image=pg-rejoin:src-$(cd "$ROOT" && hash .dockerignore Dockerfile CMakeLists.txt CMakePresets.json cmake src)
  provide "$image" "$ROOT"
  echo "$image"
}

from_programs() {
  local folder runtime image name
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder's name is known now, and gone later
  trap "rm -rf '$folder'" EXIT
  for name in "${PROGRAMS[@]}"; do
    install -D --strip --target-directory="$folder/usr/local/bin" "$PROGRAMS_FOLDER/$name"
  done
  ln -s pg-rejoin "$folder/usr/local/bin/pg_rewind"
  runtime=pg-rejoin-runtime:$(cd "$ROOT" && hash Dockerfile)
  printf 'FROM %s\nCOPY usr /usr\n' "$runtime" >"$folder/Dockerfile"
  image=pg-rejoin:bin-$(cd "$folder" && hash Dockerfile usr)
  "$HERE/cluster/cluster" load-image "$image" 2>/dev/null || {
    provide "$runtime" "$ROOT" --target runtime
    provide "$image" "$folder"
  }
  echo "$image"
}

# Patroni of the version that scripts/patroni.txt pins, on the PostgreSQL image that the cluster has by now.
with_patroni() {
  local folder image
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # as above
  trap "rm -rf '$folder'" EXIT
  cp "$HERE/images/patroni/Dockerfile" "$folder"
  grep '^patroni==' "$ROOT/scripts/patroni.txt" >"$folder/requirements.txt"
  image=patroni:$(cd "$folder" && hash Dockerfile requirements.txt)
  "$HERE/cluster/cluster" load-image "$image" 2>/dev/null || {
    /usr/bin/python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --no-compile \
      --target "$folder/patroni" --requirement "$folder/requirements.txt" >&2
    "$HERE/cluster/cluster" build-image "$image" "$folder"
  }
  echo "$image"
}

PROGRAMS_FOLDER=${PG_REJOIN_PROGRAMS:-}
if [[ ${1:-} == patroni ]]; then with_patroni; elif [[ -n $PROGRAMS_FOLDER ]]; then from_programs; else from_dockerfile; fi
