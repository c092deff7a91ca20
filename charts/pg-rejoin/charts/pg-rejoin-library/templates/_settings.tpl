{{/*
Every setting there is, with its default. "" or [] without another word: the caller has to say it.
docs/reference/library.md is generated from the comments.
*/}}
{{- define "pg-rejoin-library.defaults" -}}
# Required. Name of the Role, RoleBinding and ServiceAccount, and the beginning of the ConfigMaps' names.
name: ""

# Required. The pg-rejoin image, with its tag or digest.
image: ""

# Always, IfNotPresent or Never.
imagePullPolicy: IfNotPresent

# Required. Names of all pods there can ever be, of every StatefulSet that holds a member (list).
members: []

# Required. Label selector of the members, as text: a=b,c=d.
podSelector: ""

# Required. Name of the Service that clients and standbys reach the primary at.
primaryService: ""

# Required with discovery record. Name of the headless Service (serviceName) of all members.
headlessService: ""

# Required. Name of the Secret with the passwords.
secret: ""

# Which key of the Secret holds which password.
secretKeys:
  # Password of replicationUser.
  replication: replication-password

  # Password of rewindUser.
  rewind: rewind-password

  # Password of promoteUser.
  promote: promote-password

# Role that standbys stream with. Empty where a manager (Patroni) makes them stream.
replicationUser: replicator

# Role that a rewind reads the primary with.
rewindUser: rewind

# Role that `pg-rejoin promote` connects with. Empty where a manager promotes.
promoteUser: promoter

# Required. PGDATA: a directory below dataMount, not dataMount itself. The lock and a clone lie beside it.
pgdata: ""

# Required. Where the volume with PGDATA is mounted.
dataMount: ""

# Name of that volume in the pod.
dataVolume: data

# Mode of PGDATA: "0700" or "0750".
dataDirectoryMode: "0700"

# Image with pg_basebackup of the server's major version, for the container that fills an empty volume from
# the primary. Empty: no such container; something else has to do it.
cloneImage: ""

# Always, IfNotPresent or Never.
cloneImagePullPolicy: IfNotPresent

# Port of every member.
port: 5432

# Who says which pod is the primary: a preset of docs/reference/discovery.md. The gate asks and the sidecar restarts
# its pod with record only.
discovery: record

# Name of the Lease, Patroni's scope or the operator's cluster, for the presets that have it.
cluster: ""

# Name of the authority record. Empty: <name>-authority.
record: ""

# Name of the ConfigMap with clone.sh. Empty: <name>-scripts.
scripts: ""

# Name of the ServiceAccount that the members run as. Empty: <name>.
serviceAccount: ""

# Label of a pod's role. Empty: pg-rejoin.io/role, which the sidecar keeps.
roleLabel: ""

# Delete the pod when its server has to follow another primary.
restartPod: true

# auto, true or false: whether the sidecar is an init container with restartPolicy Always, or a plain container.
# auto: from Kubernetes 1.29 on.
nativeSidecar: auto

# libpq's sslmode of rewinds and of primary_conninfo.
sslMode: prefer

# Secret with the CA to verify the primary with. Empty: none.
caSecret: ""

# Its key.
caKey: ca.crt

# Connections that a rewind copies with.
connections: 4

# Most that a rewind copies, all connections together: kilobytes a second, or with the suffix k, M or G. WAL is not held back.
# Empty: no limit.
maxRate: ""

# A rewind that would discard more transactions is refused until a person approves so many. Null: no limit.
maxDiscardedTransactions: null

# How long one run of the init container waits for a primary.
deadlineSeconds: 300

# text or json.
logFormat: text

# debug, info, warning or error.
logLevel: info

# Port of the sidecar's /metrics. 0: none.
metricsPort: 0

# Whether what runs last at the first start removes <pgdata>.initialising, so that an initdb that was cut short is
# not started.
marksInitdb: false

# Security context of our containers. They have to run as the user who owns the data: by the pod's context, or here.
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL

# Requests and limits of the init containers.
initResources:
  requests:
    cpu: 100m
    memory: 64Mi

# Requests and limits of the sidecar.
resources:
  requests:
    cpu: 10m
    memory: 32Mi
  limits:
    memory: 128Mi

# Environment variables for init container and sidecar (list of EnvVar).
extraEnv: []

# Labels of our objects.
labels: {}

# Annotations of our objects.
annotations: {}
{{- end -}}

{{/*
The caller's settings over the defaults, as YAML. Maps that are Kubernetes' own are replaced, not merged.
*/}}
{{- define "pg-rejoin-library.settings" -}}
{{- $given := .settings | required "pg-rejoin-library: call with (dict \"root\" $ \"settings\" map)" -}}
{{- if hasKey $given "Error" -}}
{{- fail (printf "pg-rejoin-library: settings are no YAML: %s" $given.Error) -}}
{{- end -}}
{{- $settings := include "pg-rejoin-library.defaults" . | fromYaml -}}
{{- range $key, $value := $given -}}
{{- if not (hasKey $settings $key) -}}
{{- fail (printf "pg-rejoin-library: there is no setting %q" $key) -}}
{{- end -}}
{{- $kind := include "pg-rejoin-library.kind" $value -}}
{{- $expected := include "pg-rejoin-library.kind" (index $settings $key) -}}
{{- if and (ne $kind $expected) (ne $key "nativeSidecar") (not (and (eq $key "maxDiscardedTransactions") (eq $kind "number"))) -}}
{{- fail (printf "pg-rejoin-library: the setting %q has to be a %s, not a %s" $key (eq $expected "null" | ternary "number or null" $expected) $kind) -}}
{{- end -}}
{{- if eq $key "secretKeys" -}}
{{- range $role, $name := $value -}}
{{- if not (hasKey $settings.secretKeys $role) -}}
{{- fail (printf "pg-rejoin-library: there is no setting \"secretKeys.%s\"" $role) -}}
{{- end -}}
{{- $_ := set $settings.secretKeys $role $name -}}
{{- end -}}
{{- else -}}
{{- $_ := set $settings $key $value -}}
{{- end -}}
{{- end -}}
{{- $required := list "name" "image" "members" "podSelector" "primaryService" "secret" "pgdata" "dataMount" -}}
{{- range eq $settings.discovery "record" | ternary (append $required "headlessService") $required -}}
{{- if not (index $settings .) -}}
{{- fail (printf "pg-rejoin-library: the setting %q is required" .) -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey (include "pg-rejoin-library.evidence" . | fromYaml) $settings.discovery) (not $settings.cluster) -}}
{{- fail (printf "pg-rejoin-library: discovery %s requires the setting \"cluster\"" $settings.discovery) -}}
{{- end -}}
{{- if not (hasPrefix (printf "%s/" (trimSuffix "/" $settings.dataMount)) (trimSuffix "/" $settings.pgdata)) -}}
{{- fail (printf "pg-rejoin-library: pgdata %s has to be a directory below dataMount %s: the lock lies beside it" $settings.pgdata $settings.dataMount) -}}
{{- end -}}
{{- if not (has (toString $settings.nativeSidecar) (list "auto" "true" "false")) -}}
{{- fail (printf "pg-rejoin-library: nativeSidecar is auto, true or false, not %v" $settings.nativeSidecar) -}}
{{- end -}}
{{- $_ := set $settings "record" ($settings.record | default (printf "%s-authority" $settings.name)) -}}
{{- $_ := set $settings "scripts" ($settings.scripts | default (printf "%s-scripts" $settings.name)) -}}
{{- $_ := set $settings "serviceAccount" ($settings.serviceAccount | default $settings.name) -}}
{{- $_ := set $settings "roleLabel" ($settings.roleLabel | default "pg-rejoin.io/role") -}}
{{- toYaml $settings -}}
{{- end -}}

{{/*
What a value is. YAML takes an unquoted 007 for a number and y for a truth value.
*/}}
{{- define "pg-rejoin-library.kind" -}}
{{- $kind := kindOf . -}}
{{- $number := or (hasPrefix "int" $kind) (hasPrefix "float" $kind) -}}
{{- $number | ternary "number" (get (dict "slice" "list" "bool" "truth value" "invalid" "null") $kind | default $kind) -}}
{{- end -}}

{{/*
Whether the sidecar is a native one: "true" or "false". Called with the complete settings, which take a while to make.
*/}}
{{- define "pg-rejoin-library.isNative" -}}
{{- if eq (toString .settings.nativeSidecar) "auto" -}}
{{- semverCompare ">=1.29.0-0" .root.Capabilities.KubeVersion.Version -}}
{{- else -}}
{{- .settings.nativeSidecar -}}
{{- end -}}
{{- end -}}
