# shellcheck shell=bash disable=SC2153 # what its siblings set looks misspelt from here
# The node: one sandbox of network, mount and process namespaces. Whatever the cluster mounts,
# runs or configures lies in it, so that killing its first process ends all of it, also what
# a crashed run left behind.

node_pid() { pgrep -o -f -x "pg-rejoin-node $STATE"; }
node_is_up() { node_pid >/dev/null; }

# Where its programs write without being asked: empty folders of memory there, as far as they
# can see. (They have to exist outside too, to be covered, and stay: removing one would uncover
# it for a second cluster.)
COVERED=(/run /var/lib/cni /var/lib/kubelet /var/log/containers)

# inside COMMAND...: runs a command in all namespaces of the node.
inside() { nsenter --target "$(node_pid)" --net --mount --pid -- "$@"; }

snapshotter() { if can_overlay "$CONTAINERD"; then echo overlayfs; else echo native; fi; }

kubectl() { nsenter --target "$(node_pid)" --net -- "$STATE/bin/kubectl" --kubeconfig "$STATE/kubeconfig" "$@"; }

# ---- components

# start NAME ARGUMENTS...: runs a component inside, its output in its log. Its process number
# (as seen inside) is kept in pids/.
start() {
  local name=$1
  shift
  rm -f "$STATE/pids/$name"
  # The lock must not outlive this script in a component.
  # shellcheck disable=SC2016 # expands in the inner bash
  setsid nsenter --target "$(node_pid)" --net --mount --pid -- \
    env -i "PATH=$STATE/bin:/usr/sbin:/usr/bin:/sbin:/bin" "HOME=$STATE" \
    bash -c 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"' "$STATE/pids/$name" "$name" "$@" \
    </dev/null >>"$STATE/logs/$name.log" 2>&1 {LOCK}>&- &
  local tries=0
  until [[ -s $STATE/pids/$name ]]; do
    ((tries++ < 500)) || fail "$name" "does not start"
    sleep 0.01
  done
}

is_alive() { [[ -s $STATE/pids/$1 ]] && inside kill -0 "$(<"$STATE/pids/$1")" 2>/dev/null; }

stop() {
  local name=$1 signal=${2:-TERM}
  is_alive "$name" || return 0
  inside kill -s "$signal" "$(<"$STATE/pids/$name")"
  while is_alive "$name"; do sleep 0.05; done
}

# fail NAME REASON: says which component failed, and what it said last.
fail() {
  say "$1 $2; the last lines of $STATE/logs/$1.log:"
  tail -n 30 "$STATE/logs/$1.log" >&2 || true
  exit 1
}

# wait_for NAME SECONDS COMMAND...: until COMMAND succeeds, as long as the component lives.
wait_for() {
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    is_alive "$name" || fail "$name" "died"
    ((SECONDS < deadline)) || fail "$name" "is not ready in time"
    sleep 0.1
  done
}

answers() { inside curl --silent --fail --insecure --max-time 2 "$1"; }

start_etcd() {
  start etcd --name node --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
}

run_apiserver() {
  start kube-apiserver \
    --etcd-servers http://127.0.0.1:2379 \
    --advertise-address "$NODE_IP" --secure-port 6443 \
    --service-cluster-ip-range "$SERVICE_CIDR" \
    --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction \
    --allow-privileged \
    --token-auth-file "$STATE/pki/tokens.csv" \
    --client-ca-file "$STATE/pki/ca.crt" \
    --tls-cert-file "$STATE/pki/node.crt" --tls-private-key-file "$STATE/pki/node.key" \
    --kubelet-client-certificate "$STATE/pki/node.crt" --kubelet-client-key "$STATE/pki/node.key" \
    --kubelet-certificate-authority "$STATE/pki/ca.crt" \
    --kubelet-preferred-address-types InternalIP \
    --audit-policy-file "$STATE/config/audit.yaml" --audit-log-path "$STATE/logs/audit.log" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-signing-key-file "$STATE/pki/accounts.key" \
    --service-account-key-file "$STATE/pki/accounts.key"
}

start_controller_manager() {
  start kube-controller-manager --kubeconfig "$STATE/pki/controller-manager.kubeconfig" \
    --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file "$STATE/pki/accounts.key" \
    --root-ca-file "$STATE/pki/ca.crt" \
    --kube-api-qps 200 --kube-api-burst 400
}

start_scheduler() {
  start kube-scheduler --kubeconfig "$STATE/pki/scheduler.kubeconfig" --leader-elect=false
}

start_proxy() {
  # The conntrack settings are the whole machine's: left alone.
  start kube-proxy --kubeconfig "$STATE/pki/proxy.kubeconfig" --hostname-override "$NODE" \
    --proxy-mode nftables --cluster-cidr "$POD_CIDR" --conntrack-max-per-core 0 \
    --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}

start_kubelet() {
  start kubelet --config "$STATE/config/kubelet.yaml" --kubeconfig "$STATE/pki/kubelet.kubeconfig" \
    --root-dir "$STATE/kubelet" --hostname-override "$NODE" --node-ip "$NODE_IP"
}

start_coredns() { start coredns -conf "$STATE/config/Corefile"; }

start_provisioner() {
  start volume-provisioner --kubeconfig "$STATE/kubeconfig" --node "$NODE" --directory "$STATE/volumes"
}

start_containerd() {
  start containerd --config "$STATE/config/containerd.toml"
  wait_for containerd 20 ctr_k8s version
}

# ---- what they need

# The sandbox itself. Its first process is known by its name, so no note about it can be
# lost or stale.
make_sandbox() {
  # shellcheck disable=SC2016 # expands in the inner bash
  setsid unshare --net --mount --pid --fork --mount-proc \
    bash -c 'exec -a pg-rejoin-node "$0" "$1"' "$PAUSE_BIN/pause" "$STATE" </dev/null >/dev/null 2>&1 {LOCK}>&- &
  until node_is_up; do sleep 0.01; done

  # What the kubelet wants of the kernel would be the whole machine's settings: it may see
  # its wishes fulfilled in files of ours.
  mkdir -p "$STATE/sysctl" "${COVERED[@]}"
  # shellcheck disable=SC2016 # expands in the inner bash
  inside bash -euc '
    mount --make-rshared /
    for folder in "${@:3}"; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
    while read -r name value; do
      echo "$value" >"$0/${name##*/}"
      mount --bind "$0/${name##*/}" "/proc/sys/$name"
    done <<<"$1"

    sysctl --quiet --write net.ipv4.ip_forward=1
    ip link set lo up
    ip link add node type bridge
    ip address add "$2/24" dev node
    ip link set node up
    ip route add default dev node
  ' "$STATE/sysctl" "vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000" "$NODE_IP" "${COVERED[@]}"
}

# Our own part of the control group tree, so that what is ours can be told and removed.
cgroup_folders() {
  if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then
    echo "/sys/fs/cgroup$CGROUP"
  else
    local hierarchy
    for hierarchy in /sys/fs/cgroup/*/; do
      [[ -L ${hierarchy%/} ]] || echo "$hierarchy${CGROUP#/}"
    done
  fi
}

make_cgroups() {
  local folder parent controller file
  while read -r folder; do
    parent=$(dirname "$folder")
    mkdir -p "$folder"
    if [[ -f $parent/cgroup.subtree_control ]]; then
      for controller in $(<"$parent/cgroup.controllers"); do
        echo "+$controller" >"$parent/cgroup.subtree_control" || true
      done
    fi
    for file in cpuset.cpus cpuset.mems; do # on version 1 a new group starts with none
      [[ -f $parent/cgroup.subtree_control || ! -f $folder/$file ]] || cat "$parent/$file" >"$folder/$file"
    done
  done < <(cgroup_folders)
}

remove_cgroups() {
  local folder
  while read -r folder; do
    [[ ! -d $folder ]] || find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done < <(cgroup_folders)
}

kubeconfig() { # kubeconfig TOKEN
  cat <<EOF
apiVersion: v1
kind: Config
clusters:
  - name: e2e
    cluster:
      server: https://$NODE_IP:6443
      certificate-authority-data: $(base64 -w0 <"$STATE/pki/ca.crt")
users:
  - name: user
    user: { token: $1 }
contexts:
  - name: e2e
    context: { cluster: e2e, user: user }
current-context: e2e
EOF
}

# One certificate serves the API server and the kubelet and shows the one to the other; the
# components are known by tokens, which need no certificates at all.
make_credentials() {
  local pki=$STATE/pki token name user groups
  mkdir -m 700 "$pki"
  for name in ca node accounts; do
    openssl ecparam -genkey -name prime256v1 -noout -out "$pki/$name.key"
  done
  openssl req -x509 -new -key "$pki/ca.key" -subj /CN=e2e-ca -days 3650 -out "$pki/ca.crt"
  openssl req -new -key "$pki/node.key" -subj "/O=system:masters/CN=e2e-apiserver" |
    openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial 2 -days 3650 -out "$pki/node.crt" -extfile <(
      echo "extendedKeyUsage = serverAuth, clientAuth"
      echo "subjectAltName = IP:$NODE_IP, IP:$SERVICE_IP, IP:127.0.0.1, DNS:$NODE, DNS:kubernetes, DNS:kubernetes.default," \
        "DNS:kubernetes.default.svc, DNS:kubernetes.default.svc.cluster.local"
    ) 2>/dev/null

  while read -r name user groups; do
    token=$(openssl rand -hex 16)
    echo "$token,$user,$user,$groups" >>"$pki/tokens.csv"
    kubeconfig "$token" >"$pki/$name.kubeconfig"
  done <<EOF
admin admin system:masters
controller-manager system:kube-controller-manager
scheduler system:kube-scheduler
proxy system:kube-proxy system:node-proxier
kubelet system:node:$NODE system:nodes
EOF
  mv "$pki/admin.kubeconfig" "$STATE/kubeconfig"
  chmod 600 "$STATE/kubeconfig"
}

make_configs() {
  local template
  mkdir -p "$STATE/config" "$STATE/cni"
  for template in "$HERE"/config/*; do
    sed -e "s|@STATE@|$STATE|g; s|@CONTAINERD@|$CONTAINERD|g; s|@CGROUP@|$CGROUP|g" \
      -e "s|@NODE_IP@|$NODE_IP|g; s|@POD_CIDR@|$POD_CIDR|g" \
      -e "s|@PAUSE_IMAGE@|$PAUSE_IMAGE|g; s|@SNAPSHOTTER@|$(snapshotter)|g" \
      "$template" >"$STATE/config/$(basename "$template")"
  done
  mv "$STATE/config/cni.conflist" "$STATE/cni/"
}

# containerd keeps its images from one `up` to the next, and with them the containers of the
# cluster before. They must be gone before its Kubernetes part reads them as its own.
forget_old_containers() {
  local containers
  containers=$(ctr_k8s containers ls -q)
  [[ -n $containers ]] || return 0
  # shellcheck disable=SC2086 # one word per container
  ctr_k8s containers rm $containers >/dev/null
  stop containerd
  start_containerd
}

up() {
  down
  deps
  build
  PAUSE_IMAGE=pg-rejoin.test/pause:$(basename "$PAUSE_BIN")
  rm -rf "$STATE"
  mkdir -p "$STATE"/{bin,pids,logs,volumes} "$CONTAINERD"
  ln -s "$KUBERNETES_BIN"/* "$COREDNS_BIN/coredns" "$CACHE"/bin/* "$STATE/bin/"
  make_cgroups
  make_sandbox

  # In the order in which they are needed, each while the ones before are still starting.
  start_etcd
  make_credentials
  make_configs
  run_apiserver
  start_containerd
  forget_old_containers
  if [[ -z $(ctr_k8s images ls -q name=="$PAUSE_IMAGE") ]]; then
    make_pause_image
    load_image "$PAUSE_IMAGE"
  fi
  wait_for kube-apiserver 60 answers https://127.0.0.1:6443/livez
  start_kubelet
  start_coredns
  start_proxy
  wait_for kube-apiserver 60 answers https://127.0.0.1:6443/readyz
  start_controller_manager
  start_scheduler
  start_provisioner
  kubectl apply -f "$STATE/config/manifests.yaml" >/dev/null || fail kube-apiserver "does not take the StorageClass"

  kubectl wait --for=create "node/$NODE" --timeout=60s >/dev/null || fail kubelet "does not register the node"
  kubectl wait --for=condition=Ready "node/$NODE" --timeout=60s >/dev/null || fail kubelet "is not ready"
  kubectl wait --for=create serviceaccount/default --timeout=60s >/dev/null || fail kube-controller-manager "does not work"
  wait_for coredns 30 answers "http://$NODE_IP:8181/ready"
  wait_for kube-proxy 30 answers http://127.0.0.1:10256/healthz
  say "up after $SECONDS s"
  echo "$STATE/kubeconfig"
}

# Ends and removes everything but the logs.
down() {
  local pid
  if pid=$(node_pid); then
    kill -KILL "$pid" # and with it everything in its namespaces
    while [[ -e /proc/$pid ]]; do sleep 0.05; done
  fi
  remove_cgroups
  [[ ! -d $STATE ]] || find "$STATE" -mindepth 1 -maxdepth 1 ! -name logs -exec rm -rf {} +
}

# ---- faults

restart_kubelet() {
  stop kubelet
  start_kubelet
  wait_for kubelet 30 answers http://127.0.0.1:10248/healthz
}

# Killed: asked politely it would first wait a minute for its watchers to leave.
stop_apiserver() { stop kube-apiserver KILL; }

start_apiserver() {
  is_alive kube-apiserver || run_apiserver
  wait_for kube-apiserver 60 answers https://127.0.0.1:6443/readyz
}
