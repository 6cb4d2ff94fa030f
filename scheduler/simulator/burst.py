"""What a step burst of pictures does to text: the same text requests, with and without it."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

from saccade.scheduler.simulator.histogram import Histogram
from saccade.scheduler.simulator.runs import Progress
from saccade.scheduler.simulator.scenario import Scenario, WorkloadSpec, run
from saccade.scheduler.simulator.workloads.base import Modality

BURST = (0.4, 0.6)
"""The part of the time in which the presets burst."""


@dataclass(frozen=True)
class BurstEffect:
    """p99 TTFT, seconds, of the requests that arrive before the burst and in it."""

    policy: str
    text_quiet_s: float
    text_burst_s: float
    image_quiet_s: float
    image_burst_s: float
    num_flips: float
    """In the whole run, on average."""

    @property
    def text_ratio(self) -> float:
        return self.text_burst_s / self.text_quiet_s


def burst_effect(
    policy: str, rate_per_s: float, duration_s: float, seeds: Sequence[int], gpu: str = "a800",
    workload: str = "image-burst",
) -> BurstEffect:  # fmt: skip
    """Pooled over seeds. The first eighth of the time is not counted as quiet: roles settle."""
    spec = WorkloadSpec(workload, rate_per_s, duration_s)
    pooled: dict[tuple[str, Modality], Histogram] = {}
    num_flips = 0
    for seed in seeds:
        metrics, _ = run(replace(Scenario(policy, spec, gpu), seed=seed))
        num_flips += metrics.num_flips
        for (number, modality), histogram in metrics.ttft_bins.items():
            part = (number + 0.5) * metrics.bin_s / duration_s
            if 1 / 8 < part < BURST[0]:
                pooled.setdefault(("quiet", modality), Histogram()).merge(histogram)
            elif BURST[0] < part < BURST[1]:
                pooled.setdefault(("burst", modality), Histogram()).merge(histogram)
    p99 = {key: histogram.quantile(0.99) for key, histogram in pooled.items()}
    return BurstEffect(
        policy,
        p99["quiet", "text"],
        p99["burst", "text"],
        p99["quiet", "image"],
        p99["burst", "image"],
        num_flips / len(seeds),
    )


def burst_effects(
    policies: Sequence[str], rate_per_s: float, duration_s: float, seeds: Sequence[int], *,
    jobs: int = 1, progress: Progress | None = None,
) -> list[BurstEffect]:  # fmt: skip
    """In the order of the policies, so many at the same time."""
    say = progress or (lambda _title, _share: None)
    effect = partial(burst_effect, rate_per_s=rate_per_s, duration_s=duration_s, seeds=seeds)
    found: list[BurstEffect] = []
    # Spawned: a forked child would inherit the locks of whatever threads run here.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else None
    try:
        for one in (pool.map if pool else map)(effect, policies):
            found.append(one)
            say(one.policy, len(found) / len(policies))
    finally:
        if pool is not None:
            pool.shutdown()
    return found
