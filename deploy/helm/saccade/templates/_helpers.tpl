{{/* Names and labels. */}}

{{- define "saccade.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "saccade.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "saccade.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "saccade.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: saccade
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "saccade.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- $tag := default (printf "%s-%s" .Chart.AppVersion .Values.profile) .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "saccade.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "saccade.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "saccade.headServiceAccountName" -}}
{{- $name := include "saccade.serviceAccountName" . -}}
{{- ternary (printf "%s-head" $name) $name .Values.serviceAccount.create -}}
{{- end -}}

{{- define "saccade.hasModelVolume" -}}
{{- if or .Values.models.create .Values.models.existingClaim -}}true{{- end -}}
{{- end -}}

{{- define "saccade.modelClaim" -}}
{{- default (printf "%s-models" (include "saccade.fullname" .)) .Values.models.existingClaim -}}
{{- end -}}

{{- define "saccade.hasKeys" -}}
{{- if or .Values.auth.existingSecret .Values.auth.keys -}}true{{- end -}}
{{- end -}}

{{/* Somebody without a key or token is refused. */}}
{{- define "saccade.asksWho" -}}
{{- if or (include "saccade.hasKeys" .) (default dict .Values.config.api).jwt -}}true{{- end -}}
{{- end -}}

{{- define "saccade.keysSecret" -}}
{{- default (printf "%s-api-keys" (include "saccade.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{/* KubeRay makes a Secret of the cluster's name when it is given none. */}}
{{- define "saccade.raySecret" -}}
{{- default (include "saccade.fullname" .) .Values.ray.auth.existingSecret -}}
{{- end -}}

{{- define "saccade.rayAddress" -}}
{{- printf "%s-head-svc:6379" (include "saccade.fullname" .) -}}
{{- end -}}

{{/* Before SIGTERM, the longest drain, the instances' stop, and some room. */}}
{{- define "saccade.gracePeriod" -}}
{{- $api := default dict .Values.config.api -}}
{{- $cluster := default dict .Values.config.cluster -}}
{{- $drain := default 30 $api.drain_timeout_s -}}
{{- if hasKey $api "drain_timeout_s" -}}{{- $drain = $api.drain_timeout_s -}}{{- end -}}
{{- $stop := default 45 $cluster.stop_timeout_s -}}
{{- add (int .Values.gateway.preStopDelaySeconds) (int (ceil (float64 $drain))) (int (ceil (float64 $stop))) 15 -}}
{{- end -}}

{{/* The configuration file: what the user gave, and what the chart knows. */}}
{{- define "saccade.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $api := merge (dict "host" "0.0.0.0" "port" 8000) (default dict $config.api) -}}
{{- $_ := set $config "api" $api -}}
{{- if eq .Values.ray.mode "cluster" -}}
{{- $_ := set $config "cluster" (merge (dict "address" (include "saccade.rayAddress" .)) (default dict $config.cluster)) -}}
{{- range $name, $group := $config.instances -}}
{{- $_ := set $group "resources" (merge (dict (printf "instance_%s" $name) 1) (default dict $group.resources)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
