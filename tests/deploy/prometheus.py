"""Prometheus and its tools, where they are installed, and a gateway's metrics with traffic."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from saccade.scheduler.cluster import Role
from saccade.serving.caches.stats import TierStats
from saccade.serving.gateway.instances import Instance, InstanceClient
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.instance.actor import InstanceCheck
from tests.deploy.chart import ROOT


def tool(name: str) -> Path:
    """`promtool` or `prometheus`; skips the test where there is none."""
    places = f"{os.environ['PATH']}:{ROOT / '.cache' / 'prometheus' / 'usr' / 'bin'}"
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"{name} is not here; `make prometheus` unpacks it, or install prometheus")
    return Path(found)


def busy_gateway() -> GatewayMetrics:
    """Metrics in which every series has counted something."""
    metrics = GatewayMetrics(CollectorRegistry())
    work(metrics)
    return metrics


def work(metrics: GatewayMetrics) -> None:
    """Some requests of each kind, good and bad."""
    for modality in ("text", "image"):
        metrics.requests.labels("/v1/chat/completions", modality, "200").inc(20)
        for latency in (metrics.latency.ttft, metrics.latency.e2e):
            latency.labels(modality, "all").observe(0.2)
        for pace in (metrics.latency.itl, metrics.latency.tpot):
            pace.labels(modality, "all").observe(0.03)
    for status in ("500", "429"):
        metrics.requests.labels("/v1/chat/completions", "text", status).inc()
    for stage in ("preprocess", "encode", "prefill", "decode"):
        metrics.stage_seconds.labels(stage).observe(0.1)
    metrics.latency.queue_time.observe(0.01)
    metrics.refusals.labels("queue_full").inc()
    metrics.prefixes.count_cost("prefill", 0.12, 0.1)
    metrics.running.set(3)
    metrics.queued.set(1)
    metrics.bytes_in_flight.set(2**20)
    metrics.loop_lag.observe(0.002)
    for counter in (metrics.kv_handovers, metrics.kv_transfers, metrics.kv_released):
        counter.inc(5)
    metrics.kv_retries.inc()
    metrics.visual_tokens.labels("in").inc(576)
    metrics.visual_tokens.labels("kept").inc(64)
    metrics.prompt_tokens.inc(100)
    metrics.generation_tokens.inc(50)
    for source in ("encoded", "joined", "shared", "memory", "disk"):
        metrics.visual_cache.count(source, 12.5)
    stats = TierStats(
        num_bytes=100,
        budget_bytes=200,
        num_entries=2,
        num_evictions=1,
        num_corrupted=1,
        num_errors=1,
    )
    metrics.on_check("encode-0", InstanceCheck(1, {"memory": stats}))
    metrics.on_check("llm-0", None)
    both: frozenset[Role] = frozenset({"prefill", "decode"})
    client = cast(InstanceClient, None)
    metrics.instances.watch({"llm-0": Instance("llm-0", client, both, both, load={"decode": 2})})


@contextlib.contextmanager
def running_prometheus(
    folder: Path, metrics: GatewayMetrics, rules: Path
) -> Iterator[Callable[[str], list[Any]]]:
    """A Prometheus that reads these metrics each second; yields what asks it a query."""
    program = tool("prometheus")
    exporter, thread = start_http_server(0, "127.0.0.1", metrics.registry)
    target = {
        "targets": [f"127.0.0.1:{exporter.server_port}"],
        "labels": {"namespace": "models", "pod": "demo-0"},
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "saccade", "static_configs": [target]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = _free_port()
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            def query(expression: str) -> list[Any]:
                try:
                    answer = client.get("/api/v1/query", params={"query": expression})
                except httpx2.ConnectError:
                    return []  # it is starting
                if answer.status_code == 503:
                    return []
                assert answer.status_code == 200, answer.text
                result: list[Any] = answer.json()["data"]["result"]
                return result

            yield query
    finally:
        process.terminate()
        process.wait(timeout=30)
        exporter.shutdown()
        exporter.server_close()
        thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def series(metrics: GatewayMetrics) -> dict[str, set[str]]:
    """Name of each series to the names of its labels, as Prometheus would read them."""
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def documented(text: str) -> Iterator[str]:
    """First cells of a Markdown table's rows."""
    for line in text.splitlines():
        if line.startswith("| `saccade_"):
            yield line.split("`")[1]
