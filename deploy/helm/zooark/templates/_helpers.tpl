{{- define "zooark.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "zooark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "zooark.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "zooark.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "zooark.selectorLabels" -}}
app.kubernetes.io/name: {{ include "zooark.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "zooark.labels" -}}
{{ include "zooark.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "zooark.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "zooark.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "zooark.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "zooark.tokensSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-tokens" (include "zooark.fullname" .)) -}}
{{- end -}}

{{/* The repository's URL; what is missing is said in words. */}}
{{- define "zooark.repositoryUrl" -}}
{{- if .Values.repository.url -}}
{{- .Values.repository.url -}}
{{- else if .Values.bucket -}}
{{- if not (regexMatch "^(s3a?|gs|az|obs)://[^/]+" .Values.bucket) -}}
{{- fail (printf "bucket is %q; it starts with s3://, s3a://, gs://, az:// or obs://. For anything else set repository.url" .Values.bucket) -}}
{{- end -}}
{{- trimSuffix "/" (printf "%s/%s" (trimSuffix "/" .Values.bucket) (trimPrefix "/" .Values.backupPrefix)) -}}
{{- else -}}
{{- fail "where do backups go? Set bucket (s3://…, gs://…, az://…, obs://…) or repository.url" -}}
{{- end -}}
{{- end -}}

{{/* Refused where an encrypted repository has no Secret. */}}
{{- define "zooark.checkCredentials" -}}
{{- if and (not .Values.repository.existingSecret) (not .Values.repository.unencrypted) -}}
{{- fail "set repository.existingSecret to a Secret with the repository's password or key file, or say repository.unencrypted: true. The chart makes no password: it would be lost with the namespace, and all backups with it" -}}
{{- end -}}
{{- if and .Values.repository.existingSecret .Values.repository.unencrypted -}}
{{- fail "repository.unencrypted: true and repository.existingSecret contradict each other" -}}
{{- end -}}
{{- end -}}

{{- define "zooark.credentialsFile" -}}
{{- if .Values.repository.existingSecret -}}
/run/secrets/repository/{{ .Values.repository.keyFileKey | default .Values.repository.passwordKey }}
{{- end -}}
{{- end -}}

{{/* Environment of commands that open the repository. */}}
{{- define "zooark.repositoryEnv" -}}
- name: ZOOARK_REPOSITORY
  value: {{ include "zooark.repositoryUrl" . | quote }}
{{- if .Values.repository.existingSecret }}
- name: {{ .Values.repository.keyFileKey | empty | ternary "ZOOARK_PASSWORD_FILE" "ZOOARK_KEY_FILE" }}
  value: {{ include "zooark.credentialsFile" . }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The same as arguments: settings of the store, and bounds. */}}
{{- define "zooark.repositoryArgs" -}}
{{- range $key, $value := .Values.repository.options }}
- -o
- {{ printf "%s=%s" $key (include "zooark.plain" $value) | quote }}
{{- end }}
{{- with .Values.repository.limitDownload }}
- --limit-download
- {{ include "zooark.plain" . | quote }}
{{- end }}
{{- with .Values.repository.limitUpload }}
- --limit-upload
- {{ include "zooark.plain" . | quote }}
{{- end }}
{{- end -}}

{{/* Secrets as volumes and mounts. */}}
{{- define "zooark.repositoryVolume" -}}
{{- if .Values.repository.existingSecret -}}
- name: zooark-repository
  secret:
    secretName: {{ .Values.repository.existingSecret }}
    defaultMode: 0440
{{- end -}}
{{- end -}}

{{- define "zooark.repositoryMount" -}}
{{- if .Values.repository.existingSecret -}}
- name: zooark-repository
  mountPath: /run/secrets/repository
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "zooark.extraSecretMounts" -}}
{{- range $name, $_ := .Values.secretMounts }}
- name: secret-{{ $name }}
  mountPath: /run/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}
