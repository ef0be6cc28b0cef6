{{/* TOML. Helm's own toToml writes whole numbers as 600.0, since they are floating numbers to it. */}}

{{/* A number without an exponent or a needless fraction; anything else as it is printed. */}}
{{- define "zooark.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* A value; maps become inline tables. JSON's strings are TOML's too. */}}
{{- define "zooark.tomlValue" -}}
{{- if kindIs "string" . -}}
{{- toRawJson . -}}
{{- else if kindIs "slice" . -}}
[{{- range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "zooark.tomlValue" $item }}{{ end -}}]
{{- else if kindIs "map" . -}}
{ {{- range $i, $key := keys . | sortAlpha }}{{ if $i }},{{ end }} {{ include "zooark.tomlKey" $key }} = {{ include "zooark.tomlValue" (get $ $key) }}{{ end }} }
{{- else -}}
{{- include "zooark.plain" . -}}
{{- end -}}
{{- end -}}

{{- define "zooark.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toRawJson . }}{{- end -}}
{{- end -}}

{{/* The lines of a table; keys without a value are left out. */}}
{{- define "zooark.tomlLines" -}}
{{- $table := . -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := get $table $key }}
{{- if not (kindIs "invalid" $value) }}
{{ include "zooark.tomlKey" $key }} = {{ include "zooark.tomlValue" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* zooark.toml */}}
{{- define "zooark.config" -}}
{{- include "zooark.checkCredentials" . -}}
{{- $values := .Values -}}
{{- if not $values.clusters -}}
{{- fail "what is to be backed up? Set clusters to a list with name and source" -}}
{{- end -}}
[server]
listen = "0.0.0.0:{{ include "zooark.plain" $values.webServerPort }}"
metrics_listen = "0.0.0.0:{{ include "zooark.plain" $values.metrics.port }}"
{{- if $values.tls.existingSecret }}
tls = { cert = "/run/secrets/tls/tls.crt", key = "/run/secrets/tls/tls.key" }
{{- end }}
state_dir = "/var/lib/zooark/state"
max_body = {{ toRawJson $values.server.maxBody }}
requests_per_second = {{ include "zooark.plain" $values.server.requestsPerSecond }}

[repository]
url = {{ include "zooark.repositoryUrl" . | toRawJson }}
{{- with include "zooark.credentialsFile" . }}
{{ $values.repository.keyFileKey | empty | ternary "password_file" "key_file" }} = {{ toRawJson . }}
{{- end }}
cache_dir = "/var/lib/zooark/cache"
{{- with $values.repository.options }}
{{- $options := dict }}
{{- range $key, $value := . }}{{ $_ := set $options $key (include "zooark.plain" $value) }}{{ end }}
options = {{ include "zooark.tomlValue" $options }}
{{- end }}
limit_upload = {{ include "zooark.plain" $values.repository.limitUpload }}
limit_download = {{ include "zooark.plain" $values.repository.limitDownload }}
{{- range $values.copies }}

[[copy]]
{{- include "zooark.tomlLines" . }}
{{- end }}
{{- $names := list }}
{{- range $values.clusters }}
{{- $cluster := deepCopy . }}
{{- if has $cluster.name $names }}
{{- fail (printf "two clusters are called %q" $cluster.name) }}
{{- end }}
{{- $names = append $names $cluster.name }}
{{- if and (hasKey $cluster "schedule") (hasKey $cluster "backup_interval") }}
{{- fail (printf "cluster %q has both schedule and backup_interval; give one of them" $cluster.name) }}
{{- end }}
{{- if not (or (hasKey $cluster "schedule") (hasKey $cluster "backup_interval")) }}
{{- $_ := set $cluster "backup_interval" (include "zooark.plain" $values.backupInterval | int64) }}
{{- end }}
{{- if and $values.managedLedgerPath $cluster.include }}
{{- $_ := set $cluster "include" (append $cluster.include $values.managedLedgerPath | uniq) }}
{{- end }}
{{- if and $values.zkAuth.existingSecret (not (hasKey $cluster "zk_auth_file")) }}
{{- $_ := set $cluster "zk_auth_file" (printf "/run/secrets/zk-auth-of-all/%s" $values.zkAuth.key) }}
{{- end }}

[[cluster]]
{{- include "zooark.tomlLines" $cluster }}
{{- end }}
{{- range $values.restoreTargets }}

[[restore_target]]
{{- include "zooark.tomlLines" . }}
{{- end }}

[auth]
tokens_file = "/run/secrets/tokens/{{ $values.auth.existingSecret | empty | ternary "tokens" $values.auth.tokensKey }}"
allow_loopback_without_token = false
{{- range $values.notify }}

[[notify]]
{{- include "zooark.tomlLines" . }}
{{- end }}

[leader]
mode = {{ toRawJson $values.leader.mode }}
lease = {{ toRawJson $values.leader.lease }}

[log]
format = {{ toRawJson $values.log.format }}
level = {{ toRawJson $values.log.level }}
{{ end -}}
