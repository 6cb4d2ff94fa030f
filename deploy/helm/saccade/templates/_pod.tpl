{{/* What all pods share. */}}

{{/* Service links would be variables such as SACCADE_PORT, which Saccade takes for configuration. */}}
{{- define "saccade.podCommon" -}}
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClass.name }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "saccade.containerCommon" -}}
image: {{ include "saccade.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
{{- end -}}

{{/* The root file system is read-only: homes and caches are in /tmp. */}}
{{- define "saccade.env" -}}
- {name: HOME, value: /tmp}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
{{- if eq .Values.ray.mode "cluster" }}
- {name: RAY_AUTH_MODE, value: token}
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ include "saccade.raySecret" . }}, key: auth_token}
{{- end }}
{{- end -}}

{{- define "saccade.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: shared-memory, mountPath: /dev/shm}
{{- if include "saccade.hasModelVolume" . }}
- name: models
  mountPath: {{ .Values.models.mountPath }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* Takes root, sharedMemory and tmpSize. */}}
{{- define "saccade.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .tmpSize }}}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ .sharedMemory }}}
{{- if include "saccade.hasModelVolume" .root }}
- name: models
  persistentVolumeClaim: {claimName: {{ include "saccade.modelClaim" .root }}}
{{- end }}
{{- end -}}

{{/* Takes values with nodeSelector, tolerations and affinity. */}}
{{- define "saccade.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Over nodes and zones, where that is possible. Takes `constraints` and `labels`. */}}
{{- define "saccade.spread" -}}
topologySpreadConstraints:
{{- if .constraints }}
  {{- toYaml .constraints | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}
