"""From records to numbers, with expected values worked out by hand."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.jsonl import read_run, read_summary, write_run, write_summary
from saccade.loadtest.metrics.definitions import METRICS
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.records import (
    ClientHealth,
    ErrorKind,
    Modality,
    Phase,
    RequestRecord,
    RunRecord,
    ServerStage,
    Status,
)
from saccade.loadtest.slo import parse_slo

MS = 1_000_000


def request(number: int, scheduled_ms: int, **changes: Any) -> RequestRecord:
    """Sent 2 ms late; chunks after 100, 120 and 160 ms; 5 tokens out, 50 in, of which 40 visual."""
    sent = scheduled_ms + 2
    fields: dict[str, Any] = {
        "id": str(number),
        "session": number,
        "component": "c",
        "modality": Modality.IMAGE,
        "scheduled_ns": scheduled_ms * MS,
        "sent_ns": sent * MS,
        "content_ns": tuple((sent + after) * MS for after in (100, 120, 160)),
        "end_ns": (sent + 170) * MS,
        "status": Status.OK,
        "input_tokens": 50,
        "visual_tokens": 40,
        "output_tokens": 5,
        "stages_s": {"encode": 0.03},
    }
    return RequestRecord(**(fields | changes))


def run_of(*requests: RequestRecord, **changes: Any) -> RunRecord:
    """A schedule of 10 s; warm-up and cool-down of 1 s each."""
    fields: dict[str, Any] = {
        "label": "server",
        "url": "http://h",
        "model": "m",
        "workload": "w",
        "arrivals": "a",
        "seed": 0,
        "started_at": datetime(2026, 1, 2, tzinfo=UTC),
        "origin_ns": 5,
        "warmup_s": 1.0,
        "cooldown_s": 1.0,
        "schedule_s": 10.0,
        "end_ns": 11_000 * MS,
        "max_send_lag_s": 0.01,
        "client": ClientHealth(num_processes=1, cpu_ratio=0.2, loop_lag_p99_s=0.001),
        "requests": requests,
    }
    return RunRecord(**(fields | changes))


def samples(record: RequestRecord) -> dict[str, list[float]]:
    return {key: list(metric.of(record)) for key, metric in METRICS.items()}


def test_the_metrics_of_a_stream() -> None:
    expected = {
        "ttft": [0.1],
        "scheduled_ttft": [0.102],
        "itl": [0.02, 0.04],
        "tpot": [0.06 / 4],
        "e2e": [0.16],
        "scheduled_e2e": [0.162],
        "normalised_input": [0.1 / 50],
        "normalised_output": [0.06 / 5],
        "normalised_e2e": [0.16 / 5],
        "send_lag": [0.002],
    }
    found = samples(request(1, 2000))
    assert set(found) == set(expected)
    for key, values in expected.items():
        assert found[key] == pytest.approx(values), key


def test_the_metrics_of_an_answer_that_was_not_streamed() -> None:
    found = samples(request(1, 2000, streamed=False, content_ns=(2162 * MS,)))
    defined = {key for key, values in found.items() if values}
    assert defined == {"e2e", "scheduled_e2e", "normalised_e2e", "send_lag"}
    assert found["e2e"] == pytest.approx([0.16])


def test_what_is_not_defined_is_left_out() -> None:
    one_token = samples(request(1, 2000, content_ns=(2102 * MS,), output_tokens=1))
    assert one_token["tpot"] == []
    assert one_token["itl"] == []
    no_usage = samples(request(1, 2000, output_tokens=None, input_tokens=None))
    assert no_usage["tpot"] == no_usage["normalised_input"] == no_usage["normalised_e2e"] == []
    failed = samples(request(1, 2000, status=Status.ERROR, error_kind=ErrorKind.DISCONNECT))
    assert failed["ttft"] == pytest.approx([0.1])
    assert failed["e2e"] == failed["tpot"] == []
    unsent = samples(request(1, 2000, sent_ns=None, content_ns=(), status=Status.ERROR))
    assert not any(unsent.values())


def test_warm_up_and_cool_down_are_left_out_of_latencies() -> None:
    early = request(1, 500, phase=Phase.WARMUP, content_ns=(9_000 * MS,))
    late = request(3, 9500, phase=Phase.COOLDOWN, content_ns=(99_000 * MS,))
    summary = summarise(run_of(early, request(2, 2000), late))
    assert summary.window_s == 8
    assert summary.all.num_sent == 1
    assert summary.all.latencies["ttft"].count == 1
    assert summary.all.latencies["ttft"].max == pytest.approx(0.1)


def test_throughput_is_what_happened_in_the_window() -> None:
    # Sent in the warm-up, and answered half in it: two of three chunks come after 1 s.
    across = request(1, 890, phase=Phase.WARMUP)
    inside = request(2, 5000)
    # First content at 8.952 s, the others after the window's end at 9 s.
    out = request(3, 8850, content_ns=tuple((8952 + t) * MS for t in (0, 60, 90)))
    group = summarise(run_of(across, inside, out)).all
    assert group.request_throughput == pytest.approx(2 / 8)
    assert group.output_throughput == pytest.approx((5 * 2 / 3 + 5 + 5 / 3) / 8)
    assert group.input_throughput == pytest.approx(2 * 50 / 8)
    assert group.visual_throughput == pytest.approx(2 * 40 / 8)


def test_the_whole_run_counts_as_vllm_bench_does() -> None:
    failed = request(3, 9000, status=Status.ERROR, error_kind=ErrorKind.REJECTED, content_ns=())
    run = run_of(request(1, 0, phase=Phase.WARMUP), request(2, 5000), failed)
    whole = summarise(run).whole_run
    assert whole.duration_s == pytest.approx(9.17)
    assert whole.num_ok == 2
    assert whole.request_throughput == pytest.approx(2 / 9.17)
    assert whole.output_throughput == pytest.approx(10 / 9.17)
    assert whole.total_token_throughput == pytest.approx(110 / 9.17)


def test_attainment_is_of_what_was_sent() -> None:
    requests = [request(n, 2000 + n) for n in range(6)]
    requests += [
        request(6, 3000, content_ns=(3902 * MS, 3903 * MS)),  # too late
        request(7, 3000, status=Status.ERROR, error_kind=ErrorKind.DISCONNECT),
        request(8, 3000, content_ns=(3010 * MS,), output_tokens=1),  # no TPOT
        request(9, 3000, status=Status.CANCELLED),  # not counted at all
        request(10, 500, phase=Phase.WARMUP),
    ]
    goodput = summarise(run_of(*requests), parse_slo("ttft=200ms,tpot=50ms")).all.goodput
    assert goodput is not None
    assert (goodput.num_met, goodput.num_missed, goodput.num_undetermined) == (6, 2, 1)
    assert goodput.attainment.value == pytest.approx(6 / 9)
    assert goodput.rate == pytest.approx(6 / 8)
    assert goodput.attainment_by_metric == pytest.approx({"ttft": 7 / 9, "tpot": 7 / 9})


def test_groups_are_by_modality() -> None:
    text = request(1, 2000, modality=Modality.TEXT, visual_tokens=0, stages_s={})
    summary = summarise(run_of(text, request(2, 2000), request(3, 2100)))
    assert {key: group.num_sent for key, group in summary.groups.items()} == {
        "all": 3,
        "image": 2,
        "text": 1,
    }
    assert summary.groups["image"].latencies["stage.encode"].mean == pytest.approx(0.03)
    assert "stage.encode" not in summary.groups["text"].latencies


def test_answers_are_scored_where_one_is_expected() -> None:
    requests = [request(n, 2000, expected="red", correct=n < 3) for n in range(4)]
    accuracy = summarise(run_of(*requests, request(9, 2000))).all.accuracy
    assert accuracy is not None
    assert (accuracy.num_scored, accuracy.num_correct) == (4, 3)
    assert summarise(run_of(request(9, 2000))).all.accuracy is None


@pytest.mark.parametrize(
    ("changes", "lag_ms", "warning"),
    [
        ({}, 2, None),
        ({}, 11, "sent late: 11.0 ms"),
        ({"max_send_lag_s": 0.02}, 11, None),
        (
            {"client": ClientHealth(num_processes=1, cpu_ratio=0.95, loop_lag_p99_s=0)},
            2,
            "busy 95%",
        ),
        (
            {"client": ClientHealth(num_processes=1, cpu_ratio=0.1, loop_lag_p99_s=0.03)},
            2,
            "woke 30.0 ms late",
        ),
    ],
)
def test_a_client_that_did_not_keep_up_is_reported(
    changes: dict[str, Any], lag_ms: int, warning: str | None
) -> None:
    sent_ns = (2000 + lag_ms) * MS
    summary = summarise(run_of(request(1, 2000, sent_ns=sent_ns), **changes))
    assert summary.client.trustworthy is (warning is None)
    assert (warning or "") in (summary.client.warning or "")


def test_a_run_in_which_nothing_was_measured_has_a_summary() -> None:
    assert summarise(run_of()).all.latencies == {}
    assert summarise(run_of(), parse_slo("ttft=1s")).all.goodput is None


def test_an_interrupted_run_ends_when_it_was_interrupted() -> None:
    run = run_of(request(1, 2000), interrupted=True, end_ns=4_000 * MS)
    assert run.window_s == (1, 4)
    assert summarise(run).interrupted


def test_runs_and_summaries_are_read_as_they_were_written(tmp_path: Path) -> None:
    stage = ServerStage(metric="x_seconds", labels={"stage": "encode"}, count=3, mean_s=0.1)
    failed = request(
        2,
        2100,
        status=Status.ERROR,
        error_kind=ErrorKind.TIMEOUT,
        error_message="late",
        end_ns=None,
    )
    run = run_of(request(1, 2000), failed, server_stages=(stage,))
    write_run(tmp_path / "new" / "requests.jsonl", run)
    assert read_run(tmp_path / "new" / "requests.jsonl") == run
    summary = summarise(run, parse_slo("ttft=200ms"))
    write_summary(tmp_path / "summary.json", summary)
    assert read_summary(tmp_path / "summary.json") == summary


@pytest.mark.parametrize("content", ["", "{}", '{"type": "run"}', '{"type": "run"}\n{"x": 1}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(content)
    with pytest.raises(InputFileError, match=r"requests\.jsonl, line \d"):
        read_run(path)
    with pytest.raises(InputFileError):
        read_summary(tmp_path / "none.json")
