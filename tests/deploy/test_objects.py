"""What the chart's objects say about each other, and about the program that they start."""

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from saccade.serving.api.tenants import Tenants
from saccade.serving.cli.main import app
from saccade.serving.config.load import load_settings
from saccade.serving.config.settings import Settings
from tests.deploy.chart import (
    PROFILES,
    ROOT,
    Manifest,
    Values,
    cases,
    containers,
    manifests,
    merged,
    of_kind,
    pod_specs,
    render,
    values_of,
)

CLUSTERS = ("eight-gpus", "multi-node", "everything")
every_case = pytest.mark.parametrize("name", cases())
every_cluster = pytest.mark.parametrize("name", CLUSTERS)


def settings_of(values: Values, folder: Path) -> Settings:
    """The ConfigMap's file, read as `saccade serve` reads it."""
    path = folder / "saccade.yaml"
    path.write_text(of_kind("ConfigMap", values)[0]["data"]["saccade.yaml"], encoding="utf-8")
    return load_settings(path)


def gateway(values: Values) -> Manifest:
    spec: Manifest = of_kind("Deployment", values)[0]["spec"]["template"]["spec"]
    return spec


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    assert set(selector) == {"matchLabels"}
    wanted: dict[str, str] = selector["matchLabels"]
    return wanted.items() <= labels.items()


@every_case
def test_the_configuration_can_be_served(name: str, tmp_path: Path) -> None:
    settings = settings_of(cases()[name], tmp_path)
    assert (settings.api.host, settings.api.port) == ("0.0.0.0", 8000)
    assert settings.serves_pictures


@every_case
def test_every_selector_finds_pods(name: str) -> None:
    objects = manifests(cases()[name])
    pods = [labels for _, labels, _ in pod_specs(objects)]
    selectors: dict[str, Callable[[Manifest], Manifest]] = {
        "PodDisruptionBudget": lambda spec: spec["selector"],
        "NetworkPolicy": lambda spec: spec["podSelector"],
        "Deployment": lambda spec: spec["selector"],
        "PodMonitor": lambda spec: spec["selector"],
        "Service": lambda spec: {"matchLabels": spec["selector"]},
    }
    for manifest in objects:
        if manifest["kind"] in selectors:
            selector = selectors[manifest["kind"]](manifest["spec"])
            assert any(matches(selector, labels) for labels in pods), manifest["metadata"]


@every_case
def test_the_service_finds_gateways_alone(name: str) -> None:
    objects = manifests(cases()[name])
    selector = {"matchLabels": of_kind("Service", cases()[name])[0]["spec"]["selector"]}
    found = {pod for pod, labels, _ in pod_specs(objects) if matches(selector, labels)}
    assert {pod.partition("/")[0] for pod in found} == {"Deployment"}


def test_monitors_name_ports_that_exist() -> None:
    values = cases()["everything"]
    service_ports = {port["name"] for port in of_kind("Service", values)[0]["spec"]["ports"]}
    monitored = of_kind("ServiceMonitor", values)[0]["spec"]["endpoints"]
    assert {endpoint["port"] for endpoint in monitored} <= service_ports
    ray_ports = [
        {port["name"] for port in containers(spec)[0]["ports"]}
        for _, _, spec in pod_specs(of_kind("RayCluster", values))
    ]
    for endpoint in of_kind("PodMonitor", values)[0]["spec"]["podMetricsEndpoints"]:
        assert all(endpoint["port"] in ports for ports in ray_ports)


def test_probes_and_monitors_ask_for_routes_that_are_served() -> None:
    source = (ROOT / "serving" / "routes.py").read_text(encoding="utf-8")
    served = set(re.findall(r'"(/[\w/*]+)":', source))
    values = cases()["everything"]
    container = gateway(values)["containers"][0]
    asked = {
        container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    asked |= {one["path"] for one in of_kind("ServiceMonitor", values)[0]["spec"]["endpoints"]}
    assert asked == {"/livez", "/readyz", "/metrics"}
    assert asked <= served


@every_case
def test_only_the_api_is_reachable_from_outside(name: str) -> None:
    values = cases()[name]
    paths = [
        path["path"]
        for ingress in of_kind("Ingress", values)
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    paths += [
        match["path"]["value"]
        for route in of_kind("HTTPRoute", values)
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    ]
    assert set(paths) <= {"/v1"}


@every_case
def test_commands_and_options_exist(name: str) -> None:
    commands = get_command(app)
    for _, _, spec in pod_specs(manifests(cases()[name])):
        for container in containers(spec):
            words = _words(container)
            if "saccade" not in words:
                continue
            subcommand = words[words.index("saccade") + 1]
            known = commands.commands[subcommand]  # type: ignore[attr-defined]
            options = {text for one in known.params for text in one.opts}
            given = [word for word in words[words.index("saccade") :] if word.startswith("--")]
            assert set(given) <= options


def _words(container: Manifest) -> list[str]:
    """The words of a container's command, also of one that a shell reads."""
    words = [*container.get("command", []), *container.get("args", [])]
    if words[:2] == ["/bin/sh", "-c"]:
        return shlex.split(words[2], comments=False)
    return words


@every_case
def test_a_gateway_has_time_to_finish_its_longest_request(name: str, tmp_path: Path) -> None:
    values = cases()[name]
    spec, settings = gateway(values), settings_of(values, tmp_path)
    pause_s = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert settings.api.drain_timeout_s >= settings.api.request_timeout_s
    needed_s = pause_s + settings.api.drain_timeout_s + settings.cluster.stop_timeout_s
    assert spec["terminationGracePeriodSeconds"] > needed_s


@every_case
def test_ray_runs_with_authentication(name: str) -> None:
    values = cases()[name]
    for cluster in of_kind("RayCluster", values):
        assert cluster["spec"]["authOptions"]["mode"] == "token"
        secret = cluster["spec"]["authOptions"].get("secretName", cluster["metadata"]["name"])
        for _, _, spec in [*pod_specs([cluster]), ("", {}, gateway(values))]:
            environment = {one["name"]: one for one in spec["containers"][0]["env"]}
            assert environment["RAY_AUTH_MODE"]["value"] == "token"
            reference = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
            assert reference == {"name": secret, "key": "auth_token"}


@every_cluster
def test_workers_have_room_for_the_instances_of_all_gateways(name: str, tmp_path: Path) -> None:
    values = cases()[name]
    settings = settings_of(values, tmp_path)
    deployment = of_kind("Deployment", values)[0]["spec"]
    num_gateways = deployment.get("replicas", 1)
    offered: dict[str, float] = {}
    for group in of_kind("RayCluster", values)[0]["spec"]["workerGroupSpecs"]:
        # A shell takes one pair of quotes away.
        (text,) = shlex.split(group["rayStartParams"]["resources"])
        for resource, amount in json.loads(text).items():
            offered[resource] = offered.get(resource, 0) + amount * group["maxReplicas"]
    for instances in settings.instances.values():
        for resource, amount in instances.resources.items():
            assert offered[resource] >= num_gateways * instances.replicas * amount


@every_cluster
def test_no_instance_fits_on_the_head_or_beside_a_gateway(name: str, tmp_path: Path) -> None:
    values = cases()[name]
    head = of_kind("RayCluster", values)[0]["spec"]["headGroupSpec"]["rayStartParams"]
    assert (head["num-cpus"], head["num-gpus"]) == ("0", "0")
    assert "resources" not in head
    (script,) = gateway(values)["containers"][0]["args"]
    assert "--num-cpus=0 --num-gpus=0" in script
    assert all(group.resources for group in settings_of(values, tmp_path).instances.values())


@every_cluster
def test_gateways_look_for_ray_where_kuberay_puts_its_service(name: str, tmp_path: Path) -> None:
    values = cases()[name]
    cluster = of_kind("RayCluster", values)[0]["metadata"]["name"]
    address = f"{cluster}-head-svc:6379"
    assert settings_of(values, tmp_path).cluster.address == address
    assert f"--address={address} " in gateway(values)["containers"][0]["args"][0]


def test_api_keys_are_never_in_the_configmap_or_in_arguments() -> None:
    values = cases()["everything"]
    rendered = {path: text for path, text in render(values).items() if path != "secret.yaml"}
    assert not any("not-a-secret" in text for text in rendered.values())
    (secret,) = of_kind("Secret", values)
    pod = gateway(values)
    environment = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    (volume,) = [one["secret"] for one in pod["volumes"] if one["name"] == "api-keys"]
    (item,) = volume["items"]
    assert environment["SACCADE_API__KEYS_FILE"] == f"{mounts['api-keys']}/{item['path']}"
    assert secret["metadata"]["name"] == volume["secretName"]
    keys = json.loads(secret["stringData"][item["key"]])
    assert keys == [{"key": "not-a-secret", "tenant": "team-a"}]


def test_keys_come_as_a_folder_so_that_kubernetes_can_change_them() -> None:
    # A single file (subPath) is never updated, and a checksum would replace the pods.
    values = cases()["everything"]
    mounts = gateway(values)["containers"][0]["volumeMounts"]
    (mount,) = [one for one in mounts if one["name"] == "api-keys"]
    assert "subPath" not in mount
    more = {"auth": {"keys": [{"sha256": "0" * 64, "tenant": "team-b"}]}}
    templates = [
        of_kind("Deployment", given)[0]["spec"]["template"] for given in (values, values | more)
    ]
    assert templates[0] == templates[1]


def test_the_gateway_takes_keys_in_the_form_of_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = cases()["everything"]
    (secret,) = of_kind("Secret", values)
    path = tmp_path / "api-keys"
    path.write_text(secret["stringData"]["api-keys"], encoding="utf-8")
    monkeypatch.setenv("SACCADE_API__KEYS_FILE", str(path))
    tenants = Tenants(settings_of(values, tmp_path).api)
    headers = [(b"authorization", b"Bearer not-a-secret")]
    assert tenants.tenant_of({"type": "http", "headers": headers}) == "team-a"


def test_a_change_of_configuration_replaces_the_pods() -> None:
    def checksum(values: Values) -> str:
        template = of_kind("Deployment", values)[0]["spec"]["template"]
        text: str = template["metadata"]["annotations"]["checksum/config"]
        return text

    values = values_of("cpu")
    changed = merged(values, {"config": {"api": {"max_queued": 7}}})
    assert checksum(values) == checksum(values_of("cpu"))
    assert checksum(values) != checksum(changed)


def test_a_scaler_owns_the_replicas_alone() -> None:
    for name, kind in (("hpa", "HorizontalPodAutoscaler"), ("everything", "ScaledObject")):
        values = cases()[name]
        (scaler,) = of_kind(kind, values)
        (deployment,) = of_kind("Deployment", values)
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert "replicas" not in deployment["spec"]


@every_case
def test_gateways_cannot_reach_private_networks(name: str) -> None:
    policies = of_kind("NetworkPolicy", cases()[name])
    (policy,) = [one for one in policies if one["metadata"]["name"].endswith("-gateway")]
    blocks = [
        peer["ipBlock"]
        for rule in policy["spec"]["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    assert len(blocks) == 1
    assert {"169.254.0.0/16", "10.0.0.0/8", "127.0.0.0/8"} <= set(blocks[0]["except"])


@every_cluster
def test_rays_ports_are_open_to_this_release_alone(name: str) -> None:
    policies = of_kind("NetworkPolicy", cases()[name])
    (policy,) = [one for one in policies if one["metadata"]["name"].endswith("-ray")]
    for rule in policy["spec"]["ingress"]:
        if rule.get("ports") == [{"protocol": "TCP", "port": "metrics"}]:
            continue
        assert all(set(peer) == {"podSelector"} for peer in rule["from"])


@pytest.mark.parametrize("profile", PROFILES)
def test_notes_say_how_to_ask_and_where_to_look(profile: str) -> None:
    notes = render(values_of(profile))["NOTES.txt"]
    assert "helm test demo --namespace models" in notes
    assert "logs deployment/" in notes
    assert ("there are no API keys" in notes) == (profile != "multi-node")


def test_gateways_and_ray_nodes_may_reach_what_they_are_allowed_to() -> None:
    allowed = {"ports": [{"port": 4318}]}
    policies = {
        one["metadata"]["name"].rpartition("-")[2]: one["spec"]["egress"]
        for one in of_kind("NetworkPolicy", cases()["everything"])
    }
    assert [name for name, egress in policies.items() if allowed in egress] == ["gateway", "ray"]


def test_the_test_pod_asks_the_service(tmp_path: Path) -> None:
    for name in ("cpu", "multi-node"):
        values = cases()[name]
        (pod,) = of_kind("Pod", values)
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        service = of_kind("Service", values)[0]
        address = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
        assert address in _words(pod["spec"]["containers"][0])


def test_tokens_of_an_identity_provider_are_enough_to_be_exposed() -> None:
    jwt = {"issuer": "https://a", "audience": "b", "jwks": "https://a/keys"}
    values = {"ingress": {"enabled": True}, "config": {"api": {"jwt": jwt}}}
    assert of_kind("Ingress", values)
    assert "there are no API keys" not in render(values)["NOTES.txt"]
    (pod,) = of_kind("Pod", values)
    assert "/v1/models" in pod["spec"]["containers"][0]["args"][0]


def test_the_test_pod_has_a_key_where_one_is_named() -> None:
    (pod,) = of_kind("Pod", cases()["everything"])
    (container,) = pod["spec"]["containers"]
    assert container["command"][:2] == ["saccade", "chat"]
    key = next(one for one in container["env"] if one["name"] == "SACCADE_API_KEY")
    assert key["valueFrom"]["secretKeyRef"] == {"name": "key-for-tests", "key": "api-key"}


@pytest.mark.parametrize(("status", "passes"), [(401, True), (200, False)])
def test_the_test_pod_finds_a_gateway_that_is_open(status: int, passes: bool) -> None:
    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    (pod,) = of_kind("Pod", cases()["multi-node"])
    code = pod["spec"]["containers"][0]["args"][0]
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        command = [sys.executable, "-c", code, address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        server.shutdown()
        thread.join()
    assert (done.returncode == 0) == passes, done.stderr


def test_extra_objects_are_filled_in() -> None:
    names = [one["metadata"]["name"] for one in of_kind("ConfigMap", cases()["everything"])]
    assert "demo-extra" in names
    as_text = {"extraObjects": [yaml.safe_dump({"apiVersion": "v1", "kind": "X"})]}
    assert {"apiVersion": "v1", "kind": "X"} in manifests(as_text)
