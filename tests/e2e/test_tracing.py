"""One request's spans from all its processes at a real collector's door; and keys from a file."""

import hashlib
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.server import ROOT, Server, launch, until, until_ready
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT_SPAN = "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP; keeps spans by trace as (process, name, span id, parent id)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: dict[str, list[tuple[str, str, str, str]]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert named["service.name"] == "saccade"
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = (span.span_id.hex(), span.parent_span_id.hex())
                    found = self.spans.setdefault(span.trace_id.hex(), [])
                    found.append((named["service.instance.id"], span.name, *ids))

    def tree(self, trace: str) -> set[tuple[str, str, str]]:
        """(process, span, parent span) of one trace; the parent is "" where it is elsewhere."""
        spans = self.spans.get(trace, [])
        names = {span_id: name for _, name, span_id, _ in spans}
        return {(process, name, names.get(parent, "")) for process, name, _, parent in spans}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def write_keys(path: Path, **tenants: str) -> None:
    entries = [
        {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant}
        for tenant, key in tenants.items()
    ]
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    write_keys(path, one="key-of-one")
    return path


@pytest.fixture(scope="module")
def server(
    collector: Collector, keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    started = launch(
        ROOT / "tests/e2e/cluster.yaml",
        tmp_path_factory.mktemp("server") / "log",
        f"tracing.endpoint={collector.url}",
        "tracing.sample_ratio=0",
        f"api.keys_file={keys}",
    )
    try:
        yield until_ready(started)
        assert started.stop(signal.SIGINT) == 130, started.output()
    finally:
        started.kill()


def ask(server: Server, key: str, **headers: str) -> httpx2.Response:
    picture = {"type": "image_url", "image_url": {"url": data_url(drawn(83))}}
    content: list[Any] = [picture, {"type": "text", "text": "What colour is the circle?"}]
    return httpx2.post(
        f"{server.url}/v1/chat/completions",
        json={"messages": [{"role": "user", "content": content}], "max_tokens": 4},
        headers={"authorization": f"Bearer {key}", **headers},
        timeout=120,
    )


def test_a_request_is_one_tree_over_all_processes(server: Server, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CLIENT_SPAN}-01"}
    assert ask(server, "key-of-one", **headers).status_code == 200
    prefill, decode = ("llm-0", "llm-1")
    root = "POST /v1/chat/completions"
    wanted = {
        ("gateway", root, ""),
        ("gateway", "queue", root),
        ("gateway", "encode", root),
        ("encode-0", "encode", "encode"),
        ("encode-0", "preprocess", "encode"),
        ("encode-0", "encode batch", "encode"),
        ("gateway", "stage visual tokens", root),
        ("gateway", "prefill", root),
        ("gateway", "decode", root),
    }

    def complete() -> bool:
        tree = collector.tree(TRACE)
        there = {process for process, name, parent in tree if name == parent}
        return wanted <= tree and {"encode-0", prefill, decode} <= there

    until(complete, 30, lambda: collector.tree(TRACE))


def test_who_is_not_sampled_is_not_traced(server: Server, collector: Collector) -> None:
    # Of the requests so far, the warm-up included, only the client's own was asked for.
    assert ask(server, "key-of-one").status_code == 200
    assert collector.spans.keys() <= {TRACE}


def test_keys_change_without_a_restart(server: Server, keys: Path) -> None:
    assert ask(server, "key-of-two").status_code == 401
    write_keys(keys, two="key-of-two")
    until(lambda: ask(server, "key-of-two").status_code == 200, 60, server.output)
    assert ask(server, "key-of-one").status_code == 401
