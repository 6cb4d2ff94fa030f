"""Every metric is right, against a server that says when it wrote what.

The truth is the server's own log, on the same clock; expected values are computed from it and from
the script, never with the code under test. Times may be off by the stated error. It is held at the
median, since single ones also show what else the machine does.
"""

import itertools
import statistics
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from saccade.loadtest.arrivals.spec import ClosedArrivals, OpenArrivals, steady
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import ErrorKind, RequestRecord, RunRecord, Status
from saccade.loadtest.runner import run
from saccade.loadtest.slo import parse_slo
from saccade.loadtest.testserver.launch import running_test_server
from saccade.loadtest.testserver.script import FIELD, Script
from saccade.loadtest.workloads.presets import PRESETS

pytestmark = pytest.mark.slow

STATED_ERROR_S = 0.005

Log = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_test_server(Script()) as url:
        yield url


def measure(server: str, script: dict[str, Any], **changes: Any) -> tuple[RunRecord, Log]:
    """A run of about 30 requests, all answered by the script, and the server's log."""
    httpx2.delete(f"{server}/log")
    fields: dict[str, Any] = {
        "url": server,
        "workload": PRESETS["text"].workload,
        "arrivals": OpenArrivals(process="constant", profile=steady(30, 1)),
        "extra_body": {FIELD: script},
    }
    record = run(Plan(**(fields | changes)))
    log: Log = httpx2.get(f"{server}/log").json()
    return record, log


def written_s(record: RunRecord, request: RequestRecord, log: Log) -> list[float]:
    """When the server wrote each chunk with content, in s after the request was sent."""
    assert request.sent_ns is not None
    sent_ns = request.sent_ns + record.origin_ns
    return [(time_ns - sent_ns) / 1e9 for time_ns in log[request.id]["content_ns"]]


def assert_close(found: list[float], expected: list[float]) -> None:
    errors = [abs(f - e) for f, e in zip(found, expected, strict=True)]
    assert statistics.median(errors) <= STATED_ERROR_S


def assert_latencies(record: RunRecord, log: Log, num_tokens: int) -> None:
    """TTFT, gaps, E2E and TPOT of every request against the log."""
    requests = record.requests
    assert {request.status for request in requests} == {Status.OK}
    truth = [written_s(record, request, log) for request in requests]
    assert_close([r.ttft_s or -1 for r in requests], [times[0] for times in truth])
    assert_close([r.e2e_s or -1 for r in requests], [times[-1] for times in truth])
    assert_close(
        [r.tpot_s or -1 for r in requests],
        [(times[-1] - times[0]) / (num_tokens - 1) for times in truth],
    )
    assert_close(
        [gap for r in requests for gap in r.gaps_s],
        [b - a for times in truth for a, b in itertools.pairwise(times)],
    )
    # Causality leaves no room for an error: nothing is seen before it was written.
    for request, times in zip(requests, truth, strict=True):
        assert request.sent_ns is not None
        seen_s = [(time_ns - request.sent_ns) / 1e9 for time_ns in request.content_ns]
        assert all(s >= w for s, w in zip(seen_s, times, strict=True))


def test_a_stream_of_one_token_chunks(server: str) -> None:
    record, log = measure(server, {"ttft_s": 0.15, "gap_s": 0.02, "num_chunks": 10})
    assert len(record.requests) == 30
    assert_latencies(record, log, num_tokens=10)
    summary = summarise(record, parse_slo("ttft=140ms"))
    assert summary.all.latencies["ttft"].count == 30
    assert summary.all.latencies["itl"].count == 30 * 9
    assert summary.all.goodput is not None
    assert summary.all.goodput.num_met == 0
    assert {r.output_tokens for r in record.requests} == {10}
    assert {r.input_tokens for r in record.requests} == {64}


def test_several_tokens_in_a_chunk_count_as_several(server: str) -> None:
    script = {"ttft_s": 0.05, "gap_s": 0.04, "tokens_per_chunk": 4, "num_chunks": 8}
    record, log = measure(server, script)
    assert_latencies(record, log, num_tokens=32)
    assert {len(r.gaps_s) for r in record.requests} == {7}
    assert {r.tokens_per_chunk for r in record.requests} == {4.0}


def test_chunks_that_come_together_are_there_at_the_same_time(server: str) -> None:
    script = {"ttft_s": 0.05, "gap_s": 0.03, "num_chunks": 9, "glue": 3}
    record, log = measure(server, script)
    assert_latencies(record, log, num_tokens=9)
    assert {len(set(r.content_ns)) for r in record.requests} == {3}


def test_empty_chunks_and_comments_are_no_content(server: str) -> None:
    script = {"ttft_s": 0.2, "num_chunks": 5, "empty_chunks": True, "comments": True}
    record, log = measure(server, script)
    assert_latencies(record, log, num_tokens=5)


@pytest.mark.parametrize("usage", ["chunk", "finish"])
def test_the_usage_chunk_is_no_part_of_the_latency(server: str, usage: str) -> None:
    script = {"ttft_s": 0.05, "num_chunks": 5, "usage": usage, "usage_delay_s": 0.5}
    record, log = measure(server, script)
    assert_latencies(record, log, num_tokens=5)
    assert {r.output_tokens_from for r in record.requests} == {"usage"}


def test_without_usage_chunks_are_counted_and_the_record_says_so(server: str) -> None:
    record, log = measure(server, {"num_chunks": 6, "usage": "none", "done_marker": False})
    assert_latencies(record, log, num_tokens=6)
    assert {r.output_tokens_from for r in record.requests} == {"chunks"}
    assert summarise(record).all.input_throughput is None


def test_without_streaming_there_is_an_end_to_end_latency_and_no_ttft(server: str) -> None:
    record, log = measure(server, {"ttft_s": 0.1, "gap_s": 0.01, "num_chunks": 11}, stream=False)
    truth = [written_s(record, request, log)[-1] for request in record.requests]
    assert_close([r.e2e_s or -1 for r in record.requests], truth)
    assert {(r.ttft_s, r.tpot_s, r.gaps_s) for r in record.requests} == {(None, None, ())}
    assert {r.output_tokens for r in record.requests} == {11}
    assert set(summarise(record).all.latencies) >= {"e2e", "normalised_e2e"}


@pytest.mark.parametrize(
    ("script", "kind", "num_chunks"),
    [
        ({"num_chunks": 9, "error_after": 3}, ErrorKind.STREAM_ERROR, 3),
        ({"num_chunks": 9, "disconnect_after": 4}, ErrorKind.DISCONNECT, 4),
        ({"num_chunks": 9, "stop_after": 2}, ErrorKind.DISCONNECT, 2),
        ({"num_chunks": 9, "error_after": 0}, ErrorKind.STREAM_ERROR, 0),
        ({"num_chunks": 0}, ErrorKind.EMPTY, 0),
        ({"status": 503}, ErrorKind.REJECTED, 0),
        ({"status": 429}, ErrorKind.REJECTED, 0),
        ({"status": 500}, ErrorKind.HTTP_SERVER, 0),
        ({"status": 400}, ErrorKind.HTTP_CLIENT, 0),
    ],
)
def test_faults_are_told_apart_and_count_as_missed(
    server: str, script: dict[str, Any], kind: ErrorKind, num_chunks: int
) -> None:
    record, log = measure(
        server, script, arrivals=OpenArrivals(process="constant", profile=steady(20, 0.5))
    )
    requests = record.requests
    assert {(r.status, r.error_kind) for r in requests} == {(Status.ERROR, kind)}
    assert {len(r.content_ns) for r in requests} == {num_chunks}
    if num_chunks:
        truth = [written_s(record, request, log)[0] for request in requests]
        assert_close([r.ttft_s or -1 for r in requests], truth)
    summary = summarise(record, parse_slo("ttft=10s"))
    assert summary.errors == {kind: len(requests)}
    assert summary.all.request_throughput == 0
    assert "e2e" not in summary.all.latencies
    assert summary.all.goodput is not None
    assert summary.all.goodput.attainment.value == 0


def test_an_answer_that_takes_too_long_is_a_timeout(server: str) -> None:
    arrivals = OpenArrivals(process="constant", profile=steady(20, 0.5))
    script = {"ttft_s": 0.05, "gap_s": 30, "num_chunks": 2}
    record, _ = measure(server, script, arrivals=arrivals, timeout_s=0.5)
    assert {r.error_kind for r in record.requests} == {ErrorKind.TIMEOUT}
    assert {len(r.content_ns) for r in record.requests} == {1}


def test_what_is_not_answered_after_the_drain_is_a_timeout(server: str) -> None:
    arrivals = OpenArrivals(process="constant", profile=steady(20, 0.5))
    record, _ = measure(server, {"ttft_s": 60}, arrivals=arrivals, drain_s=0.3)
    assert len(record.requests) == 10
    assert {r.error_kind for r in record.requests} == {ErrorKind.TIMEOUT}


def test_an_open_loop_sends_on_time_although_nothing_is_answered_yet(server: str) -> None:
    arrivals = OpenArrivals(process="constant", profile=steady(100, 1))
    record, _ = measure(server, {"ttft_s": 3, "num_chunks": 1}, arrivals=arrivals)
    assert len(record.requests) == 100
    first_answer_ns = min(r.content_ns[0] for r in record.requests)
    assert all(r.sent_ns is not None and r.sent_ns < first_answer_ns for r in record.requests)
    lags = [r.send_lag_s or 0.0 for r in record.requests]
    assert statistics.median(lags) <= STATED_ERROR_S
    assert min(lags) >= 0
    # Latency from schedule is that from send plus the lag, by definition.
    for r in record.requests:
        assert r.scheduled_ttft_s == pytest.approx((r.ttft_s or 0) + (r.send_lag_s or 0))


def test_a_closed_loop_has_as_many_in_flight_as_users(server: str) -> None:
    record, _ = measure(
        server,
        {"ttft_s": 0.05, "gap_s": 0.01, "num_chunks": 3},
        arrivals=ClosedArrivals(concurrency=4),
        num_requests=40,
    )
    assert len(record.requests) == 40
    edges = [(r.sent_ns or 0, 1) for r in record.requests]
    edges += [(r.end_ns or 0, -1) for r in record.requests]
    running, most = 0, 0
    for _time_ns, change in sorted(edges):
        running += change
        most = max(most, running)
    assert most == 4


def test_turns_follow_the_answer_and_the_think_time(server: str) -> None:
    from saccade.loadtest.workloads.parse import WorkloadOptions, changed

    workload = changed(PRESETS["multi-turn"].workload, WorkloadOptions(turns="3", think="0.2"))
    arrivals = OpenArrivals(process="constant", profile=steady(5, 1))
    record, log = measure(server, {"num_chunks": 4}, workload=workload, arrivals=arrivals)
    assert len(record.requests) == 15
    by_place = {(r.session, r.turn): r for r in record.requests}
    for (session, turn), request in by_place.items():
        if turn:
            before = by_place[session, turn - 1]
            assert before.end_ns is not None
            assert request.scheduled_ns - before.end_ns >= 0.2e9
            assert log[request.id]["num_bytes"] > log[before.id]["num_bytes"]
            # The picture of the first turn is in the history, and the answers are.
            assert request.num_images == 1
            assert request.input_tokens == (before.input_tokens or 0) + 4 + 16


def test_scripted_turns_do_not_wait_for_answers(server: str) -> None:
    from saccade.loadtest.workloads.parse import WorkloadOptions, changed

    options = WorkloadOptions(turns="3", think="0.1", history="scripted")
    workload = changed(PRESETS["multi-turn"].workload, options)
    arrivals = OpenArrivals(process="constant", profile=steady(5, 1))
    script = {"ttft_s": 2, "num_chunks": 1}
    record, _ = measure(server, script, workload=workload, arrivals=arrivals)
    by_place = {(r.session, r.turn): r for r in record.requests}
    for session in range(5):
        first = by_place[session, 0].scheduled_ns
        assert [by_place[session, t].scheduled_ns - first for t in range(3)] == [
            0,
            10**8,
            2 * 10**8,
        ]


def test_several_processes_send_the_same_as_one(server: str) -> None:
    changes = {"arrivals": OpenArrivals(profile=steady(40, 1)), "seed": 3}
    one, _ = measure(server, {"num_chunks": 2}, **changes)
    three, _ = measure(server, {"num_chunks": 2}, num_processes=3, **changes)
    assert three.client.num_processes == 3

    def places(record: RunRecord) -> list[tuple[str, int, int | None]]:
        return [(r.id, r.scheduled_ns, r.input_tokens) for r in record.requests]

    assert places(one) == places(three)


def test_pictures_and_videos_arrive(server: str) -> None:
    workload = PRESETS["mixed"].workload
    record, log = measure(server, {"num_chunks": 2}, workload=workload)
    pictures = [r for r in record.requests if r.modality == "image"]
    assert {r.visual_tokens for r in pictures} == {100}
    assert all(log[r.id]["num_bytes"] == r.body_bytes for r in record.requests)
    videos, _ = measure(server, {"num_chunks": 2}, workload=PRESETS["video"].workload)
    assert {(r.modality, r.visual_tokens) for r in videos.requests} == {("video", 100)}


def test_a_recording_that_is_longer_than_the_pipe_arrives_whole(server: str) -> None:
    # Half a megabyte; a pipe takes some 200 kB at once.
    script = {"num_chunks": 2000, "ttft_s": 0, "gap_s": 0}
    record, _ = measure(server, script, drain_s=120)
    assert {request.status for request in record.requests} == {Status.OK}
    assert {len(request.gaps_s) for request in record.requests} == {1999}
