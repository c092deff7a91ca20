#!/bin/bash
# Renders the chart into pg-rejoin.yaml, for kubectl without Helm:
#
#   manifests/render.sh        writes manifests/pg-rejoin.yaml
#   manifests/render.sh -      prints it (tests/chart compares the two)
#
# $HELM names the program; Helm 3 and 4 print the same.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

render() {
  cat <<'HEADER'
# A PostgreSQL primary with a standby, whose old primary comes back by itself after a failover.
# Rendered from charts/pg-rejoin by manifests/render.sh with manifests/values.yaml: edit those, not this.
#
#   kubectl create namespace pg-rejoin
#   kubectl -n pg-rejoin create secret generic pg-rejoin-credentials \
#     --from-file=postgres-password=<(openssl rand -hex 24) \
#     --from-file=replication-password=<(openssl rand -hex 24) \
#     --from-file=rewind-password=<(openssl rand -hex 24) \
#     --from-file=promote-password=<(openssl rand -hex 24)
#   kubectl -n pg-rejoin apply -f manifests/pg-rejoin.yaml
#
# Update it with apply, never with replace or --force, and do not delete it with -f while its volumes matter: both
# take away what the ConfigMap pg-rejoin-authority says, which volume may lead.
#
# In a namespace of another name: nothing but the subject of the RoleBinding names it.
#
#   sed 's/namespace: "pg-rejoin"/namespace: "mine"/' manifests/pg-rejoin.yaml | kubectl -n mine apply -f -
HEADER
  # No labels that say Helm had installed it.
  "${HELM:-helm}" template pg-rejoin "$here/../charts/pg-rejoin" --namespace pg-rejoin \
    --skip-tests --values "$here/values.yaml" |
    sed -e '/^ *helm\.sh\/chart:/d' -e '/^ *app\.kubernetes\.io\/managed-by:/d' -e '/^# Source:/d' \
      -e 's/[[:space:]]*$//'
}

if [ "${1:-}" = - ]; then
  render
else
  trap 'rm -f "$here/pg-rejoin.yaml.new"' EXIT
  render >"$here/pg-rejoin.yaml.new"
  mv "$here/pg-rejoin.yaml.new" "$here/pg-rejoin.yaml"
fi
