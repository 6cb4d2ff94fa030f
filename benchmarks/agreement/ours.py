"""Our own numbers, under the names of vLLM's tool."""

from pathlib import Path

from benchmarks.agreement.tools import Load, Numbers
from benchmarks.servers import MODEL
from saccade.loadtest.arrivals.spec import OpenArrivals, steady
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.plan import Plan
from saccade.loadtest.runner import run
from saccade.loadtest.workloads.spec import FileSpec

NUM_TRIALS = 4


def measure(load: Load, prompts: Path, max_send_lag_s: float) -> Numbers:
    """With nothing left out, and throughput over the whole run, as vLLM counts it."""
    plan = Plan(
        url=load.url,
        model=MODEL,
        workload=FileSpec(path=prompts),
        arrivals=OpenArrivals(
            process="constant", profile=steady(load.rate, (load.number + 1) / load.rate)
        ),
        num_requests=load.number,
        explain="off",
        max_send_lag_s=max_send_lag_s,
    )
    summary = _trustworthy(plan)
    ttft, tpot, itl = (summary.all.latencies[key] for key in ("ttft", "tpot", "itl"))
    whole = summary.whole_run
    return {
        "mean_ttft_ms": 1000 * ttft.mean,
        "median_ttft_ms": 1000 * ttft.p50.value,
        "p90_ttft_ms": 1000 * ttft.p90.value,
        "mean_tpot_ms": 1000 * tpot.mean,
        "median_tpot_ms": 1000 * tpot.p50.value,
        "mean_itl_ms": 1000 * itl.mean,
        "request_throughput": whole.request_throughput,
        "output_throughput": whole.output_throughput or 0.0,
    }


def _trustworthy(plan: Plan) -> Summary:
    """Of the first run that kept its schedule; vLLM's tool does not say whether it has."""
    for _ in range(NUM_TRIALS):
        summary = summarise(run(plan))
        if summary.all.num_failed:
            raise SystemExit(f"requests failed: {summary.errors}")
        if summary.client.trustworthy:
            return summary
        print(f"once more: {summary.client.warning}", flush=True)
    raise SystemExit(f"{NUM_TRIALS} runs were late; is the machine busy?")
