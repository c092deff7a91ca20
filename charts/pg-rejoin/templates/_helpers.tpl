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
Environment of `pg-rejoin init`, `sidecar` and what is run in the sidecar with kubectl exec.
*/}}
{{- define "pg-rejoin.agentEnv" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: PGPORT
  value: {{ .Values.postgresql.port | quote }}
- name: PG_REJOIN_DISCOVERY
  value: {{ .Values.rejoin.discovery | quote }}
- name: PG_REJOIN_RECORD
  value: {{ include "pg-rejoin.authority" . | quote }}
- name: PG_REJOIN_PRIMARY_SERVICE
  value: {{ include "pg-rejoin.primaryService" . | quote }}
- name: PG_REJOIN_HEADLESS_SERVICE
  value: {{ include "pg-rejoin.headlessService" . | quote }}
- name: PG_REJOIN_POD_SELECTOR
  value: {{ printf "app.kubernetes.io/name=%s,app.kubernetes.io/instance=%s,app.kubernetes.io/component=database" (include "pg-rejoin.name" .) .Release.Name | quote }}
- name: PG_REJOIN_MEMBERS
  value: {{ include "pg-rejoin.members" . | fromJsonArray | join "," | quote }}
- name: PG_REJOIN_ROLE_LABEL
  value: {{ include "pg-rejoin.roleLabel" . | quote }}
- name: PG_REJOIN_ANNOTATION_PREFIX
  value: {{ include "pg-rejoin.annotationPrefix" . | quote }}
- name: PG_REJOIN_REWIND_USER
  value: {{ .Values.auth.rewindUser | quote }}
- name: PG_REJOIN_REWIND_PASSWORD_FILE
  value: /etc/pg-rejoin/credentials/rewind-password
- name: PG_REJOIN_REWIND_DATABASE
  value: postgres
- name: PG_REJOIN_REPLICATION_USER
  value: {{ .Values.auth.replicationUser | quote }}
- name: PG_REJOIN_REPLICATION_PASSWORD_FILE
  value: /etc/pg-rejoin/credentials/replication-password
- name: PG_REJOIN_SSLMODE
  value: {{ .Values.rejoin.sslMode | quote }}
{{- if and .Values.tls.enabled .Values.tls.caKey }}
- name: PG_REJOIN_SSLROOTCERT
  value: /etc/pg-rejoin/tls/ca.crt
{{- end }}
- name: PG_REJOIN_CONNECTIONS
  value: {{ .Values.rejoin.connections | quote }}
{{- if not (kindIs "invalid" .Values.rejoin.maxDiscardedTransactions) }}
- name: PG_REJOIN_MAX_DISCARDED_TRANSACTIONS
  value: {{ .Values.rejoin.maxDiscardedTransactions | int64 | quote }}
{{- end }}
- name: PG_REJOIN_DEADLINE_S
  value: {{ .Values.rejoin.deadlineSeconds | quote }}
- name: PG_REJOIN_LOG_FORMAT
  value: {{ .Values.rejoin.logFormat | quote }}
- name: PG_REJOIN_LOG_LEVEL
  value: {{ .Values.rejoin.logLevel | quote }}
- name: PG_REJOIN_RUN_DIR
  value: /run/pg-rejoin
- name: PG_REJOIN_TERMINATION_LOG
  value: /dev/termination-log
# What the image's entrypoint sets at each start, too.
- name: PG_REJOIN_DATA_DIRECTORY_MODE
  value: "0700"
{{- end -}}

{{/*
Mounts that the init container and the sidecar share; each has passwords of its own.
*/}}
{{- define "pg-rejoin.agentMounts" -}}
- name: rejoin-run
  mountPath: /run/pg-rejoin
- name: kube-api-access
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- with include "pg-rejoin.caMount" . }}
{{ . }}
{{- end }}
{{- end -}}

{{- define "pg-rejoin.caMount" -}}
{{- if and .Values.tls.enabled .Values.tls.caKey -}}
- name: tls-ca
  mountPath: /etc/pg-rejoin/tls
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "pg-rejoin.secret" -}}
{{- required "auth.existingSecret is required: the name of a Secret with the passwords (see values.yaml)" .Values.auth.existingSecret -}}
{{- end -}}

{{/*
Volumes of the passwords without the superuser's, which pg-rejoin has no use for, and of the CA without keys.
*/}}
{{- define "pg-rejoin.agentSecrets" -}}
- name: rejoin-credentials
  secret:
    secretName: {{ include "pg-rejoin.secret" . | quote }}
    defaultMode: 0400
    items:
      {{- include "pg-rejoin.followerSecretItems" . | nindent 6 }}
      - key: {{ .Values.auth.secretKeys.promote | quote }}
        path: promote-password
{{- if include "pg-rejoin.caMount" . }}
- name: tls-ca
  secret:
    secretName: {{ .Values.tls.existingSecret | quote }}
    defaultMode: 0444
    items:
      - key: {{ .Values.tls.caKey | quote }}
        path: ca.crt
{{- end }}
{{- end -}}

{{/*
The passwords that following takes. Promoting takes another one, which the init container never has.
*/}}
{{- define "pg-rejoin.followerSecretItems" -}}
- key: {{ .Values.auth.secretKeys.replication | quote }}
  path: replication-password
- key: {{ .Values.auth.secretKeys.rewind | quote }}
  path: rewind-password
{{- end -}}

{{/*
Whether the sidecar may delete its own pod: only the authority record can tell it that it has to.
*/}}
{{- define "pg-rejoin.restartsPod" -}}
{{- and .Values.rejoin.restartPod (eq .Values.rejoin.discovery "record") -}}
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
