{{/*
Fragments of the pod template. Each is called with (dict "root" $ "settings" map), and gives a list, or "" for nothing.
*/}}

{{/*
spec.initContainers, before any container that touches the data directory.
*/}}
{{- define "pg-rejoin-library.initContainers" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
# Decides what this pod is, and makes its data directory fit: the only one that changes it.
- name: rejoin-init
  image: {{ $settings.image | quote }}
  imagePullPolicy: {{ $settings.imagePullPolicy }}
  args: [init]
  env:
    {{- include "pg-rejoin-library.env" $settings | nindent 4 }}
    - name: PGDATA
      value: {{ $settings.pgdata | quote }}
    - name: PG_REJOIN_BIN_DIR
      value: /pg-rejoin/bin
    {{- with $settings.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  # The outcome as JSON; the end of the log when there was no time to write it.
  terminationMessagePath: /dev/termination-log
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext: {{- toYaml $settings.securityContext | nindent 4 }}
  resources: {{- toYaml $settings.initResources | nindent 4 }}
  volumeMounts:
    - name: {{ $settings.dataVolume }}
      mountPath: {{ $settings.dataMount }}
    - name: rejoin-bin
      mountPath: /pg-rejoin/bin
    - name: rejoin-init-credentials
      mountPath: /etc/pg-rejoin/credentials
      readOnly: true
    {{- include "pg-rejoin-library.agentMounts" $settings | nindent 4 }}
{{- if $settings.cloneImage }}
# Fills an empty volume from the primary, when rejoin-init says so.
- name: clone
  image: {{ $settings.cloneImage | quote }}
  imagePullPolicy: {{ $settings.cloneImagePullPolicy }}
  command: [/bin/sh, /etc/pg-rejoin/scripts/clone.sh]
  env:
    - name: PGDATA
      value: {{ $settings.pgdata | quote }}
    - name: PG_REJOIN_RUN_DIR
      value: /run/pg-rejoin
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext: {{- toYaml $settings.securityContext | nindent 4 }}
  resources: {{- toYaml $settings.initResources | nindent 4 }}
  volumeMounts:
    - name: {{ $settings.dataVolume }}
      mountPath: {{ $settings.dataMount }}
    - name: rejoin-run
      mountPath: /run/pg-rejoin
    - name: rejoin-scripts
      mountPath: /etc/pg-rejoin/scripts
      readOnly: true
    {{- with include "pg-rejoin-library.caMount" $settings }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}
{{- $context := dict "root" .root "settings" $settings }}
{{- if eq (include "pg-rejoin-library.isNative" $context) "true" }}
{{ include "pg-rejoin-library.sidecar" $context }}
{{- end }}
{{- end -}}

{{/*
spec.containers, besides the server's: the sidecar where there are no native ones.
*/}}
{{- define "pg-rejoin-library.containers" -}}
{{- $context := dict "root" .root "settings" (include "pg-rejoin-library.settings" . | fromYaml) -}}
{{- if ne (include "pg-rejoin-library.isNative" $context) "true" -}}
{{- include "pg-rejoin-library.sidecar" $context -}}
{{- end -}}
{{- end -}}

{{/*
Called with the complete settings.
*/}}
{{- define "pg-rejoin-library.sidecar" -}}
{{- $settings := .settings -}}
{{- $native := eq (include "pg-rejoin-library.isNative" .) "true" -}}
# {{ $native | ternary "Native sidecar" "Sidecar, without an order of start and stop" }}. It has no probes: one that fails would take a healthy database out of its Service.
- name: rejoin
  image: {{ $settings.image | quote }}
  imagePullPolicy: {{ $settings.imagePullPolicy }}
  {{- if $native }}
  restartPolicy: Always
  {{- end }}
  args: [sidecar]
  env:
    {{- include "pg-rejoin-library.env" $settings | nindent 4 }}
    {{- if $settings.promoteUser }}
    - name: PG_REJOIN_PROMOTE_USER
      value: {{ $settings.promoteUser | quote }}
    - name: PG_REJOIN_PROMOTE_PASSWORD_FILE
      value: /etc/pg-rejoin/credentials/promote-password
    {{- end }}
    {{- if eq $settings.discovery "record" }}
    - name: PG_REJOIN_GATE_DIR
      value: /pg-rejoin/gate
    - name: PG_REJOIN_RESTART_POD
      value: {{ $settings.restartPod | quote }}
    {{- end }}
    {{- with int64 $settings.metricsPort }}
    - name: PG_REJOIN_METRICS_PORT
      value: {{ . | quote }}
    {{- end }}
    {{- with $settings.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with int64 $settings.metricsPort }}
  ports:
    - name: rejoin-metrics
      containerPort: {{ . }}
  {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext: {{- toYaml $settings.securityContext | nindent 4 }}
  resources: {{- toYaml $settings.resources | nindent 4 }}
  # No data: it asks the server. It has the API's token, and never a use for the files.
  volumeMounts:
    - name: rejoin-credentials
      mountPath: /etc/pg-rejoin/credentials
      readOnly: true
    - name: rejoin-gate
      mountPath: /pg-rejoin/gate
    {{- include "pg-rejoin-library.agentMounts" $settings | nindent 4 }}
{{- end -}}

{{/*
The beginning of the server container's command: behind it comes what the container ran before, as the image's
ENTRYPOINT and CMD say it where the manifest did not. The gate takes the directory's lock and becomes that by exec.
*/}}
{{- define "pg-rejoin-library.gateCommand" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
- /pg-rejoin/bin/pg-rejoin-gate
- --pgdata
- {{ $settings.pgdata }}
{{- if $settings.marksInitdb }}
- --marks-initdb
{{- end }}
{{- if eq $settings.discovery "record" }}
- --ask
- /pg-rejoin/gate
# Rather than in the kubelet's back-off.
- --ask-seconds
- "3000"
{{- end }}
- --
{{- end -}}

{{/*
Arguments for the server.
*/}}
{{- define "pg-rejoin-library.serverArguments" -}}
- -c
- hot_standby=on
# A rewind has to know of every page that was changed, hint bits included.
- -c
- wal_log_hints=on
# A server that restarts its own processes never passes the gate.
- -c
- restart_after_crash=off
{{- end -}}

{{/*
volumeMounts of the server's container.
*/}}
{{- define "pg-rejoin-library.serverMounts" -}}
- name: rejoin-bin
  mountPath: /pg-rejoin/bin
  readOnly: true
- name: rejoin-gate
  mountPath: /pg-rejoin/gate
# The passfile that primary_conninfo names.
- name: rejoin-run
  mountPath: /run/pg-rejoin
  readOnly: true
{{- end -}}

{{/*
lifecycle of the server's container.
*/}}
{{- define "pg-rejoin-library.serverLifecycle" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
preStop:
  exec:
    # A fast shutdown, whatever stop signal the image names: a smart one (SIGTERM) lets open
    # sessions go on writing to an old primary.
    command: [/bin/sh, -c, 'pg_ctl stop --silent --no-wait --mode=fast --pgdata={{ $settings.pgdata }} || true']
{{- end -}}

{{/*
spec.volumes.
*/}}
{{- define "pg-rejoin-library.volumes" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
- name: rejoin-bin
  emptyDir:
    sizeLimit: 32Mi
# A request and its answer.
- name: rejoin-gate
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
# The passfile lies in memory with mode 0600: a Secret volume is readable for the group, which libpq
# does not accept.
- name: rejoin-run
  emptyDir:
    medium: Memory
    sizeLimit: 4Mi
# The passwords that following takes. Promoting takes another one, which the init container never has.
- name: rejoin-init-credentials
  secret:
    secretName: {{ $settings.secret | quote }}
    defaultMode: 0400
    items:
      {{- include "pg-rejoin-library.followerSecretItems" $settings | nindent 6 }}
{{ include "pg-rejoin-library.agentSecrets" $settings }}
{{ include "pg-rejoin-library.tokenVolume" . }}
{{- if $settings.cloneImage }}
- name: rejoin-scripts
  configMap:
    name: {{ $settings.scripts | quote }}
{{- end }}
{{- end -}}

{{- define "pg-rejoin-library.tokenVolume" -}}
# What the kubelet would mount by itself into every container.
- name: rejoin-token
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end -}}

{{/*
Volumes of the passwords without the superuser's, which pg-rejoin has no use for, and of the CA without keys.
Called with the settings.
*/}}
{{- define "pg-rejoin-library.agentSecrets" -}}
- name: rejoin-credentials
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0400
    items:
      {{- include "pg-rejoin-library.followerSecretItems" . | nindent 6 }}
      {{- if .promoteUser }}
      - key: {{ .secretKeys.promote | quote }}
        path: promote-password
      {{- end }}
{{- if .caSecret }}
- name: rejoin-ca
  secret:
    secretName: {{ .caSecret | quote }}
    defaultMode: 0444
    items:
      - key: {{ .caKey | quote }}
        path: ca.crt
{{- end }}
{{- end -}}

{{/*
Environment of `pg-rejoin init`, `sidecar` and what is run in the sidecar with kubectl exec. Called with the settings.
*/}}
{{- define "pg-rejoin-library.env" -}}
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
  value: {{ int64 .port | quote }}
- name: PG_REJOIN_DISCOVERY
  value: {{ .discovery | quote }}
{{- with .cluster }}
- name: PG_REJOIN_CLUSTER
  value: {{ . | quote }}
{{- end }}
- name: PG_REJOIN_RECORD
  value: {{ .record | quote }}
- name: PG_REJOIN_PRIMARY_SERVICE
  value: {{ .primaryService | quote }}
{{- with .headlessService }}
- name: PG_REJOIN_HEADLESS_SERVICE
  value: {{ . | quote }}
{{- end }}
- name: PG_REJOIN_POD_SELECTOR
  value: {{ .podSelector | quote }}
- name: PG_REJOIN_MEMBERS
  value: {{ .members | join "," | quote }}
- name: PG_REJOIN_ROLE_LABEL
  value: {{ .roleLabel | quote }}
- name: PG_REJOIN_ANNOTATION_PREFIX
  value: pg-rejoin.io/
- name: PG_REJOIN_REWIND_USER
  value: {{ .rewindUser | quote }}
- name: PG_REJOIN_REWIND_PASSWORD_FILE
  value: /etc/pg-rejoin/credentials/rewind-password
- name: PG_REJOIN_REWIND_DATABASE
  value: postgres
{{- with .replicationUser }}
- name: PG_REJOIN_REPLICATION_USER
  value: {{ . | quote }}
- name: PG_REJOIN_REPLICATION_PASSWORD_FILE
  value: /etc/pg-rejoin/credentials/replication-password
{{- end }}
- name: PG_REJOIN_SSLMODE
  value: {{ .sslMode | quote }}
{{- if .caSecret }}
- name: PG_REJOIN_SSLROOTCERT
  value: /etc/pg-rejoin/tls/ca.crt
{{- end }}
- name: PG_REJOIN_CONNECTIONS
  value: {{ int64 .connections | quote }}
{{- with .maxRate }}
- name: PG_REJOIN_MAX_RATE
  value: {{ . | quote }}
{{- end }}
{{- if not (kindIs "invalid" .maxDiscardedTransactions) }}
- name: PG_REJOIN_MAX_DISCARDED_TRANSACTIONS
  value: {{ int64 .maxDiscardedTransactions | quote }}
{{- end }}
- name: PG_REJOIN_DEADLINE_S
  value: {{ int64 .deadlineSeconds | quote }}
- name: PG_REJOIN_LOG_FORMAT
  value: {{ .logFormat | quote }}
- name: PG_REJOIN_LOG_LEVEL
  value: {{ .logLevel | quote }}
- name: PG_REJOIN_RUN_DIR
  value: /run/pg-rejoin
- name: PG_REJOIN_TERMINATION_LOG
  value: /dev/termination-log
# The volume's fsGroup widens it, and the server refuses that.
- name: PG_REJOIN_DATA_DIRECTORY_MODE
  value: {{ .dataDirectoryMode | quote }}
{{- end -}}

{{/*
Mounts that the init container and the sidecar share; each has passwords of its own. Called with the settings.
*/}}
{{- define "pg-rejoin-library.agentMounts" -}}
- name: rejoin-run
  mountPath: /run/pg-rejoin
- name: rejoin-token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- with include "pg-rejoin-library.caMount" . }}
{{ . }}
{{- end }}
{{- end -}}

{{- define "pg-rejoin-library.caMount" -}}
{{- if .caSecret -}}
- name: rejoin-ca
  mountPath: /etc/pg-rejoin/tls
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "pg-rejoin-library.followerSecretItems" -}}
{{- if .replicationUser -}}
- key: {{ .secretKeys.replication | quote }}
  path: replication-password
{{ end -}}
- key: {{ .secretKeys.rewind | quote }}
  path: rewind-password
{{- end -}}
