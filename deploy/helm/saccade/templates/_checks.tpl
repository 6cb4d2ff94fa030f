{{/* Values that fit the schema but not each other. */}}

{{- define "saccade.checks" -}}
{{- include "saccade.checkAccount" . -}}
{{- include "saccade.checkExposure" . -}}
{{- include "saccade.checkScaling" . -}}
{{- include "saccade.checkModels" . -}}
{{- if eq .Values.ray.mode "cluster" -}}
{{- include "saccade.checkWorkers" . -}}
{{- include "saccade.checkRoom" . -}}
{{- else -}}
{{- include "saccade.checkPod" . -}}
{{- end -}}
{{- end -}}

{{- define "saccade.checkAccount" -}}
{{- if .Values.serviceAccount.create | not -}}
{{- if and (eq .Values.ray.mode "cluster") .Values.ray.autoscaling.enabled (not .Values.serviceAccount.name) -}}
{{- fail "ray.autoscaling.enabled: KubeRay would give the autoscaler's rights to the ServiceAccount `default`; set serviceAccount.create, or name one in serviceAccount.name" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "saccade.checkExposure" -}}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not (include "saccade.asksWho" .)) (not .Values.auth.allowAnonymous) -}}
{{- fail "ingress/httpRoute: without API keys the gateway would be open to everybody; set auth.existingSecret (or auth.keys), or auth.allowAnonymous: true if something in front of it asks who is there" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: missing; name the Gateway, as in [{name: public}]" -}}
{{- end -}}
{{- if and .Values.auth.existingSecret .Values.auth.keys -}}
{{- fail "auth: existingSecret and keys are both set; keep one" -}}
{{- end -}}
{{- end -}}

{{- define "saccade.checkScaling" -}}
{{- $hpa := .Values.gateway.autoscaling.enabled -}}
{{- $keda := .Values.gateway.keda.enabled -}}
{{- if and $hpa $keda -}}
{{- fail "gateway.autoscaling and gateway.keda are both enabled: two controllers would fight over the replicas; keep one" -}}
{{- end -}}
{{- if and (or $hpa $keda) (eq .Values.ray.mode "cluster") (not .Values.ray.autoscaling.enabled) -}}
{{- fail "gateway.autoscaling/keda: each gateway starts instances of its own, so more gateways need more Ray workers; set ray.autoscaling.enabled: true" -}}
{{- end -}}
{{- range $name, $scaler := dict "autoscaling" .Values.gateway.autoscaling "keda" .Values.gateway.keda -}}
{{- if and $scaler.enabled (gt (int $scaler.minReplicas) (int $scaler.maxReplicas)) -}}
{{- fail (printf "gateway.%s: minReplicas (%v) is more than maxReplicas (%v)" $name $scaler.minReplicas $scaler.maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- if $keda -}}
{{- if not .Values.gateway.keda.prometheusAddress -}}
{{- fail "gateway.keda.prometheusAddress: missing; KEDA asks Prometheus for queue and SLO, so it needs its address, such as http://prometheus.monitoring:9090" -}}
{{- end -}}
{{- if not (or .Values.gateway.keda.queuedPerReplica .Values.gateway.keda.ttftMissRatio) -}}
{{- fail "gateway.keda: neither queuedPerReplica nor ttftMissRatio is set, so nothing would ever scale; set one" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "saccade.checkModels" -}}
{{- if and .Values.models.create .Values.models.existingClaim -}}
{{- fail "models: create and existingClaim are both set; keep one" -}}
{{- end -}}
{{- $path := .Values.config.model.path -}}
{{- $mount := printf "%s/" (trimSuffix "/" .Values.models.mountPath) -}}
{{- $onVolume := hasPrefix $mount $path -}}
{{- if and $onVolume (not (include "saccade.hasModelVolume" .)) -}}
{{- fail (printf "config.model.path is %s, but no volume is mounted at %s; set models.existingClaim, or models.create" $path .Values.models.mountPath) -}}
{{- end -}}
{{- if and .Values.models.download.repository (not (and $onVolume (include "saccade.hasModelVolume" .))) -}}
{{- fail (printf "models.download.repository: there is no volume to put it on; set models.create or models.existingClaim, and config.model.path to a folder in %s (now: %s)" .Values.models.mountPath $path) -}}
{{- end -}}
{{- $severalPods := or (eq .Values.ray.mode "cluster") (gt (int .Values.gateway.replicas) 1) -}}
{{- if and .Values.models.create $severalPods (not (has "ReadWriteMany" .Values.models.accessModes)) -}}
{{- fail (printf "models.accessModes is %v, but several pods read the checkpoint, on several nodes perhaps; use ReadWriteMany with a storage class that has it, or models.existingClaim" .Values.models.accessModes) -}}
{{- end -}}
{{- end -}}

{{/* Every worker group names instance groups that exist, and offers the GPUs that these need. */}}
{{- define "saccade.checkWorkers" -}}
{{- $groups := .Values.config.instances -}}
{{- if not .Values.ray.workers -}}
{{- fail "ray.workers: missing; with ray.mode: cluster, instances run on worker groups. See values-multi-node.yaml" -}}
{{- end -}}
{{- range $name, $worker := .Values.ray.workers -}}
{{- $gpus := 0.0 -}}
{{- $cpus := 0.0 -}}
{{- range $group, $count := $worker.instances -}}
{{- if not (hasKey $groups $group) -}}
{{- fail (printf "ray.workers.%s.instances.%s: config.instances has no such group; it has %s" $name $group (join ", " (keys $groups | sortAlpha))) -}}
{{- end -}}
{{- $needs := get $groups $group -}}
{{- $gpus = addf $gpus (mulf (float64 $count) (float64 (default 0 $needs.gpus))) -}}
{{- $cpus = addf $cpus (mulf (float64 $count) (float64 (default 1 $needs.cpus))) -}}
{{- end -}}
{{- $limits := $worker.resources.limits -}}
{{- $offered := float64 (default 0 (index $limits "nvidia.com/gpu")) -}}
{{- if gt $gpus $offered -}}
{{- fail (printf "ray.workers.%s: its instances reserve %v GPUs, but resources.limits has nvidia.com/gpu: %v; raise it, or lower `instances`" $name $gpus $offered) -}}
{{- end -}}
{{- $cores := toString (default "0" $limits.cpu) -}}
{{- if and (not (hasSuffix "m" $cores)) (gt $cpus (float64 $cores)) -}}
{{- fail (printf "ray.workers.%s: its instances reserve %v CPU cores, but resources.limits has cpu: %s; raise it, or lower config.instances.*.cpus" $name $cpus $cores) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* All gateways together find room for their instances. */}}
{{- define "saccade.checkRoom" -}}
{{- $gateways := int .Values.gateway.replicas -}}
{{- $autoscaling := .Values.ray.autoscaling.enabled -}}
{{- $workers := .Values.ray.workers -}}
{{- range $group, $settings := .Values.config.instances -}}
{{- $wanted := mul $gateways (int (default 1 $settings.replicas)) -}}
{{- $room := 0 -}}
{{- range $worker := $workers -}}
{{- $replicas := int (default 1 $worker.replicas) -}}
{{- if $autoscaling -}}{{- $replicas = int (default $replicas $worker.maxReplicas) -}}{{- end -}}
{{- $room = add $room (mul $replicas (int (default 0 (get $worker.instances $group)))) -}}
{{- end -}}
{{- if gt (int $wanted) (int $room) -}}
{{- fail (printf "config.instances.%s: %d gateway(s) start %d instance(s) of it, but ray.workers have room for %d; raise ray.workers.*.replicas (or .instances.%s), or lower config.instances.%s.replicas" $group $gateways $wanted $room $group $group) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* One pod holds the gateway and all instances. */}}
{{- define "saccade.checkPod" -}}
{{- $gpus := 0.0 -}}
{{- range $group := .Values.config.instances -}}
{{- $gpus = addf $gpus (mulf (float64 (default 1 $group.replicas)) (float64 (default 0 $group.gpus))) -}}
{{- end -}}
{{- $offered := float64 (default 0 (index .Values.gateway.resources.limits "nvidia.com/gpu")) -}}
{{- if gt $gpus $offered -}}
{{- fail (printf "gateway.resources.limits has nvidia.com/gpu: %v, but config.instances reserve %v GPUs in the pod; raise the first or lower the second" $offered $gpus) -}}
{{- end -}}
{{- if .Values.ray.workers -}}
{{- fail "ray.workers: there are none with ray.mode: pod; set ray.mode: cluster, or remove them" -}}
{{- end -}}
{{- if .Values.monitoring.podMonitor.enabled -}}
{{- fail "monitoring.podMonitor: it reads the metrics of Ray nodes, and with ray.mode: pod there are none; set ray.mode: cluster, or disable it" -}}
{{- end -}}
{{- end -}}
