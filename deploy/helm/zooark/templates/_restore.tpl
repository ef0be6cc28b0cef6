{{/*
For the chart of ZooKeeper, which has this one as a subchart. In its StatefulSet:

      initContainers:
        {{- with .Subcharts.zooark }}{{ include "zooark.restoreInitContainer" . | nindent 8 }}{{ end }}
      volumes:
        {{- with .Subcharts.zooark }}{{ include "zooark.restoreVolumes" . | nindent 8 }}{{ end }}

Both are empty while restore.restorePoint is. The container runs each time a pod starts. It restores once for each
number: `zooark restore --once` keeps a marker beside version-2 and a record in the repository.
*/}}
{{- define "zooark.restoreInitContainer" -}}
{{- $restore := .Values.restore -}}
{{- if $restore.restorePoint -}}
{{- include "zooark.checkCredentials" . -}}
{{- $point := toString $restore.restorePoint -}}
{{- if contains "://" $point -}}
{{- fail (printf "restore.restorePoint is %q; a file of another tool cannot be restored. It is the id of one of ZooArk's snapshots, @TIME or zxid:0x…" $point) -}}
{{- else if contains ":/" $point -}}
{{- fail (printf "restore.restorePoint is %q; a whole server needs a whole snapshot, without a path" $point) -}}
{{- else if not (regexMatch "^([0-9a-f]{4,}|latest(~[0-9]+)?|@.+|zxid:0x[0-9a-f]+)$" $point) -}}
{{- fail (printf "restore.restorePoint is %q; it is a snapshot's id of four or more hex digits (in quotes), latest, @TIME or zxid:0x…" $point) -}}
{{- end -}}
{{- $cluster := $restore.cluster -}}
{{- if and (not $cluster) .Values.clusters -}}
{{- $cluster = (first .Values.clusters).name -}}
{{- end -}}
{{- if not $cluster -}}
{{- fail "restore.cluster: which cluster's snapshots are meant?" -}}
{{- end -}}
{{- $target := printf "datadir:%s" $restore.dataDir -}}
{{- if $restore.dataLogDir -}}
{{- $target = printf "%s?log=%s" $target $restore.dataLogDir -}}
{{- end -}}
- name: zooark-restore
  image: {{ include "zooark.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  securityContext:
    {{- $as := dict "runAsNonRoot" true "runAsUser" (int64 $restore.runAsUser) "runAsGroup" (int64 $restore.runAsGroup) }}
    {{- toYaml (mergeOverwrite (deepCopy .Values.securityContext) $as) | nindent 4 }}
  args:
    - --no-cache
    {{- include "zooark.repositoryArgs" . | nindent 4 }}
    - restore
    - {{ $point | quote }}
    - {{ $target | quote }}
    - --once
    - {{ include "zooark.plain" $restore.restoreVersion | quote }}
    - --member
    - $(POD_NAMESPACE)/$(POD_NAME)
    - --cluster
    - {{ $cluster | quote }}
    - --server-version
    - {{ $restore.serverVersion | quote }}
    {{- if not (kindIs "invalid" $restore.extendedTypes) }}
    - --extended-types
    - {{ $restore.extendedTypes | quote }}
    {{- end }}
    {{- range $restore.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    # The same name in another namespace is another member.
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    {{- include "zooark.repositoryEnv" . | nindent 4 }}
  {{- with .Values.repository.credentialsSecret }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  volumeMounts:
    - name: {{ $restore.volumeName }}
      mountPath: {{ $restore.dataDir }}
      {{- with $restore.subPath }}
      subPath: {{ . }}
      {{- end }}
    {{- with $restore.logVolumeName }}
    - name: {{ . }}
      mountPath: {{ $restore.dataLogDir }}
    {{- end }}
    {{- with include "zooark.repositoryMount" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- range $name, $_ := $restore.secretMounts }}
    - name: zooark-secret-{{ $name }}
      mountPath: /run/secrets/{{ $name }}
      readOnly: true
    {{- end }}
    - name: zooark-tmp
      mountPath: /tmp
  resources:
    {{- toYaml $restore.resources | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "zooark.restoreVolumes" -}}
{{- if .Values.restore.restorePoint -}}
{{- if .Values.repository.existingSecret }}
- name: zooark-repository
  secret:
    secretName: {{ .Values.repository.existingSecret }}
    # Mounted into this container alone, whose user may be in no group that the pod names.
    defaultMode: 0444
{{- end }}
{{- range $name, $secret := .Values.restore.secretMounts }}
- name: zooark-secret-{{ $name }}
  secret:
    secretName: {{ $secret }}
    defaultMode: 0444
{{- end }}
- name: zooark-tmp
  emptyDir: {}
{{- end -}}
{{- end -}}
