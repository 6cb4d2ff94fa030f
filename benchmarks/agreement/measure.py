"""The same requests, sent by one tool and by the other."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.servers import ENVIRONMENT, MODEL, ROOT
from saccade.loadtest.arrivals.spec import OpenArrivals, steady
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.plan import Plan
from saccade.loadtest.runner import run
from saccade.loadtest.workloads.spec import FileSpec

QUANTITIES: Mapping[str, str] = {
    "mean_ttft_ms": "TTFT mean, ms",
    "median_ttft_ms": "TTFT p50, ms",
    "p90_ttft_ms": "TTFT p90, ms",
    "mean_tpot_ms": "TPOT mean, ms",
    "median_tpot_ms": "TPOT p50, ms",
    "request_throughput": "requests/s",
    "output_throughput": "output tokens/s",
}
"""vLLM's names for what is compared."""

Numbers = dict[str, float]


def by_saccade(url: str, prompts: Path, number: int, rate: float, max_send_lag_s: float) -> Numbers:
    """With nothing left out, and throughput over the whole run, as vLLM counts it."""
    plan = Plan(
        url=url,
        model=MODEL,
        workload=FileSpec(path=prompts),
        arrivals=OpenArrivals(process="constant", profile=steady(rate, (number + 1) / rate)),
        num_requests=number,
        explain="off",
        max_send_lag_s=max_send_lag_s,
    )
    summary = summarise(run(plan))
    if summary.all.num_failed or not summary.client.trustworthy:
        raise SystemExit(f"not to be used: {summary.errors} {summary.client.warning}")
    ttft, tpot = summary.all.latencies["ttft"], summary.all.latencies["tpot"]
    whole = summary.whole_run
    return {
        "mean_ttft_ms": 1000 * ttft.mean,
        "median_ttft_ms": 1000 * ttft.p50.value,
        "p90_ttft_ms": 1000 * ttft.p90.value,
        "mean_tpot_ms": 1000 * tpot.mean,
        "median_tpot_ms": 1000 * tpot.p50.value,
        "request_throughput": whole.request_throughput,
        "output_throughput": whole.output_throughput or 0.0,
    }


def by_vllm(
    url: str, prompts: Path, number: int, rate: float, output_tokens: int, tokenizer: Path
) -> Numbers:
    """`vllm bench serve`. An infinite burstiness makes its arrivals constant."""
    result = prompts.with_suffix(".result.json")
    options: dict[str, Any] = {
        "backend": "openai-chat",
        "endpoint": "/v1/chat/completions",
        "base-url": url,
        "model": MODEL,
        "tokenizer": tokenizer,
        "dataset-name": "custom_image",
        "dataset-path": prompts,
        "num-prompts": number,
        "custom-output-len": output_tokens,
        "request-rate": rate,
        "burstiness": "inf",
        "num-warmups": 0,
        "ready-check-timeout-sec": 0,
        "metric-percentiles": "50,90,99",
        "extra-body": json.dumps({"min_tokens": output_tokens}),
        "temperature": 0,
        "result-dir": result.parent,
        "result-filename": result.name,
    }
    switches = ["enable-multimodal-chat", "disable-shuffle", "ignore-eos", "save-result"]
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += [f"--{name}" for name in [*switches, "disable-tqdm"]]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.agreement.vllm_bench", *arguments],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"vllm bench serve failed:\n{done.stderr[-3000:]}")
    numbers: dict[str, Any] = json.loads(result.read_text())
    if numbers["completed"] != number:
        raise SystemExit(f"vllm bench serve completed {numbers['completed']} of {number}")
    return {name: float(numbers[name]) for name in QUANTITIES}
