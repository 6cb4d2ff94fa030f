"""The tables of a report, as text; the terminal and the page show the same."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from saccade.loadtest.metrics.definitions import METRICS, RUN_DEFINITIONS
from saccade.loadtest.metrics.schema import ALL, Group, Summary
from saccade.loadtest.modes.bisection import Outcome
from saccade.loadtest.modes.compare import CompareResult
from saccade.loadtest.modes.comparison import Row
from saccade.loadtest.modes.search import SearchResult
from saccade.loadtest.records import Modality
from saccade.loadtest.report import units

Tone = Literal["", "good", "bad", "muted"]

LATENCIES = ("ttft", "scheduled_ttft", "itl", "tpot", "e2e")
MORE_LATENCIES = (
    "scheduled_e2e",
    "normalised_input",
    "normalised_output",
    "normalised_e2e",
    "send_lag",
)
SHOWN = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, and in smaller print what belongs to it: mostly its interval."""

    text: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; the first column names the row."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def groups_in_order(summary: Summary) -> list[tuple[str, Group]]:
    """Modalities first, and all of them last, if there are several."""
    ordered = [*Modality, ALL] if len(summary.modalities) != 1 else list(Modality)
    return [(str(name), summary.groups[name]) for name in ordered if name in summary.groups]


def latency_table(summary: Summary, keys: Sequence[str] = LATENCIES) -> Table:
    """Percentiles of each metric, by modality."""
    rows = []
    for key in keys:
        for name, group in groups_in_order(summary):
            found = group.latencies.get(key)
            if found is None:
                continue
            cells = [Cell(METRICS[key].title), Cell(name), Cell(units.seconds(found.mean))]
            for percentile in SHOWN:
                interval = found.percentile(percentile)
                cells.append(Cell(units.seconds(interval.value), units.bounds(interval, "s")))
            rows.append([*cells, Cell(units.count(found.count), tone="muted")])
    note = "Below each percentile its 95 % interval; … where the sample is too small for a bound."
    if (summary.all.tokens_per_chunk or 0) > 1.05 and "itl" in keys:
        note += (
            f" Chunks hold {summary.all.tokens_per_chunk:.2f} tokens on average: ITL is between "
            "chunks here, not tokens."
        )
    headings = ("Metric", "Requests", "mean", *SHOWN, "samples")
    return Table("Latency", headings, rows, note)


def throughput_table(summary: Summary) -> Table:
    """What was sent, what came back, and at which rates."""
    rows = [
        [
            Cell(name),
            Cell(units.count(group.num_sent)),
            Cell(units.count(group.num_failed), tone="bad" if group.num_failed else ""),
            Cell(units.number(group.request_throughput)),
            Cell(units.number(group.input_throughput)),
            Cell(units.number(group.visual_throughput)),
            Cell(units.number(group.output_throughput)),
        ]
        for name, group in groups_in_order(summary)
    ]
    headings = (
        "Requests",
        "sent",
        "failed",
        "completed/s",
        "input tokens/s",
        "visual tokens/s",
        "output tokens/s",
    )
    return Table("Throughput", headings, rows, "Within the measured window.")


def slo_table(summary: Summary) -> Table | None:
    """Who held the SLO; None without one."""
    rows = []
    for name, group in groups_in_order(summary):
        found = group.goodput
        if found is None:
            continue
        by_metric = ", ".join(
            f"{key} {units.percent(share)}" for key, share in found.attainment_by_metric.items()
        )
        rows.append(
            [
                Cell(name),
                Cell(units.percent(found.attainment.value), units.bounds(found.attainment, "")),
                Cell(units.number(found.rate)),
                Cell(units.count(found.num_met)),
                Cell(units.count(found.num_missed), tone="bad" if found.num_missed else ""),
                Cell(units.count(found.num_undetermined)),
                Cell(by_metric, tone="muted"),
            ]
        )
    if not rows:
        return None
    headings = (
        "Requests",
        "attainment",
        "goodput/s",
        "met",
        "missed",
        "undetermined",
        "by metric",
    )
    slo = summary.all.goodput.slo if summary.all.goodput else ""
    note = "Over requests sent: failed ones have missed it. Undetermined: a bound is undefined."
    return Table(f"SLO {slo}", headings, rows, note)


def error_table(summary: Summary) -> Table | None:
    """Failures by kind, over the whole run; None without any."""
    if not summary.errors:
        return None
    ordered = sorted(summary.errors.items(), key=lambda item: -item[1])
    rows = [[Cell(kind), Cell(units.count(count), tone="bad")] for kind, count in ordered]
    return Table("Errors", ("Kind", "requests"), rows, "Warm-up and cool-down included.")


def accuracy_table(summary: Summary) -> Table | None:
    """Answers that were right; None where nothing was expected."""
    rows = [
        [
            Cell(name),
            Cell(units.percent(found.ratio.value), units.bounds(found.ratio, "")),
            Cell(units.count(found.num_scored)),
        ]
        for name, group in groups_in_order(summary)
        if (found := group.accuracy) is not None
    ]
    return Table("Answers", ("Requests", "correct", "scored"), rows) if rows else None


def stage_table(summary: Summary) -> Table | None:
    """The server's own times; None where it gives none."""
    rows = [
        [
            Cell(key.removeprefix("stage.")),
            Cell(name),
            Cell(units.seconds(found.mean)),
            *(Cell(units.seconds(found.percentile(p).value)) for p in SHOWN),
            Cell(units.count(found.count), tone="muted"),
        ]
        for name, group in groups_in_order(summary)
        for key, found in group.latencies.items()
        if key.startswith("stage.")
    ]
    rows += [
        [
            Cell(stage.metric),
            Cell(", ".join(f"{k}={v}" for k, v in stage.labels.items())),
            Cell(units.seconds(stage.mean_s)),
            *([Cell("")] * len(SHOWN)),
            Cell(units.count(stage.count), tone="muted"),
        ]
        for stage in summary.server_stages
    ]
    headings = ("Stage", "Requests", "mean", *SHOWN, "samples")
    return Table("Server's own times", headings, rows) if rows else None


def client_table(summary: Summary) -> Table:
    """How well the client kept up, and the whole run as vLLM's tool counts it."""
    client, whole = summary.client, summary.whole_run
    late: Tone = "" if client.trustworthy else "bad"
    rows = [
        [Cell("Send lag p99"), Cell(units.seconds(client.send_lag_p99_s), tone=late)],
        [Cell("Event loop late p99"), Cell(units.seconds(client.loop_lag_p99_s))],
        [Cell("Busiest process"), Cell(units.percent(client.cpu_ratio), "of its time")],
        [Cell("Processes"), Cell(units.count(client.num_processes))],
        [Cell("Whole run, requests/s"), Cell(units.number(whole.request_throughput))],
        [Cell("Whole run, output tokens/s"), Cell(units.number(whole.output_throughput))],
    ]
    return Table("Client and whole run", ("", ""), rows)


def set_table(summaries: Sequence[Summary], heading: str, values: Sequence[str]) -> Table:
    """A row for each run of a sweep."""
    rows = []
    for value, summary in zip(values, summaries, strict=True):
        cells = [Cell(value), Cell(units.number(summary.all.request_throughput))]
        for key, name in (("ttft", "p50"), ("ttft", "p90"), ("ttft", "p99"), ("tpot", "p90")):
            found = summary.all.latencies.get(key)
            interval = found.percentile(name) if found else None
            cells.append(
                Cell(
                    units.seconds(interval.value if interval else None),
                    units.bounds(interval, "s"),
                )
            )
        cells.append(_attainment_cell(summary))
        failed = summary.all.num_failed
        cells.append(Cell(units.count(failed), tone="bad" if failed else ""))
        late = "" if summary.client.trustworthy else "client was late"
        rows.append([*cells, Cell(late, tone="bad")])
    headings = (
        heading,
        "completed/s",
        "TTFT p50",
        "TTFT p90",
        "TTFT p99",
        "TPOT p90",
        "attainment",
        "failed",
        "",
    )
    return Table("Points", headings, rows)


def probe_table(result: SearchResult) -> Table:
    """A row for each probe, in the order in which they ran."""
    tones: dict[Outcome, Tone] = {Outcome.HOLDS: "good", Outcome.FAILS: "bad"}
    rows = [
        [
            Cell(f"{probe.rate:g}"),
            Cell(units.percent(probe.attainment.value), units.bounds(probe.attainment, "")),
            Cell(str(probe.outcome), tone=tones.get(probe.outcome, "muted")),
            Cell(units.count(probe.num_met)),
            Cell(units.count(probe.num_missed)),
            Cell(units.count(probe.num_undetermined)),
            Cell(_remarks(probe.falling, probe.trustworthy, probe.resumed), tone="muted"),
        ]
        for probe in result.probes
    ]
    headings = ("requests/s", "attainment", "outcome", "met", "missed", "undetermined", "")
    note = f"An outcome is clear when the 95 % interval leaves out {result.settings.share:.4g}."
    return Table("Probes", headings, rows, note)


def ratio_table(result: CompareResult) -> Table:
    """Each number of both, and their ratio."""
    tones: dict[str, Tone] = {"better": "good", "worse": "bad"}
    rows = [
        [
            Cell(row.title),
            Cell(row.group),
            Cell(units.in_unit(_value(row, "a"), row.unit), units.bounds(row.a, row.unit)),
            Cell(units.in_unit(_value(row, "b"), row.unit), units.bounds(row.b, row.unit)),
            Cell(
                units.ratio(row.ratio.value if row.ratio else None),
                units.ratio_bounds(row.ratio),
                tones.get(row.verdict, ""),
            ),
            Cell(row.verdict, tone=tones.get(row.verdict, "muted")),
        ]
        for row in result.rows
    ]
    headings = (
        "",
        "Requests",
        result.a.label,
        result.b.label,
        f"{result.b.label} / {result.a.label}",
        result.b.label,
    )
    note = (
        f"Values over {result.num_complete_pairs} slices of each, pooled. Ratios pair by pair: "
        "geometric mean with its 95 % interval (Student's t on logarithms)."
    )
    return Table("Comparison", headings, rows, note)


@dataclass(frozen=True, slots=True)
class Definition:
    """A term and what it means."""

    term: str
    meaning: str = field(repr=False)


def definitions() -> list[Definition]:
    """Of all that the tables show."""
    metrics = [Definition(metric.title, metric.definition) for metric in METRICS.values()]
    return metrics + [Definition(name, text) for name, text in RUN_DEFINITIONS.items()]


def repeats(table: Table, index: int) -> bool:
    """Whether a row belongs to the one above it: its name is not written again."""
    if index == 0:
        return False
    name = table.rows[index][0].text
    return name == table.rows[index - 1][0].text and not is_number(name)


def is_number(text: str) -> bool:
    """Whether a cell holds a number, or the sign that there is none."""
    return not text or text[0].isdigit() or text[0] in "–-"


def _attainment_cell(summary: Summary) -> Cell:
    found = summary.all.goodput
    if found is None:
        return Cell(units.NOTHING)
    return Cell(units.percent(found.attainment.value), units.bounds(found.attainment, ""))


def _remarks(falling: bool, trustworthy: bool, resumed: bool) -> str:
    found = (
        ("falling behind", falling),
        ("client was late: not used", not trustworthy),
        ("measured before", resumed),
    )
    return ", ".join(text for text, holds in found if holds)


def _value(row: Row, side: Literal["a", "b"]) -> float | None:
    interval = row.a if side == "a" else row.b
    return interval.value if interval else None
