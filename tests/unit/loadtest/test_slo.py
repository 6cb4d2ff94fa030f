import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.loadtest.errors import PlanError
from saccade.loadtest.records import ErrorKind, Modality, RequestRecord, Status
from saccade.loadtest.slo import (
    Bound,
    Limit,
    Slo,
    Verdict,
    count,
    parse_duration,
    parse_slo,
    verdict,
    verdict_by_bound,
)
from tests.unit.loadtest.some_runs import request

TEXT = "ttft=500ms,tpot=50ms,image.ttft=2s"
FAILED = request(ttft_s=0.1, status=Status.ERROR, error_kind=ErrorKind.STREAM_ERROR)


def test_a_modalitys_own_limit_wins_over_the_general_one() -> None:
    slo = parse_slo(TEXT)
    assert slo.of(Modality.TEXT) == {Bound.TTFT: 0.5, Bound.TPOT: 0.05}
    assert slo.of(Modality.IMAGE) == {Bound.TTFT: 2.0, Bound.TPOT: 0.05}


LIMITS = st.lists(
    st.builds(
        Limit,
        bound=st.sampled_from(Bound),
        limit_s=st.integers(1, 10**9).map(lambda us: us / 1e6),
        modality=st.none() | st.sampled_from(Modality),
    ),
    min_size=1,
    unique_by=lambda limit: (limit.modality, limit.bound),
)


@given(LIMITS)
def test_an_slo_is_read_as_it_is_written(limits: list[Limit]) -> None:
    slo = Slo(limits=tuple(limits))
    again = parse_slo(str(slo))
    assert [(x.modality, x.bound) for x in again.limits] == [(x.modality, x.bound) for x in limits]
    for written, read in zip(limits, again.limits, strict=True):
        assert read.limit_s == pytest.approx(written.limit_s, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("ttft", "has no '='"),
        ("ttft=500", "has no unit"),
        ("ttft=5h", "unknown unit 'h'"),
        ("ttft=fast", "is no duration"),
        ("ttft=0ms", "no positive duration"),
        ("ttfb=1s", "cannot bound 'ttfb'; known are ttft, "),
        ("audio.ttft=1s", "unknown modality 'audio'"),
        ("ttft=1s,ttft=2s", "gives ttft twice"),
    ],
)
def test_a_malformed_slo_is_refused_with_the_remedy(text: str, problem: str) -> None:
    with pytest.raises(PlanError, match=problem):
        parse_slo(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1.5 s", 1.5), ("250us", 2.5e-4), ("2min", 120)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (request(ttft_s=0.5, gap_s=0.05), Verdict.MET),  # limits are inclusive
        (request(ttft_s=0.501), Verdict.MISSED),
        (request(ttft_s=0.1, gap_s=0.06), Verdict.MISSED),
        (request(ttft_s=1.9, modality=Modality.IMAGE), Verdict.MET),
        (request(ttft_s=0.1, num_chunks=1), Verdict.UNDETERMINED),  # no TPOT of one token
        (request(ttft_s=0.9, num_chunks=1), Verdict.MISSED),  # whatever its TPOT
        (FAILED, Verdict.MISSED),
        (request(ttft_s=None, status=Status.CANCELLED), Verdict.UNDETERMINED),
    ],
)
def test_verdicts(record: RequestRecord, expected: Verdict) -> None:
    assert verdict(record, parse_slo(TEXT)) is expected


def test_a_bound_on_the_gaps_is_on_the_longest_and_one_from_schedule_includes_the_lag() -> None:
    late = request(ttft_s=0.3, gap_s=0.04, lag_s=0.3)
    found = verdict_by_bound(late, parse_slo("itl=30ms,scheduled_ttft=500ms,ttft=500ms"))
    assert found == {
        Bound.ITL: Verdict.MISSED,
        Bound.SCHEDULED_TTFT: Verdict.MISSED,
        Bound.TTFT: Verdict.MET,
    }


def test_failures_count_as_sent_and_missed() -> None:
    found = count([request(), request(num_chunks=1), FAILED, FAILED], parse_slo(TEXT))
    assert (found.num_met, found.num_missed, found.num_undetermined) == (1, 2, 1)
    assert found.total == 4


def test_what_no_limit_applies_to_is_good_unless_it_failed() -> None:
    slo = parse_slo("image.ttft=1s")
    assert verdict(request(ttft_s=99), slo) is Verdict.MET
    assert verdict(FAILED, slo) is Verdict.MISSED
