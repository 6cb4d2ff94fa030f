"""The runs behind docs/results/simulation.md: how much is simulated, and how far it has come."""

from collections.abc import Sequence
from dataclasses import dataclass

from saccade.scheduler.simulator.burst import BurstEffect, burst_effects
from saccade.scheduler.simulator.runs import Progress
from saccade.scheduler.simulator.scenario import Scenario, WorkloadSpec
from saccade.scheduler.simulator.sweep import Sweep, sweep

ELASTIC = "elasticmm"
FULL_DURATION_S = 300.0
_NUM_PARTS = 10
"""Sweeps and bursts of the whole page."""


@dataclass(frozen=True)
class Size:
    """How much is simulated."""

    num_seeds: int
    duration_s: float
    rates: tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    few_rates: tuple[float, ...] = (20, 40, 60, 80)
    burst_rate: float = 30.0

    @property
    def busy_rate(self) -> float:
        """One at which it matters what the policy does."""
        return self.few_rates[len(self.few_rates) // 2]

    @property
    def command(self) -> str:
        rates = "".join(f" --rate {rate:g}" for rate in self.rates)
        return (
            f"saccade simulate --report docs/results/simulation.md --duration {self.duration_s:g} "
            f"--seeds {self.num_seeds}{'' if self.rates == Size.rates else rates}"
        )


class Experiments:
    """Runs them one part after another."""

    def __init__(self, size: Size, jobs: int, progress: Progress | None) -> None:
        self.size = size
        self._jobs = jobs
        self._progress = progress or (lambda _title, _share: None)
        self._num_done = 0

    def base(self, workload: str, image_ratio: float | None = None) -> Scenario:
        spec = WorkloadSpec(workload, duration_s=self.size.duration_s, image_ratio=image_ratio)
        return Scenario(ELASTIC, spec, warm_up_ratio=0.3)

    def sweep(
        self, base: Scenario, policies: Sequence[str], rates: Sequence[float]
    ) -> dict[str, Sweep]:
        found = sweep(
            base, policies, rates, self.size.num_seeds, jobs=self._jobs, progress=self._say
        )
        self._num_done += 1
        return found

    def bursts(self, policies: Sequence[str]) -> dict[str, BurstEffect]:
        size = self.size
        found = burst_effects(
            policies, size.burst_rate, size.duration_s, range(size.num_seeds),
            jobs=self._jobs, progress=self._say,
        )  # fmt: skip
        self._num_done += 1
        return {one.policy: one for one in found}

    def _say(self, title: str, share: float) -> None:
        part = f"part {self._num_done + 1} of {_NUM_PARTS}: {title}"
        self._progress(part, (self._num_done + share) / _NUM_PARTS)
