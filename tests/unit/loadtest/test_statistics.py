"""Coverage is counted over many samples of a known distribution; seeds are fixed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from saccade.loadtest.statistics import (
    Interval,
    clustered_percentile_intervals,
    mean_interval,
    paired_ratio,
    percentile_interval,
    wilson_interval,
)

VALUES = st.lists(st.floats(0, 1e3), min_size=1, max_size=60)
RATIOS = st.sampled_from([0.5, 0.9, 0.95, 0.99])


def contains(interval: Interval, value: float) -> bool:
    """An absent bound bounds nothing."""
    low = -math.inf if interval.low is None else interval.low
    high = math.inf if interval.high is None else interval.high
    return low <= value <= high


def test_percentile_bounds_are_those_of_the_binomial_table() -> None:
    # Median of 10 values: the 2nd and the 9th smallest give 97.9 % (Conover, table A3).
    found = percentile_interval(range(1, 11), 0.5)
    assert (found.value, found.low, found.high) == (5.5, 2, 9)


def test_five_values_bound_no_median_at_95_percent() -> None:
    # 1 - 2 x 0.5**5 = 94 %: even the extremes are not enough; 6 values are.
    assert percentile_interval([1, 2, 3, 4, 5], 0.5).low is None
    six = percentile_interval([1, 2, 3, 4, 5, 6], 0.5)
    assert (six.low, six.high) == (1, 6)


def test_a_hundred_values_give_no_upper_bound_for_p99() -> None:
    found = percentile_interval(np.arange(100.0), 0.99)
    assert found.high is None
    assert found.low is not None


@given(VALUES, RATIOS)
def test_a_percentile_lies_within_its_bounds(values: list[float], ratio: float) -> None:
    for found in (
        percentile_interval(values, ratio),
        clustered_percentile_intervals([[value] for value in values], [ratio])[0],
    ):
        assert found.value == np.quantile(values, ratio)
        assert contains(found, found.value)


def test_percentile_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    truth = math.exp(1.2815515655446004)  # p90 of the standard log-normal
    hits = sum(
        contains(percentile_interval(rng.lognormal(0, 1, 80), 0.9), truth) for _ in range(500)
    )
    assert hits / 500 >= 0.93


def test_gaps_of_one_answer_are_not_taken_for_independent() -> None:
    rng = np.random.default_rng(2)
    truth = float(
        np.quantile(np.exp(rng.normal(0, 0.5, 200_000)) * rng.lognormal(0, 0.1, 200_000), 0.5)
    )
    clustered = naive = 0
    for _ in range(200):
        answers = [math.exp(rng.normal(0, 0.5)) * rng.lognormal(0, 0.1, 30) for _ in range(60)]
        clustered += contains(clustered_percentile_intervals(answers, [0.5])[0], truth)
        naive += contains(percentile_interval(np.concatenate(answers), 0.5), truth)
    assert clustered / 200 >= 0.92
    assert naive / 200 < 0.6


def test_one_answer_alone_bounds_nothing() -> None:
    found = clustered_percentile_intervals([np.arange(1000.0)], [0.9])[0]
    assert (found.low, found.high) == (None, None)


def test_wilson_has_the_textbook_value() -> None:
    # Newcombe 1998, table I: 81 of 263 give 0.2553 to 0.3662.
    found = wilson_interval(81, 263)
    assert found.low == pytest.approx(0.2553, abs=5e-5)
    assert found.high == pytest.approx(0.3662, abs=5e-5)


@pytest.mark.parametrize(("met", "bound"), [(0, "low"), (20, "high")])
def test_wilson_at_the_ends_stays_a_share(met: int, bound: str) -> None:
    found = wilson_interval(met, 20)
    assert getattr(found, bound) == pytest.approx(met / 20, abs=1e-12)
    assert found.low != found.high


def test_mean_has_students_interval() -> None:
    # mean 2, s 1, n 3: 2 ± 4.3027 / sqrt(3)
    found = mean_interval([1, 2, 3])
    assert found.low == pytest.approx(2 - 4.302652730 / math.sqrt(3))
    assert mean_interval([7.0]).low is None


@pytest.mark.parametrize("empty", [lambda: percentile_interval([], 0.5), lambda: mean_interval([])])
def test_nothing_has_no_estimate(empty: object) -> None:
    with pytest.raises(ValueError, match="no values"):
        empty()  # type: ignore[operator]


def test_drift_that_hits_both_of_a_pair_does_not_touch_their_ratio() -> None:
    drift = [1.0, 5.0, 0.2, 9.0]
    found = paired_ratio(drift, [1.25 * value for value in drift])
    assert found is not None
    assert found.value == pytest.approx(1.25)
    assert found.low == pytest.approx(1.25)
    assert found.high == pytest.approx(1.25)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=2, max_size=8))
def test_swapping_the_servers_inverts_their_ratio(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = paired_ratio(first, second), paired_ratio(second, first)
    assert there is not None
    assert back is not None
    assert there.low is not None
    assert back.high is not None
    assert there.value == pytest.approx(1 / back.value)
    assert there.low == pytest.approx(1 / back.high)


def test_a_pair_without_a_value_is_left_out_and_counted() -> None:
    found = paired_ratio([1.0, None, 2.0, 0.0], [2.0, 3.0, 4.0, 1.0])
    assert found is not None
    assert found.value == pytest.approx(2)
    assert (found.num_pairs, found.num_undefined) == (2, 2)
    assert paired_ratio([None], [1.0]) is None


def test_ratio_intervals_cover_the_truth_under_drift() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        drift = np.exp(rng.normal(0, 0.5, 5))
        first = [float(np.quantile(d * rng.lognormal(0, 0.5, 60), 0.9)) for d in drift]
        second = [float(np.quantile(1.2 * d * rng.lognormal(0, 0.5, 60), 0.9)) for d in drift]
        found = paired_ratio(first, second)
        assert found is not None
        hits += contains(found, 1.2)
    assert hits / 300 >= 0.92


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilson_is_that_of_scipy(met: int, missed: int) -> None:
    expected = stats.binomtest(met, met + missed).proportion_ci(0.95, method="wilson")
    found = wilson_interval(met, met + missed)
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
