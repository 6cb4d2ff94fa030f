"""Arrival processes of rate 1; `profile` stretches them to the wanted rate."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from saccade.loadtest.arrivals.profile import Segment, times_at
from saccade.loadtest.errors import PlanError

Process = Literal["poisson", "gamma", "constant"]

MAX_ARRIVALS = 10_000_000


def unit_gaps(
    process: Process, burstiness: float, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Gaps with mean 1.

    `gamma` has the shape `burstiness` as in `vllm bench serve`: its coefficient of variation is
    1/√burstiness, so that 1 is Poisson, below 1 bursty, above 1 more even.
    """
    match process:
        case "poisson":
            return rng.exponential(1.0, size)
        case "gamma":
            return rng.gamma(burstiness, 1 / burstiness, size)
        case "constant":
            return np.ones(size)


def arrival_times(
    process: Process, burstiness: float, profile: Sequence[Segment], rng: np.random.Generator
) -> np.ndarray:
    """Ascending times in s of all arrivals within the profile.

    The first arrival of a constant process is at the start; of a random one, after a first gap.

    Raises:
        PlanError: they are more than can be prepared.
    """
    end = sum(segment.mean_arrivals for segment in profile)
    if end > MAX_ARRIVALS:
        raise PlanError(
            f"That is {end:.3g} requests, and at most {MAX_ARRIVALS} can be prepared; lower the "
            "rate or the duration."
        )
    chunks: list[np.ndarray] = []
    last = -1.0 if process == "constant" else 0.0
    while last < end:
        gaps = unit_gaps(process, burstiness, max(16, int(1.2 * (end - last))), rng)
        chunks.append(last + np.cumsum(gaps))
        last = float(chunks[-1][-1])
    counts = np.concatenate(chunks) if chunks else np.empty(0)
    return times_at(profile, counts[counts < end])
