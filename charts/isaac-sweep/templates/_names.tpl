{{- /* Names, labels and the Job's hash, as sweepctl/manifest/names.py computes them. */}}

{{- /* A value as JSON that YAML reads back as the same value. JSON leaves some characters as they
are that YAML refuses or takes for line ends: these are escaped. */}}
{{- define "isaac-sweep.json" -}}
{{- $text := toJson . -}}
{{- if regexMatch `[\x7f-\x{9f}\x{feff}\x{fffe}\x{ffff}]` $text -}}
{{- range concat (untilStep 127 160 1) (list 65279 65534 65535) -}}
{{- $text = replace (printf "%c" .) (printf "\\u%04x" .) $text -}}
{{- end -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{- define "isaac-sweep.server" -}}
{{ .Release.Name }}-server
{{- end }}

{{- /* "yes" where others than agents are meant to reach the server. Releases of before lack the settings. */}}
{{- define "isaac-sweep.isReached" -}}
{{- $server := .Values.server -}}
{{- if or (dig "ingress" "enabled" false $server) (dig "httpRoute" "enabled" false $server) (dig "metrics" "serviceMonitor" "enabled" false $server) -}}
yes
{{- end -}}
{{- end }}

{{- define "isaac-sweep.serviceAccount" -}}
{{- $own := ternary .Release.Name "default" .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default $own }}
{{- end }}

{{- define "isaac-sweep.apiUrl" -}}
{{- if .Values.server.enabled -}}
http://{{ include "isaac-sweep.server" . }}.{{ .Release.Namespace }}.svc:{{ int64 .Values.server.port }}
{{- else -}}
{{ regexReplaceAll "/+$" .Values.wandb.baseUrl "" | default "https://api.wandb.ai" }}
{{- end -}}
{{- end }}

{{- /* The labels that find objects. Takes a list: the context, the component. */}}
{{- define "isaac-sweep.selector" -}}
app.kubernetes.io/name: isaac-sweep
app.kubernetes.io/instance: {{ (first .).Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- /* The labels of pods: without Helm's own, which change with each version of the chart. */}}
{{- define "isaac-sweep.podLabels" -}}
{{ include "isaac-sweep.selector" . }}
app.kubernetes.io/managed-by: {{ (first .).Release.Service | quote }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
{{- end }}

{{- define "isaac-sweep.labels" -}}
{{ include "isaac-sweep.podLabels" . }}
helm.sh/chart: {{ (first .).Chart.Name }}-{{ (first .).Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* An object's metadata. Takes a list: the context, its name, its component. */}}
{{- define "isaac-sweep.metadata" -}}
name: {{ index . 1 | quote }}
namespace: {{ (first .).Release.Namespace | quote }}
labels:
  {{- include "isaac-sweep.labels" (list (first .) (last .)) | nindent 2 }}
{{- end }}

{{- /* The pod code as its ConfigMap carries it: names and texts, as JSON. A key holds no slash, and
`**.py` takes every folder, but no bytecode that lies beside the sources. */}}
{{- define "isaac-sweep.code" -}}
{{- $files := dict -}}
{{- range $path, $_ := .Files.Glob "files/sweepctl_pod/**.py" -}}
{{- $_ := set $files (trimPrefix "files/sweepctl_pod/" $path | replace "/" ".") ($.Files.Get $path) -}}
{{- end -}}
{{- toJson $files -}}
{{- end }}

{{- define "isaac-sweep.codeHash" -}}
{{ include "isaac-sweep.code" . | sha256sum | trunc 8 }}
{{- end }}

{{- define "isaac-sweep.codeName" -}}
{{ .Release.Name }}-code-{{ include "isaac-sweep.codeHash" . }}
{{- end }}

{{- /* The Job's name: a hash of all that shapes its pods and cannot change in place. */}}
{{- define "isaac-sweep.jobName" -}}
{{- $shape := dict
  "chart" .Chart.Version
  "app" .Chart.AppVersion
  "values" (omit .Values "agents" "suspend" "ttlSecondsAfterFinished" "sweep" "sweepId" "server" "networkPolicy" "global")
  "sweep" (.Values.sweep | sha256sum | trunc 8)
  "sweepId" .Values.sweepId
  "serverPort" (ternary (int64 .Values.server.port) 0 .Values.server.enabled)
  "code" (ternary (include "isaac-sweep.codeHash" .) "" .Values.podCode.mount)
  "scripts" (list
    (.Files.Get "files/start.sh" | sha256sum | trunc 8)
    (.Files.Get "files/fetch_code.sh" | sha256sum | trunc 8)) -}}
{{ .Release.Name }}-{{ $shape | toJson | sha256sum | trunc 8 }}
{{- end }}
