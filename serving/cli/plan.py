"""`saccade plan`: how many GPUs of which kind."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from saccade.serving.cli import simulate_options as options
from saccade.serving.cli.options import fail
from saccade.serving.cli.simulate import plain_errors, ready_to_write

if TYPE_CHECKING:
    from saccade.scheduler.simulator.plan import Goal, Offer

EPILOG = """\b
Examples:
  saccade plan --trace requests.jsonl --price h100=2.50 --price a100=1.30
  saccade plan --workload servegen --rate 30 --price h200=3.80 \\
      --ttft-ms 500 --attainment 0.99
"""


def plan(
    price: options.Prices,
    workload: options.Workload = "sharegpt4o",
    rate: options.Rate = 20.0,
    duration: options.Duration = 300.0,
    image_ratio: options.ImageRatio = None,
    trace: options.Trace = None,
    format_name: options.Format = None,
    speed: options.Speed = 1.0,
    model: options.Model = "qwen2.5-vl-7b",
    ttft_ms: options.TtftMs = 1000.0,
    image_ttft_ms: options.ImageTtftMs = 2000.0,
    tpot_ms: options.TpotMs = 100.0,
    attainment: options.Attainment = 0.95,
    max_gpus: options.MaxGpus = 32,
    seeds: options.PlanSeeds = 5,
    jobs: options.Jobs = 1,
    json_file: options.Json = None,
) -> None:
    """Find the cheapest GPUs that hold an SLO, by simulation.

    With elastic scheduling and with the best static split of one pool, for each kind of GPU that
    has a price. The confidence is the probability that the mean attainment reaches the goal.
    """
    from saccade.scheduler.simulator.plan import Goal, Planner
    from saccade.scheduler.simulator.runs import progress_bar
    from saccade.scheduler.simulator.scenario import Scenario, WorkloadSpec

    prices = _prices(price)
    with plain_errors():
        ready_to_write(json_file)
        spec = WorkloadSpec(workload, rate, duration, image_ratio, trace, format_name, speed)
        goal = Goal(ttft_ms / 1e3, image_ttft_ms / 1e3, tpot_ms / 1e3, attainment, max_gpus)
        with progress_bar() as progress:
            planner = Planner(Scenario("elasticmm", spec, model=model), goal, range(seeds),
                              jobs=jobs, progress=progress)  # fmt: skip
            offers = sorted(planner.offers(prices), key=lambda one: one.cost_per_hour)
        _print(offers, goal, spec.title)
        if json_file is not None:
            _write(json_file, offers)


def _write(path: Path, offers: "list[Offer]") -> None:
    content = {"simulation": True, "offers": [one.to_json() for one in offers]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    typer.echo(f"{path}: written")


def _prices(texts: list[str]) -> dict[str, float]:
    prices: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        gpu = name.strip().lower()
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if gpu in prices:
            fail(f"--price {text}: {gpu} has a price already; give each GPU one", 2)
        if 0 <= number < math.inf:
            prices[gpu] = number
        else:
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
