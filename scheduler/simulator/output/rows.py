"""The numbers of a report as text, for the terminal, Markdown and HTML alike."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from saccade.scheduler.simulator.runs import Interval, grouped
from saccade.scheduler.simulator.scenario import SLO_SCALES, Outcome


class Table(NamedTuple):
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Column(NamedTuple):
    name: str
    value: Callable[[Outcome], float]
    factor: float = 1.0
    digits: int = 0


def _latency(modality: str, metric: str, statistic: str) -> Callable[[Outcome], float]:
    return lambda outcome: float(outcome.latencies[modality][metric][statistic])


def _mean_of(metric: str) -> Callable[[Outcome], float]:
    """Over all requests, whatever their modality."""

    def value(outcome: Outcome) -> float:
        parts = [found for found in outcome.latencies.values() if found["num_requests"]]
        num = sum(found["num_requests"] for found in parts)
        if not num:
            return math.nan
        return math.fsum(float(f[metric]["mean"]) * f["num_requests"] for f in parts) / float(num)

    return value


def _goodput(scale: int) -> Callable[[Outcome], float]:
    return lambda outcome: outcome.goodput_rps[scale]


def _use(stage: str) -> Callable[[Outcome], float]:
    return lambda outcome: outcome.utilisation[stage]


LATENCY = (
    Column("text TTFT p50 ms", _latency("text", "ttft_s", "p50"), 1e3),
    Column("text TTFT p99 ms", _latency("text", "ttft_s", "p99"), 1e3),
    Column("image TTFT p50 ms", _latency("image", "ttft_s", "p50"), 1e3),
    Column("image TTFT p99 ms", _latency("image", "ttft_s", "p99"), 1e3),
    Column("text TPOT p99 ms", _latency("text", "tpot_s", "p99"), 1e3, 1),
    Column("image TPOT p99 ms", _latency("image", "tpot_s", "p99"), 1e3, 1),
    Column("input ms/token", _mean_of("input_s_per_token"), 1e3, 2),
    Column("output ms/token", _mean_of("output_s_per_token"), 1e3, 1),
)
SERVICE = (
    Column("throughput rps", lambda outcome: outcome.throughput_rps, 1, 1),
    *(Column(f"goodput rps, SLO x{scale}", _goodput(scale), 1, 1) for scale in SLO_SCALES),
    Column("flips/h", lambda outcome: outcome.flips_per_hour),
    Column("encode use %", _use("encode"), 100),
    Column("prefill use %", _use("prefill"), 100),
    Column("decode use %", _use("decode"), 100),
)


def tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """Latency and service by policy and rate; the intervals are over seeds."""
    return [
        _table("Latency", LATENCY, outcomes),
        _table("Service", SERVICE, outcomes),
    ]


def _table(title: str, columns: Sequence[Column], outcomes: Sequence[Outcome]) -> Table:
    rows = [
        (policy, f"{rate:g}", *(_cell(column, runs) for column in columns))
        for (policy, rate), runs in grouped(outcomes).items()
    ]
    return Table(title, ("policy", "rate", *(column.name for column in columns)), rows)


def _cell(column: Column, runs: Sequence[Outcome]) -> str:
    return interval_text(
        Interval.of(column.value(one) * column.factor for one in runs), column.digits
    )


def interval_text(interval: Interval, digits: int = 0) -> str:
    """ "12.3 ± 0.4"; "–" for what was not measured."""
    if math.isnan(interval.mean):
        return "–"
    text = f"{interval.mean:,.{digits}f}"
    if math.isnan(interval.half_width):
        return text
    return f"{text} ± {interval.half_width:,.{digits}f}"


def rejections(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each policy and rate under which requests were turned away."""
    found = []
    for (policy, rate), runs in grouped(outcomes).items():
        num = sum(one.num_rejected for one in runs)
        if num:
            arrived = sum(one.num_arrived for one in runs)
            found.append(
                f"{policy} at {rate:g}: {num:,} of {arrived:,} requests rejected: refused by "
                "admission, or larger than the KV memory of an instance"
            )
    return found


def markdown(table: Table) -> str:
    """As a table of Markdown."""
    lines = [_markdown_row(table.header), _markdown_row("---" for _ in table.header)]
    return "\n".join([*lines, *map(_markdown_row, table.rows)])


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
