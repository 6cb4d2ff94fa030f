"""The chart, rendered by Helm's own engine."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, _native

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "saccade"
PROFILES = ("cpu", "one-gpu", "eight-gpus", "multi-node")
KUBERNETES = ("1.30", "1.33", "1.35", "1.37")
RELEASE = "demo"
NAMESPACE = "models"

Manifest = dict[str, Any]
Values = Mapping[str, Any]

# All that can be switched on beside a RayCluster, so that every template is rendered.
EVERYTHING: Values = {
    "auth": {"existingSecret": "", "keys": [{"key": "not-a-secret", "tenant": "team-a"}]},
    "models": {
        "existingClaim": "",
        "create": True,
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "nfs",
        "download": {"repository": "Qwen/Qwen2.5-VL-7B-Instruct", "tokenSecret": "hub"},
    },
    "gateway": {
        "keda": {"enabled": True, "prometheusAddress": "http://prometheus.monitoring:9090"},
        "podLabels": {"team": "vision"},
        "podAnnotations": {"example.com/note": "yes"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    },
    "ray": {
        "auth": {"existingSecret": "ray-token"},
        "autoscaling": {"enabled": True},
        "head": {"dashboard": True},
        "gcsFaultTolerance": {"redisAddress": "redis:6379"},
        "workers": {"llm": {"minReplicas": 1, "maxReplicas": 4, "podLabels": {"team": "vision"}}},
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["a.example"]},
    "tests": {"keySecret": "key-for-tests"},
    "networkPolicy": {
        "gatewayFrom": [{"namespaceSelector": {}}],
        "extraEgress": [{"ports": [{"port": 4318}]}],
        "rayEgress": [{"ports": [{"port": 4318}]}],
    },
    "image": {"pullSecrets": [{"name": "registry"}]},
    "serviceAccount": {"annotations": {"example.com/role": "none"}},
    "commonLabels": {"cost-centre": "42"},
    "extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-extra"},
            "data": {"a": "b"},
        }
    ],
}
# What is left: a HorizontalPodAutoscaler, in the place of KEDA's.
WITH_HPA: Values = {"gateway": {"autoscaling": {"enabled": True, "maxReplicas": 3}}}


def values_of(profile: str) -> dict[str, Any]:
    """The values file of a profile."""
    text = (CHART / f"values-{profile}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def merged(base: Values, over: Values) -> dict[str, Any]:
    """As Helm merges: maps key by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merged(old, value)  # noqa: PLW2901
        result[key] = value
    return result


def cases() -> dict[str, dict[str, Any]]:
    """Named values which together render every template."""
    return {profile: values_of(profile) for profile in PROFILES} | {
        "defaults": {},
        "everything": merged(values_of("multi-node"), EVERYTHING),
        "hpa": merged(values_of("cpu"), WITH_HPA),
    }


def render(values: Values, *, kubernetes: str = "1.33") -> dict[str, str]:
    """Template's file name to what it renders, blank ones left out.

    Raises:
        HelmError: the values are refused.
    """
    options = {"name": RELEASE, "namespace": NAMESPACE, "kube_version": f"v{kubernetes}.0"}
    with Chart.load(str(CHART)) as chart:
        # `Chart.render` cannot be told the version of Kubernetes.
        text = _native.call_string(
            "helm_render", chart._raw(), json.dumps(values), json.dumps(options)
        )
    rendered: dict[str, str] = json.loads(text)
    return {
        path.removeprefix("saccade/templates/"): body
        for path, body in sorted(rendered.items())
        if body.strip()
    }


def manifests(values: Values, *, kubernetes: str = "1.33") -> list[Manifest]:
    """All objects, in the order of their files."""
    return [
        manifest
        for path, text in render(values, kubernetes=kubernetes).items()
        if path.endswith(".yaml")
        for manifest in yaml.load_all(text, Loader=_StrictLoader)
        if manifest
    ]


def of_kind(kind: str, values: Values) -> list[Manifest]:
    return [manifest for manifest in manifests(values) if manifest["kind"] == kind]


def pod_specs(objects: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Name, labels and spec of every pod that the objects describe."""
    for manifest in objects:
        kind, spec = manifest["kind"], manifest.get("spec", {})
        name = f"{kind}/{manifest['metadata']['name']}"
        if kind == "Pod":
            yield name, manifest["metadata"]["labels"], spec
        elif kind in {"Deployment", "Job"}:
            yield name, spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        elif kind == "RayCluster":
            groups = {"headgroup": spec["headGroupSpec"]}
            groups |= {group["groupName"]: group for group in spec["workerGroupSpecs"]}
            for group_name, group in groups.items():
                template = group["template"]
                # These two are put there by KubeRay.
                of_operator = {
                    "ray.io/cluster": manifest["metadata"]["name"],
                    "ray.io/group": group_name,
                }
                labels = template["metadata"]["labels"] | of_operator
                yield f"{name}/{group_name}", labels, template["spec"]


def containers(spec: Manifest) -> list[Manifest]:
    found: list[Manifest] = [*spec.get("initContainers", []), *spec["containers"]]
    return found


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice; Kubernetes would keep the last."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(set(keys)) == len(keys), f"a key is given twice{node.start_mark}"
    loader.flatten_mapping(node)
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
