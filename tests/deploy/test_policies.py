"""Rules that every pod of the chart keeps, whatever is switched on."""

from typing import Any

import pytest

from tests.deploy.chart import Manifest, cases, containers, manifests, pod_specs

PODS = [
    pytest.param(labels, spec, id=f"{name}: {pod}")
    for name, values in cases().items()
    for pod, labels, spec in pod_specs(manifests(values))
]
every_pod = pytest.mark.parametrize(("labels", "spec"), PODS)
LONG_RUNNING = {"gateway", "ray-head", "ray-worker"}


@every_pod
def test_pods_keep_the_restricted_profile(labels: dict[str, str], spec: Manifest) -> None:
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in context
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not any("hostPath" in volume for volume in spec.get("volumes", []))


@every_pod
def test_root_file_systems_are_read_only_and_tmp_is_not(
    labels: dict[str, str], spec: Manifest
) -> None:
    for container in containers(spec):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = {
            mount["mountPath"]
            for mount in container["volumeMounts"]
            if not mount.get("readOnly", False)
        }
        assert "/tmp" in writable
    for volume in spec["volumes"]:
        if "emptyDir" in volume and volume["name"] != "scratch":
            assert volume["emptyDir"]["sizeLimit"], "without a limit it can fill the node"


@every_pod
def test_containers_have_requests_and_limits(labels: dict[str, str], spec: Manifest) -> None:
    for container in containers(spec):
        resources = container["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys()
        assert {"cpu", "memory"} <= resources["limits"].keys()
        gpus = {part: resources[part].get("nvidia.com/gpu") for part in ("requests", "limits")}
        assert gpus["requests"] == gpus["limits"], "Kubernetes refuses GPUs that differ"


@every_pod
def test_what_runs_for_long_has_all_three_probes(labels: dict[str, str], spec: Manifest) -> None:
    for container in spec["containers"]:
        if container["name"] not in LONG_RUNNING:
            continue
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports


@every_pod
def test_images_have_a_version(labels: dict[str, str], spec: Manifest) -> None:
    for container in containers(spec):
        tag = container["image"].partition(":")[2]
        assert tag
        assert tag != "latest"


@every_pod
def test_service_links_are_off(labels: dict[str, str], spec: Manifest) -> None:
    # A Service named saccade would give the variable SACCADE_PORT, which is no section of the
    # configuration: the gateway would refuse to start.
    assert spec["enableServiceLinks"] is False


@every_pod
def test_only_a_head_with_an_autoscaler_gets_a_token_of_kubernetes(
    labels: dict[str, str], spec: Manifest
) -> None:
    head = labels["app.kubernetes.io/component"] == "ray-head"
    assert not spec["automountServiceAccountToken"] or head


@every_pod
def test_volumes_that_are_mounted_exist(labels: dict[str, str], spec: Manifest) -> None:
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in containers(spec):
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(paths)) == len(paths)
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


@every_pod
def test_shared_memory_fits_into_the_containers_memory(
    labels: dict[str, str], spec: Manifest
) -> None:
    # Pages of a memory volume are counted as the container's own.
    for volume in spec["volumes"]:
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            (container,) = spec["containers"]
            limit = container["resources"]["limits"]["memory"]
            assert _bytes(volume["emptyDir"]["sizeLimit"]) < _bytes(limit)


def _bytes(quantity: Any) -> float:
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    text = str(quantity)
    return float(text[:-2]) * units[text[-2:]] if text[-2:] in units else float(text)
