"""What a page shows: from results to titles, tiles, tables and plots."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure

from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.modes.compare import CompareResult
from saccade.loadtest.modes.search import SENTENCES, SearchResult
from saccade.loadtest.modes.sweep import SweepResult
from saccade.loadtest.records import RunRecord
from saccade.loadtest.report import run_plots, set_plots, tables, units
from saccade.loadtest.report.console import search_answer
from saccade.loadtest.report.tables import Table, Tone
from saccade.loadtest.report.theme import Theme
from saccade.loadtest.slo import Slo, parse_slo

Draw = Callable[[Theme], Figure]


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure that can be drawn for any theme."""

    name: str
    """Unique on the page; also of its PNG."""
    caption: str
    draw: Draw
    place: Literal["", "wide", "tall"] = ""
    """On a page with two columns: over both, or as high as two others."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number to see first."""

    title: str
    value: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Plots and tables under a heading."""

    title: str
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """All that the template fills in."""

    title: str
    lead: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    sections: Sequence[Section] = ()

    @property
    def plots(self) -> list[Plot]:
        return [plot for section in self.sections for plot in section.plots]


def run_page(title: str, runs: Sequence[tuple[Summary, RunRecord]]) -> Page:
    """Of one run, or of several under each other."""
    several = len(runs) > 1
    sections: list[Section] = []
    for index, (summary, record) in enumerate(runs):
        sections += _run_sections(summary, record, f"{index}-" if several else "")
    first = runs[0][0]
    return Page(
        title=title,
        facts={} if several else _facts(first),
        warnings=[warning for summary, _ in runs for warning in summary.warnings],
        tiles=() if several else _tiles(first),
        sections=sections,
    )


def sweep_page(result: SweepResult, slo: Slo | None) -> Page:
    """Latency, attainment and throughput against the rate, or the number of users."""
    summaries = [point.summary for point in result.points]
    axis = set_plots.RATE if result.axis == "rate" else set_plots.CONCURRENCY
    values = [f"{point.value:g}" for point in result.points]
    missing = ", ".join(f"{value:g}" for value in result.missing)
    title = f"Sweep of the {result.axis}"
    plots = _set_plots(summaries, axis, slo, None, None) if summaries else []
    return Page(
        title=f"{summaries[0].label}: {title.lower()}" if summaries else title,
        lead=result.plan,
        facts=_set_facts(summaries, slo),
        warnings=[f"Not measured: {missing}."] if missing else [],
        sections=[
            Section("Against the load", plots),
            Section("Points", tables=[tables.set_table(summaries, result.axis, values)]),
        ],
    )


def search_page(result: SearchResult) -> Page:
    """The rate that was found, and how."""
    summaries = [probe.summary for probe in result.probes]
    slo, axis = parse_slo(result.slo), set_plots.RATE
    share, best = result.settings.share, result.best_rate
    plots = _set_plots(summaries, axis, slo, share, best) if summaries else []
    attainment = result.best_attainment
    tiles = [
        Tile(
            "highest rate that holds",
            f"{best:.4g}/s" if best is not None else units.NOTHING,
            f"fails at {result.failing_rate:.4g}/s" if result.failing_rate else "",
            "good" if result.resolved else "",
        ),
        Tile(
            "attainment there",
            units.percent(attainment.value if attainment else None),
            units.bounds(attainment, ""),
        ),
        Tile("wanted", units.percent(share), result.slo),
        Tile("probes", str(len(result.probes))),
    ]
    reason = SENTENCES[result.stop_reason] if result.stop_reason else ""
    return Page(
        title=f"{summaries[0].label}: rate under the SLO" if summaries else "Rate under the SLO",
        lead=f"{search_answer(result)} {reason}",
        facts={"plan": result.plan, **_set_facts(summaries, slo)},
        warnings=result.warnings,
        tiles=tiles,
        sections=[
            Section("Against the load", plots),
            Section("Probes", tables=[tables.probe_table(result)]),
        ],
    )


def compare_page(
    result: CompareResult, records: Mapping[str, Sequence[RunRecord]], slo: Slo | None
) -> Page:
    """Ratios first, then what they are made of; `records` by label of the server."""
    labels = (result.a.label, result.b.label)
    plots = []
    if result.rows:
        plots.append(
            Plot(
                "ratios",
                "One ratio for each pair of slices: their geometric mean and its 95 % interval.",
                lambda theme: set_plots.ratios(result.rows, labels, theme),
                "wide",
            )
        )
        plots += [_cdf_of_two(metric, records, slo) for metric in ("ttft", "tpot")]
    return Page(
        title=f"{labels[0]} and {labels[1]}",
        lead=f"{result.plan}, in turns A B A B …",
        facts={
            f"A: {labels[0]}": result.a.url,
            f"B: {labels[1]}": result.b.url,
            "pairs": f"{result.num_complete_pairs} of {result.num_pairs}",
            **({"SLO": str(slo)} if slo else {}),
        },
        warnings=result.warnings,
        sections=[
            Section("Ratios and distributions", plots),
            Section("Numbers", tables=[tables.ratio_table(result)]),
        ],
    )


def _run_sections(summary: Summary, record: RunRecord, prefix: str) -> list[Section]:
    slo = parse_slo(summary.all.goodput.slo) if summary.all.goodput else None
    streamed = "ttft" in summary.all.latencies
    wanted = ("ttft", "tpot") if streamed else ("e2e",)
    metrics = [key for key in wanted if key in summary.all.latencies]
    more = [tables.latency_table(summary, tables.MORE_LATENCIES)]
    plots = [
        Plot(
            f"{prefix}timeline",
            "Grey: warm-up, cool-down and what came after the schedule; not in the numbers.",
            lambda theme: run_plots.timeline(record, theme),
            "tall",
        ),
    ]
    if metrics:
        plots.append(
            Plot(
                f"{prefix}cdf",
                "Share of requests that took at most as long.",
                lambda theme: run_plots.cdf(record, metrics, slo, theme),
            )
        )
    if streamed and "e2e" in summary.all.latencies:
        keys = [key for key in ("itl", "e2e") if key in summary.all.latencies]
        plots.append(
            Plot(
                f"{prefix}cdf-more",
                "ITL: share of all gaps.",
                lambda theme: run_plots.cdf(record, keys, slo, theme),
            )
        )
    found = [
        tables.slo_table(summary),
        tables.latency_table(summary),
        tables.throughput_table(summary),
        tables.accuracy_table(summary),
        tables.stage_table(summary),
        tables.error_table(summary),
    ]
    name = f"{summary.label}, {summary.arrivals}: " if prefix else ""
    return [
        Section(f"{name}Plots", plots),
        Section(f"{name}Numbers", tables=[table for table in found if table and table.rows]),
        Section(f"{name}Further numbers", tables=[*more, tables.client_table(summary)]),
    ]


def _set_plots(
    summaries: Sequence[Summary],
    axis: set_plots.Axis,
    slo: Slo | None,
    share: float | None,
    best: float | None,
) -> list[Plot]:
    def latency(metric: str) -> Draw:
        return lambda theme: set_plots.latency_against(summaries, axis, metric, slo, theme)

    measured = {key for summary in summaries for key in summary.all.latencies}
    caption = "Shaded: 95 % intervals."
    plots = [
        Plot(f"{key}-load", caption, latency(key))
        for key in ("ttft", "tpot", "e2e")
        if key in measured and (key != "e2e" or "ttft" not in measured)
    ]
    if any(summary.all.goodput for summary in summaries):
        plots.append(
            Plot(
                "attainment",
                caption,
                lambda theme: set_plots.attainment_against(summaries, axis, share, best, theme),
            )
        )
    plots.append(
        Plot(
            "throughput",
            "Completed falls below offered where the server is saturated.",
            lambda theme: set_plots.throughput_against(summaries, axis, theme),
        )
    )
    return plots


def _cdf_of_two(metric: str, records: Mapping[str, Sequence[RunRecord]], slo: Slo | None) -> Plot:
    return Plot(
        f"{metric}-cdf",
        "All slices pooled.",
        lambda theme: run_plots.cdf_of_two(records, metric, slo, theme),
    )


def _tiles(summary: Summary) -> list[Tile]:
    group = summary.all
    tiles = []
    if group.goodput:
        attainment = group.goodput.attainment
        tiles.append(
            Tile("SLO attainment", units.percent(attainment.value), units.bounds(attainment, ""))
        )
        tiles.append(Tile("goodput", f"{units.number(group.goodput.rate)}/s", "requests"))
    for key, name in (("ttft", "p50"), ("ttft", "p90"), ("tpot", "p90"), ("e2e", "p90")):
        found = group.latencies.get(key)
        if found:
            interval = found.percentile(name)
            title = f"{key.upper()} {name}"
            tiles.append(Tile(title, units.seconds(interval.value), units.bounds(interval, "s")))
    tiles.append(Tile("completed", f"{units.number(group.request_throughput)}/s", "requests"))
    failed = f"of {group.num_sent:,} sent"
    tiles.append(
        Tile("failed", f"{group.num_failed:,}", failed, "bad" if group.num_failed else "good")
    )
    return tiles


def _facts(summary: Summary) -> dict[str, str]:
    return {
        "server": f"{summary.label} at {summary.url}",
        "model": summary.model,
        "workload": summary.workload,
        "arrivals": summary.arrivals,
        "measured": f"{summary.window_s:.4g} s after {summary.warmup_s:.4g} s of warm-up",
        "seed": str(summary.seed),
        "started": f"{summary.started_at:%Y-%m-%d %H:%M:%S %Z}",
    }


def _set_facts(summaries: Sequence[Summary], slo: Slo | None) -> dict[str, str]:
    facts = {"SLO": str(slo)} if slo else {}
    if summaries:
        first = summaries[0]
        facts |= {"server": first.url, "model": first.model, "workload": first.workload}
    return facts
