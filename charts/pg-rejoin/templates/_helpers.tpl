{{/*
Names. Release names may be all digits, hold dots and have 53 characters; a Service's name must start
with a letter and hold none, and "<name>-<hash of 10>" must fit into a label of 63.
*/}}
{{- define "pg-rejoin.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "pg-rejoin.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $base := include "pg-rejoin.name" . -}}
{{- $name = contains $base .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $base) -}}
{{- end -}}
{{- $name = $name | replace "." "-" -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- $name = printf "pg-%s" $name -}}
{{- end -}}
{{- /* Cut names keep a hash of the whole, so that two long ones stay two. */ -}}
{{- if gt (len $name) 52 -}}
{{- $name = printf "%s-%s" ($name | trunc 43 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "pg-rejoin.authority" -}}
{{- include "pg-rejoin.fullname" . }}-authority
{{- end -}}

{{- define "pg-rejoin.primaryService" -}}
{{- .Values.rejoin.primaryService | default (printf "%s-primary" (include "pg-rejoin.fullname" .)) -}}
{{- end -}}

{{- define "pg-rejoin.headlessService" -}}
{{- include "pg-rejoin.fullname" . }}-headless
{{- end -}}

{{- define "pg-rejoin.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "pg-rejoin.fullname" .) -}}
{{- end -}}

{{/*
Labels. What selects never changes with a version, and what the pod template carries never changes with the
chart's, which alone is no reason to restart a database. The component tells the members from whatever else a
chart around this one, or a person, gives the release's labels.
*/}}
{{- define "pg-rejoin.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pg-rejoin.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: "database"
{{- end -}}

{{- define "pg-rejoin.podLabels" -}}
{{ include "pg-rejoin.selectorLabels" . }}
{{- with merge (dict) .Values.podLabels .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pg-rejoin.labels" -}}
{{ include "pg-rejoin.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Labels of what `helm test` makes: never those that the Services and the members' selector look for.
*/}}
{{- define "pg-rejoin.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-self-test" (include "pg-rejoin.name" .) | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: "self-test"
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{/*
Annotations of an object: the common ones and its own, "" for none.
Call with (dict "root" $ "own" map).
*/}}
{{- define "pg-rejoin.annotations" -}}
{{- with merge (dict) .own .root.Values.commonAnnotations -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/*
Annotation prefix and role label of pg-rejoin (docs/reference): what the sidecar sets, the Services select.
*/}}
{{- define "pg-rejoin.annotationPrefix" -}}
pg-rejoin.io/
{{- end -}}
{{- define "pg-rejoin.roleLabel" -}}
{{- .Values.rejoin.roleLabel | default "pg-rejoin.io/role" -}}
{{- end -}}

{{/*
Every pod there can be, as JSON (a template can only return text).
*/}}
{{- define "pg-rejoin.members" -}}
{{- $members := list -}}
{{- range $ordinal := until (int .Values.maxReplicas) -}}
{{- $members = append $members (printf "%s-%d" (include "pg-rejoin.fullname" $) $ordinal) -}}
{{- end -}}
{{- toJson $members -}}
{{- end -}}

{{/*
Image reference. Call with (dict "root" $ "image" map "tag" default).
*/}}
{{- define "pg-rejoin.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .tag }}{{ end -}}
{{- end -}}

{{- define "pg-rejoin.agentImage" -}}
{{- include "pg-rejoin.image" (dict "root" . "image" .Values.image "tag" .Chart.AppVersion) -}}
{{- end -}}

{{- define "pg-rejoin.postgresImage" -}}
{{- include "pg-rejoin.image" (dict "root" . "image" .Values.postgresql.image "tag" (toString .Values.postgresql.majorVersion)) -}}
{{- end -}}

{{/*
Mount table. The official image of 18 refuses a volume at /var/lib/postgresql/data, the older ones declare one
there. PGDATA is always a directory of its own below the mount: beside it are the lock and a clone in progress.
*/}}
{{- define "pg-rejoin.dataMount" -}}
{{- ge (int .Values.postgresql.majorVersion) 18 | ternary "/var/lib/postgresql" "/var/lib/postgresql/data" -}}
{{- end -}}

{{- define "pg-rejoin.pgdata" -}}
{{- include "pg-rejoin.dataMount" . }}/pgdata
{{- end -}}

{{/*
A server setting as text. toJson prints 1000000 where printing a Helm number gives 1e+06.
*/}}
{{- define "pg-rejoin.setting" -}}
{{- kindIs "string" . | ternary . (toJson .) -}}
{{- end -}}

{{/*
What the library's templates take (docs/reference/library.md).
*/}}
{{- define "pg-rejoin.givenSettings" -}}
name: {{ include "pg-rejoin.fullname" . | quote }}
image: {{ include "pg-rejoin.agentImage" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
members: {{ include "pg-rejoin.members" . }}
podSelector: {{ printf "app.kubernetes.io/name=%s,app.kubernetes.io/instance=%s,app.kubernetes.io/component=database" (include "pg-rejoin.name" .) .Release.Name | quote }}
primaryService: {{ include "pg-rejoin.primaryService" . | quote }}
headlessService: {{ include "pg-rejoin.headlessService" . | quote }}
secret: {{ include "pg-rejoin.secret" . | quote }}
secretKeys: {{ omit .Values.auth.secretKeys "postgres" | toJson }}
replicationUser: {{ .Values.auth.replicationUser | quote }}
rewindUser: {{ .Values.auth.rewindUser | quote }}
promoteUser: {{ .Values.auth.promoteUser | quote }}
pgdata: {{ include "pg-rejoin.pgdata" . | quote }}
dataMount: {{ include "pg-rejoin.dataMount" . | quote }}
cloneImage: {{ include "pg-rejoin.postgresImage" . | quote }}
cloneImagePullPolicy: {{ .Values.postgresql.image.pullPolicy }}
port: {{ int64 .Values.postgresql.port }}
discovery: {{ .Values.rejoin.discovery }}
record: {{ include "pg-rejoin.authority" . | quote }}
scripts: {{ include "pg-rejoin.fullname" . }}-scripts
serviceAccount: {{ include "pg-rejoin.serviceAccountName" . | quote }}
roleLabel: {{ include "pg-rejoin.roleLabel" . | quote }}
restartPod: {{ .Values.rejoin.restartPod }}
nativeSidecar: {{ .Values.rejoin.nativeSidecar }}
sslMode: {{ .Values.rejoin.sslMode }}
{{- if and .Values.tls.enabled .Values.tls.caKey }}
caSecret: {{ .Values.tls.existingSecret | quote }}
caKey: {{ .Values.tls.caKey | quote }}
{{- end }}
connections: {{ int64 .Values.rejoin.connections }}
maxRate: {{ .Values.rejoin.maxRate | quote }}
{{- if not (kindIs "invalid" .Values.rejoin.maxDiscardedTransactions) }}
maxDiscardedTransactions: {{ int64 .Values.rejoin.maxDiscardedTransactions }}
{{- end }}
deadlineSeconds: {{ int64 .Values.rejoin.deadlineSeconds }}
logFormat: {{ .Values.rejoin.logFormat }}
logLevel: {{ .Values.rejoin.logLevel }}
metricsPort: {{ .Values.metrics.enabled | ternary (int64 .Values.metrics.port) 0 }}
# zz-finish-initdb.sh removes the mark.
marksInitdb: true
securityContext: {{ toJson .Values.containerSecurityContext }}
initResources: {{ toJson .Values.rejoin.initResources }}
resources: {{ toJson .Values.rejoin.resources }}
extraEnv: {{ toJson .Values.rejoin.extraEnv }}
labels: {{- include "pg-rejoin.labels" . | nindent 2 }}
annotations: {{ include "pg-rejoin.annotations" (dict "root" . "own" dict) | fromYaml | toJson }}
{{- end -}}

{{- define "pg-rejoin.secret" -}}
{{- required "auth.existingSecret is required: the name of a Secret with the passwords (see values.yaml)" .Values.auth.existingSecret -}}
{{- end -}}

{{/*
The library's complete settings, for what `helm test` shares with the pods.
*/}}
{{- define "pg-rejoin.settings" -}}
{{- include "pg-rejoin.givenSettings" . | fromYaml | dict "root" . "settings" | include "pg-rejoin-library.settings" -}}
{{- end -}}

{{/*
What no schema can say: relations between values.
*/}}
{{- define "pg-rejoin.validate" -}}
{{- if gt (int .Values.replicas) (int .Values.maxReplicas) -}}
{{- fail (printf "replicas (%d) is above maxReplicas (%d): RBAC would not let the last pods report" (int .Values.replicas) (int .Values.maxReplicas)) -}}
{{- end -}}
{{- if and (eq .Values.rejoin.discovery "service") (not .Values.rejoin.primaryService) -}}
{{- fail "rejoin.discovery service needs rejoin.primaryService: a Service whose endpoints somebody else keeps" -}}
{{- end -}}
{{- if and (eq .Values.rejoin.discovery "label") (not .Values.rejoin.roleLabel) -}}
{{- fail "rejoin.discovery label needs rejoin.roleLabel: a label that somebody else keeps" -}}
{{- end -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) -}}
{{- fail "tls.enabled needs tls.existingSecret" -}}
{{- end -}}
{{- if and (hasPrefix "verify-" .Values.rejoin.sslMode) (not (and .Values.tls.enabled .Values.tls.caKey)) -}}
{{- fail (printf "rejoin.sslMode %s needs tls.enabled and tls.caKey" .Values.rejoin.sslMode) -}}
{{- end -}}
{{- end -}}

{{/*
The alerts, as YAML: each has a page in docs/runbooks. "$labels" is Prometheus' own template, hence the backquotes.
*/}}
{{- define "pg-rejoin.alerts" -}}
{{- $pods := printf `namespace="%s",pod=~"%s-[0-9]+"` .Release.Namespace (include "pg-rejoin.fullname" .) -}}
{{- $release := printf "%s/%s" .Release.Namespace (include "pg-rejoin.fullname" .) -}}
{{- if eq .Values.rejoin.discovery "record" }}
- alert: PgRejoinNoPrimary
  expr: sum(pg_rejoin_role{ {{- $pods }},role="primary"}) == 0
  for: 5m
  severity: critical
  summary: No server of {{ $release }} runs read-write.
  runbook: no-primary
- alert: PgRejoinTwoPrimaries
  expr: sum(pg_rejoin_role{ {{- $pods }},role="primary"}) > 1
  for: 1m
  severity: critical
  summary: More than one server of {{ $release }} runs read-write.
  runbook: two-primaries
- alert: PgRejoinNotFollowing
  expr: pg_rejoin_outcome_info{ {{- $pods }},outcome=~"rewound|resumed|cloning"} == 1 unless on (namespace, pod) pg_rejoin_record_holder{ {{- $pods }}} == 1
  for: 30m
  severity: warning
  summary: {{ `{{ $labels.pod }} has been made to follow the primary, and has not been seen to do so.` | quote }}
  runbook: not-following
- alert: PgRejoinAuthorityUnreachable
  expr: pg_rejoin_authority_reachable{ {{- $pods }}} == 0
  for: 10m
  severity: warning
  summary: {{ `The sidecar of {{ $labels.pod }} cannot read the authority record.` | quote }}
  runbook: authority-unreachable
- alert: PgRejoinPaused
  expr: max(pg_rejoin_record_paused{ {{- $pods }}}) == 1
  for: 4h
  severity: warning
  summary: {{ $release }} has been paused for hours, so nothing rejoins by itself.
  runbook: paused
{{- end }}
- alert: PgRejoinNotScraped
  expr: absent(pg_rejoin_build_info{ {{- $pods }}})
  for: 10m
  severity: critical
  summary: No sidecar of {{ $release }} is scraped, so no other alert can tell how it is.
  runbook: not-scraped
- alert: PgRejoinWaiting
  expr: kube_pod_status_phase{ {{- $pods }},phase="Pending"} == 1
  for: 15m
  severity: warning
  summary: {{ `{{ $labels.pod }} has not got through its init containers for 15 minutes.` | quote }}
  runbook: waiting
- alert: PgRejoinTransactionsDiscarded
  expr: pg_rejoin_outcome_discarded_transactions{ {{- $pods }}} > 0 and time() - pg_rejoin_outcome_finished_timestamp_seconds{ {{- $pods }}} < 3600
  for: 0m
  severity: warning
  summary: {{ `A rewind of {{ $labels.pod }} has discarded {{ $value }} transactions.` | quote }}
  runbook: transactions-discarded
- alert: PgRejoinNotRewindable
  expr: pg_rejoin_rewindable{ {{- $pods }},rewindable="false"} == 1
  for: 10m
  severity: warning
  summary: {{ `{{ $labels.pod }} could not be rewound after a failover.` | quote }}
  runbook: not-rewindable
- alert: PgRejoinReadinessUnknown
  expr: pg_rejoin_rewindable{ {{- $pods }},rewindable="unknown"} == 1
  for: 30m
  severity: warning
  summary: {{ `Nobody can tell whether {{ $labels.pod }} could be rewound after a failover.` | quote }}
  runbook: readiness-unknown
- alert: PgRejoinCertificateExpires
  expr: pg_rejoin_certificate_not_after_timestamp_seconds{ {{- $pods }}} - time() < 1209600
  for: 1h
  severity: warning
  summary: {{ `The TLS certificate of {{ $labels.pod }} expires within 14 days.` | quote }}
  runbook: certificate-expires
{{- end -}}
