"""Starting, failing to start, and stopping: nothing is left behind."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from saccade.training.checkpoint import create_checkpoint
from tests.e2e.server import (
    ROOT,
    STOP_TIMEOUT_S,
    Server,
    alive,
    launch,
    traces,
    until,
    until_ready,
)
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

SINGLE = ROOT / "tests/e2e/single.yaml"
KEY_A = {"authorization": "Bearer key-of-team-a"}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Server]]:
    """Servers that a test has started; whatever is left of them is killed."""
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.kill()


def start(started: list[Server], tmp_path: Path, *overrides: str) -> Server:
    server = launch(SINGLE, tmp_path / "log", *overrides)
    started.append(server)
    return server


def until_gone(family: list[psutil.Process], before: set[Path]) -> None:
    """Every process has ended, and nothing is left that was not there before."""
    until(lambda: not alive(family), 10, lambda: alive(family))
    until(lambda: traces() <= before, 10, lambda: traces() - before)


def chat(**extra: Any) -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": data_url(drawn(1))}}
    content = [picture, {"type": "text", "text": "What colour is the circle?"}]
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, **extra}


def test_one_llm_instance_does_both_and_sigterm_drains(
    started: list[Server], tmp_path: Path
) -> None:
    before = traces()
    disk = (f"visual_cache.disk_folder={tmp_path}/tokens", "visual_cache.disk_bytes=10000000")
    server = until_ready(start(started, tmp_path, *disk))
    family = server.family()
    with httpx2.Client(base_url=server.url, headers=KEY_A, timeout=120) as http:
        _check_keys(server)
        response = http.post(
            "/v1/chat/completions", json=chat(max_tokens=4, saccade={"explain": True})
        ).json()
        stages = response["saccade"]["stages"]
        assert [stage["stage"] for stage in stages] == ["preprocess", "encode", "prefill", "decode"]
        assert {stage["instance"] for stage in stages[2:]} == {"llm-0"}
        assert response["saccade"]["tenant"] == "team-a"
        assert server.metric("saccade_kv_transfers_total") == 0
        _check_caches_are_apart(http, server)
        kept = tmp_path / "tokens" / "encode-0"
        # One picture, for two tenants.
        until(lambda: len(list(kept.glob("*.safetensors"))) == 2, 10, lambda: list(kept.iterdir()))
        body = chat(max_tokens=1000, ignore_eos=True, stream=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(line for line in lines if '"content":"' in line)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: _is_draining(server), 10, server.output)
            refused = http.post("/v1/chat/completions", json=chat())
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            rest = [line for line in lines if line.startswith("data: ")]
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in rest[-2]
    assert server.process.wait(STOP_TIMEOUT_S) == 0
    until_gone(family, before)


def _check_keys(server: Server) -> None:
    for headers in ({}, {"authorization": "Bearer wrong-key"}):
        for response in (
            httpx2.get(f"{server.url}/v1/models", headers=headers),
            httpx2.post(f"{server.url}/v1/chat/completions", headers=headers, json=chat()),
        ):
            assert response.status_code == 401
            assert response.json()["error"]["type"] == "authentication_error"
    assert httpx2.get(f"{server.url}/readyz").status_code == 200


def _check_caches_are_apart(http: httpx2.Client, server: Server) -> None:
    """What one tenant has sent is cached for that tenant only."""
    encodes = 'saccade_stage_seconds_count{stage="encode"}'
    before = server.metric(encodes)

    def cached(key: str) -> int:
        response = http.post(
            "/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json=chat(max_tokens=1),
        )
        count: int = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        return count

    assert cached("key-of-team-a") > 0
    assert cached("key-of-team-b") == 0
    assert cached("key-of-team-b") > 0
    # Once for the second tenant, though the first has sent the same picture.
    assert server.metric(encodes) == before + 1


def _is_draining(server: Server) -> bool:
    response = httpx2.get(f"{server.url}/readyz")
    return response.status_code == 503 and bool(response.json()["draining"])


def test_ctrl_c_while_starting_stops_everything(started: list[Server], tmp_path: Path) -> None:
    before = traces()
    server = start(started, tmp_path)
    until(lambda: "loading LLM" in server.output(), 120, server.output)
    family = server.family()
    assert len(family) > 3
    assert server.stop(signal.SIGINT) == 130
    assert "Traceback" not in server.output()
    until_gone(family, before)


def test_an_instance_that_cannot_load_says_why(started: list[Server], tmp_path: Path) -> None:
    before = traces()
    broken = tmp_path / "broken"
    create_checkpoint(broken, seed=0)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    server = start(started, tmp_path, f"model.path={broken}")
    families: list[psutil.Process] = []

    def ended() -> bool:
        families.extend(p for p in server.family() if p not in families)
        return server.process.poll() is not None

    until(ended, 120, server.output)
    assert server.process.returncode == 1
    message = server.output().partition("saccade: ")[2]
    assert "could not start" in message
    assert "model.safetensors" in message
    assert "Traceback" not in server.output()
    until_gone(families, before)


def test_a_ray_that_cannot_start_says_why(
    started: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Too long for the sockets in it.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 100)))
    server = start(started, tmp_path)
    until(lambda: server.process.poll() is not None, 120, server.output)
    assert server.process.returncode == 1
    message = server.output().partition("saccade: ")[2]
    assert "Ray could not start on this machine." in message
    assert "logs" in message
    assert "Traceback" not in server.output()


def test_an_engine_that_dies_is_taken_out(started: list[Server], tmp_path: Path) -> None:
    """Killed the hard way: the server says so, answers with an error, and still stops cleanly."""
    before = traces()
    server = until_ready(start(started, tmp_path))
    family = server.family()
    (engine,) = until(server.engines, 10, lambda: [process.name() for process in family])
    engine.kill()
    until(lambda: httpx2.get(f"{server.url}/readyz").status_code == 503, 30, server.output)
    report = httpx2.get(f"{server.url}/readyz").json()
    assert report["instances"] == {"encode-0": "ready", "llm-0": "failed"}
    assert not report["stages"]["decode"]
    assert httpx2.get(f"{server.url}/health").status_code == 503
    response = httpx2.post(f"{server.url}/v1/chat/completions", headers=KEY_A, json=chat())
    assert response.status_code == 503
    assert isinstance(response.json()["error"]["code"], str)
    assert server.stop(signal.SIGINT) == 130
    until_gone(family, before)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.path=nowhere", "model.create_if_missing=false"], "no config.json"),
        (["api.prot=1"], "did you mean `port`?"),
        (["instances.llm.roles=[prefill]"], "decode"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    overrides: list[str], says: str, started: list[Server], tmp_path: Path
) -> None:
    server = start(started, tmp_path, *overrides)
    assert server.process.wait(30) == 2
    assert says in server.output()
    assert "Traceback" not in server.output()


def test_a_taken_port_is_said_at_once(started: list[Server], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = launch(SINGLE, tmp_path / "log", port=port)
        started.append(server)
        assert server.process.wait(60) == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in server.output()
