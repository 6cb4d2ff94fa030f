"""The chart's values as a model: what values.schema.json is made from."""

# ruff: noqa: N815  # names as Helm charts have them

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Quantity = (
    Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$")] | int | float
)
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
OptionalName = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$")]
ClusterName = Annotated[str, Field(pattern=r"^([a-z]([a-z0-9-]{0,38}[a-z0-9])?)?$")]
Kubernetes = dict[str, Any]
"""Handed on as it is; Kubernetes itself says what fits."""
Labels = dict[str, str]
Replicas = Annotated[int, Field(ge=1, le=1024)]
Budget = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^[0-9]{1,3}%$")]
Duration = Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m|h)$")]
Path = Annotated[str, Field(pattern=r"^/")]
Number = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?)?$")]


class Part(BaseModel):
    """Unknown keys are errors: a typo must not pass silently."""

    model_config = ConfigDict(extra="forbid")


class Resources(Part):
    """Both, always: what runs without a limit takes the node's memory from its neighbours."""

    requests: dict[str, Quantity]
    limits: dict[str, Quantity]


class Image(Part):
    repository: Annotated[str, Field(min_length=1)]
    tag: Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$")]
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
    pullPolicy: Literal["Always", "IfNotPresent", "Never"]
    pullSecrets: list[Kubernetes]


class Tenant(Part):
    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    max_running: Annotated[int, Field(ge=1)] | None = None


class ApiKey(Tenant):
    key: Annotated[str, Field(min_length=8)]


class ApiKeyDigest(Tenant):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class Auth(Part):
    existingSecret: OptionalName
    secretKey: Annotated[str, Field(min_length=1)]
    keys: list[ApiKey | ApiKeyDigest]
    allowAnonymous: bool


class Download(Part):
    repository: str
    revision: Annotated[str, Field(min_length=1)]
    tokenSecret: OptionalName
    tokenSecretKey: Annotated[str, Field(min_length=1)]
    resources: Resources


class Models(Part):
    mountPath: Path
    existingClaim: OptionalName
    create: bool
    size: Quantity
    storageClassName: OptionalName
    accessModes: Annotated[
        list[Literal["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"]],
        Field(min_length=1),
    ]
    download: Download


class DisruptionBudget(Part):
    enabled: bool
    maxUnavailable: Budget


class Autoscaling(Part):
    enabled: bool
    minReplicas: Replicas
    maxReplicas: Replicas
    targetCPUUtilizationPercentage: Annotated[int, Field(ge=1, le=100)]
    metrics: list[Kubernetes]
    behavior: Kubernetes


class Keda(Part):
    enabled: bool
    minReplicas: Replicas
    maxReplicas: Replicas
    prometheusAddress: Annotated[str, Field(pattern=r"^(https?://.+)?$")]
    queuedPerReplica: Number
    ttftMissRatio: Number
    ttftSloSeconds: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")]
    pollingInterval: Annotated[int, Field(ge=1)]
    cooldownPeriod: Annotated[int, Field(ge=0)]


class Placed(Part):
    """Where pods may be."""

    nodeSelector: Labels = {}
    tolerations: list[Kubernetes] = []
    affinity: Kubernetes = {}


class Gateway(Placed):
    replicas: Replicas
    resources: Resources
    sharedMemory: Quantity
    tmpSize: Quantity
    preStopDelaySeconds: Annotated[int, Field(ge=0, le=600)]
    strategy: Kubernetes
    startupSeconds: Annotated[int, Field(ge=10)]
    podDisruptionBudget: DisruptionBudget
    autoscaling: Autoscaling
    keda: Keda
    podLabels: Labels
    podAnnotations: Labels
    topologySpreadConstraints: list[Kubernetes]
    extraEnv: list[Kubernetes]
    extraVolumes: list[Kubernetes]
    extraVolumeMounts: list[Kubernetes]


class RayAuth(Part):
    existingSecret: OptionalName


class RayHead(Placed):
    dashboard: bool
    resources: Resources
    sharedMemory: Quantity
    tmpSize: Quantity


class RayWorkers(Placed):
    instances: Annotated[
        dict[str, Annotated[int, Field(ge=1)]],
        Field(min_length=1, description="Instance group to how many of it one node has room for."),
    ]
    resources: Resources
    replicas: Replicas = 1
    minReplicas: Annotated[int, Field(ge=0)] = 0
    maxReplicas: Replicas = 1
    sharedMemory: Quantity = "2Gi"
    tmpSize: Quantity = "20Gi"
    topologySpreadConstraints: list[Kubernetes] = []
    podLabels: Labels = {}
    podAnnotations: Labels = {}
    extraEnv: list[Kubernetes] = []


class RayAutoscaling(Part):
    enabled: bool
    idleTimeoutSeconds: Annotated[int, Field(ge=1)]
    resources: Resources


class Ray(Part):
    mode: Literal["pod", "cluster"]
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    auth: RayAuth
    head: RayHead
    workers: dict[Name, RayWorkers]
    autoscaling: RayAutoscaling
    gcsFaultTolerance: Kubernetes
    podDisruptionBudget: DisruptionBudget


class Service(Part):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    port: Annotated[int, Field(ge=1, le=65535)]
    annotations: Labels


class Ingress(Part):
    enabled: bool
    className: OptionalName
    annotations: Labels
    hosts: list[str]
    paths: Annotated[list[Path], Field(min_length=1)]
    tls: list[Kubernetes]


class HttpRoute(Part):
    enabled: bool
    parentRefs: list[Kubernetes]
    hostnames: list[str]
    paths: Annotated[list[Path], Field(min_length=1)]


class NetworkPolicy(Part):
    enabled: bool
    gatewayFrom: list[Kubernetes]
    egress: bool
    blockedNetworks: list[Annotated[str, Field(pattern=r"^[0-9.]+/[0-9]{1,2}$")]]
    extraEgress: list[Kubernetes]
    rayEgress: list[Kubernetes]


class ServiceAccount(Part):
    create: bool
    name: OptionalName
    annotations: Labels


class PriorityClass(Part):
    create: bool
    name: OptionalName
    value: Annotated[int, Field(ge=-2_147_483_648, le=1_000_000_000)]


class Selected(Part):
    enabled: bool
    labels: Labels


class Monitor(Selected):
    interval: Duration


class Monitoring(Part):
    serviceMonitor: Monitor
    podMonitor: Monitor
    rules: Selected
    dashboards: Selected


class Tests(Part):
    keySecret: OptionalName
    keySecretKey: Annotated[str, Field(min_length=1)]
    resources: Resources


class Values(Part):
    """Values of the Helm chart for Saccade."""

    nameOverride: Annotated[str, Field(max_length=63)]
    fullnameOverride: ClusterName
    commonLabels: Labels
    image: Image
    profile: Literal["gpu", "cpu"]
    config: Kubernetes
    auth: Auth
    models: Models
    gateway: Gateway
    ray: Ray
    service: Service
    ingress: Ingress
    httpRoute: HttpRoute
    networkPolicy: NetworkPolicy
    serviceAccount: ServiceAccount
    priorityClass: PriorityClass
    monitoring: Monitoring
    podSecurityContext: Kubernetes
    containerSecurityContext: Kubernetes
    tests: Tests
    extraObjects: list[Kubernetes | str]
    # Helm gives it to charts that are part of others.
    global_: Annotated[Kubernetes, Field(alias="global")] = {}
