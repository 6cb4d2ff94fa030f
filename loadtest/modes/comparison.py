"""The table of a comparison: each number of A and B, and B / A with its interval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from saccade.loadtest.metrics.definitions import METRICS
from saccade.loadtest.metrics.schema import ALL, PERCENTILES, Group, Summary
from saccade.loadtest.modes.measuring import ResultModel
from saccade.loadtest.records import RequestRecord, RunRecord
from saccade.loadtest.statistics import (
    Interval,
    PairedRatio,
    clustered_percentile_interval,
    mean_interval,
    paired_ratio,
    percentile_interval,
    wilson_interval,
)

Slices = Mapping[Literal["A", "B"], list[RunRecord]]
Summaries = Mapping[Literal["A", "B"], list[Summary]]

LATENCIES = ("ttft", "scheduled_ttft", "tpot", "itl", "e2e")
SHOWN = ("p50", "p90", "p99")


class Row(ResultModel):
    """One number of both servers."""

    group: str
    """`all` or a modality."""
    quantity: str
    """As in --fail-on: `p90.ttft`, `goodput`, …"""
    title: str
    unit: str
    better: Literal["lower", "higher"]
    a: Interval | None
    """All slices pooled; null where A gave no value."""
    b: Interval | None
    ratio: PairedRatio | None
    """B / A: geometric mean over the pairs of slices, with its interval."""

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown"]:
        """What the interval says about B."""
        if self.ratio is None or self.ratio.low is None or self.ratio.high is None:
            return "no difference shown"
        if self.ratio.low <= 1 <= self.ratio.high:
            return "no difference shown"
        return "better" if (self.ratio.value < 1) == (self.better == "lower") else "worse"


def rows(summaries: Summaries, records: Slices) -> tuple[Row, ...]:
    """The comparison over complete pairs; empty if there are none."""
    num_pairs = min(len(summaries["A"]), len(summaries["B"]))
    if not num_pairs:
        return ()
    a, b = summaries["A"][:num_pairs], summaries["B"][:num_pairs]
    runs_a, runs_b = records["A"][:num_pairs], records["B"][:num_pairs]
    found: list[Row] = []
    for group in dict.fromkeys(name for summary in (*a, *b) for name in summary.groups):
        for key in LATENCIES:
            samples = _samples(runs_a, group, key), _samples(runs_b, group, key)
            found += [_latency_row(group, key, name, *samples) for name in SHOWN]
        found += [_rate_row(group, rate, a, b) for rate in _RATES]
        found.append(_attainment_row(group, a, b))
    return tuple(row for row in found if row.a is not None or row.b is not None)


class _Rate(ResultModel):
    """A number of a group that its slices give one of each."""

    quantity: str
    title: str
    unit: str
    of: Callable[[Group], float | None]


_RATES = (
    _Rate(
        quantity="request_throughput",
        title="Requests",
        unit="1/s",
        of=lambda group: group.request_throughput,
    ),
    _Rate(
        quantity="output_throughput",
        title="Output tokens",
        unit="tokens/s",
        of=lambda group: group.output_throughput,
    ),
    _Rate(
        quantity="goodput",
        title="Goodput",
        unit="1/s",
        of=lambda group: group.goodput.rate if group.goodput else None,
    ),
)

_Clusters = list[list[tuple[float, ...]]]
"""For each slice, the samples of each request."""


def _samples(runs: Sequence[RunRecord], group: str, key: str) -> _Clusters:
    of = METRICS[key].of
    return [
        [samples for record in run.measured if _is_in(record, group) and (samples := of(record))]
        for run in runs
    ]


def _is_in(record: RequestRecord, group: str) -> bool:
    return group in (ALL, record.modality)


def _latency_row(group: str, key: str, name: str, a: _Clusters, b: _Clusters) -> Row:
    share = PERCENTILES[name]
    return Row(
        group=group,
        quantity=f"{name}.{key}",
        title=f"{METRICS[key].title} {name}",
        unit=METRICS[key].unit,
        better="lower",
        a=_pooled(a, share),
        b=_pooled(b, share),
        ratio=paired_ratio(_each(a, share), _each(b, share)),
    )


def _pooled(slices: _Clusters, share: float) -> Interval | None:
    clusters = [samples for one in slices for samples in one]
    if not clusters:
        return None
    if all(len(samples) == 1 for samples in clusters):
        return percentile_interval([samples[0] for samples in clusters], share)
    return clustered_percentile_interval(clusters, share)


def _each(slices: _Clusters, share: float) -> list[float | None]:
    return [
        float(np.quantile(np.concatenate([np.asarray(x) for x in one]), share)) if one else None
        for one in slices
    ]


def _rate_row(group: str, rate: _Rate, a: Sequence[Summary], b: Sequence[Summary]) -> Row:
    of_a, of_b = _values(group, rate, a), _values(group, rate, b)
    return Row(
        group=group,
        quantity=rate.quantity,
        title=rate.title,
        unit=rate.unit,
        better="higher",
        a=_mean(of_a),
        b=_mean(of_b),
        ratio=paired_ratio(of_a, of_b),
    )


def _values(group: str, rate: _Rate, summaries: Sequence[Summary]) -> list[float | None]:
    groups = [summary.groups.get(group) for summary in summaries]
    return [rate.of(found) if found else None for found in groups]


def _mean(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return mean_interval(known) if known else None


def _attainment_row(group: str, a: Sequence[Summary], b: Sequence[Summary]) -> Row:
    return Row(
        group=group,
        quantity="attainment",
        title="SLO attainment",
        unit="",
        better="higher",
        a=_attainment(group, a),
        b=_attainment(group, b),
        ratio=paired_ratio(_attainments(group, a), _attainments(group, b)),
    )


def _attainment(group: str, summaries: Sequence[Summary]) -> Interval | None:
    found = [g.goodput for s in summaries if (g := s.groups.get(group)) and g.goodput]
    sent = sum(one.num_met + one.num_missed + one.num_undetermined for one in found)
    return wilson_interval(sum(one.num_met for one in found), sent) if sent else None


def _attainments(group: str, summaries: Sequence[Summary]) -> list[float | None]:
    groups = [summary.groups.get(group) for summary in summaries]
    return [g.goodput.attainment.value if g and g.goodput else None for g in groups]
