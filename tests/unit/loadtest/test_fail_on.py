import pytest

from saccade.loadtest.errors import PlanError
from saccade.loadtest.fail_on import failures, parse_condition
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.records import ErrorKind, Modality, Status
from saccade.loadtest.slo import parse_slo
from tests.unit.loadtest.some_runs import request, run_of


def summary(slo: str | None = "ttft=500ms") -> Summary:
    """Three texts with TTFTs of 100, 200 and 600 ms, a picture with 1 s, and a failed text."""
    texts = [request(ttft_s=t, index=i, sent_s=i) for i, t in enumerate((0.1, 0.2, 0.6))]
    picture = request(ttft_s=1.0, modality=Modality.IMAGE, index=3, sent_s=3)
    failed = request(
        ttft_s=None, status=Status.ERROR, error_kind=ErrorKind.TIMEOUT, index=4, sent_s=4
    )
    return summarise(run_of(*texts, picture, failed), parse_slo(slo) if slo else None)


@pytest.mark.parametrize(
    ("condition", "fails"),
    [
        ("max.ttft>999ms", True),
        ("max.ttft>=1s", True),
        ("max.ttft>1s", False),
        ("text.max.ttft>500ms", True),
        ("text.max.ttft>1s", False),
        ("image.min.ttft<2s", True),
        ("p50.ttft > 399ms", True),
        ("p50.ttft > 401ms", False),
        ("errors>0", True),
        ("errors>1", False),
        ("image.errors>0", False),
        ("error_ratio>19%", True),
        ("error_ratio>0.21", False),
        ("attainment<0.41", True),  # 2 of the 5 that were sent
        ("attainment<0.39", False),
        ("goodput<0.1", True),
        ("request_throughput<=100", True),
    ],
)
def test_conditions(condition: str, fails: bool) -> None:
    assert bool(failures(summary(), [parse_condition(condition)])) is fails


def test_a_failure_names_the_condition_and_what_was_found() -> None:
    assert failures(summary(), [parse_condition("max.ttft>500ms")]) == ["max.ttft>500ms: it is 1s"]


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("video.p90.ttft>9s", "no video request"),
        ("attainment<0.1", "had no SLO"),
        ("accuracy<0.1", "no measured request"),
        ("p90.stage.encode>1s", "no measured request"),
    ],
)
def test_what_cannot_be_checked_fails(condition: str, why: str) -> None:
    [sentence] = failures(summary(slo=None), [parse_condition(condition)])
    assert why in sentence


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("p90.ttft", "cannot read"),
        ("p90.ttft==1s", "cannot read"),
        ("p90.ttft>500", "has no unit"),
        ("p75.ttft>1s", "unknown statistic or modality 'p75'"),
        ("p90.tft>1s", "unknown metric 'tft'"),
        ("ttft>1s", "such as p90.ttft"),
        ("speed>1", "unknown quantity 'speed'"),
        ("attainment<99", "did you mean 99%"),
        ("errors>many", "is no number"),
    ],
)
def test_a_malformed_condition_is_refused_with_the_remedy(text: str, problem: str) -> None:
    with pytest.raises(PlanError, match=problem):
        parse_condition(text)
