{{/*
What pg-rejoin has to know of this chart: docs/reference/library.md.
*/}}
{{- define "shop-db.rejoin" -}}
name: {{ .Release.Name | quote }}
image: {{ .Values.rejoinImage | quote }}
members:
  {{- range $ordinal := until 4 }}
  - {{ printf "%s-%d" $.Release.Name $ordinal | quote }}
  {{- end }}
podSelector: {{ printf "app=%s" .Release.Name | quote }}
primaryService: {{ .Release.Name | quote }}
headlessService: {{ printf "%s-headless" .Release.Name | quote }}
secret: {{ .Values.secret | quote }}
pgdata: /var/lib/postgresql/data/pgdata
dataMount: /var/lib/postgresql/data
cloneImage: {{ .Values.image | quote }}
labels:
  app: {{ .Release.Name | quote }}
{{- end -}}
