"""Values that cannot work are refused before anything is installed, and the message helps."""

from typing import Any

import pytest
from helm_python import HelmError

from tests.deploy.chart import merged, render, values_of

NO_WORKERS = {"ray": {"mode": "cluster", "workers": {}}}
KEDA = {"enabled": True, "prometheusAddress": "http://prometheus:9090"}

# Profile, what is changed, and words of the message.
REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "unknown key": ("cpu", {"gatway": {}}, ("gatway",)),
    "unknown key in a section": ("cpu", {"gateway": {"replica": 2}}, ("replica",)),
    "text for a number": ("cpu", {"gateway": {"replicas": "three"}}, ("/gateway/replicas",)),
    "no gateway": ("cpu", {"gateway": {"replicas": 0}}, ("/gateway/replicas", "minimum")),
    "unknown profile": ("cpu", {"profile": "tpu"}, ("/profile",)),
    "no limits": (
        "eight-gpus",
        {"ray": {"workers": {"llm": {"resources": {"limits": None}}}}},
        ("/ray/workers/llm/resources", "limits"),
    ),
    "unknown key in Saccade's configuration": (
        "cpu",
        {"config": {"api": {"max_queue": 3}}},
        ("/config/api", "max_queue"),
    ),
    "value of the wrong type in Saccade's configuration": (
        "cpu",
        {"config": {"instances": {"llm": {"replicas": "many"}}}},
        ("/config/instances/llm/replicas",),
    ),
    "role that does not exist": (
        "cpu",
        {"config": {"instances": {"llm": {"roles": ["prefil"]}}}},
        ("/config/instances/llm/roles",),
    ),
    "address that the chart sets": ("cpu", {"config": {"api": {"port": 9000}}}, ("port",)),
    "keys in the configuration": ("cpu", {"config": {"api": {"keys": []}}}, ("keys",)),
    "open to everybody": (
        "cpu",
        {"ingress": {"enabled": True}},
        ("open to everybody", "auth.existingSecret", "auth.allowAnonymous"),
    ),
    "two sources of keys": (
        "multi-node",
        {"auth": {"keys": [{"key": "not-a-secret", "tenant": "a"}]}},
        ("existingSecret and keys are both set",),
    ),
    "short key": ("cpu", {"auth": {"keys": [{"key": "abc", "tenant": "a"}]}}, ("/auth/keys/0",)),
    "two scalers": (
        "cpu",
        {"gateway": {"autoscaling": {"enabled": True}, "keda": KEDA}},
        ("two controllers would fight",),
    ),
    "gateways scale, workers do not": (
        "multi-node",
        {"gateway": {"autoscaling": {"enabled": True}}},
        ("ray.autoscaling.enabled: true",),
    ),
    "fewest above most": (
        "cpu",
        {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 5}}},
        ("minReplicas (5) is more than maxReplicas (4)",),
    ),
    "KEDA without Prometheus": (
        "cpu",
        {"gateway": {"keda": {"enabled": True}}},
        ("prometheusAddress: missing",),
    ),
    "KEDA without a trigger": (
        "cpu",
        {"gateway": {"keda": KEDA | {"queuedPerReplica": "", "ttftMissRatio": ""}}},
        ("nothing would ever scale",),
    ),
    "checkpoint without a volume": (
        "one-gpu",
        {"models": {"create": False, "download": {"repository": ""}}},
        ("no volume is mounted at /models", "models.existingClaim"),
    ),
    "download to nowhere": (
        "cpu",
        {"models": {"download": {"repository": "a/b"}}},
        ("there is no volume to put it on",),
    ),
    "claim given and made": ("one-gpu", {"models": {"existingClaim": "x"}}, ("both set",)),
    "one node's volume for several pods": (
        "one-gpu",
        {"gateway": {"replicas": 2}},
        ("ReadWriteMany",),
    ),
    "more GPUs than the pod has": (
        "one-gpu",
        {"config": {"instances": {"llm": {"replicas": 3}}}},
        ("nvidia.com/gpu: 1", "2.6"),
    ),
    "workers without a cluster": ("cpu", {"ray": {"mode": "pod", "workers": {"a": {
        "instances": {"llm": 1},
        "resources": {"requests": {"cpu": 1}, "limits": {"cpu": 1}},
    }}}}, ("ray.mode: cluster",)),
    "cluster without workers": ("cpu", NO_WORKERS, ("ray.workers: missing",)),
    "worker for instances that do not exist": (
        "eight-gpus",
        {"ray": {"workers": {"llm": {"instances": {"lmm": 6}}}}},
        ("ray.workers.llm.instances.lmm", "encode, llm"),
    ),
    "worker with too few GPUs": (
        "eight-gpus",
        {"ray": {"workers": {"llm": {"instances": {"llm": 8}}}}},
        ("reserve 8 GPUs", "nvidia.com/gpu: 6"),
    ),
    "worker with too few cores": (
        "eight-gpus",
        {"config": {"instances": {"llm": {"cpus": 8}}}},
        ("reserve 48 CPU cores", "cpu: 32"),
    ),
    "no room for a second gateway": (
        "eight-gpus",
        {"gateway": {"replicas": 2}},
        ("2 gateway(s) start 4 instance(s)", "room for 2"),
    ),
    "metrics of Ray nodes that are not there": (
        "cpu",
        {"monitoring": {"podMonitor": {"enabled": True}}},
        ("podMonitor", "ray.mode: cluster"),
    ),
    "priority class without a name": (
        "cpu",
        {"priorityClass": {"create": True}},
        ("priorityClass.name: missing",),
    ),
    "route without a gateway": (
        "multi-node",
        {"httpRoute": {"enabled": True}},
        ("httpRoute.parentRefs: missing",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_cannot_work_are_refused_with_the_reason(case: str) -> None:
    profile, change, words = REFUSED[case]
    with pytest.raises(HelmError) as refused:
        render(merged(values_of(profile), change))
    for word in words:
        assert word in str(refused.value)
