"""When requests arrive: renewal processes under a rate that changes over time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 4096


@dataclass(frozen=True)
class RateProfile:
    """A rate that is constant between moments: `segments` holds (duration_s, rate_per_s)."""

    segments: tuple[tuple[float, float], ...]

    @classmethod
    def constant(cls, rate_per_s: float, duration_s: float) -> "RateProfile":
        return cls(((duration_s, rate_per_s),))

    @classmethod
    def diurnal(
        cls, mean_per_s: float, duration_s: float, *, period_s: float, swing: float, phase: float
    ) -> "RateProfile":
        """A sine around the mean in steps of 1/48 period; `phase` 0..1 of a period."""
        starts = np.arange(int(np.ceil(48 * duration_s / period_s))) * period_s / 48
        lengths = np.minimum(period_s / 48, duration_s - starts)
        waves = 1 + swing * np.sin(2 * np.pi * ((starts + lengths / 2) / period_s + phase))
        return cls(
            tuple(
                (length, mean_per_s * wave)
                for length, wave in zip(lengths.tolist(), waves.tolist(), strict=True)
            )
        )

    @property
    def duration_s(self) -> float:
        return sum(duration for duration, _ in self.segments)

    @property
    def mean_per_s(self) -> float:
        return sum(duration * rate for duration, rate in self.segments) / self.duration_s

    def scaled(self, factor: float) -> "RateProfile":
        return RateProfile(tuple((duration, rate * factor) for duration, rate in self.segments))


def arrival_times(
    profile: RateProfile, cv: float, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Chunks of ascending times, seconds, of a renewal process with Gamma gaps.

    Gaps of mean 1 and coefficient of variation `cv` (1: Poisson) in operational time are carried
    through the inverse of the cumulative rate, so that burstiness survives a changing rate.
    """
    durations, rates = np.asarray(profile.segments, dtype=np.float64).T
    times = np.concatenate(([0.0], np.cumsum(durations)))
    loads = np.concatenate(([0.0], np.cumsum(durations * rates)))
    reached = 0.0
    while reached < loads[-1]:
        operational = reached + np.cumsum(unit_gaps(cv, _CHUNK, rng))
        reached = float(operational[-1])
        inside = operational[operational < loads[-1]]
        if inside.size:
            yield _inverse(inside, times, loads, rates)


def _inverse(
    operational: NDArray[np.float64],
    times: NDArray[np.float64],
    loads: NDArray[np.float64],
    rates: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Times at which the cumulative rate reaches `operational`; idle segments are stepped over."""
    segment = np.searchsorted(loads, operational, side="right") - 1
    found: NDArray[np.float64] = times[segment] + (operational - loads[segment]) / rates[segment]
    return found


def unit_gaps(cv: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaps of mean 1 and the given coefficient of variation; 0 is a metronome."""
    if cv == 0:
        return np.ones(count)
    if cv == 1:
        return rng.standard_exponential(count)
    shape = 1 / cv**2
    return rng.gamma(shape, 1 / shape, count)
