"""Runs against a server that exists on paper: one queue, some workers, times known exactly."""

import heapq
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from saccade.loadtest.arrivals.spec import OpenArrivals, steady
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import (
    NS_PER_S,
    ClientHealth,
    ErrorKind,
    Modality,
    Phase,
    RequestRecord,
    RunRecord,
    Status,
)
from saccade.loadtest.slo import Slo
from saccade.loadtest.workloads.presets import PRESETS

PREFILL_S: Mapping[Modality, float] = {
    Modality.TEXT: 0.05,
    Modality.IMAGE: 0.25,
    Modality.VIDEO: 0.6,
}


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def request(  # every field that a test may want to set
    *,
    ttft_s: float | None = 0.1,
    gap_s: float = 0.02,
    num_chunks: int = 5,
    modality: Modality = Modality.TEXT,
    sent_s: float = 0.0,
    lag_s: float = 0.0,
    phase: Phase = Phase.MEASURED,
    status: Status = Status.OK,
    error_kind: ErrorKind | None = None,
    index: int = 0,
) -> RequestRecord:
    """One request; without a TTFT it never gave any content."""
    content = () if ttft_s is None else [sent_s + ttft_s + i * gap_s for i in range(num_chunks)]
    return RequestRecord(
        id=f"r{index}",
        session=index,
        component=str(modality),
        modality=modality,
        phase=phase,
        scheduled_ns=ns(sent_s - lag_s),
        sent_ns=ns(sent_s),
        content_ns=tuple(ns(time_s) for time_s in content),
        end_ns=ns(content[-1] + 0.001 if content else sent_s + 0.05),
        status=status,
        error_kind=error_kind,
        input_tokens=100,
        visual_tokens=64 if modality is not Modality.TEXT else 0,
        output_tokens=num_chunks if content else None,
        output_tokens_from="usage" if content else None,
    )


def run_of(
    *requests: RequestRecord,
    schedule_s: float = 60.0,
    warmup_s: float = 0.0,
    cooldown_s: float = 0.0,
    rate: float | None = 2.0,
    label: str = "server",
    interrupted: bool = False,
    loop_lag_p99_s: float = 0.001,
    seed: int = 0,
) -> RunRecord:
    """A run of these requests."""
    ends = [record.end_ns for record in requests if record.end_ns is not None]
    return RunRecord(
        label=label,
        url="http://127.0.0.1:8000",
        model="tiny",
        workload="mixture of text and pictures",
        arrivals=f"Poisson, {rate:g} requests/s" if rate else "closed loop",
        offered_rate=rate,
        seed=seed,
        started_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        origin_ns=0,
        warmup_s=warmup_s,
        cooldown_s=cooldown_s,
        schedule_s=schedule_s,
        end_ns=max(ends, default=0),
        interrupted=interrupted,
        max_send_lag_s=0.01,
        client=ClientHealth(num_processes=1, cpu_ratio=0.2, loop_lag_p99_s=loop_lag_p99_s),
        requests=tuple(sorted(requests, key=lambda record: record.scheduled_ns)),
    )


def queue_run(
    rate: float,
    *,
    seed: int = 0,
    duration_s: float = 60.0,
    num_workers: int = 1,
    speed: float = 1.0,
    label: str = "server",
    video: bool = False,
    error_ratio: float = 0.0,
    warmup_s: float = 5.0,
) -> RunRecord:
    """Poisson arrivals at `num_workers` that prefill first come, first served; decoding is free.

    Saturates where rate x mean prefill time is the number of workers: 6.7 requests/s for one.
    """
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, int(rate * duration_s * 2) + 20))
    modalities = list(Modality) if video else [Modality.TEXT, Modality.IMAGE]
    weights = [0.45, 0.45, 0.1] if video else [0.5, 0.5]
    free = [0.0] * num_workers
    requests = []
    for index, arrival in enumerate(times[times < duration_s]):
        modality = modalities[rng.choice(len(modalities), p=weights)]
        work_s = PREFILL_S[modality] * rng.lognormal(0, 0.25) / speed
        gap_s, num_chunks = 0.02 * rng.lognormal(0, 0.2) / speed, int(rng.integers(2, 40))
        if rng.random() < error_ratio:
            requests.append(_failed(modality, float(arrival), index, warmup_s))
            continue
        begin = max(float(arrival), heapq.heappop(free))
        heapq.heappush(free, begin + work_s)
        requests.append(
            request(
                ttft_s=begin + work_s - float(arrival),
                gap_s=gap_s,
                num_chunks=num_chunks,
                modality=modality,
                sent_s=float(arrival),
                lag_s=0.0005,
                phase=_phase(float(arrival), warmup_s),
                index=index,
            )
        )
    return run_of(
        *requests, schedule_s=duration_s, warmup_s=warmup_s, rate=rate, label=label, seed=seed
    )


def _failed(modality: Modality, sent_s: float, index: int, warmup_s: float) -> RequestRecord:
    return request(
        ttft_s=None,
        modality=modality,
        sent_s=sent_s,
        index=index,
        phase=_phase(sent_s, warmup_s),
        status=Status.ERROR,
        error_kind=ErrorKind.REJECTED if index % 2 else ErrorKind.TIMEOUT,
    )


def _phase(sent_s: float, warmup_s: float) -> Phase:
    return Phase.WARMUP if sent_s < warmup_s else Phase.MEASURED


def a_plan(rate: float = 2.0, *, slo: Slo | None = None, seconds: float = 60.0) -> Plan:
    """A plan to give to a fake `run`."""
    return Plan(
        url="http://127.0.0.1:8000",
        workload=PRESETS["text"].workload,
        arrivals=OpenArrivals(profile=steady(rate, seconds)),
        slo=slo,
    )
