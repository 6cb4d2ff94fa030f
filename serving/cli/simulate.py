"""`saccade simulate`: what would happen, without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from saccade.serving.cli import simulate_options as options
from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saccade.scheduler.simulator.scenario import Scenario

EPILOG = """\b
Examples:
  saccade simulate --workload list
  saccade simulate --rate 20 --rate 40 --html report.html
  saccade simulate --workload image-burst --rate 25 \\
      -p elasticmm -p elasticmm-fully-shared -p static:2,4,2
  saccade simulate --trace conversation.jsonl --speed 2 --duration 600 \\
      --gpu h100 --gpus 16
  saccade simulate --report docs/results/simulation.md --jobs 2
"""

_POLICIES = ("elasticmm", "static-equal", "coupled-vllm-today")


def simulate(
    policy: options.Policies = None,
    workload: options.Workload = "sharegpt4o",
    rate: options.Rates = None,
    duration: options.Duration = 300.0,
    image_ratio: options.ImageRatio = None,
    trace: options.Trace = None,
    format_name: options.Format = None,
    speed: options.Speeds = None,
    max_requests: options.MaxRequests = None,
    gpu: options.Gpu = "a800",
    gpus: options.Gpus = 8,
    model: options.Model = "qwen2.5-vl-7b",
    seeds: options.Seeds = 3,
    first_seed: options.FirstSeed = 0,
    failure_every: options.FailureEvery = None,
    jobs: options.Jobs = 1,
    json_file: options.Json = None,
    html: options.Html = None,
    report: options.Report = None,
) -> None:
    """Simulate a cluster under one policy or several, and compare them.

    The scheduler's own code decides, on times from measured kernels; no GPU is needed.
    """
    if workload == "list":
        _list()
        return
    with plain_errors():
        for path in (json_file, html, report):
            ready_to_write(path)
        if report is not None:
            _write_report(report, seeds, duration, rate or [], jobs)
            return
        _check_points(trace, rate, speed)
        from saccade.scheduler.simulator.scenario import Scenario, WorkloadSpec, grid

        points = (speed or [1.0]) if trace else (rate or [20.0])
        spec = WorkloadSpec(workload, 20.0, duration, image_ratio, trace, format_name, 1.0,
                            max_requests)  # fmt: skip
        base = Scenario("elasticmm", spec, gpu, model, gpus, failure_every_s=failure_every)
        seeds_run = range(first_seed, first_seed + seeds)
        _show(grid(base, policy or _POLICIES, points, seeds_run), jobs, json_file, html)


@contextmanager
def plain_errors() -> Iterator[None]:
    """What the simulator finds wrong, in a line without a stack trace; exit code 2."""
    from saccade.scheduler.simulator.errors import SimulatorError

    try:
        yield
    except (SimulatorError, OSError) as error:
        fail(str(error), 2)


def _check_points(trace: Path | None, rate: list[float] | None, speed: list[float] | None) -> None:
    """What would be passed over is told."""
    if trace is None and speed:
        fail("--speed is for a trace: give one with --trace, or --rate for a synthetic workload", 2)
    if trace is not None and rate:
        fail("a trace has its own rate: give --speed to replay it faster, not --rate", 2)


def ready_to_write(path: Path | None) -> None:
    """Make its folder; exits when it cannot be a file, before anything is simulated."""
    if path is None:
        return
    if path.is_dir():
        fail(f"{path} is a folder; give the name of a file", 2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{path} cannot be written: {path.parent}: {error.strerror}", 2)


def _show(
    scenarios: "Sequence[Scenario]", jobs: int, json_file: Path | None, html: Path | None
) -> None:
    from saccade.scheduler.simulator.output.terminal import print_outcomes
    from saccade.scheduler.simulator.runs import progress_bar, run_all, with_slos

    ready = with_slos(scenarios)
    with progress_bar() as progress:
        outcomes = run_all(ready, jobs=jobs, progress=progress)
    print_outcomes(outcomes)
    if json_file is not None:
        from saccade.scheduler.simulator.output.as_json import as_json

        _write(json_file, as_json(outcomes, ready) + "\n")
    if html is not None:
        from saccade.scheduler.simulator.output.html import as_html

        _write(html, as_html(outcomes, ready))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    typer.echo(f"{path}: written")


def _write_report(path: Path, seeds: int, duration_s: float, rates: list[float], jobs: int) -> None:
    from saccade.scheduler.simulator.output.paper import write_report
    from saccade.scheduler.simulator.runs import progress_bar

    with progress_bar(lines=True) as progress:
        write_report(
            path, num_seeds=seeds, duration_s=duration_s, rates=rates, jobs=jobs, progress=progress
        )
    typer.echo(f"{path}: written")


def _list() -> None:
    from saccade.scheduler.simulator.policies import titles
    from saccade.scheduler.simulator.workloads.readers import FORMATS
    from saccade.scheduler.simulator.workloads.registry import PRESETS

    typer.echo("Policies:")
    for name, title in titles().items():
        typer.echo(f"  {name:28} {title}")
    typer.echo("Workloads:")
    for name, build in PRESETS.items():
        typer.echo(f"  {name:28} {(build.__doc__ or '').splitlines()[0]}")
    typer.echo(f"Formats of traces: {', '.join(FORMATS)}")
