"""`python -m benchmarks.cpu_comparison`: both servers in turns on one machine, and the page."""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.cpu_comparison.cases import Case, Slices, cases, light_load, saturation
from benchmarks.cpu_comparison.page import HEAD, environment, page, section
from benchmarks.machine import describe, make_command
from benchmarks.servers import MODEL, ROOT, Server, saccade_server, stock_vllm
from saccade.loadtest.live import LiveProgress
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.modes.compare import Side, compare
from saccade.loadtest.plan import Run
from saccade.loadtest.runner import run
from saccade.loadtest.slo import Slo, format_duration, parse_slo
from saccade.loadtest.statistics import Interval, mean_interval

IDLE_S = 10.0
NUM_SATURATIONS = 3


def main() -> None:
    options = _options()
    runner: Run = partial(run, progress=LiveProgress(Console(stderr=True)))
    with (
        saccade_server(ROOT / "benchmarks" / "saccade.yaml", options.folder, options.cores) as ours,
        stock_vllm(options.checkpoint, options.folder, options.cores) as theirs,
    ):
        idle = _idle([theirs, ours])
        slices = Slices(options.duration, options.edge, options.checkpoint)
        slo = _slo(runner, slices, theirs, options.slo_multiple)
        rate = _picture_rate(runner, slices, theirs)
        slices = Slices(options.duration, options.edge, options.checkpoint, slo)
        head = HEAD.format(
            command=make_command("bench-cpu-comparison", sys.argv[1:]),
            machine=describe(options.cores),
            pairs=options.pairs,
            duration=options.duration,
            edge=options.edge,
            slo=slo,
            multiple=options.slo_multiple,
            picture_rate=rate.value,
            low=_shown(rate.low),
            high=_shown(rate.high),
            idle_vllm=idle[0],
            idle_saccade=idle[1],
            environment=environment(),
            vllm=theirs.command,
            saccade=ours.command,
        )
        sections = []
        for case in cases(slices, rate.value):
            if options.only is None or case.name in options.only:
                sections.append(_compare(runner, case, theirs, ours, options))
                # After each case, so that an interruption costs one of them.
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(page(head, sections), encoding="utf-8")
    print(f"wrote {options.output}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6, help="slices for each server")
    parser.add_argument("--duration", type=float, default=30.0, help="of a slice, in s")
    parser.add_argument("--edge", type=float, default=3.0, help="warm-up and cool-down, in s")
    parser.add_argument("--slo-multiple", type=float, default=5.0, help="of the light load")
    parser.add_argument("--cores", help="that the servers may use, such as 0,1; all if not given")
    parser.add_argument("--only", nargs="+", help="names of cases")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / ".cache" / "saccade-tiny")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "cpu-comparison")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "results" / "cpu-comparison.md"
    )
    return parser.parse_args()


def _idle(servers: list[Server]) -> list[float]:
    """Cores that each server uses while nothing is asked of it."""
    before = [server.cpu_s() for server in servers]
    time.sleep(IDLE_S)
    return [(s.cpu_s() - b) / IDLE_S for s, b in zip(servers, before, strict=True)]


def _slo(runner: Run, slices: Slices, server: Server, multiple: float) -> Slo:
    """A multiple of the median latencies under light load, by modality where it matters."""
    plan = light_load(slices).with_target(server.url, server.name, MODEL)
    groups = summarise(runner(plan.with_duration(2 * slices.duration_s))).groups
    limits = [
        f"{modality}.ttft={_times(multiple, groups[modality].latencies['ttft'].p50.value)}"
        for modality in ("text", "image")
        if modality in groups
    ]
    limits.append(f"tpot={_times(multiple, groups['all'].latencies['tpot'].p50.value)}")
    return parse_slo(",".join(limits))


def _times(multiple: float, seconds: float) -> str:
    return format_duration(round(multiple * seconds, 3))


def _picture_rate(runner: Run, slices: Slices, server: Server) -> Interval:
    """Pictures per second, over some runs at saturation."""
    plan = saturation(slices).with_target(server.url, server.name, MODEL)
    rates = [
        summarise(runner(plan.with_seed(100 + index))).all.request_throughput
        for index in range(NUM_SATURATIONS)
    ]
    return mean_interval(rates)


def _compare(
    runner: Run, case: Case, theirs: Server, ours: Server, options: argparse.Namespace
) -> str:
    sides = tuple(Side(label=s.name, url=s.url, model=MODEL) for s in (theirs, ours))
    result, _ = compare(
        case.plan,
        (sides[0], sides[1]),
        runner,
        num_pairs=options.pairs,
        folder=options.folder / case.name,
        announce=lambda text: print(f"{case.name}: {text}", flush=True),
    )
    text = section(case.name, case.what, result)
    print(text, flush=True)
    if result.interrupted:
        raise SystemExit(130)
    return text


def _shown(value: float | None) -> str:
    return "…" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
