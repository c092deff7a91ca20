{{/*
Whole objects. Each is called with (dict "root" $ "settings" map).
*/}}

{{- define "pg-rejoin-library.authority" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
# The authority record: who is primary, in which epoch, on which history. Created without data, so that an
# upgrade keeps what `pg-rejoin` has recorded; kept after uninstall, since the volumes are kept as well and only
# this record says which of them may lead. What replaces whole objects empties it: `helm upgrade --force`
# (--force-replace), `kubectl replace`.
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $settings.record | quote }}
  {{- with $settings.labels }}
  labels: {{- toYaml . | nindent 4 }}
  {{- end }}
  annotations:
    helm.sh/resource-policy: keep
    {{- with $settings.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/*
Role and RoleBinding for the members' ServiceAccount.
*/}}
{{- define "pg-rejoin-library.rbac" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
{{ include "pg-rejoin-library.metadata" $settings }}
rules:
  {{- include "pg-rejoin-library.rules" . | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
{{ include "pg-rejoin-library.metadata" $settings }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $settings.name | quote }}
subjects:
  - kind: ServiceAccount
    name: {{ $settings.serviceAccount | quote }}
    namespace: {{ .root.Release.Namespace | quote }}
{{- end -}}

{{- define "pg-rejoin-library.metadata" -}}
metadata:
  name: {{ .name | quote }}
  {{- with .labels }}
  labels: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
Only the rules, for a Role that a chart has already.
*/}}
{{- define "pg-rejoin-library.rules" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
# The authority record, changed by compare-and-swap only.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ $settings.record | quote }}]
  verbs: [get, watch, patch]
# A pod's outcome and role; its deletion, where the record can tell it that it has to. RBAC knows no "own pod", so
# the members are named.
- apiGroups: [""]
  resources: [pods]
  resourceNames: {{- toYaml $settings.members | nindent 4 }}
  verbs: [get, patch{{ if and $settings.restartPod (eq $settings.discovery "record") }}, delete{{ end }}]
# Lists cannot be confined to names.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- if eq $settings.discovery "service" }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
{{- end }}
{{- with get (include "pg-rejoin-library.evidence" . | fromYaml) $settings.discovery }}
# What says who is primary.
- apiGroups: [{{ .apiGroup | quote }}]
  resources: [{{ .resource }}]
  resourceNames:
    {{- range .names }}
    - {{ replace "{c}" $settings.cluster . | quote }}
    {{- end }}
  verbs: [get]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/*
The object that each preset of docs/reference/discovery.md reads, {c} for the cluster's name.
*/}}
{{- define "pg-rejoin-library.evidence" -}}
lease: {apiGroup: coordination.k8s.io, resource: leases, names: ["{c}"]}
patroni: {apiGroup: "", resource: endpoints, names: ["{c}", "{c}-config"]}
spilo: {apiGroup: "", resource: endpoints, names: ["{c}", "{c}-config"]}
stackgres: {apiGroup: "", resource: endpoints, names: ["{c}", "{c}-config"]}
patroni-configmap: {apiGroup: "", resource: configmaps, names: ["{c}-leader", "{c}-config"]}
crunchy: {apiGroup: "", resource: endpoints, names: ["{c}-ha", "{c}-ha-config"]}
percona: {apiGroup: "", resource: endpoints, names: ["{c}-ha", "{c}-ha-config"]}
kubeblocks: {apiGroup: "", resource: configmaps, names: ["{c}-postgresql-leader", "{c}-postgresql-config"]}
cnpg: {apiGroup: postgresql.cnpg.io, resource: clusters, names: ["{c}"]}
stolon: {apiGroup: "", resource: configmaps, names: ["stolon-cluster-{c}"]}
{{- end -}}

{{/*
The ConfigMap with clone.sh.
*/}}
{{- define "pg-rejoin-library.scripts" -}}
{{- $settings := include "pg-rejoin-library.settings" . | fromYaml -}}
apiVersion: v1
kind: ConfigMap
{{ include "pg-rejoin-library.metadata" (merge (dict "name" $settings.scripts) $settings) }}
data:
  clone.sh: |
    {{- include "pg-rejoin-library.cloneScript" .root | nindent 4 }}
{{- end -}}

{{/*
Called with the root of the chart that depends on this library.
*/}}
{{- define "pg-rejoin-library.cloneScript" -}}
{{- (index .Subcharts "pg-rejoin-library").Files.Get "files/clone.sh" -}}
{{- end -}}
