{{- /* The parts of an agent's pod: the twin of sweepctl/manifest/templates/_pod.j2, part by part. Quantities
and the variables of the proxy are computed here, and in Python there. */}}

{{- define "isaac-sweep.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{- define "isaac-sweep.pullSecrets" -}}
{{- with .pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ include "isaac-sweep.json" . }}
{{- end }}
{{- end -}}
{{- end }}

{{- /* A text or a whole number, as a text: Kubernetes stores quantities so. */}}
{{- define "isaac-sweep.text" -}}
{{- if kindIs "string" . }}{{ include "isaac-sweep.json" . }}{{ else }}{{ int64 . | quote }}{{ end -}}
{{- end }}

{{- /* A quantity's text as a number, so that 500m, 8 and 32Gi can be compared. */}}
{{- define "isaac-sweep.amount" -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- $units := dict "" 1 "m" 0.001
  "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- mulf (trimSuffix $unit . | float64) (get $units $unit) -}}
{{- end }}

{{- /* The limits of the emptyDirs on the node's disk, added up; nothing where there is none. */}}
{{- define "isaac-sweep.emptied" -}}
{{- $limits := list -}}
{{- range list .Values.cache .Values.runs -}}
{{- if eq .type "emptyDir" -}}
{{- $limits = append $limits .size -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraVolumes -}}
{{- if kindIs "map" .emptyDir -}}
{{- $limit := .emptyDir.sizeLimit -}}
{{- $size := "^[1-9][0-9]{0,14}(\\.[0-9]{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)$" -}}
{{- if and (kindIs "string" $limit) (ne (toJson .emptyDir.medium) "\"Memory\"") -}}
{{- if regexMatch $size $limit -}}
{{- $limits = append $limits $limit -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $sum := 0.0 -}}
{{- range $limits -}}
{{- $sum = addf $sum (divf (include "isaac-sweep.amount" . | float64) 1048576 | ceil) -}}
{{- end -}}
{{- $mebibytes := minf $sum 1099511627776.0 | int64 -}}
{{- if and $mebibytes (mod $mebibytes 1024) -}}
{{ $mebibytes }}Mi
{{- else if $mebibytes -}}
{{ div $mebibytes 1024 }}Gi
{{- end -}}
{{- end }}

{{- /* Requests and limits. Takes a list: the setting, the name of the GPU's resource, the GPUs. */}}
{{- define "isaac-sweep.resources" -}}
{{- $resource := index . 1 -}}
{{- $gpus := int64 (index . 2) -}}
{{- range $part := list "requests" "limits" -}}
{{- $asked := index (first $) $part -}}
{{- if or $asked (and $gpus (eq $part "limits")) }}
{{ $part }}:
  {{- range $name, $amount := $asked }}
  {{ include "isaac-sweep.json" $name }}: {{ include "isaac-sweep.text" $amount }}
  {{- end }}
  {{- if and $gpus (eq $part "limits") }}
  {{ $resource }}: {{ $gpus | quote }}
  {{- end }}
{{- else }}
{{ $part }}: {}
{{- end }}
{{- end -}}
{{- end }}

{{- /* What an agent asks for: room for its files too, so that a node short of disk evicts others first. */}}
{{- define "isaac-sweep.agentResources" -}}
{{- $asked := deepCopy .Values.resources -}}
{{- $known := or (hasKey $asked.requests "ephemeral-storage") (hasKey $asked.limits "ephemeral-storage") -}}
{{- $emptied := include "isaac-sweep.emptied" . -}}
{{- if and $emptied (not $known) -}}
{{- $_ := set $asked.requests "ephemeral-storage" $emptied -}}
{{- end -}}
{{- include "isaac-sweep.resources" (list $asked .Values.gpuResource .Values.gpus) -}}
{{- end }}

{{- /* Proxy and certificates, in every spelling that programs read: a JSON list of pairs. */}}
{{- define "isaac-sweep.network" -}}
{{- $pairs := list -}}
{{- with .Values.proxy -}}
{{- if or .http .https -}}
{{- $direct := list .noProxy "localhost,127.0.0.1,.svc,.cluster.local" | compact | join "," -}}
{{- $proxies := list (list "HTTP_PROXY" .http) (list "HTTPS_PROXY" .https) (list "NO_PROXY" $direct) -}}
{{- range $proxies -}}
{{- $pairs = append $pairs . -}}
{{- end -}}
{{- range $proxies -}}
{{- $pairs = append $pairs (list (lower (first .)) (last .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret -}}
{{- range list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" -}}
{{- $pairs = append $pairs (list . "/etc/sweepctl/ca.crt") -}}
{{- end -}}
{{- end -}}
{{- toJson $pairs -}}
{{- end }}

{{- /* Variables as a container's env has them; those without a value are left out. */}}
{{- define "isaac-sweep.variables" -}}
{{- range . }}
{{- if last . }}
- name: {{ first . }}
  value: {{ include "isaac-sweep.json" (last .) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* How an agent finds the API and its sweep; the release's test looks the same way. */}}
{{- define "isaac-sweep.apiKey" -}}
- name: WANDB_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "isaac-sweep.json" .Values.wandb.secretName }}
      key: {{ include "isaac-sweep.json" .Values.wandb.secretKey }}
{{- end }}

{{- /* Where the code of `code` comes from; nothing when none is set. */}}
{{- define "isaac-sweep.codeSource" -}}
{{- if .git.repository -}}
emptyDir: {}
{{- else if .image.reference -}}
image: {{ include "isaac-sweep.json" .image }}
{{- else if .claim.name -}}
persistentVolumeClaim:
  claimName: {{ include "isaac-sweep.json" .claim.name }}
{{- end -}}
{{- end }}

{{- /* Which code it is, where that is known: git leaves it to the clone's own HEAD. */}}
{{- define "isaac-sweep.codeRevision" -}}
{{- if .git.repository -}}
git
{{- else if contains "@sha256:" .image.reference -}}
{{ .image.reference }}
{{- end -}}
{{- end }}

{{- /* The agent's environment: the contract with the pod code. */}}
{{- define "isaac-sweep.env" -}}
{{- $values := .Values -}}
- name: SWEEPCTL_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: SWEEPCTL_JOB_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['batch.kubernetes.io/controller-uid']
- name: SWEEPCTL_NODE
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{ include "isaac-sweep.apiKey" . }}
{{- $looksForGpu := and (eq (toString .Values.preflight.gpu) "auto") (int64 .Values.gpus) -}}
{{- /* A release of a version without it keeps its values by --reuse-values. */}}
{{- $checkpoint := .Values.checkpoint | default (dict "companion" true "every" 600 "keep" 2 "pattern" "" "uri" "") -}}
{{- $plain := list
  (list "SWEEPCTL_NAME" .Release.Name)
  (list "SWEEPCTL_SWEEP" .Values.sweepId)
  (list "SWEEPCTL_SWEEP_FILE" "/etc/sweepctl/sweep.yaml")
  (list "SWEEPCTL_WORK" "/work")
  (list "SWEEPCTL_GRACE_S" (int64 .Values.graceSeconds | toString))
  (list "SWEEPCTL_GRAMMAR" .Values.grammar)
  (list "SWEEPCTL_SETTINGS" .Values.settings)
  (list "SWEEPCTL_PREFLIGHT_GPU" (ternary "auto" "off" (not (not $looksForGpu))))
  (list "SWEEPCTL_MAX_INITIAL_FAILURES" (int64 .Values.maxInitialFailures | toString))
  (list "SWEEPCTL_SEED" (ternary (int64 .Values.seed | toString) "" (and (hasKey .Values "seed") (ge (int64 .Values.seed) (int64 0)))))
  (list "SWEEPCTL_CHECKPOINT_COMPANION" (ternary "on" "off" $checkpoint.companion))
  (list "SWEEPCTL_CHECKPOINT_EVERY_S" (int64 $checkpoint.every | toString))
  (list "SWEEPCTL_CHECKPOINT_KEEP" (int64 $checkpoint.keep | toString))
  (list "SWEEPCTL_CHECKPOINT_PATTERN" $checkpoint.pattern)
  (list "SWEEPCTL_CHECKPOINT_URI" $checkpoint.uri)
  (list "SWEEPCTL_PYTHON" .Values.interpreter)
  (list "SWEEPCTL_PYTHONPATH" (join ":" .Values.pythonPath))
  (list "SWEEPCTL_TASKS" (join ":" .Values.code.tasks))
  (list "SWEEPCTL_CACHE" (printf "%s/.cache/sweepctl" .Values.cache.home))
  (list "SWEEPCTL_IMAGE" (ternary "" .Values.image.digest (not (empty .Values.command))))
  (list "SWEEPCTL_CODE" (ternary "" .Values.code.mountPath (empty (include "isaac-sweep.codeSource" .Values.code))))
  (list "SWEEPCTL_CODE_REVISION" (include "isaac-sweep.codeRevision" .Values.code))
  (list "WANDB_BASE_URL" (include "isaac-sweep.apiUrl" .))
  (list "WANDB_ENTITY" .Values.wandb.entity)
  (list "WANDB_PROJECT" .Values.wandb.project)
  (list "HOME" .Values.cache.home)
  (list "USER" "agent")
  (list "PYTHONUNBUFFERED" "1")
  (list "GIT_PYTHON_REFRESH" "quiet")
  (list "WARP_CACHE_PATH" (printf "%s/.cache/warp" .Values.cache.home))
  (list "ISAACSIM_ASSET_ROOT" .Values.assetRoot)
  (list "OMNI_KIT_ALLOW_ROOT" (ternary "1" "" (eq .Values.security.profile "baseline"))) }}
{{- include "isaac-sweep.variables" (concat $plain (include "isaac-sweep.network" . | fromJsonArray)) }}
{{- if int64 $values.threads }}
{{- range list "OMP" "MKL" "OPENBLAS" "NUMEXPR" }}
- name: {{ . }}_NUM_THREADS
  value: {{ int64 $values.threads | quote }}
{{- end }}
{{- else if hasKey $values.resources.requests "cpu" }}
- name: SWEEPCTL_CPUS
  valueFrom:
    resourceFieldRef:
      containerName: agent
      resource: requests.cpu
      divisor: "1"
{{- end }}
{{- range .Values.extraEnv }}
- {{ include "isaac-sweep.json" . }}
{{- end }}
{{- end }}

{{- define "isaac-sweep.podSecurity" -}}
{{- if eq .profile "restricted" -}}
runAsNonRoot: true
runAsUser: {{ int64 .runAsUser }}
runAsGroup: {{ int64 .runAsGroup }}
{{ end -}}
fsGroup: {{ int64 .fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "isaac-sweep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .readOnlyRootFilesystem }}
{{- if eq .profile "restricted" }}
capabilities:
  drop: [ALL]
{{- end }}
{{- end }}

{{- /* What chooses a pod's node; what is not set is left out. */}}
{{- define "isaac-sweep.scheduling" -}}
{{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $ $key }}
{{ $key }}: {{ include "isaac-sweep.json" . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Spread over nodes; what a constraint does not count by itself, it counts by our labels. */}}
{{- define "isaac-sweep.topologySpread" -}}
{{- $agents := dict "matchLabels" (include "isaac-sweep.selector" (list . "agent") | fromYaml) -}}
{{- with .Values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  {{- $constraint := deepCopy . }}
  {{- if not (hasKey . "labelSelector") }}{{ $_ := set $constraint "labelSelector" $agents }}{{ end }}
  - {{ include "isaac-sweep.json" $constraint }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* The cache or runs volume. Takes a list: its setting, the name of the claim that is made. */}}
{{- define "isaac-sweep.dataVolume" -}}
{{- with first . -}}
{{- if eq .type "emptyDir" -}}
emptyDir:
  sizeLimit: {{ include "isaac-sweep.json" .size }}
{{- else -}}
persistentVolumeClaim:
  claimName: {{ include "isaac-sweep.json" (.existingClaim | default (last $)) }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "isaac-sweep.sweepVolume" -}}
- name: sweep
  projected:
    sources:
      - configMap:
          name: {{ .Release.Name }}-sweep
          items:
            - {key: sweep.yaml, path: sweep.yaml}
      {{- range $kind := list "configMap" "secret" }}
      {{- with get $.Values.caBundle $kind }}
      - {{ $kind }}:
          name: {{ include "isaac-sweep.json" . }}
          items:
            - {key: {{ include "isaac-sweep.json" $.Values.caBundle.key }}, path: ca.crt}
      {{- end }}
      {{- end }}
{{- end }}

{{- define "isaac-sweep.podCodeVolume" -}}
{{- if .Values.podCode.mount }}
- name: pod-code
  configMap:
    name: {{ include "isaac-sweep.codeName" . }}
    items:
      {{- range $key, $_ := include "isaac-sweep.code" . | fromJson }}
      {{- if eq $key "__main__.py" }}
      - {key: {{ $key }}, path: __main__.py}
      {{- else }}
      - {key: {{ $key }}, path: sweepctl_pod/{{ trimSuffix ".py" $key | replace "." "/" }}.py}
      {{- end }}
      {{- if eq $key "wrapper.py" }}
      - {key: {{ $key }}, path: sweepctl/pod/run.py}
      {{- end }}
      {{- end }}
{{- end }}
{{- end }}

{{- /* Whether the code comes by git over ssh: ssh://… or USER@HOST:PATH. */}}
{{- define "isaac-sweep.isSsh" -}}
{{- with .Values.code.git.repository }}{{ if not (regexMatch "^https?:" .) }}true{{ end }}{{ end -}}
{{- end }}

{{- /* The line of /etc/passwd under which git runs ssh, which works for no user without one. */}}
{{- define "isaac-sweep.passwd" -}}
{{- with .Values.security }}
{{- if and (include "isaac-sweep.isSsh" $) (eq .profile "restricted") -}}
git:x:{{ int64 .runAsUser }}:{{ int64 .runAsGroup }}::/tmp:/bin/sh
{{- end }}
{{- end }}
{{- end }}

{{- define "isaac-sweep.codeKeyVolume" -}}
{{- if include "isaac-sweep.isSsh" . }}
- name: code-key
  projected:
    sources:
      {{- range $key := list "ssh-privatekey" "known_hosts" }}
      - secret:
          name: {{ include "isaac-sweep.json" $.Values.code.git.secretName }}
          items:
            - {key: {{ $key }}, path: {{ $key }}}
          optional: {{ eq $key "known_hosts" }}
      {{- end }}
      {{- if include "isaac-sweep.passwd" . }}
      - downwardAPI:
          items:
            - path: passwd
              fieldRef:
                fieldPath: metadata.annotations['sweepctl/passwd']
      {{- end }}
    defaultMode: 288
{{- end }}
{{- end }}

{{- define "isaac-sweep.volumes" -}}
- name: cache
  {{- include "isaac-sweep.dataVolume" (list .Values.cache (printf "%s-cache" .Release.Name)) | nindent 2 }}
- name: runs
  {{- include "isaac-sweep.dataVolume" (list .Values.runs (printf "%s-runs" .Release.Name)) | nindent 2 }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ include "isaac-sweep.json" .Values.shmSize }}
- name: tmp
  emptyDir: {}
{{ include "isaac-sweep.sweepVolume" . }}
{{- include "isaac-sweep.podCodeVolume" . }}
{{- with include "isaac-sweep.codeSource" .Values.code }}
- name: code
  {{- . | nindent 2 }}
{{- end }}
{{- include "isaac-sweep.codeKeyVolume" . }}
{{- range .Values.extraVolumes }}
- {{ include "isaac-sweep.json" . }}
{{- end }}
{{- end }}

{{- /* A folder on the cache volume. Takes a list: cache, the path, the folder on the volume. */}}
{{- define "isaac-sweep.cacheMount" -}}
- name: cache
  mountPath: {{ include "isaac-sweep.json" (index . 1) }}
  {{- if (first .).perAgent }}
  subPathExpr: $(JOB_COMPLETION_INDEX)/{{ last . }}
  {{- else }}
  subPath: {{ include "isaac-sweep.json" (last .) }}
  {{- end }}
{{- end }}

{{- define "isaac-sweep.mounts" -}}
{{ include "isaac-sweep.cacheMount" (list .Values.cache .Values.cache.home "home") }}
{{- range .Values.cache.paths }}
{{ include "isaac-sweep.cacheMount" (list $.Values.cache . (printf "image%s" .)) }}
{{- end }}
- name: runs
  mountPath: /work
{{- range .Values.runs.paths }}
- name: runs
  mountPath: {{ include "isaac-sweep.json" . }}
  subPath: {{ include "isaac-sweep.json" (trimPrefix "/" .) }}
{{- end }}
- name: shm
  mountPath: /dev/shm
- name: tmp
  mountPath: /tmp
- name: sweep
  mountPath: /etc/sweepctl
  readOnly: true
{{- if .Values.podCode.mount }}
- name: pod-code
  mountPath: /opt/sweepctl
  readOnly: true
{{- end }}
{{- with .Values.code }}
{{- if include "isaac-sweep.codeSource" . }}
- name: code
  mountPath: {{ include "isaac-sweep.json" .mountPath }}
  {{- if .git.repository }}
  subPath: repository
  {{- else if and .claim.name (not .image.reference) }}
  readOnly: {{ .claim.readOnly }}
  {{- with .claim.subPath }}
  subPath: {{ include "isaac-sweep.json" . }}
  {{- end }}
  {{- else }}
  readOnly: true
  {{- end }}
{{- end }}
{{- end }}
{{- range .Values.extraVolumeMounts }}
- {{ include "isaac-sweep.json" . }}
{{- end }}
{{- end }}

{{- /* A container of the user's own, confined as the agent is but for what it says itself. Takes a
list: the container, the setting `security`. */}}
{{- define "isaac-sweep.confined" -}}
{{- $container := deepCopy (first .) -}}
{{- $security := include "isaac-sweep.containerSecurity" (last .) | fromYaml -}}
{{- range $key, $value := $container.securityContext -}}
{{- $_ := set $security $key $value -}}
{{- end -}}
- {{ include "isaac-sweep.json" (set $container "securityContext" $security) }}
{{- end }}

{{- /* Clones code.git; it takes no more room than the agent after it. */}}
{{- define "isaac-sweep.clone" -}}
{{- with .Values.code.git }}
{{- if .repository }}
{{- $network := include "isaac-sweep.network" $ | fromJsonArray }}
{{- $plain := list
  (list "HOME" "/tmp")
  (list "CODE_REPOSITORY" .repository)
  (list "CODE_REF" .ref) }}
{{- range $network }}
{{- $plain = append $plain . }}
{{- end }}
{{- if or $.Values.caBundle.configMap $.Values.caBundle.secret }}
{{- $plain = append $plain (list "GIT_SSL_CAINFO" "/etc/sweepctl/ca.crt") }}
{{- end }}
{{- $isSsh := include "isaac-sweep.isSsh" $ }}
{{- if $isSsh }}
{{- $plain = concat $plain (list (list "CODE_KEY" "/etc/sweepctl-key") (list "CODE_KNOWN_HOSTS" .knownHosts)) }}
{{- end }}
- name: code
  image: {{ include "isaac-sweep.json" (.image | default (include "isaac-sweep.image" $.Values.image)) }}
  imagePullPolicy: {{ $.Values.image.pullPolicy }}
  command: ["/bin/sh", "-c", {{ $.Files.Get "files/fetch_code.sh" | toJson }}]
  terminationMessagePolicy: FallbackToLogsOnError
  env:
    {{- include "isaac-sweep.variables" $plain | trim | nindent 4 }}
    {{- if and .secretName (not $isSsh) }}
    - name: GIT_USERNAME
      valueFrom:
        secretKeyRef:
          name: {{ include "isaac-sweep.json" .secretName }}
          key: username
          optional: true
    - name: GIT_PASSWORD
      valueFrom:
        secretKeyRef:
          name: {{ include "isaac-sweep.json" .secretName }}
          key: password
          optional: false
    {{- end }}
  resources:
    {{- include "isaac-sweep.resources" (list $.Values.resources "" 0) | trim | nindent 4 }}
  securityContext:
    {{- include "isaac-sweep.containerSecurity" $.Values.security | nindent 4 }}
  volumeMounts:
    - name: code
      mountPath: /code-volume
    - name: tmp
      mountPath: /tmp
    - name: sweep
      mountPath: /etc/sweepctl
      readOnly: true
    {{- if $isSsh }}
    - name: code-key
      mountPath: /etc/sweepctl-key
      readOnly: true
    {{- if include "isaac-sweep.passwd" $ }}
    - name: code-key
      mountPath: /etc/passwd
      subPath: passwd
      readOnly: true
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What starts before the agent: sidecars, the clone of code.git, the user's own containers. */}}
{{- define "isaac-sweep.initContainers" -}}
{{- range .Values.sidecars }}
{{- $sidecar := deepCopy . }}
{{- if not (hasKey . "restartPolicy") }}{{ $_ := set $sidecar "restartPolicy" "Always" }}{{ end }}
{{ include "isaac-sweep.confined" (list $sidecar $.Values.security) }}
{{- end }}
{{- include "isaac-sweep.clone" . }}
{{- range .Values.initContainers }}
{{ include "isaac-sweep.confined" (list . $.Values.security) }}
{{- end }}
{{- end }}
