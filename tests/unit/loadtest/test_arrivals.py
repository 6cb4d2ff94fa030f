"""Arrival processes and rate profiles."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from saccade.loadtest.arrivals.parse import (
    ArrivalOptions,
    parse_arrivals,
    parse_ramp,
    parse_steps,
)
from saccade.loadtest.arrivals.process import arrival_times, unit_gaps
from saccade.loadtest.arrivals.profile import (
    Segment,
    duration_s,
    mean_rate,
    scaled,
    times_at,
    with_factors,
)
from saccade.loadtest.arrivals.spec import ClosedArrivals, OpenArrivals, TraceArrivals, steady
from saccade.loadtest.errors import PlanError

rates = st.floats(0, 50)
segments = st.builds(
    Segment, duration_s=st.floats(0.1, 20), begin_rate=rates, end_rate=rates
).filter(lambda segment: segment.mean_arrivals > 0.1)
profiles = st.lists(segments, min_size=1, max_size=4).map(tuple)


def rate_at(profile: tuple[Segment, ...], at_s: float) -> float:
    """The rate of a profile, read off directly."""
    for segment in profile:
        if at_s <= segment.duration_s:
            ratio = at_s / segment.duration_s
            return segment.begin_rate + (segment.end_rate - segment.begin_rate) * ratio
        at_s -= segment.duration_s
    return 0.0


def arrivals_until(profile: tuple[Segment, ...], until_s: float) -> float:
    """Integral of the rate, by the midpoints of many small pieces."""
    edges = np.linspace(0, until_s, 20_001)
    middles = (edges[1:] + edges[:-1]) / 2
    return float(sum(rate_at(profile, m) for m in middles) * until_s / 20_000)


@given(profiles, st.floats(0.01, 0.99))
def test_a_count_is_reached_when_the_integral_of_the_rate_reaches_it(
    profile: tuple[Segment, ...], ratio: float
) -> None:
    whole = sum(segment.mean_arrivals for segment in profile)
    (at_s,) = times_at(profile, np.array([ratio * whole]))
    assert arrivals_until(profile, at_s) == pytest.approx(ratio * whole, rel=0.01, abs=0.05)


@given(profiles, st.sampled_from(["poisson", "gamma", "constant"]), st.integers(0, 1000))
def test_arrivals_ascend_and_stay_within_the_profile(
    profile: tuple[Segment, ...], process: str, seed: int
) -> None:
    times = arrival_times(process, 0.5, profile, np.random.default_rng(seed))  # type: ignore[arg-type]
    assert all(a <= b for a, b in itertools.pairwise(times))
    assert all(0 <= t <= duration_s(profile) * (1 + 1e-9) for t in times)


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    times = arrival_times("constant", 1, steady(4, 2), np.random.default_rng(0))
    assert times.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]


def test_poisson_gaps_are_exponential() -> None:
    times = arrival_times("poisson", 1, steady(20, 500), np.random.default_rng(1))
    assert stats.kstest(np.diff(times), "expon", args=(0, 1 / 20)).pvalue > 0.01


@pytest.mark.parametrize("burstiness", [0.25, 1, 4])
def test_gamma_gaps_have_the_coefficient_of_variation_of_their_burstiness(
    burstiness: float,
) -> None:
    gaps = unit_gaps("gamma", burstiness, 200_000, np.random.default_rng(2))
    assert gaps.mean() == pytest.approx(1, rel=0.02)
    assert gaps.std() == pytest.approx(1 / math.sqrt(burstiness), rel=0.03)


def test_a_ramp_has_as_many_arrivals_in_each_half_as_its_area_says() -> None:
    ramp = (Segment(duration_s=100, begin_rate=0, end_rate=40),)
    times = arrival_times("poisson", 1, ramp, np.random.default_rng(3))
    assert len(times) == pytest.approx(2000, rel=0.08)
    assert (times < 50).mean() == pytest.approx(0.25, abs=0.03)


@given(profiles, st.floats(0.1, 100))
def test_scaling_sets_the_mean_rate_and_keeps_the_shape(
    profile: tuple[Segment, ...], rate: float
) -> None:
    new = OpenArrivals(profile=profile).with_rate(rate).profile
    assert mean_rate(new) == pytest.approx(rate)
    factor = rate / mean_rate(profile)
    for before, after in zip(profile, new, strict=True):
        assert after.begin_rate == pytest.approx(factor * before.begin_rate)
        assert after.duration_s == before.duration_s


@given(profiles, st.floats(0.5, 30))
def test_stretching_keeps_the_mean_rate(profile: tuple[Segment, ...], length_s: float) -> None:
    new = OpenArrivals(profile=profile).with_duration(length_s).profile
    assert duration_s(new) == pytest.approx(length_s)
    assert mean_rate(new) == pytest.approx(mean_rate(profile))


@given(
    profiles,
    st.lists(st.tuples(st.floats(0.5, 5), st.floats(0, 4)), min_size=1, max_size=3).filter(
        lambda factors: sum(d * f for d, f in factors) > 0.1
    ),
    st.floats(0.001, 0.999),
)
def test_factors_multiply_the_rate_at_every_time(
    profile: tuple[Segment, ...], factors: list[tuple[float, float]], ratio: float
) -> None:
    waved = with_factors(profile, factors)
    assert duration_s(waved) == pytest.approx(duration_s(profile))
    at_s = ratio * duration_s(profile)
    period = sum(d for d, _ in factors)
    mean = sum(d * f for d, f in factors) / period
    phase, edges = at_s % period, list(itertools.accumulate(d for d, _ in factors))
    own_edges = list(itertools.accumulate(s.duration_s for s in profile))
    if (
        min(abs(phase - e) for e in [0, *edges]) > 1e-3
        and min(abs(at_s - e) for e in own_edges) > 1e-3
    ):
        factor = next(f for (_, f), edge in zip(factors, edges, strict=True) if phase < edge)
        expected = rate_at(profile, at_s) * factor / mean
        assert rate_at(waved, at_s) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_scaled_by_two_has_twice_the_arrivals() -> None:
    assert mean_rate(scaled(steady(3, 10), 2)) == 6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rate": 5, "duration_s": 60}, "Poisson, 5 requests/s"),
        ({"rate": 5, "duration_s": 60, "process": "constant"}, "constant, 5 requests/s"),
        ({"rate": 5, "duration_s": 60, "burstiness": 0.5}, "Gamma (burstiness 0.5), 5 requests/s"),
        ({"ramp": "1:10", "duration_s": 60}, "Poisson, 1 to 10 requests/s"),
        ({"steps": "2x30s,5x1min"}, "Poisson, 2 for 30 s, 5 for 60 s requests/s"),
        ({"concurrency": 8}, "closed loop of 8"),
    ],
)
def test_options_become_arrivals(options: dict[str, object], expected: str) -> None:
    arrivals = parse_arrivals(ArrivalOptions(**options), recorded=False)  # type: ignore[arg-type]
    assert arrivals.describe() == expected


def test_recorded_times_are_the_default_where_there_are_some() -> None:
    assert parse_arrivals(ArrivalOptions(), recorded=True) == TraceArrivals()
    fast = parse_arrivals(ArrivalOptions(speed=2), recorded=True)
    assert fast == TraceArrivals(speed=2)
    closed = parse_arrivals(ArrivalOptions(concurrency=2), recorded=True)
    assert closed == ClosedArrivals(concurrency=2)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({}, "Give --rate"),
        ({"rate": 1}, "--duration or --num-requests"),
        ({"rate": 0, "duration_s": 1}, "above 0"),
        ({"rate": 1, "concurrency": 2, "duration_s": 1}, "--rate and --concurrency exclude"),
        ({"ramp": "1:10"}, "needs --duration"),
        ({"ramp": "fast", "duration_s": 1}, "such as 1:10"),
        ({"ramp": "0:0", "duration_s": 1}, "sends nothing"),
        ({"steps": "2x30"}, "unit"),
        ({"steps": "30s"}, "such as 2x30s"),
        ({"rate": 1, "duration_s": 1, "process": "constant", "burstiness": 2}, "gamma"),
    ],
)
def test_what_makes_no_arrivals_is_refused_with_a_remedy(
    options: dict[str, object], remedy: str
) -> None:
    with pytest.raises(PlanError, match=remedy):
        parse_arrivals(ArrivalOptions(**options), recorded=False)  # type: ignore[arg-type]


def test_ramps_and_steps_are_read() -> None:
    assert parse_ramp("0.5:.25") == (0.5, 0.25)
    assert [(s.duration_s, s.begin_rate, s.end_rate) for s in parse_steps("1x2s, 0x500ms")] == [
        (2, 1, 1),
        (0.5, 0, 0),
    ]


def test_more_arrivals_than_can_be_prepared_are_refused() -> None:
    with pytest.raises(PlanError, match="lower the rate or the duration"):
        arrival_times("poisson", 1.0, steady(1e12, 1.0), np.random.default_rng(0))


@pytest.mark.parametrize("name", ["rate", "speed", "burstiness"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_number_that_must_be_above_0_is_refused_if_it_is_not(name: str, value: float) -> None:
    with pytest.raises(PlanError, match=f"--{name} must be above 0"):
        parse_arrivals(
            ArrivalOptions(**{"rate": 1.0, "duration_s": 1.0, name: value}),  # type: ignore[arg-type]
            recorded=True,
        )
