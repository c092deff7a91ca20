# shellcheck shell=bash disable=SC2034 # what it sets is used by its siblings
# Where things are, and the few helpers that everything else uses.

CACHE=${PG_REJOIN_CACHE:-$HOME/.cache/pg-rejoin}
STATE=${PG_REJOIN_STATE:-/var/lib/pg-rejoin-e2e}

# Two clusters with different state directories may run side by side from one cache: what
# can't be shared bears this name.
ID=$(printf %s "$STATE" | sha256sum | cut -c1-8)
CONTAINERD=$CACHE/containerd-$ID
CGROUP=/pg-rejoin-$ID

# Any addresses will do: nobody outside of the network namespace sees them.
NODE=node
NODE_IP=10.111.0.1
POD_CIDR=10.112.0.0/16
SERVICE_CIDR=10.113.0.0/16
SERVICE_IP=10.113.0.1

KUBERNETES_VERSION=v1.34.4

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# hash_of PATH... WORD...: one name for the content of files and folders, and for words.
hash_of() {
  local input
  for input; do
    if [[ -e $input ]]; then
      (cd "$(dirname "$input")" && find "$(basename "$input")" -type f -print0 | sort -z | xargs -0 sha256sum)
    else
      printf '%s\n' "$input"
    fi
  done | sha256sum | cut -c1-16
}

# canonical TAG: the name that Kubernetes makes of an image's short name.
canonical() {
  local tag=$1
  [[ ${tag##*/} == *:* ]] || tag+=:latest
  case $tag in
    *.*/* | *:*/* | localhost/*) ;;
    */*) tag=docker.io/$tag ;;
    *) tag=docker.io/library/$tag ;;
  esac
  printf '%s\n' "$tag"
}
