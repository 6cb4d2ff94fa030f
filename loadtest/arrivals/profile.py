"""How the rate of arrivals changes in time."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Segment(BaseModel):
    """A stretch in which the rate goes in a straight line from one value to another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    duration_s: float = Field(gt=0)
    begin_rate: float = Field(ge=0)
    """Arrivals per second."""
    end_rate: float = Field(ge=0)

    @property
    def mean_arrivals(self) -> float:
        return self.duration_s * (self.begin_rate + self.end_rate) / 2


def duration_s(profile: Sequence[Segment]) -> float:
    """Length of the whole profile."""
    return math.fsum(segment.duration_s for segment in profile)


def mean_rate(profile: Sequence[Segment]) -> float:
    """Arrivals per second over the whole profile."""
    return math.fsum(segment.mean_arrivals for segment in profile) / duration_s(profile)


def scaled(profile: Sequence[Segment], factor: float) -> tuple[Segment, ...]:
    """The same shape, at `factor` times the rate."""
    return tuple(
        segment.model_copy(
            update={
                "begin_rate": segment.begin_rate * factor,
                "end_rate": segment.end_rate * factor,
            }
        )
        for segment in profile
    )


def times_at(profile: Sequence[Segment], counts: np.ndarray) -> np.ndarray:
    """Times in s at which the mean number of arrivals since the start is `counts` (ascending).

    This inverts the integral of the rate. It turns a process of rate 1 into one that follows the
    profile, for any process (time-change theorem). Counts past the profile's end are left out.
    """
    begin_count, begin_s = 0.0, 0.0
    found: list[np.ndarray] = []
    for segment in profile:
        end_count = begin_count + segment.mean_arrivals
        inside = counts[(counts >= begin_count) & (counts < end_count)] - begin_count
        found.append(begin_s + _offsets(segment, inside))
        begin_count, begin_s = end_count, begin_s + segment.duration_s
    return np.concatenate(found) if found else np.empty(0)


def _offsets(segment: Segment, counts: np.ndarray) -> np.ndarray:
    """Solve a t + (b - a) t² / (2 d) = count for t, in the form that is stable for b = a."""
    a, slope = segment.begin_rate, (segment.end_rate - segment.begin_rate) / segment.duration_s
    root = np.sqrt(np.maximum(a * a + 2 * slope * counts, 0))
    # Of a rate that starts at 0, the count 0 is at 0: the form would be 0 / 0.
    offsets: np.ndarray = np.zeros_like(counts)
    np.divide(2 * counts, a + root, out=offsets, where=counts > 0)
    return offsets


def with_factors(
    profile: Sequence[Segment], factors: Sequence[tuple[float, float]]
) -> tuple[Segment, ...]:
    """The profile's rates times factors that repeat over it.

    Args:
        factors: duration in s and factor, relative to the mean of all.
    """
    period = math.fsum(duration for duration, _ in factors)
    mean = math.fsum(duration * factor for duration, factor in factors) / period
    pieces: list[Segment] = []
    now, end = 0.0, duration_s(profile)
    edges = _edges(profile)
    for duration, factor in itertools.cycle(factors):
        if now >= end:
            return tuple(pieces)
        stop = min(now + duration, end)
        inner = [edge for edge in edges if now < edge < stop]
        for begin, until in itertools.pairwise([now, *inner, stop]):
            first, last = _rates(profile, begin, until)
            pieces.append(
                Segment(
                    duration_s=until - begin,
                    begin_rate=first * factor / mean,
                    end_rate=last * factor / mean,
                )
            )
        now = stop
    raise AssertionError("factors are not empty")


def _edges(profile: Sequence[Segment]) -> list[float]:
    return list(itertools.accumulate(segment.duration_s for segment in profile))


def _rates(profile: Sequence[Segment], begin_s: float, end_s: float) -> tuple[float, float]:
    """At both ends of a stretch that lies within one segment."""
    start = 0.0
    middle = (begin_s + end_s) / 2
    for segment in profile:
        if middle < start + segment.duration_s:
            break
        start += segment.duration_s
    slope = (segment.end_rate - segment.begin_rate) / segment.duration_s

    def rate(at_s: float) -> float:
        return max(0.0, segment.begin_rate + slope * (at_s - start))

    return rate(begin_s), rate(end_s)
