# shellcheck shell=bash disable=SC2016,SC2153 # expands in the inner shell; set by a sibling
# Images: built by buildah into its own storage in the cache, from there into containerd's.

# can_overlay FOLDER: whether overlayfs works on FOLDER's file system (not when that is an
# overlay itself, as inside many containers).
can_overlay() {
  local probe
  mkdir -p "$1"
  probe=$(mktemp -d "$1/overlay.XXXXXX")
  mkdir "$probe"/{lower,upper,work,merged}
  touch "$probe/lower/file"
  # In a namespace of its own, the mount goes away by itself. Removing a file needs whiteouts.
  unshare --mount sh -c 'cd "$1" && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged &&
    rm merged/file' sh "$probe" 2>/dev/null
  local result=$?
  rm -rf "$probe"
  return "$result"
}

# put FILE: replaces a file by what comes in, whole, under the eyes of who may be reading it.
put() {
  local new=$1.$BASHPID
  cat >"$new"
  mv "$new" "$1"
}

# All settings of buildah are ours: nothing in /etc/containers or /var/lib/containers counts.
buildah_setup() {
  [[ -z ${CONTAINERS_STORAGE_CONF:-} || $CONTAINERS_STORAGE_CONF != "$CACHE/buildah/storage.conf" ]] || return 0
  local driver=vfs
  mkdir -p "$CACHE/buildah" "$CACHE/images"
  if can_overlay "$CACHE/buildah"; then driver=overlay; fi
  # The run root notes what is mounted, so it must not outlive a boot.
  put "$CACHE/buildah/storage.conf" <<EOF
[storage]
driver = "$driver"
graphroot = "$CACHE/buildah/$driver-root"
runroot = "$CACHE/buildah/run-$(cat /proc/sys/kernel/random/boot_id)"
EOF
  put "$CACHE/buildah/registries.conf" <<EOF
unqualified-search-registries = ["docker.io"]
short-name-mode = "disabled"
EOF
  put "$CACHE/buildah/policy.json" <<EOF
{ "default": [{ "type": "insecureAcceptAnything" }] }
EOF
  export CONTAINERS_STORAGE_CONF=$CACHE/buildah/storage.conf
  export CONTAINERS_REGISTRIES_CONF=$CACHE/buildah/registries.conf
  # chroot: no nested container, which needs more of the machine than building does.
  export BUILDAH_ISOLATION=chroot
}

# image_id TAG: the id of an image in buildah's storage, nothing when it isn't there.
image_id() { buildah images --quiet --no-trunc --filter "reference=$1" 2>/dev/null | head -n1; }

# base_image [SUITE]: docker.io/library/debian:SUITE-slim as the official one, made from
# Debian's packages.
base_image() (
  buildah_setup
  exec {lock}>"$CACHE/images/lock" # its end is that of this subshell
  flock "$lock"
  local suite=${1:-bookworm} archive container
  local image=docker.io/library/debian:$suite-slim
  local options=(
    --variant=minbase
    # A frozen mirror's release files expire, and that is no matter here.
    --aptopt='Acquire::Check-Valid-Until "false"'
    --dpkgopt='path-exclude=/usr/share/doc/*'
    --dpkgopt='path-include=/usr/share/doc/*/copyright'
    --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/info/*'
    --dpkgopt='path-exclude=/usr/share/locale/*'
    --dpkgopt='path-include=/usr/share/locale/locale.alias'
    --customize-hook='rm -rf "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*'
  )
  archive=$CACHE/images/debian-$suite-slim-$(hash_of "${options[@]}").tar
  if [[ ! -f $archive ]]; then
    say "making $image"
    rm -rf "$CACHE"/images/mmdebstrap.* # of a run that was killed
    TMPDIR=$CACHE/images mmdebstrap --quiet --mode=root "${options[@]}" "$suite" "$archive.new.tar" >&2
    mv "$archive.new.tar" "$archive"
  fi
  # The label tells an image made with other options from this one.
  [[ -z $(buildah images --quiet --filter "reference=$image" --filter "label=archive=${archive##*/}") ]] || exit 0
  say "importing $image"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$archive" / >/dev/null
  buildah config --cmd bash --label "archive=${archive##*/}" "$container"
  buildah commit --quiet --rm "$container" "$image" >/dev/null
)

# The image that every pod's sandbox runs. Its tag names its content.
make_pause_image() {
  buildah_setup
  [[ -z $(image_id "$PAUSE_IMAGE") ]] || return 0
  local container
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$PAUSE_BIN/pause" /pause >/dev/null
  buildah config --entrypoint '["/pause"]' "$container"
  buildah commit --quiet --rm "$container" "$PAUSE_IMAGE" >/dev/null
}

ctr_k8s() { ctr --address "$STATE/containerd.sock" --namespace k8s.io "$@"; }

# load_image TAG: brings containerd's image up to date with buildah's.
load_image() {
  buildah_setup
  local tag id stamp archive
  tag=$(canonical "$1")
  id=$(image_id "$tag")
  [[ -n $id ]] || die "no image $tag: build it first"
  stamp=$CONTAINERD/loaded/$(printf %s "$tag" | tr '/:' '__')
  if [[ -f $stamp && $(<"$stamp") == "$id" && -n $(ctr_k8s images ls -q name=="$tag") ]]; then
    return
  fi
  say "loading $tag"
  mkdir -p "$CONTAINERD/loaded"
  archive=$(mktemp -u "$CACHE/images/load.XXXXXX.tar")
  # Uncompressed: it is read once, from the page cache.
  buildah push --quiet "$tag" "docker-archive:$archive:$tag" >&2
  ctr_k8s images import --snapshotter "$(snapshotter)" "$archive" >/dev/null || { rm -f "$archive"; die "cannot import $tag"; }
  rm -f "$archive"
  printf '%s\n' "$id" >"$stamp"
}

# build_image TAG FOLDER [BUILDAH ARGUMENTS...]
build_image() {
  (($# >= 2)) || die "build-image TAG DIR [buildah arguments]"
  base_image
  buildah_setup
  local tag
  tag=$(canonical "$1")
  say "building image $tag"
  # Never pulled: there is no registry, and a missing base should say so.
  buildah build --pull-never --layers --ulimit nofile=20000:20000 --ulimit nproc=10000:10000 \
    --tag "$tag" "${@:3}" "$2" >&2
  if node_is_up; then load_image "$tag"; else say "the cluster is down: 'load-image $1' when it is up"; fi
}

# postgres_image [MAJOR]: each from the Debian release that has it, with the data directory
# where the official image of that major has it.
postgres_image() {
  local major=${1:-15} suite home=/var/lib/postgresql volume data
  case $major in
    15) suite=bookworm ;;
    17) suite=trixie ;;
    18) suite=sid ;;
    *) die "no Debian release has PostgreSQL $major: 15, 17 or 18" ;;
  esac
  if ((major < 18)); then
    volume=$home/data data=$home/data
  else
    volume=$home data=$home/$major/docker
  fi
  base_image "$suite"
  build_image "docker.io/library/postgres:$major" "$HERE/../images/postgres" \
    --build-arg "SUITE=$suite" --build-arg "PG_MAJOR=$major" \
    --build-arg "DATA=$data" --build-arg "DATA_VOLUME=$volume"
}
