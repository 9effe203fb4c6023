{{/* The labels by which the objects find the gateway's pods. */}}
{{- define "peatio-ws.selector" -}}
app.kubernetes.io/name: peatio-ws
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "peatio-ws.labels" -}}
{{ include "peatio-ws.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Variables as texts. Helm reads whole numbers as floats, and would write large ones as 2.68435456e+08. */}}
{{- define "peatio-ws.texts" -}}
{{- range $name, $value := . }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{ $name }}: {{ $value | int64 | toString | quote }}
{{- else }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "peatio-ws.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* Image, variables and files of a container that runs the gateway's code. */}}
{{- define "peatio-ws.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef: { name: {{ .Release.Name }} }
  {{- with .Values.existingSecret }}
  - secretRef: { name: {{ . }} }
  {{- end }}
  {{- if .Values.secret }}
  - secretRef: { name: {{ .Release.Name }} }
  {{- end }}
env:
  - { name: TMPDIR, value: /tmp }
  {{- if .Values.tls.secretName }}
  - { name: WEBSOCKET_SSL_CERT, value: /etc/peatio-ws/tls/tls.crt }
  - { name: WEBSOCKET_SSL_KEY, value: /etc/peatio-ws/tls/tls.key }
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: tmp, mountPath: /tmp }
  {{- if .Values.tls.secretName }}
  - { name: tls, mountPath: /etc/peatio-ws/tls, readOnly: true }
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "peatio-ws.volumes" -}}
# Metrics of the workers, and their heartbeat files if /dev/shm is not writable: a few MB, in memory.
- name: tmp
  emptyDir: { medium: Memory, sizeLimit: 64Mi }
{{- with .Values.tls.secretName }}
- name: tls
  secret: { secretName: {{ . }} }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
