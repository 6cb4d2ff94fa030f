"""`python -m benchmarks.agreement`: both tools in turns against one server, and the ratios.

All requests are sent once before, so that caches hold the same for both.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.agreement.measure import QUANTITIES, Numbers, by_saccade, by_vllm
from benchmarks.agreement.prompts import write_prompts
from benchmarks.machine import describe
from benchmarks.servers import ROOT, Server, saccade_server
from saccade.loadtest.arrivals.spec import OpenArrivals, steady
from saccade.loadtest.plan import Plan
from saccade.loadtest.statistics import PairedRatio, paired_ratio
from saccade.loadtest.workloads.parse import WorkloadOptions, changed
from saccade.loadtest.workloads.presets import PRESETS

BOUND = 0.05
OUTPUT_TOKENS = 32
WORKLOADS = ("text", "single-picture")


@dataclass(frozen=True)
class Row:
    """One number as both tools have it."""

    quantity: str
    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> PairedRatio | None:
        return paired_ratio(self.theirs, self.ours)

    @property
    def verdict(self) -> str:
        """Whether the whole interval, a part of it, or none lies within the bound."""
        ratio = self.ratio
        if ratio is None or ratio.low is None or ratio.high is None:
            return "too few pairs"
        if ratio.low >= 1 - BOUND and ratio.high <= 1 + BOUND:
            return "agrees"
        return "differs" if ratio.high < 1 - BOUND or ratio.low > 1 + BOUND else "undecided"


def main() -> None:
    options = _options()
    sections = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with saccade_server(ROOT / "benchmarks" / "saccade.yaml", folder) as server:
            for workload in WORKLOADS:
                rows = _compare(server, workload, options, folder)
                sections.append(_section(workload, rows, options))
                print(sections[-1], flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(_page(sections), encoding="utf-8")
    print(f"wrote {options.output}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8, help="times that each tool runs")
    parser.add_argument("--requests", type=int, default=120, help="of each run")
    parser.add_argument("--rate", type=float, default=3.0, help="requests per second")
    parser.add_argument("--max-send-lag-ms", type=float, default=10.0, help="else it gives up")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / ".cache" / "saccade-tiny")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "results" / "loadtest-agreement.md"
    )
    return parser.parse_args()


def _compare(server: Server, workload: str, options: argparse.Namespace, folder: Path) -> list[Row]:
    ours, theirs = folder / f"{workload}.jsonl", folder / f"{workload}.vllm.jsonl"
    spec = changed(PRESETS[workload].workload, WorkloadOptions(output_tokens=str(OUTPUT_TOKENS)))
    plan = Plan(
        url=server.url,
        workload=spec,
        arrivals=OpenArrivals(profile=steady(1, 1)),
        tokenizer=options.checkpoint,
    )
    write_prompts(plan, options.requests, ours, theirs)

    def run_ours() -> Numbers:
        lag_s = options.max_send_lag_ms / 1000
        return by_saccade(server.url, ours, options.requests, options.rate, lag_s)

    def run_theirs() -> Numbers:
        return by_vllm(
            server.url, theirs, options.requests, options.rate, OUTPUT_TOKENS, options.checkpoint
        )

    run_ours()  # fills the caches
    found: dict[str, list[Numbers]] = {"ours": [], "theirs": []}
    for pair in range(options.pairs):
        turns = [("ours", run_ours), ("theirs", run_theirs)]
        for name, measure in turns if pair % 2 else reversed(turns):
            print(f"{workload}, pair {pair + 1} of {options.pairs}: {name}", flush=True)
            found[name].append(measure())
    return [
        Row(key, [n[key] for n in found["ours"]], [n[key] for n in found["theirs"]])
        for key in QUANTITIES
    ]


def _section(workload: str, rows: list[Row], options: argparse.Namespace) -> str:
    lines = [
        f"## {workload}",
        "",
        f"{options.pairs} pairs of runs of {options.requests} requests at "
        f"{options.rate:g}/s, {OUTPUT_TOKENS} output tokens each.",
        "",
        "| | `vllm bench serve` | `saccade loadtest` | ratio (95 %) | within 5 % |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        theirs, ours = (sum(values) / len(values) for values in (row.theirs, row.ours))
        shown = f"{theirs:.2f} | {ours:.2f} | {_ratio(row.ratio)} | {row.verdict}"
        lines.append(f"| {QUANTITIES[row.quantity]} | {shown} |")
    return "\n".join(lines) + "\n"


def _ratio(ratio: PairedRatio | None) -> str:
    if ratio is None:
        return "–"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.3f}"
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _page(sections: list[str]) -> str:
    head = (
        "# Do `saccade loadtest` and `vllm bench serve` agree?\n\n"
        "Made by `make bench-loadtest-agreement`. Both send the same prompts at the same times to "
        "one Saccade server, in turns; each number is the mean over the runs, and the ratio is the "
        "geometric mean over pairs. *agrees*: the whole interval lies within 5 % of 1; *differs*: "
        "none of it does; *undecided*: part of it does.\n\n" + describe(None) + "\n"
    )
    return "\n".join([head, *sections])


if __name__ == "__main__":
    main()
