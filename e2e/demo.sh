#!/usr/bin/env bash
# The main job on a real Kubernetes, from nothing to proof: an old primary's pod comes back as a
# standby by itself. Exit status 0 means that every proof held.
set -euo pipefail

HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
CHART=$HERE/../charts/pg-rejoin
RELEASE=demo
KEPT=1000      # rows that both servers have when they part
DISCARDED=7    # transactions that only the old primary gets
TIMEOUT=300    # seconds that one step may take

usage() {
  cat <<'USAGE'
usage: demo.sh [--keep] [--kubeconfig FILE [--values FILE | --set NAME=VALUE]...]

Starts a Kubernetes of its own (e2e/cluster) and takes it down again; one that is up already is used and left
as it is. With --kubeconfig, or KUBECONFIG set, it uses that cluster instead: in a namespace of its own, which it
removes, and touching nothing else. kubectl and helm have to be in PATH then, and the image be given:

  demo.sh --kubeconfig ~/.kube/config --set image.repository=registry.example/pg-rejoin --set image.tag=0.1.0

  --keep    leave everything running, and say how to look at it
USAGE
}

START=$EPOCHREALTIME
seconds() { awk -v a="$START" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }
say() { printf '%6s s  %s\n' "$(seconds)" "$*"; }

die() {
  say "FAILED: $*" >&2
  exit 1
}

# noted COMMAND...: its messages go to a log, of which only the main steps are shown.
LOG=$(mktemp -t pg-rejoin-demo.XXXXXX.log)
noted() {
  "$@" 2> >(tee -a "$LOG" | sed -u -n 's/^cluster: /          /p' >&2) || {
    tail -n 20 "$LOG" >&2
    die "$* (all of its messages: $LOG)"
  }
}

# ---- the cluster

OWN_CLUSTER=yes BROUGHT_UP=no KEEP=no NAMESPACE=
HELM_ARGUMENTS=()

cluster() { "$HERE/cluster/cluster" "$@"; }
in_cluster() { if [[ $OWN_CLUSTER == yes ]]; then cluster exec "$@"; else "$@"; fi; }
k() { in_cluster kubectl --namespace "$NAMESPACE" "$@"; }

take_own_cluster() {
  if in_cluster kubectl get --raw /readyz >/dev/null 2>&1; then
    say "a test cluster is up: using it"
  else
    say "starting a Kubernetes of our own (the first time it is compiled first: minutes)"
    BROUGHT_UP=yes
    noted cluster up >/dev/null
  fi
  say "images: pg-rejoin from this tree, PostgreSQL 15 from Debian's packages"
  noted cluster postgres-image 15
  local image
  image=$(noted "$HERE/image.sh")
  HELM_ARGUMENTS+=(--set "image.repository=${image%:*}" --set "image.tag=${image##*:}")
}

take_given_cluster() {
  local argument program
  for program in kubectl helm; do
    command -v "$program" >/dev/null || die "$program is not in PATH"
  done
  for argument in "${HELM_ARGUMENTS[@]}"; do
    [[ $argument != *image.* && $argument != --values ]] || return 0
  done
  die "a cluster of yours needs an image that it can pull: --set image.repository=... --set image.tag=..."
}

clean_up() {
  local status=$?
  trap - EXIT
  ((status != 0)) || rm -f "$LOG"
  if ((status != 0)) && [[ -n $NAMESPACE ]]; then show_what_is_wrong >&2 || true; fi
  if [[ $KEEP == yes ]]; then
    [[ -z $NAMESPACE ]] || say "kept: namespace $NAMESPACE"
    [[ $OWN_CLUSTER == no ]] || say "to look around: e2e/cluster/cluster shell; to end it: e2e/cluster/cluster down"
  elif [[ $BROUGHT_UP == yes ]]; then
    say "taking the cluster down"
    cluster down || status=1
  elif [[ -n $NAMESPACE ]]; then
    say "removing namespace $NAMESPACE"
    in_cluster kubectl delete namespace "$NAMESPACE" --timeout=120s >/dev/null || status=1
  fi
  if ((status == 0)); then say "done: every proof held"; else say "failed with status $status" >&2; fi
  exit "$status"
}

show_what_is_wrong() {
  local pod
  k get pods,pvc,configmaps -o wide
  k get events --sort-by=.lastTimestamp | tail -n 25
  for pod in "$RELEASE-0" "$RELEASE-1"; do
    k logs "$pod" --all-containers --prefix --tail=25 || true
  done
}

# ---- waiting and looking

# eventually WHAT COMMAND...: until COMMAND succeeds.
eventually() {
  local what=$1 end=$((SECONDS + TIMEOUT))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "not within $TIMEOUT s: $what"
    sleep 0.3
  done
}

# prove WHAT EXPECTED ACTUAL
prove() {
  [[ $2 == "$3" ]] || die "$1: expected \"$2\", found \"$3\""
  say "  proved: $1: $3"
}

sql() { k exec "$1" -c postgres -- psql -XAtqw -v ON_ERROR_STOP=1 -U postgres -c "$2"; }
sql_is() { [[ $(sql "$1" "$2") == "$3" ]]; }
rows() { sql "$1" "SELECT count(*) FROM orders WHERE origin = '$2'"; }
record() { k get configmap "$RELEASE-authority" -o "jsonpath={.data.$1}"; }
annotation() { k get pod "$1" -o "jsonpath={.metadata.annotations.pg-rejoin\.io/$2}"; }
is_rejoined() { [[ $(annotation "$1" outcome) == rejoined ]]; }
uid_of() { k get pod "$1" -o 'jsonpath={.metadata.uid}'; }
is_new_pod() { local uid; uid=$(uid_of "$1") && [[ -n $uid && $uid != "$2" ]]; }
streams() { # streams PRIMARY STANDBY
  sql_is "$1" "SELECT count(*) FROM pg_stat_replication WHERE application_name = '$2' AND state = 'streaming'" 1
}

# ---- the story

install() {
  say "namespace $NAMESPACE: a Secret with random passwords, and helm install: PostgreSQL with two pods"
  in_cluster kubectl create namespace "$NAMESPACE" >/dev/null
  in_cluster kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
  local name
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata: { name: passwords }\nstringData:\n'
    for name in postgres replication rewind promote; do
      printf '  %s-password: "%s"\n' "$name" "$(head -c 18 /dev/urandom | base64)"
    done
  } | k apply -f - >/dev/null
  in_cluster helm install "$RELEASE" "$CHART" --namespace "$NAMESPACE" --set "fullnameOverride=$RELEASE" \
    --values "$HERE/values/demo.yaml" "${HELM_ARGUMENTS[@]}" >/dev/null
  k rollout status "statefulset/$RELEASE" --timeout="${TIMEOUT}s" >/dev/null || die "the pods don't get ready"

  OLD=$(record primary)
  NEW=$([[ $OLD == "$RELEASE-0" ]] && echo "$RELEASE-1" || echo "$RELEASE-0")
  eventually "the standby streams" streams "$OLD" "$NEW"
  say "$OLD is the primary, $NEW was cloned from it and streams"
}

part() {
  sql "$OLD" "CREATE TABLE orders (id bigserial PRIMARY KEY, origin text);
    INSERT INTO orders (origin) SELECT 'both' FROM generate_series(1, $KEPT)"
  eventually "the standby has the rows" sql_is "$NEW" "SELECT count(*) FROM orders" "$KEPT"
  say "$KEPT rows written, both servers have them"

  sql "$NEW" "ALTER SYSTEM SET primary_conninfo = ''"
  sql "$NEW" "SELECT pg_reload_conf()" >/dev/null
  eventually "the WAL receiver ends" sql_is "$NEW" "SELECT count(*) FROM pg_stat_wal_receiver" 0
  say "cut $NEW's WAL receiver"

  # Each in a transaction of its own. (The standby cannot have them, so the update makes old pages differ, too.)
  for ((i = 1; i < DISCARDED; i++)); do echo "INSERT INTO orders (origin) VALUES ('only $OLD');"; done |
    { cat; echo "UPDATE orders SET origin = 'only $OLD' WHERE id % 100 = 0;"; } |
    k exec -i "$OLD" -c postgres -- psql -XAtqw -v ON_ERROR_STOP=1 -U postgres
  DIVERGED_ROWS=$(rows "$OLD" "only $OLD")
  say "$DISCARDED transactions on $OLD that $NEW never gets: $DIVERGED_ROWS rows there, $(rows "$NEW" "only $OLD") here"
}

fail_over() {
  OLD_UID=$(uid_of "$OLD")
  say "\$ kubectl exec $NEW -c rejoin -- pg-rejoin promote"
  k exec "$NEW" -c rejoin -- pg-rejoin promote
  RETURN_START=$SECONDS
  sql "$NEW" "INSERT INTO orders (origin) SELECT 'only $NEW' FROM generate_series(1, 5)"
  say "that was all; $OLD's sidecar sees that its server is not the primary any more, and restarts its pod"
  eventually "the pod is made again" is_new_pod "$OLD" "$OLD_UID"
  say "$OLD's pod is new, its volume the old one; waiting until it is ready"
  eventually "the old primary's pod is ready" k wait --for=condition=Ready "pod/$OLD" --timeout=5s
  say "$OLD is back after $((SECONDS - RETURN_START)) s"
  eventually "its sidecar has proof that it follows" is_rejoined "$OLD"
}

show() {
  say "\$ kubectl get pods -o custom-columns=..."
  local a='.metadata.annotations.pg-rejoin\.io'
  k get pods -l "app.kubernetes.io/instance=$RELEASE" -o custom-columns="$(
    printf 'NAME:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status,'
    printf '%s' "ROLE:.metadata.labels.pg-rejoin\.io/role,OUTCOME:$a/outcome,SOURCE:$a/source,TIMELINE:$a/timeline,FORK:$a/fork-lsn,"
    printf '%s' "DISCARDED:$a/discarded-transactions,COPIED:$a/copied-bytes,SECONDS:$a/duration"
  )" | sed 's/^/          /'
}

prove_all() {
  prove "outcome of $OLD" rejoined "$(annotation "$OLD" outcome)"
  prove "transactions that $OLD lost, counted" "$DISCARDED" "$(annotation "$OLD" discarded-transactions)"
  prove "record's primary" "$NEW" "$(record primary)"
  prove "$OLD is in recovery" t "$(sql "$OLD" 'SELECT pg_is_in_recovery()')"
  eventually "$OLD streams from $NEW" streams "$NEW" "$OLD"
  prove "standbys streaming from $NEW" "$OLD" "$(sql "$NEW" "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")"
  sql "$NEW" "INSERT INTO orders (origin) SELECT 'after' FROM generate_series(1, 3)"
  eventually "new rows arrive" sql_is "$OLD" "SELECT count(*) FROM orders WHERE origin = 'after'" 3
  prove "rows written now on $NEW, found on $OLD" 3 "$(rows "$OLD" after)"
  prove "rows of $NEW's own on $OLD" 5 "$(rows "$OLD" "only $NEW")"
  prove "diverged rows left on $OLD (of $DIVERGED_ROWS)" 0 "$(rows "$OLD" "only $OLD")"
  prove "rows from before on $OLD" "$KEPT" "$(rows "$OLD" both)"
  local digest="SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o"
  prove "the same table on both" "$(sql "$NEW" "$digest")" "$(sql "$OLD" "$digest")"
}

main() {
  [[ -z ${KUBECONFIG:-} ]] || OWN_CLUSTER=no
  while (($#)); do
    case $1 in
      --keep) KEEP=yes; shift ;;
      --kubeconfig) OWN_CLUSTER=no; export KUBECONFIG=${2:?--kubeconfig FILE}; shift 2 ;;
      --values | --set) HELM_ARGUMENTS+=("$1" "${2:?$1 VALUE}"); shift 2 ;;
      -h | --help) usage; exit ;;
      *) usage >&2; exit 2 ;;
    esac
  done

  trap clean_up EXIT
  trap 'exit 130' INT TERM
  if [[ $OWN_CLUSTER == yes ]]; then take_own_cluster; else take_given_cluster; fi
  NAMESPACE=pg-rejoin-demo-$$
  install
  part
  fail_over
  show
  prove_all
}

main "$@"
