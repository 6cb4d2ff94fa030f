"""Many runs: in parallel, with a progress bar, summed up over their seeds."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context

from saccade.scheduler.simulator.scenario import (
    Outcome,
    Scenario,
    light_load_slos,
    simulate,
)

# Two-sided 95 % of Student's t, by degrees of freedom.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with half the width of its 95 % interval; NaN width for a single seed."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Interval":
        """Of what is a number; NaN when nothing is."""
        found = [value for value in values if not math.isnan(value)]
        if not found:
            return cls(math.nan, math.nan)
        mean = math.fsum(found) / len(found)
        if len(found) == 1:
            return cls(mean, math.nan)
        variance = math.fsum((value - mean) ** 2 for value in found) / (len(found) - 1)
        factor = _T95[len(found) - 2] if len(found) - 2 < len(_T95) else 1.96
        return cls(mean, factor * math.sqrt(variance / len(found)))


def with_slos(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Each with the light-load SLO of its workload, GPU and model."""
    known: dict[tuple[object, ...], Scenario] = {}
    found = []
    for scenario in scenarios:
        spec = scenario.workload
        key = (spec.title, spec.trace, spec.image_ratio, scenario.gpu, scenario.model,
               scenario.encode_ratio)  # fmt: skip
        if key not in known:
            known[key] = replace(scenario, slos=light_load_slos(scenario))
        found.append(replace(scenario, slos=known[key].slos))
    return found


Progress = Callable[[str, float], None]
"""Gets what is being done, and the share of all runs that is done."""


def run_all(
    scenarios: Sequence[Scenario], *, jobs: int = 1, progress: Progress | None = None
) -> list[Outcome]:
    """In the order of the scenarios, whatever finishes first."""
    say = progress or (lambda _title, _share: None)
    if jobs <= 1 or len(scenarios) < 2:
        return list(_one_after_another(scenarios, say))
    outcomes: dict[int, Outcome] = {}
    # Spawned: a forked child would inherit the locks of whatever threads run here.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(simulate, one): number for number, one in enumerate(scenarios)}
        for done in as_completed(waiting):
            number = waiting[done]
            outcomes[number] = done.result()
            say(_title(scenarios[number]), len(outcomes) / len(scenarios))
    return [outcomes[number] for number in range(len(scenarios))]


def _one_after_another(scenarios: Sequence[Scenario], say: Progress) -> Iterator[Outcome]:
    for number, scenario in enumerate(scenarios):

        def report(share: float, number: int = number, title: str = _title(scenario)) -> None:
            say(title, (number + share) / len(scenarios))

        yield simulate(scenario, report)
        say(_title(scenario), (number + 1) / len(scenarios))


def _title(scenario: Scenario) -> str:
    return f"{scenario.policy} at {scenario.workload.rate:g}, seed {scenario.seed}"


@contextmanager
def progress_bar(*, lines: bool = False) -> Iterator[Progress]:
    """A bar on a terminal's stderr. Elsewhere nothing, or with `lines` one for each per cent."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if lines and not console.is_terminal:
        yield _Lines().say
        return
    columns = (TextColumn("simulating"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
               TimeRemainingColumn(), TextColumn("{task.description}"))  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda title, share: bar.update(task, description=title, completed=share)


class _Lines:
    """Progress for a log."""

    def __init__(self) -> None:
        self._shown = -1

    def say(self, title: str, share: float) -> None:
        percent = int(100 * share)
        if percent > self._shown:
            self._shown = percent
            sys.stderr.write(f"simulating: {percent:3} %  {title}\n")
            sys.stderr.flush()


def grouped(outcomes: Iterable[Outcome]) -> dict[tuple[str, float], list[Outcome]]:
    """The seeds of each (policy, rate), in the order in which they come."""
    found: dict[tuple[str, float], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.policy, outcome.rate), []).append(outcome)
    return found
