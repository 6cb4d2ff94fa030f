"""Estimates with intervals: percentiles, means, shares, and ratios of interleaved runs.

An interval is what the sample supports at the given confidence, no more: where the sample is too
small for a bound, the bound is None. All but the clustered ones take values as independent.
"""

import functools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

CONFIDENCE = 0.95

Sample: TypeAlias = Sequence[float] | np.ndarray


class Interval(BaseModel):
    """An estimate and the bounds of its confidence interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float = Field(description="The estimate.")
    low: float | None = Field(
        default=None, description="Lower bound; null when the sample is too small for one."
    )
    high: float | None = Field(
        default=None, description="Upper bound; null when the sample is too small for one."
    )


def percentile_interval(values: Sample, ratio: float, confidence: float = CONFIDENCE) -> Interval:
    """The percentile at `ratio` (0.9 is p90), with bounds that assume no distribution.

    The number of values below the true percentile is binomial(n, ratio), hence the l-th and u-th
    smallest values, for its quantiles l and u - 1, are bounds (Conover, Practical Nonparametric
    Statistics, 3.2). The estimate interpolates linearly, as numpy does by default.

    Raises:
        ValueError: There are no values.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    if n == 0:
        raise ValueError("a percentile of no values")
    lower, upper = _ranks(n, ratio, confidence)
    # Between two values, the interpolated estimate may lie just outside the bounds.
    estimate = float(np.quantile(ordered, ratio))
    return Interval(
        value=estimate,
        low=min(estimate, float(ordered[lower - 1])) if lower >= 1 else None,
        high=max(estimate, float(ordered[upper - 1])) if upper <= n else None,
    )


def clustered_percentile_interval(
    clusters: Sequence[Sample], ratio: float, confidence: float = CONFIDENCE
) -> Interval:
    """As `clustered_percentile_intervals`, for one percentile."""
    return clustered_percentile_intervals(clusters, [ratio], confidence)[0]


def clustered_percentile_intervals(
    clusters: Sequence[Sample], ratios: Sequence[float], confidence: float = CONFIDENCE
) -> list[Interval]:
    """As `percentile_interval`, for values that come in dependent groups.

    The gaps of one answer are alike, so that 100 answers of 50 gaps are not 5,000 independent
    values. The share of values below the percentile is a ratio estimate over clusters; its variance
    gives the number of independent values that would tell as much (Korn & Graubard 1998), for which
    the exact binomial bounds of the share are turned into values (Woodruff 1952).

    Raises:
        ValueError: There are no values.
    """
    arrays = [np.asarray(cluster, dtype=float) for cluster in clusters if len(cluster)]
    if not arrays:
        raise ValueError("a percentile of no values")
    values = np.concatenate(arrays)
    owners = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
    ordered = np.sort(values)
    found = []
    for ratio in ratios:
        estimate = float(np.quantile(ordered, ratio))
        size = _effective_size(values <= estimate, owners, confidence)
        low, high = _share_bounds(ratio, size, confidence)
        found.append(
            Interval(
                value=estimate,
                low=None if low is None else min(estimate, _at(ordered, low)),
                high=None if high is None else max(estimate, _at(ordered, high)),
            )
        )
    return found


def mean_interval(values: Sample, confidence: float = CONFIDENCE) -> Interval:
    """The mean, with Student's t.

    Raises:
        ValueError: There are no values.
    """
    array = np.asarray(values, dtype=float)
    if len(array) == 0:
        raise ValueError("a mean of no values")
    value = float(np.mean(array))
    if len(array) < 2:
        return Interval(value=value)
    half = _t_quantile(len(array) - 1, confidence) * float(stats.sem(array))
    return Interval(value=value, low=value - half, high=value + half)


def wilson_interval(successes: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """A share of `total` trials, with Wilson's score interval.

    Raises:
        ValueError: There are no trials.
    """
    if total == 0:
        raise ValueError("a share of no trials")
    share = successes / total
    # scipy's own goes with an exact test, which takes a thousand times as long.
    square = _normal_quantile(confidence) ** 2
    centre = (successes + square / 2) / (total + square)
    half = math.sqrt(square * (share * (1 - share) + square / (4 * total)) * total)
    half /= total + square
    return Interval(
        value=share,
        low=max(0.0, min(share, centre - half)),
        high=min(1.0, max(share, centre + half)),
    )


class PairedRatio(Interval):
    """How one server stands to another: second / first."""

    num_pairs: int = Field(description="Pairs of slices in which both values are positive.")
    num_undefined: int = Field(
        default=0, description="Pairs left out: a value is missing or not positive."
    )


def paired_ratio(
    first: Sequence[float | None],
    second: Sequence[float | None],
    confidence: float = CONFIDENCE,
) -> PairedRatio | None:
    """How `second` stands to `first`, each holding one value for each slice of an interleaved run.

    Slice i of one was measured right after slice i of the other, so that whatever drifts hits both
    and leaves their ratio alone. The estimate is the geometric mean of the pairs' ratios, the
    interval Student's t on their logarithms. None when no pair has a ratio.
    """
    logarithms = [
        float(np.log(b / a))
        for a, b in zip(first, second, strict=True)
        if a is not None and b is not None and a > 0 and b > 0
    ]
    if not logarithms:
        return None
    mean = mean_interval(logarithms, confidence)
    return PairedRatio(
        value=float(np.exp(mean.value)),
        low=None if mean.low is None else float(np.exp(mean.low)),
        high=None if mean.high is None else float(np.exp(mean.high)),
        num_pairs=len(logarithms),
        num_undefined=len(first) - len(logarithms),
    )


def _effective_size(is_below: np.ndarray, owners: np.ndarray, confidence: float) -> float:
    """How many independent values would give the share of `is_below` as exactly."""
    counts = np.bincount(owners)
    num_values, num_clusters = len(owners), len(counts)
    share = float(is_below.mean())
    if num_clusters < 2:
        return 1.0
    residuals = np.bincount(owners, weights=is_below) - share * counts
    variance = float(np.sum(residuals**2)) * num_clusters / (num_clusters - 1) / num_values**2
    if variance == 0 or share in (0.0, 1.0):
        return float(num_clusters)
    # The variance is itself estimated, from as many clusters.
    penalty = (
        _t_quantile(num_values - 1, confidence) / _t_quantile(num_clusters - 1, confidence)
    ) ** 2
    return min(float(num_values), penalty * share * (1 - share) / variance)


def _share_bounds(
    ratio: float, size: float, confidence: float
) -> tuple[float | None, float | None]:
    """Clopper-Pearson around `ratio`; None where all values may lie on one side of it."""
    tail = (1 - confidence) / 2
    below = ratio * size
    low = float(stats.beta.ppf(tail, below, size - below + 1))
    high = float(stats.beta.ppf(1 - tail, below + 1, size - below))
    return (
        None if (1 - ratio) ** size >= tail else low,
        None if ratio**size >= tail else high,
    )


def _at(ordered: np.ndarray, share: float) -> float:
    return float(np.quantile(ordered, share))


@functools.cache
def _normal_quantile(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2))


@functools.lru_cache(maxsize=4096)
def _ranks(n: int, ratio: float, confidence: float) -> tuple[int, int]:
    """Which of the n smallest values, from 1, bound the percentile; 0 and n + 1 are none."""
    tail = (1 - confidence) / 2
    lower, upper = (int(stats.binom.ppf(share, n, ratio)) for share in (tail, 1 - tail))
    return lower, upper + 1


@functools.lru_cache(maxsize=4096)
def _t_quantile(degrees: int, confidence: float) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, degrees))
