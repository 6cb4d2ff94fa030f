"""`python -m benchmarks.agreement`: load testers in turns against one server, and the ratios.

All requests are sent once before, so that caches hold the same for all.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.agreement import ours
from benchmarks.agreement.prompts import write_prompts
from benchmarks.agreement.tools import QUANTITIES, GuideLlm, Load, Numbers, Tool, VllmBench
from benchmarks.machine import describe, make_command
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
    tools: list[Tool] = [VllmBench()]
    if options.guidellm is not None:
        tools.append(GuideLlm(options.guidellm))
    sections: list[str] = []
    with (
        tempfile.TemporaryDirectory() as name,
        saccade_server(ROOT / "benchmarks" / "saccade.yaml", Path(name)) as server,
    ):
        for workload in options.only:
            found = _measure(server, workload, tools, options, Path(name))
            sections.append(_section(workload, found, options))
            print(sections[-1], flush=True)
            # After each workload, so that an interruption costs one of them.
            options.output.parent.mkdir(parents=True, exist_ok=True)
            page = _page(sections, make_command("bench-loadtest-agreement", sys.argv[1:]))
            options.output.write_text(page, encoding="utf-8")
            print(f"wrote {options.output}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8, help="times that each tool runs")
    parser.add_argument("--requests", type=int, default=120, help="of each run")
    parser.add_argument("--rate", type=float, default=3.0, help="requests per second")
    parser.add_argument(
        "--max-send-lag-ms", type=float, default=10.0, help="else our run is repeated"
    )
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument(
        "--guidellm", type=Path, help="the command of guidellm 0.8, in an environment of its own"
    )
    parser.add_argument("--checkpoint", type=Path, default=ROOT / ".cache" / "saccade-tiny")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "results" / "loadtest-agreement.md"
    )
    return parser.parse_args()


def _measure(
    server: Server, workload: str, tools: list[Tool], options: argparse.Namespace, folder: Path
) -> dict[str, list[Numbers]]:
    """Numbers of every run, by tool."""
    spec = changed(PRESETS[workload].workload, WorkloadOptions(output_tokens=str(OUTPUT_TOKENS)))
    plan = Plan(
        url=server.url,
        workload=spec,
        arrivals=OpenArrivals(profile=steady(1, 1)),
        tokenizer=options.checkpoint,
    )
    own, other = folder / f"{workload}.jsonl", folder / f"{workload}.other.jsonl"
    write_prompts(plan, options.requests, own, other)
    load = Load(
        server.url, other, options.requests, options.rate, OUTPUT_TOKENS, options.checkpoint
    )
    able = {tool.name: tool for tool in tools if tool.can_send(workload)}

    def measure(name: str) -> Numbers:
        if name in able:
            return able[name].measure(load)
        return ours.measure(load, own, options.max_send_lag_ms / 1000)

    number = options.pairs * (1 + len(able)) + 1
    seconds = number * (options.requests / options.rate + 10)  # 10 s for the tools to start
    print(f"{workload}: {number} runs, about {seconds / 60:.0f} minutes", flush=True)
    measure("ours")  # fills the caches
    found: dict[str, list[Numbers]] = {name: [] for name in ("ours", *able)}
    for pair in range(options.pairs):
        # Each second time the other way round, so that being first favours nobody.
        for name in found if pair % 2 else reversed(found):
            numbers = measure(name)
            found[name].append(numbers)
            shown = ", ".join(f"{QUANTITIES[key]} {value:.2f}" for key, value in numbers.items())
            print(f"{workload}, {pair + 1} of {options.pairs}: {name}: {shown}", flush=True)
    return found


def _section(workload: str, found: dict[str, list[Numbers]], options: argparse.Namespace) -> str:
    lines = [
        f"## {workload}",
        "",
        f"{options.pairs} runs of each, {options.requests} requests at {options.rate:g}/s, "
        f"{OUTPUT_TOKENS} output tokens each.",
    ]
    for name, theirs in found.items():
        if name != "ours":
            lines += ["", *_table(name, found["ours"], theirs)]
    return "\n".join(lines) + "\n"


def _table(name: str, own: list[Numbers], theirs: list[Numbers]) -> list[str]:
    lines = [
        f"| | `{name}` | `saccade loadtest` | ratio (95 %) | within 5 % |",
        "|---|---|---|---|---|",
    ]
    for key, title in QUANTITIES.items():
        if key in theirs[0]:
            row = Row(key, [n[key] for n in own], [n[key] for n in theirs])
            means = [sum(values) / len(values) for values in (row.theirs, row.ours)]
            shown = f"{means[0]:.2f} | {means[1]:.2f} | {_ratio(row.ratio)} | {row.verdict}"
            lines.append(f"| {title} | {shown} |")
    return lines


def _ratio(ratio: PairedRatio | None) -> str:
    if ratio is None:
        return "–"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.3f}"
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _page(sections: list[str], command: str) -> str:
    head = (
        "# Does `saccade loadtest` agree with other load testers?\n\n"
        f"Made by `{command}`. All send the same prompts at the same rate, "
        "evenly spaced, to one Saccade server, in turns; each number is the mean over the runs, "
        "and the ratio is the geometric mean over pairs of runs, ours by theirs. *agrees*: the "
        "whole interval lies within 5 % of 1; *differs*: none of it does; *undecided*: part of it "
        "does. guidellm, where it is shown, is compared where its definitions are the same.\n\n"
    )
    return "\n".join([head + describe(None) + "\n", *sections])


if __name__ == "__main__":
    main()
