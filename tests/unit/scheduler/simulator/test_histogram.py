import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.simulator.histogram import Histogram

values = st.lists(st.floats(1e-5, 1e5), min_size=1)


def filled(given_values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in given_values:
        histogram.add(value)
    return histogram


@given(values, st.floats(0.001, 1))
def test_a_quantile_is_within_one_per_cent_of_the_value_at_its_rank(
    given_values: list[float], probability: float
) -> None:
    rank = max(1, math.ceil(probability * len(given_values)))
    exact = sorted(given_values)[rank - 1]
    assert filled(given_values).quantile(probability) == pytest.approx(exact, rel=0.0101)


@given(values, values)
def test_merging_is_counting_everything_in_one(first: list[float], second: list[float]) -> None:
    merged = filled(first)
    merged.merge(filled(second))
    together = filled(first + second)
    assert merged.count == together.count
    assert merged.mean == pytest.approx(together.mean)
    assert [merged.quantile(q / 10) for q in range(1, 11)] == [
        together.quantile(q / 10) for q in range(1, 11)
    ]


@given(values)
def test_the_share_up_to_the_largest_is_everything(given_values: list[float]) -> None:
    histogram = filled(given_values)
    assert histogram.share_up_to(max(given_values) * 1.02) == 1
    assert histogram.share_up_to(min(given_values) * 0.98) == 0


def test_nothing_counted_is_not_a_number() -> None:
    assert math.isnan(Histogram().mean)
    assert math.isnan(Histogram().quantile(0.5))
