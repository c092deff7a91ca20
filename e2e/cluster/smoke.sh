#!/usr/bin/env bash
# Shows that the cluster does what the end-to-end tests rest on: brings it up, runs two
# PostgreSQL servers under the strictest Pod Security level, and looks at them from all sides.
#   smoke.sh [--keep]    --keep leaves the cluster running
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAMESPACE=smoke

cluster() { "$HERE/cluster" "$@"; }
k() { cluster exec kubectl --namespace "$NAMESPACE" "$@"; }

passed=0
check() { # check WHAT COMMAND...
  local what=$1
  shift
  if ! "$@"; then
    echo "not ok: $what" >&2
    k get pods,pvc,pv,events >&2 || true
    exit 1
  fi
  passed=$((passed + 1))
  echo "ok: $what"
}

fails() { ! "$@" 2>/dev/null; }
eventually() { for _ in {1..50}; do if "$@" 2>/dev/null; then return; fi; sleep 0.2; done; return 1; }
psql_in() { k exec "$1" -c postgres -- psql -XAtqw -U postgres "${@:2}"; }
servers() { k get endpointslices -l kubernetes.io/service-name=pg -o jsonpath='{.items[*].endpoints[*].targetRef.name}'; }

cluster up
cluster postgres-image

cluster exec kubectl create namespace "$NAMESPACE"
cluster exec kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted

k apply -f "$HERE/smoke.yaml"
check "two servers with a native sidecar get ready" k rollout status statefulset/pg --timeout=120s
check "a privileged pod is refused there" \
  fails k run privileged --image=docker.io/library/postgres:15 --privileged
check "exec, and a query by the socket" test "$(psql_in pg-0 -c 'select 6 * 7')" = 42
check "a query by the ClusterIP service" \
  test "$(psql_in pg-0 -h pg -c 'select 6 * 7')" = 42
check "a query by the other pod's own name" \
  test "$(psql_in pg-0 -h pg-1.pg-nodes.$NAMESPACE.svc.cluster.local -c 'select 6 * 7')" = 42
check "the never ready pod has a name too" \
  k exec pg-0 -c postgres -- getent hosts "lame.pg-nodes.$NAMESPACE.svc.cluster.local"
check "an unknown name is known to be none, at once" \
  k exec pg-0 -c postgres -- sh -c 'timeout 3 getent hosts nobody.example; test $? = 2'
check "the init script ran" test "$(psql_in pg-1 -d app -c 'select count(*) from made_by_script')" = 1
check "the sidecar has the pod's token for the API" \
  k exec pg-0 -c sidecar -- test -s /var/run/secrets/kubernetes.io/serviceaccount/token
check "EndpointSlices name both servers" test "$(servers | wc -w)" = 2

psql_in pg-1 -c 'create table kept (i int)'
k delete pod pg-1 --wait
check "the deleted pod comes back" k wait --for=condition=Ready pod/pg-1 --timeout=60s
check "with its volume" psql_in pg-1 -c 'table kept'
check "which it had left after a clean shutdown" \
  grep -q 'database system was shut down at' <(k logs pg-1 -c postgres)

cluster restart-kubelet
# It is healthy before the API server has told it of its pods.
check "the kubelet survives its restart" eventually psql_in pg-1 -c 'table kept'
cluster stop-apiserver
check "without an API server there is no answer" fails k get pods
cluster start-apiserver
check "and then again" k get pods

k delete statefulset,pod,pvc --all --grace-period=1
check "volumes go with their claims" \
  cluster exec kubectl wait --for=delete pv --all --timeout=60s
cluster exec kubectl delete namespace "$NAMESPACE" --timeout=60s
for helm in helm helm3; do check "$helm talks to it" cluster exec "$helm" list; done

[[ ${1:-} == --keep ]] || cluster down
echo "$passed passed, 0 failed"
