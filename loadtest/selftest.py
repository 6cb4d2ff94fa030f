"""Measures the client itself: how late it sends, and how late it sees what came."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np

from saccade.loadtest.arrivals.spec import OpenArrivals, steady
from saccade.loadtest.errors import LoadTestError
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import NS_PER_S, RunRecord, Status
from saccade.loadtest.runner import run
from saccade.loadtest.schedule import make_schedule
from saccade.loadtest.testserver.launch import running_test_server
from saccade.loadtest.testserver.script import Script
from saccade.loadtest.workloads.presets import PRESETS
from saccade.loadtest.workloads.text import text_source

TTFT_S = 0.05
GAP_S = 0.02


@dataclass(frozen=True, slots=True)
class Errors:
    """Percentiles of an error, in s."""

    p50_s: float
    p99_s: float
    max_s: float

    @classmethod
    def of(cls, errors_s: Sequence[float]) -> "Errors":
        p50, p99, top = np.percentile(np.asarray(errors_s), (50, 99, 100))
        return cls(float(p50), float(p99), float(top))

    def describe(self) -> str:
        values = [f"{1000 * v:7.2f}" for v in (self.p50_s, self.p99_s, self.max_s)]
        return "p50 {} ms   p99 {} ms   max {} ms".format(*values)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """What was found."""

    num_requests: int
    num_failed: int
    num_chunks: int
    rate: float
    """Streams per second that were really sent."""
    cpu_ratio: float
    num_processes: int
    sending: Errors
    """Actual minus planned send time."""
    receiving: Errors
    """Arrival, as the client has it, minus the server's write of the same chunk. The way through
    the kernel, and the server's own delay in writing, are in it."""

    def holds(self, bound_s: float) -> bool:
        """Whether nothing failed and both errors are within the bound at p99."""
        return not self.num_failed and max(self.sending.p99_s, self.receiving.p99_s) <= bound_s

    def describe(self, bound_s: float) -> str:
        """For the terminal."""
        verdict = "within" if self.holds(bound_s) else "NOT within"
        return (
            f"{self.num_requests} streams, {self.rate:.0f}/s, {self.num_chunks} chunks, "
            f"{self.num_failed} failed; {self.num_processes} sending process(es), the busiest at "
            f"{self.cpu_ratio:.0%} of a core\n"
            f"  sent later than planned      {self.sending.describe()}\n"
            f"  seen later than written      {self.receiving.describe()}\n"
            f"Own timing error is {verdict} {1000 * bound_s:g} ms at p99."
        )


def run_selftest(rate: float, num_chunks: int, duration_s: float, num_processes: int) -> SelfTest:
    """Stream from the test server and compare both sides' notes; they share one clock.

    Raises:
        LoadTestError: the test server does not start, or nothing came back.
    """
    script = Script(ttft_s=TTFT_S, gap_s=GAP_S, num_chunks=num_chunks)
    with running_test_server(script) as url:
        record = run(plan_of_streams(url, rate, duration_s, num_processes))
        log = httpx2.get(f"{url}/log", timeout=60).json()
    return compare_notes(record, log)


def plan_of_streams(url: str, rate: float, duration_s: float, num_processes: int) -> Plan:
    """Of Poisson arrivals, as in a real run. Half of their draws have less than their rate: the
    first is taken that has all of it."""
    plans = (
        Plan(
            url=url,
            workload=PRESETS["text"].workload,
            arrivals=OpenArrivals(profile=steady(rate, duration_s)),
            seed=seed,
            num_processes=num_processes,
        )
        for seed in itertools.count()
    )
    text = text_source(None)
    return next(p for p in plans if len(make_schedule(p, text).planned) >= rate * duration_s)


def compare_notes(record: RunRecord, log: Mapping[str, Mapping[str, Any]]) -> SelfTest:
    """The client's times against the server's, chunk by chunk."""
    ok = [request for request in record.requests if request.status is Status.OK]
    late_s = [r.send_lag_s for r in record.requests if r.send_lag_s is not None]
    seen_late_s = [
        (seen_ns + record.origin_ns - written_ns) / NS_PER_S
        for request in ok
        for seen_ns, written_ns in zip(
            request.content_ns, log[request.id]["content_ns"], strict=True
        )
    ]
    if not seen_late_s:
        raise LoadTestError("Nothing came back from the test server.")
    return SelfTest(
        num_requests=len(record.requests),
        num_failed=len(record.requests) - len(ok),
        num_chunks=len(seen_late_s),
        rate=len(record.requests) / record.schedule_s,
        cpu_ratio=record.client.cpu_ratio,
        num_processes=record.client.num_processes,
        sending=Errors.of(late_s),
        receiving=Errors.of(seen_late_s),
    )
