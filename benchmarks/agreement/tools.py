"""The other load testers, each as a command that leaves its numbers in a file."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.servers import ENVIRONMENT, MODEL, ROOT

Numbers = dict[str, float]
"""By quantity, see QUANTITIES."""

QUANTITIES: Mapping[str, str] = {
    "mean_ttft_ms": "TTFT mean, ms",
    "median_ttft_ms": "TTFT p50, ms",
    "p90_ttft_ms": "TTFT p90, ms",
    "mean_tpot_ms": "TPOT mean, ms",
    "median_tpot_ms": "TPOT p50, ms",
    "mean_itl_ms": "ITL mean, ms",
    "request_throughput": "requests/s",
    "output_throughput": "output tokens/s",
}
"""Under the names of vLLM's tool."""


@dataclass(frozen=True)
class Load:
    """What is sent."""

    url: str
    prompts: Path
    """JSON lines with `content`, the parts of a user's message."""
    number: int
    rate: float
    output_tokens: int
    tokenizer: Path


class Tool(Protocol):
    """A load tester that is compared with ours."""

    name: str

    def can_send(self, workload: str) -> bool:
        """Whether it sends the very same requests."""
        ...

    def measure(self, load: Load) -> Numbers:
        """Send the load; exits if it did not go well."""
        ...


class VllmBench:
    """`vllm bench serve`."""

    name = "vllm bench serve"

    def can_send(self, workload: str) -> bool:
        return True

    def measure(self, load: Load) -> Numbers:
        result = load.prompts.with_suffix(".vllm.json")
        options: dict[str, Any] = {
            "backend": "openai-chat",
            "endpoint": "/v1/chat/completions",
            "base-url": load.url,
            "model": MODEL,
            "tokenizer": load.tokenizer,
            "dataset-name": "custom_image",  # texts without pictures are fine too
            "dataset-path": load.prompts,
            "num-prompts": load.number,
            "custom-output-len": load.output_tokens,
            "request-rate": load.rate,
            "burstiness": "inf",  # constant arrivals
            "num-warmups": 0,
            "ready-check-timeout-sec": 0,
            "metric-percentiles": "50,90,99",
            "extra-body": json.dumps({"min_tokens": load.output_tokens}),
            "temperature": 0,
            "result-dir": result.parent,
            "result-filename": result.name,
        }
        switches = ["enable-multimodal-chat", "disable-shuffle", "ignore-eos", "save-result"]
        arguments = [f"--{name}={value}" for name, value in options.items()]
        arguments += [f"--{name}" for name in [*switches, "disable-tqdm"]]
        _run([sys.executable, "-m", "benchmarks.agreement.vllm_bench", *arguments])
        numbers: dict[str, Any] = json.loads(result.read_text())
        _all_answered(self.name, numbers["completed"], load.number)
        return {name: float(numbers[name]) for name in QUANTITIES}


class GuideLlm:
    """`guidellm run`, version 0.8. Its TPOT includes the first token, and its throughput is another
    one, so that TTFT and ITL are left."""

    name = "guidellm"

    def __init__(self, command: Path) -> None:
        self._command = command

    def can_send(self, workload: str) -> bool:
        return workload == "text"  # it writes pictures anew

    def measure(self, load: Load) -> Numbers:
        prompts = load.prompts.with_suffix(".guidellm.jsonl")
        lines = [json.loads(line)["content"] for line in load.prompts.read_text().splitlines()]
        rows = [
            {"prompt": content[-1]["text"], "output_tokens_count": load.output_tokens}
            for content in lines
        ]
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = load.prompts.with_suffix(".guidellm.json")
        options = {
            "backend": f"kind=openai_http,target={load.url},model={MODEL}",
            "profile": f"kind=constant,rate={load.rate}",
            "constraint": f"kind=max_requests,count={load.number}",
            "data": f"kind=json_file,path={prompts}",
            "tokenizer": f"kind=huggingface_auto,model={load.tokenizer}",
            "output": f"kind=json,path={result}",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        _run([str(self._command), "run", *arguments, "--disable-console"])
        metrics = json.loads(result.read_text())["benchmarks"][0]["metrics"]
        ttft, itl = (
            metrics[name]["successful"]
            for name in ("time_to_first_token_ms", "inter_token_latency_ms")
        )
        # It counts one less where the last ends after its last look.
        _all_answered(self.name, ttft["count"] + 1, load.number)
        return {
            "mean_ttft_ms": ttft["mean"],
            "median_ttft_ms": ttft["median"],
            "p90_ttft_ms": ttft["percentiles"]["p90"],
            "mean_itl_ms": itl["mean"],
        }


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def _all_answered(name: str, answered: int, number: int) -> None:
    if answered < number:
        raise SystemExit(f"{name}: {answered} of {number} requests were answered")
