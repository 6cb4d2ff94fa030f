{{/* Parts of NetworkPolicies. */}}

{{- define "saccade.dnsEgress" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "saccade.publicEgress" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- toYaml .Values.networkPolicy.blockedNetworks | nindent 10 }}
{{- end -}}

{{- define "saccade.ofThisRelease" -}}
- podSelector:
    matchLabels:
      ray.io/cluster: {{ include "saccade.fullname" . }}
- podSelector:
    matchLabels:
      {{- include "saccade.selectorLabels" . | nindent 6 }}
      app.kubernetes.io/component: gateway
{{- end -}}
