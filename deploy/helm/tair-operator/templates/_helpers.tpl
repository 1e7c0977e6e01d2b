{{- define "tair-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "tair-operator.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "tair-operator.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{- define "tair-operator.accessConfigMap" -}}
{{ .Values.access.existingConfigMap | default (printf "%s-access" (include "tair-operator.fullname" .)) }}
{{- end -}}

{{- define "tair-operator.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end -}}

{{/* What never changes, since a Deployment cannot change its selector. */}}
{{- define "tair-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* What all objects have but those of the test. */}}
{{- define "tair-operator.labels" -}}
{{ include "tair-operator.selector" . }}
{{ include "tair-operator.commonLabels" . }}
{{- end -}}

{{- define "tair-operator.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Subject of the bindings. */}}
{{- define "tair-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "tair-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Variables for a map of settings by name: resyncSeconds becomes TAIR_OPERATOR_RESYNC_SECONDS. */}}
{{- define "tair-operator.variables" -}}
{{- range $name, $value := . }}
{{- /* YAML has one kind of number, which would print 1000000 as 1e+06. */}}
- name: TAIR_OPERATOR_{{ $name | snakecase | upper }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end -}}

{{/* What the schema cannot say in words that help. The operator checks the same when it starts. */}}
{{- define "tair-operator.validate" -}}
{{- $credentials := .Values.credentials }}
{{- $settings := .Values.settings }}
{{- $isRRSA := eq $credentials.source "RRSA" }}
{{- if and $isRRSA (not (or $credentials.roleName $credentials.roleArn)) }}
{{- fail "credentials.source is RRSA: set credentials.roleName (with ACK's pod identity webhook) or credentials.roleArn (without)" }}
{{- end }}
{{- if and $credentials.roleName $credentials.roleArn }}
{{- fail "credentials.roleName and credentials.roleArn are both set: use one of the two" }}
{{- end }}
{{- if and (not $isRRSA) (or $credentials.roleName $credentials.roleArn) }}
{{- fail "credentials.roleName and credentials.roleArn are for RRSA: set credentials.source to RRSA, or unset them; for a role on top of another source see credentials.assumeRoleArn" }}
{{- end }}
{{- if and $credentials.roleArn (not $credentials.oidcProviderArn) }}
{{- fail "credentials.roleArn needs credentials.oidcProviderArn, the identity provider in RAM that trusts this cluster" }}
{{- end }}
{{- if and $credentials.ecsRoleName (ne $credentials.source "ECSRAMRole") }}
{{- fail "credentials.ecsRoleName is for ECSRAMRole: set credentials.source to ECSRAMRole, or unset it" }}
{{- end }}
{{- if and $credentials.assumeRoleExternalId (not $credentials.assumeRoleArn) }}
{{- fail "credentials.assumeRoleExternalId needs credentials.assumeRoleArn" }}
{{- end }}
{{- if and $settings.stsRegion $settings.stsEndpoint }}
{{- fail "settings.stsRegion and settings.stsEndpoint are both set: use one of the two" }}
{{- end }}
{{- if and $settings.vpcEndpoints (or $isRRSA $credentials.assumeRoleArn) (not (or $settings.stsRegion $settings.stsEndpoint)) }}
{{- fail "settings.vpcEndpoints needs settings.stsRegion: inside a VPC there is one STS per region" }}
{{- end }}
{{- range $name := list "endpoint" "stsEndpoint" }}
{{- if and (hasPrefix "http://" (get $settings $name | default "")) (not $settings.allowHttp) }}
{{- fail (printf "settings.%s is plain http: use https, or set settings.allowHttp to true for the simulator" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.access.existingConfigMap .Values.access.rules }}
{{- fail "access.existingConfigMap and access.rules are both set: use one of the two" }}
{{- end }}
{{- if and .Values.access.existingConfigMap (eq .Values.access.releases "Hold") }}
{{- fail "access.releases would change nothing: with access.existingConfigMap, write releases: Hold into that ConfigMap" }}
{{- end }}
{{- range .Values.access.rules }}
{{- if and (eq (.approval | default "") "Required") (not (has "Release" .actions)) }}
{{- fail "access.rules: approval: Required is about releases: add Release to actions, or remove approval" }}
{{- end }}
{{- end }}
{{- $seen := list }}
{{- range .Values.tenants }}
{{- if and $.Values.watchNamespaces (not (has .namespace $.Values.watchNamespaces)) }}
{{- fail (printf "tenants: namespace %s is not served: add it to watchNamespaces, or remove it" .namespace) }}
{{- end }}
{{- if has .namespace $seen }}
{{- fail (printf "tenants: namespace %s is there twice; put all its names into one entry" .namespace) }}
{{- end }}
{{- $seen = append $seen .namespace }}
{{- end }}
{{- end -}}

{{- define "tair-operator.needPrometheusOperator" -}}
{{- if not ((index . 0).Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}
{{- fail (printf "%s.enabled: this cluster does not serve monitoring.coreos.com/v1; install the Prometheus Operator first (helm template: --api-versions monitoring.coreos.com/v1), or unset it" (index . 1)) }}
{{- end }}
{{- end -}}
