"""From the records of a run to its summary."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saccade.loadtest.metrics.definitions import METRICS, Metric, stage_metric
from saccade.loadtest.metrics.schema import (
    ALL,
    PERCENTILES,
    Accuracy,
    ClientSummary,
    Distribution,
    Goodput,
    Group,
    StageSummary,
    Summary,
    WholeRun,
)
from saccade.loadtest.records import NS_PER_S, Modality, RequestRecord, RunRecord, Status
from saccade.loadtest.slo import Slo, Verdict, count, verdict_by_bound
from saccade.loadtest.statistics import (
    clustered_percentile_intervals,
    percentile_interval,
    wilson_interval,
)

BUSY_CPU_RATIO = 0.9
"""Above this the sending process has no time left to be on time."""


def summarise(run: RunRecord, slo: Slo | None = None) -> Summary:
    """All numbers of a run; nothing measured gives groups without latencies."""
    begin_s, end_s = run.window_s
    present = sorted({record.modality for record in run.requests})
    window = (begin_s, end_s)
    groups = {ALL: _group(run, None, window, slo)}
    groups |= {str(modality): _group(run, modality, window, slo) for modality in present}
    return Summary(
        label=run.label,
        url=run.url,
        model=run.model,
        workload=run.workload,
        arrivals=run.arrivals,
        offered_rate=run.offered_rate,
        concurrency=run.concurrency,
        seed=run.seed,
        started_at=run.started_at,
        warmup_s=run.warmup_s,
        cooldown_s=run.cooldown_s,
        window_s=end_s - begin_s,
        interrupted=run.interrupted,
        groups=groups,
        errors=dict(Counter(str(r.error_kind) for r in run.requests if r.error_kind)),
        client=_client(run),
        server_stages=tuple(
            StageSummary(metric=s.metric, labels=dict(s.labels), count=s.count, mean_s=s.mean_s)
            for s in run.server_stages
        ),
        whole_run=_whole_run(run),
    )


def _group(
    run: RunRecord, modality: Modality | None, window: tuple[float, float], slo: Slo | None
) -> Group:
    def mine(records: Sequence[RequestRecord]) -> list[RequestRecord]:
        return [r for r in records if modality is None or r.modality is modality]

    measured = mine(run.measured)
    num_ok = sum(record.status is Status.OK for record in measured)
    length_s = window[1] - window[0]
    per_chunk = [r.tokens_per_chunk for r in measured if r.tokens_per_chunk is not None]
    return Group(
        num_sent=len(measured),
        num_ok=num_ok,
        num_failed=len(measured) - num_ok,
        latencies=_latencies(measured),
        **_throughputs(mine(run.requests), window),
        tokens_per_chunk=float(np.mean(per_chunk)) if per_chunk else None,
        goodput=_goodput(measured, length_s, slo) if slo is not None and measured else None,
        accuracy=_accuracy(measured),
    )


def _latencies(records: Sequence[RequestRecord]) -> dict[str, Distribution]:
    stages = sorted({stage for record in records for stage in record.stages_s})
    metrics = [*METRICS.values(), *map(stage_metric, stages)]
    found = {metric.key: distribution(records, metric) for metric in metrics}
    return {key: value for key, value in found.items() if value is not None}


def distribution(records: Sequence[RequestRecord], metric: Metric) -> Distribution | None:
    """Of a metric over some requests; None if none has it."""
    samples = [metric.of(record) for record in records]
    pooled = np.array([value for values in samples for value in values])
    if not len(pooled):
        return None
    ratios = tuple(PERCENTILES.values())
    if any(len(values) > 1 for values in samples):
        found = clustered_percentile_intervals(samples, ratios)
    else:
        found = [percentile_interval(pooled, ratio) for ratio in ratios]
    return Distribution(
        count=len(pooled),
        mean=float(pooled.mean()),
        std=float(pooled.std(ddof=1)) if len(pooled) > 1 else 0.0,
        min=float(pooled.min()),
        max=float(pooled.max()),
        **dict(zip(PERCENTILES, found, strict=True)),
    )


def _throughputs(records: Sequence[RequestRecord], window: tuple[float, float]) -> dict[str, Any]:
    """By what happened in the window, whenever the request was sent: the steady rate of work."""
    begin_ns, end_ns = (round(edge * NS_PER_S) for edge in window)
    length_s = window[1] - window[0]
    if length_s <= 0:
        return {"request_throughput": 0.0}

    def inside(time_ns: int) -> bool:
        return begin_ns <= time_ns < end_ns

    answered = [r for r in records if r.content_ns]
    completed = [r for r in answered if r.status is Status.OK and inside(r.content_ns[-1])]
    begun = [r for r in answered if inside(r.content_ns[0])]
    outputs = [
        r.output_tokens * sum(map(inside, r.content_ns)) / len(r.content_ns)
        for r in answered
        if r.output_tokens is not None
    ]
    return {
        "request_throughput": len(completed) / length_s,
        "input_throughput": _rate([r.input_tokens for r in begun], length_s),
        "visual_throughput": _rate([r.visual_tokens for r in begun], length_s),
        "output_throughput": sum(outputs) / length_s if outputs else None,
    }


def _rate(tokens: Sequence[int | None], length_s: float) -> float | None:
    known = [number for number in tokens if number is not None]
    return sum(known) / length_s if known else None


def _goodput(records: Sequence[RequestRecord], length_s: float, slo: Slo) -> Goodput:
    counts = count(records, slo)
    verdicts: dict[str, list[Verdict]] = {}
    for record in records:
        for bound, one in verdict_by_bound(record, slo).items():
            verdicts.setdefault(str(bound), []).append(one)
    return Goodput(
        slo=str(slo),
        num_met=counts.num_met,
        num_missed=counts.num_missed,
        num_undetermined=counts.num_undetermined,
        attainment=wilson_interval(counts.num_met, counts.total),
        rate=counts.num_met / length_s if length_s > 0 else 0.0,
        attainment_by_metric={
            bound: found.count(Verdict.MET) / len(found) for bound, found in verdicts.items()
        },
    )


def _accuracy(records: Sequence[RequestRecord]) -> Accuracy | None:
    scored = [record.correct for record in records if record.correct is not None]
    if not scored:
        return None
    num_correct = sum(scored)
    ratio = wilson_interval(num_correct, len(scored))
    return Accuracy(num_scored=len(scored), num_correct=num_correct, ratio=ratio)


def _client(run: RunRecord) -> ClientSummary:
    lags = [r.send_lag_s for r in run.requests if r.send_lag_s is not None]
    lag_p99_s = float(np.quantile(lags, 0.99)) if lags else None
    warning = _client_warning(run, lag_p99_s)
    return ClientSummary(
        num_processes=run.client.num_processes,
        cpu_ratio=run.client.cpu_ratio,
        loop_lag_p99_s=run.client.loop_lag_p99_s,
        send_lag_p99_s=lag_p99_s,
        max_send_lag_s=run.max_send_lag_s,
        trustworthy=warning is None,
        warning=warning,
    )


def _client_warning(run: RunRecord, lag_p99_s: float | None) -> str | None:
    bound_ms = 1000 * run.max_send_lag_s
    remedy = "use more processes (--processes), another machine, or a lower rate"
    if lag_p99_s is not None and lag_p99_s > run.max_send_lag_s:
        return (
            f"Requests were sent late: {1000 * lag_p99_s:.1f} ms at p99, more than the "
            f"{bound_ms:g} ms of --max-send-lag. The client was not able to send as planned, so "
            f"latencies from send are too good; {remedy}."
        )
    if run.client.loop_lag_p99_s > run.max_send_lag_s:
        return (
            f"The client's event loop woke {1000 * run.client.loop_lag_p99_s:.1f} ms late at p99, "
            f"more than {bound_ms:g} ms (--max-send-lag): times of chunks are as uncertain; "
            f"{remedy}."
        )
    if run.client.cpu_ratio > BUSY_CPU_RATIO:
        return (
            f"A sending process was busy {run.client.cpu_ratio:.0%} of the time: the client "
            f"may be what was measured; {remedy}."
        )
    return None


def _whole_run(run: RunRecord) -> WholeRun:
    sent = [r.sent_ns for r in run.requests if r.sent_ns is not None]
    ends = [r.end_ns for r in run.requests if r.end_ns is not None]
    length_s = (max(ends) - min(sent)) / NS_PER_S if sent and ends else 0.0
    ok = [record for record in run.requests if record.status is Status.OK]

    def rate(value: Callable[[RequestRecord], int | None]) -> float | None:
        known = [number for number in map(value, ok) if number is not None]
        return sum(known) / length_s if known and length_s > 0 else None

    return WholeRun(
        duration_s=length_s,
        num_ok=len(ok),
        request_throughput=len(ok) / length_s if length_s > 0 else 0.0,
        output_throughput=rate(lambda r: r.output_tokens),
        total_token_throughput=rate(_all_tokens),
    )


def _all_tokens(record: RequestRecord) -> int | None:
    if record.input_tokens is None or record.output_tokens is None:
        return None
    return record.input_tokens + record.output_tokens
