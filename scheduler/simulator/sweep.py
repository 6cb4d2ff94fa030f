"""A policy over a range of rates: latencies at each, and how much it carries."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from saccade.scheduler.simulator.runs import Interval, Progress, run_all, with_slos
from saccade.scheduler.simulator.scenario import Outcome, Scenario, grid

LEAST_ATTAINMENT = 0.9
"""A rate is carried when so many of its requests meet the SLO."""


@dataclass(frozen=True)
class Sweep:
    """The runs of one policy, by rate; every rate has the same seeds."""

    policy: str
    runs: dict[float, list[Outcome]]

    def capacity_rps(self, scale: int) -> Interval:
        """The largest rate that is carried at an SLO scale; an interval over seeds."""
        num_seeds = len(next(iter(self.runs.values())))
        return Interval.of(
            carried([(rate, runs[seed].attainment[scale]) for rate, runs in self.runs.items()])
            for seed in range(num_seeds)
        )

    def mean(self, rate: float, modality: str, metric: str, statistic: str = "mean") -> float:
        return Interval.of(
            run.latencies[modality][metric][statistic] for run in self.runs[rate]
        ).mean

    def input_latency(self, rate: float) -> float:
        """Mean normalised input latency of all requests, seconds a token."""
        total = count = 0.0
        for run in self.runs[rate]:
            for found in run.latencies.values():
                if found["num_requests"]:
                    total += found["input_s_per_token"]["mean"] * found["num_requests"]
                    count += found["num_requests"]
        return total / count if count else math.nan


def carried(points: Sequence[tuple[float, float]], least: float = LEAST_ATTAINMENT) -> float:
    """Where the attainment falls below `least`, on the straight line between two rates.

    0 when the lowest rate is not carried, the highest rate when all are: it is a lower bound then.
    """
    before: tuple[float, float] | None = None
    for rate, attained in sorted(points):
        if attained < least:
            if before is None:
                return 0.0
            part = (before[1] - least) / (before[1] - attained)
            return before[0] + part * (rate - before[0])
        before = (rate, attained)
    return before[0] if before else math.nan


def sweep(
    base: Scenario,
    policies: Sequence[str],
    rates: Sequence[float],
    num_seeds: int,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Sweep]:
    """All policies over all rates, from one pool of processes."""
    scenarios = grid(base, policies, rates, range(num_seeds))
    outcomes = iter(run_all(with_slos(scenarios), jobs=jobs, progress=progress))
    return {
        policy: Sweep(policy, {rate: [next(outcomes) for _ in range(num_seeds)] for rate in rates})
        for policy in policies
    }


def best(sweeps: dict[str, Sweep], policies: Iterable[str], scale: int) -> Sweep:
    """The one that carries the most; of equals the quickest at the lowest rate."""
    return max(
        (sweeps[policy] for policy in policies),
        key=lambda one: (one.capacity_rps(scale).mean, -one.input_latency(min(one.runs))),
    )
