import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from saccade.loadtest.modes.bisection import (
    Outcome,
    SearchSettings,
    Stop,
    StopReason,
    Tally,
    Try,
    bracket,
    evidence,
    next_step,
)

SETTINGS = SearchSettings(share=0.9, min_rate=0.5, max_rate=64, start_rate=2)


def clear(rate: float, holds: bool) -> Tally:
    """A probe whose interval leaves no doubt."""
    return Tally(rate, *((200, 0, 0) if holds else (20, 180, 0)))


def search_to_the_end(limit: float, settings: SearchSettings) -> tuple[list[Tally], StopReason]:
    """Against a server that holds everything up to `limit` and nothing above."""
    probes: list[Tally] = []
    while isinstance(step := next_step(probes, settings), Try):
        probes.append(clear(step.rate, step.rate <= limit))
    return probes, step.reason


@given(st.floats(0.6, 60))
def test_the_limit_is_found_to_the_tolerance(limit: float) -> None:
    probes, reason = search_to_the_end(limit, SETTINGS)
    good, bad = bracket(evidence(probes, SETTINGS))
    assert reason is StopReason.RESOLVED
    assert good is not None
    assert bad is not None
    assert good <= limit < bad
    assert bad <= good * (1 + SETTINGS.tolerance)
    assert len({probe.rate for probe in probes}) == len(probes)


@given(st.floats(0.1, 100), st.integers(1, 20))
def test_rates_stay_within_bounds_and_probes_within_their_number(limit: float, most: int) -> None:
    settings = SETTINGS.model_copy(update={"max_probes": most})
    probes, _ = search_to_the_end(limit, settings)
    assert len(probes) <= most
    assert all(settings.min_rate <= probe.rate <= settings.max_rate for probe in probes)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [(1000, StopReason.UPPER_BOUND_HOLDS), (0.1, StopReason.LOWER_BOUND_FAILS)],
)
def test_a_limit_outside_the_bounds_is_said(limit: float, reason: StopReason) -> None:
    assert search_to_the_end(limit, SETTINGS)[1] is reason


def test_too_few_probes_leave_a_bracket() -> None:
    settings = SETTINGS.model_copy(update={"max_probes": 4})
    probes, reason = search_to_the_end(5, settings)
    assert reason is StopReason.MAX_PROBES
    assert bracket(evidence(probes, settings)) == (4, 5.657)


def test_an_unclear_rate_is_measured_again_and_its_probes_are_pooled() -> None:
    unclear = Tally(2, 93, 7, 0)
    assert unclear.outcome(0.9) is Outcome.UNDETERMINED
    assert next_step([unclear], SETTINGS) == Try(2, 1)
    pooled = [unclear, Tally(2, 99, 1, 0)]
    assert evidence(pooled, SETTINGS)[2].outcome is Outcome.HOLDS
    assert next_step(pooled, SETTINGS) == Try(4, 0)


def test_after_all_repetitions_the_estimate_decides_and_that_is_said() -> None:
    found = evidence([Tally(2, 91, 9, 0)] * SETTINGS.max_repeats, SETTINGS)[2]
    assert found.outcome is Outcome.HOLDS
    assert found.by_estimate


def test_undetermined_requests_make_a_probe_unclear() -> None:
    assert Tally(2, 200, 0, 0).outcome(0.9) is Outcome.HOLDS
    assert Tally(2, 100, 0, 100).outcome(0.9) is Outcome.UNDETERMINED
    assert Tally(2, 10, 100, 10).outcome(0.9) is Outcome.FAILS


def test_probes_of_a_late_client_prove_nothing_and_end_the_search() -> None:
    late = Tally(2, 200, 0, 0, trustworthy=False)
    assert next_step([late], SETTINGS) == Try(2, 1)
    assert next_step([late] * SETTINGS.max_repeats, SETTINGS) == Stop(StopReason.CLIENT_LIMIT)


def test_a_rate_that_holds_above_one_that_fails_is_not_believed() -> None:
    probes = [clear(2, True), clear(4, False), clear(8, True)]
    assert bracket(evidence(probes, SETTINGS)) == (2, 4)


def test_the_first_rate_must_lie_within_the_bounds() -> None:
    with pytest.raises(ValidationError, match="must lie between the lowest"):
        SearchSettings(start_rate=5, max_rate=2)
