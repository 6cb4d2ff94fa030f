"""`saccade plan`: how many GPUs of which kind."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.serving.cli.options import fail
from saccade.serving.cli.simulate import Format, ImageRatio, Jobs, Model, Trace, Workload

if TYPE_CHECKING:
    from saccade.scheduler.simulator.plan import Goal, Offer

EPILOG = """Examples:

  saccade plan --trace requests.jsonl --price h100=2.50 --price a100=1.30

  saccade plan --workload servegen --rate 30 --price h200=3.80 --ttft-ms 500 --attainment 0.99
"""


def plan(
    price: Annotated[
        list[str], typer.Option(metavar="GPU=PRICE", help="Per GPU-hour; may be repeated.")
    ],
    workload: Workload = "sharegpt4o",
    rate: Annotated[float, typer.Option(help="Requests per second of the workload.")] = 20.0,
    duration: Annotated[float, typer.Option(help="Seconds to simulate.")] = 300.0,
    image_ratio: ImageRatio = None,
    trace: Trace = None,
    format_name: Format = None,
    speed: Annotated[float, typer.Option(help="Replay the trace so many times as fast.")] = 1.0,
    model: Model = "qwen2.5-vl-7b",
    ttft_ms: Annotated[float, typer.Option(help="Limit for text requests.")] = 1000.0,
    image_ttft_ms: Annotated[float, typer.Option(help="Limit, with pictures.")] = 2000.0,
    tpot_ms: Annotated[float, typer.Option(help="Limit for each token after the first.")] = 100.0,
    attainment: Annotated[
        float, typer.Option(help="Share of the requests that must meet the limits.")
    ] = 0.95,
    max_gpus: Annotated[int, typer.Option(help="Look no further.", min=2)] = 32,
    seeds: Annotated[int, typer.Option(help="Runs of each cluster; 2 at least.", min=2)] = 5,
    jobs: Jobs = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all offers.")] = None,
) -> None:  # fmt: skip
    """Find the cheapest GPUs that hold an SLO, by simulation.

    With elastic scheduling and with the best static split of one pool, for each kind of GPU that
    has a price. The confidence is the probability that the mean attainment reaches the goal.
    """
    from saccade.scheduler.simulator.errors import SimulatorError
    from saccade.scheduler.simulator.plan import Goal, Planner
    from saccade.scheduler.simulator.runs import progress_bar
    from saccade.scheduler.simulator.scenario import Scenario, WorkloadSpec

    prices = _prices(price)
    if not 0 < attainment <= 1:
        fail(f"an attainment of {attainment} is not possible: give a share above 0, at most 1", 2)
    spec = WorkloadSpec(workload, rate, duration, image_ratio, trace, format_name, speed)
    goal = Goal(ttft_ms / 1e3, image_ttft_ms / 1e3, tpot_ms / 1e3, attainment, max_gpus)
    try:
        with progress_bar() as progress:
            planner = Planner(Scenario("elasticmm", spec, model=model), goal, range(seeds),
                              jobs=jobs, progress=progress)  # fmt: skip
            offers = sorted(planner.offers(prices), key=lambda one: one.cost_per_hour)
        _print(offers, goal, spec.title)
        if json_file is not None:
            content = {"simulation": True, "offers": [one.to_json() for one in offers]}
            json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            typer.echo(f"{json_file}: written")
    except (SimulatorError, OSError) as error:
        fail(str(error), 2)


def _prices(texts: list[str]) -> dict[str, float]:
    prices = {}
    for text in texts:
        gpu, _, value = text.partition("=")
        try:
            prices[gpu.strip().lower()] = float(value)
        except ValueError:
            fail(f"--price {text}: write the GPU and its price per hour, such as h100=2.50", 2)
    return prices


def _print(offers: "list[Offer]", goal: "Goal", title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from saccade.scheduler.simulator.scenario import SIMULATED

    console = Console(highlight=False)
    console.print(SIMULATED, style="bold")
    if not offers:
        console.print(f"No cluster of up to {goal.max_gpus} GPUs reaches {goal.attainment:.1%}; "
                      "raise --max-gpus, or loosen the limits.")  # fmt: skip
        return
    table = Table(title=f"{title}: at least {goal.attainment:.1%} within the limits",
                  title_justify="left")  # fmt: skip
    for name in ("scheduling", "GPUs", "kind", "policy", "per hour", "attainment", "confidence"):
        table.add_column(name, justify="left" if name in ("scheduling", "policy") else "right")
    for one in offers:
        table.add_row(
            one.scheduling, str(one.num_gpus), one.gpu, one.policy, f"{one.cost_per_hour:.2f}",
            f"{one.attainment:.1%} ± {one.half_width:.1%}", f"{one.confidence:.0%}",
        )  # fmt: skip
    console.print(table)
    console.print(f"Cheapest: {offers[0].num_gpus} x {offers[0].gpu}, {offers[0].scheduling}, "
                  f"{offers[0].cost_per_hour:.2f} per hour.")  # fmt: skip
