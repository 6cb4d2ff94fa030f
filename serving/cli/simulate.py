"""`saccade simulate`: what would happen, without a GPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saccade.scheduler.simulator.scenario import Scenario

EPILOG = """Examples:

  saccade simulate --rate 20 --rate 40 --html report.html

  saccade simulate --workload image-burst -p elasticmm -p elasticmm-fully-shared --rate 25

  saccade simulate --trace conversation.jsonl --speed 2 --duration 600 --gpu h100 --gpus 16

  saccade simulate --report docs/results/simulation.md --jobs 2
"""

Workload = Annotated[
    str, typer.Option(help="Synthetic workload; `list` prints them and the policies.")
]
Trace = Annotated[
    Path | None,
    typer.Option(help="Recorded requests instead: Mooncake, BurstGPT, Azure LLM or LMM, Saccade's "
                 "own JSON lines (.gz too), or a ServeGen folder."),
]  # fmt: skip
Format = Annotated[
    str | None, typer.Option("--format", help="Format of the trace, where it is not recognised.")
]
Gpu = Annotated[str, typer.Option(help="h200, h100, a100 or a800.")]
Model = Annotated[str, typer.Option(help="qwen2.5-vl-7b or llama-3.2-vision-11b.")]
ImageRatio = Annotated[
    float | None, typer.Option(help="Share of the requests that carry pictures, 0 to 1.")
]
Jobs = Annotated[int, typer.Option(help="Runs at the same time.", min=1)]


def simulate(
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", help="May be repeated.")
    ] = None,
    workload: Workload = "sharegpt4o",
    rate: Annotated[
        list[float] | None, typer.Option(help="Requests per second [20]. May be repeated.")
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds of arrivals.")] = 300.0,
    image_ratio: ImageRatio = None,
    trace: Trace = None,
    format_name: Format = None,
    speed: Annotated[
        list[float] | None,
        typer.Option(help="Replay a trace so many times as fast [1]. May be repeated."),
    ] = None,
    max_requests: Annotated[int | None, typer.Option(help="Stop a trace after so many.")] = None,
    gpu: Gpu = "a800",
    gpus: Annotated[int, typer.Option(help="Instances, one GPU each.", min=1)] = 8,
    model: Model = "qwen2.5-vl-7b",
    seeds: Annotated[int, typer.Option(help="Runs with different random numbers.", min=1)] = 3,
    first_seed: Annotated[int, typer.Option(help="The same seeds give the same bytes.")] = 0,
    failure_every: Annotated[
        float | None, typer.Option(help="Mean seconds between failures of an instance.")
    ] = None,
    jobs: Jobs = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write the comparison with the paper as Markdown, and nothing else. Of "
                     "the other options --duration, --rate, --seeds and --jobs matter then."),
    ] = None,
) -> None:  # fmt: skip
    """Simulate a cluster under one policy or several, and compare them.

    The scheduler's own code decides, on times from measured kernels. Nothing is served and no GPU
    is needed.
    """
    from saccade.scheduler.simulator.errors import SimulatorError

    if workload == "list":
        _list()
        return
    try:
        if report is not None:
            _write_report(report, seeds, duration, rate or [], jobs)
            return
        from saccade.scheduler.simulator.scenario import Scenario, WorkloadSpec

        spec = WorkloadSpec(
            workload, duration_s=duration, image_ratio=image_ratio, trace=trace,
            format_name=format_name, max_requests=max_requests,
        )  # fmt: skip
        points = (speed or [1.0]) if trace else (rate or [20.0])
        scenarios = [
            Scenario(name, spec.at(point), gpu, model, gpus, seed, failure_every_s=failure_every)
            for name in policy or ["elasticmm", "static-equal", "coupled-vllm-today"]
            for point in points
            for seed in range(first_seed, first_seed + seeds)
        ]
        _show(scenarios, jobs, json_file, html)
    except (SimulatorError, OSError) as error:
        fail(str(error), 2)


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
    path.parent.mkdir(parents=True, exist_ok=True)
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
