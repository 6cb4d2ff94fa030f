"""Plots over several runs: against the rate, and of one server against another."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from saccade.loadtest.metrics.definitions import METRICS
from saccade.loadtest.metrics.schema import ALL, Summary
from saccade.loadtest.modes.comparison import Row
from saccade.loadtest.records import Modality
from saccade.loadtest.report.canvas import (
    columns,
    key,
    legend,
    panels,
    percent_axis,
    seconds_axis,
    style,
)
from saccade.loadtest.report.run_plots import draw_limits, limits_of
from saccade.loadtest.report.theme import Theme
from saccade.loadtest.slo import Slo
from saccade.loadtest.statistics import Interval

SPREAD = 6.0
"""Above this ratio of largest to smallest value an axis is logarithmic."""

MIN_TICK_GAP = 0.13
"""Between labels of an axis, as a share of it."""
RATIOS = frozenset(
    [f"{p}.{metric}" for metric in ("ttft", "tpot", "e2e") for p in ("p50", "p90", "p99")]
    + ["request_throughput", "output_throughput", "goodput", "attainment"]
)
"""Rows of a comparison that are drawn; the table has all."""

_LOOKS: Mapping[str, str] = {"p50": "-", "p90": "--", "p99": ":"}


@dataclass(frozen=True, slots=True)
class Axis:
    """What lies on the x axis."""

    title: str
    of: Callable[[Summary], float]


RATE = Axis("requests per second, offered", lambda summary: summary.offered_rate or 0.0)
CONCURRENCY = Axis("users of the closed loop", lambda summary: float(summary.concurrency or 0))


def latency_against(
    summaries: Sequence[Summary], axis: Axis, metric: str, slo: Slo | None, theme: Theme
) -> Figure:
    """p50, p90 and p99 of a metric with their intervals, a panel for each modality."""
    groups = _modalities(summaries)
    with style(theme):
        figure, all_axes = columns(len(groups), 3.1)
        spread = _spread([x for s in summaries for x in _percentiles(s, metric)])
        for axes, group in zip(all_axes, groups, strict=True):
            for name, look in _LOOKS.items():
                found = _series(summaries, axis, group, metric, name)
                _draw_series(axes, found, theme[group], look)
            axes.set_title(f"{METRICS[metric].title}, {group}")
            axes.set_xlabel(axis.title)
            if group in set(Modality):
                limits = limits_of(slo, metric, [Modality(group)])
                draw_limits(axes, limits, theme, across=True)
            _x_axis(axes, [axis.of(s) for s in summaries])
        if spread <= SPREAD:
            all_axes[0].set_ylim(bottom=0)
        seconds_axis(all_axes[0], "y", logarithmic=spread > SPREAD)
        handles = [key(name, theme["ink"], ls=look) for name, look in _LOOKS.items()]
        if slo is not None and any(limits_of(slo, metric, list(Modality))):
            handles.append(key("SLO", theme["muted"], ls=":", lw=1.4))
        legend(figure, handles, theme)
    return figure


def attainment_against(
    summaries: Sequence[Summary],
    axis: Axis,
    share: float | None,
    best: float | None,
    theme: Theme,
) -> Figure:
    """Share of the requests sent that held the SLO, with Wilson's intervals, by modality.

    `share` is the wanted one and `best` the highest rate that has it, where there are such.
    """
    groups = [ALL, *(name for name in _modalities(summaries) if name != ALL)]
    with style(theme):
        figure, (axes,) = panels(1, 3.1)
        for group in groups if len(groups) > 2 else [ALL]:
            found = [
                (axis.of(s), g.goodput.attainment)
                for s in summaries
                if (g := s.groups.get(group)) and g.goodput
            ]
            _draw_series(axes, sorted(found, key=lambda x: x[0]), theme[group], "-")
        percent_axis(axes)
        axes.set_xlabel(axis.title)
        axes.set_title("SLO attainment, over requests sent")
        handles = [key(group, theme[group]) for group in (groups if len(groups) > 2 else [ALL])]
        if share is not None:
            axes.axhline(share, color=theme["muted"], ls="--", lw=1.2)
            handles.append(key(f"wanted: {share:.4g}", theme["muted"], ls="--", lw=1.2))
        if best is not None:
            axes.axvline(best, color=theme["good"], lw=1.4)
            handles.append(key(f"highest rate: {best:.4g}", theme["good"], lw=1.4))
        _x_axis(axes, [axis.of(s) for s in summaries])
        legend(figure, handles, theme)
    return figure


def throughput_against(summaries: Sequence[Summary], axis: Axis, theme: Theme) -> Figure:
    """Requests per second: offered, completed, and good."""
    ordered = sorted(summaries, key=axis.of)
    runs_x = [axis.of(summary) for summary in ordered]
    x = sorted(set(runs_x))
    with style(theme):
        figure, (axes,) = panels(1, 3.1)
        handles = []
        offered = [summary.offered_rate for summary in ordered]
        if (rates := [rate for rate in offered if rate is not None]) and len(rates) == len(runs_x):
            y = [_mean_at(value, runs_x, rates) for value in x]
            axes.plot(x, y, color=theme["muted"], ls="--", lw=1.2)
            handles.append(key("offered", theme["muted"], ls="--", lw=1.2))
        completed = [summary.all.request_throughput for summary in ordered]
        y = [_mean_at(value, runs_x, completed) for value in x]
        axes.plot(x, y, color=theme["a"], marker="o", ms=4)
        handles.append(key("completed", theme["a"], marker="o", ms=4))
        good = [s.all.goodput.rate for s in ordered if s.all.goodput]
        if len(good) == len(runs_x):
            y = [_mean_at(value, runs_x, good) for value in x]
            axes.plot(x, y, color=theme["good"], marker="s", ms=4)
            handles.append(key("good: held the SLO", theme["good"], marker="s", ms=4))
        axes.set_title("Requests by second")
        axes.set_xlabel(axis.title)
        axes.set_ylim(bottom=0)
        _x_axis(axes, x)
        legend(figure, handles, theme)
    return figure


def ratios(rows: Sequence[Row], labels: tuple[str, str], theme: Theme) -> Figure:
    """B / A with its interval, a panel for each group of requests; green where B is better."""
    shown = [row for row in rows if row.quantity in RATIOS and row.ratio is not None]
    titles = list(dict.fromkeys(row.title for row in shown))
    groups = [name for name in (*Modality, ALL) if any(row.group == name for row in shown)]
    if len(groups) == 2:
        groups.remove(ALL)
    with style(theme):
        figure, all_axes = columns(max(1, len(groups)), 1.3 + 0.27 * len(titles))
        for axes, group in zip(all_axes, groups, strict=False):
            mine = [row for row in shown if row.group == group]
            for row in mine:
                _draw_ratio(axes, titles.index(row.title), row, theme)
            axes.axvline(1, color=theme["muted"], lw=1.2)
            axes.set_title(group)
            axes.set_yticks(range(len(titles)), titles)
            axes.grid(visible=False, axis="y")
            _ratio_axis(axes, mine)
        all_axes[0].set_ylim(len(titles) - 0.4, -0.6)
        figure.supxlabel(f"{labels[1]} / {labels[0]}", fontsize=10, color=theme["muted"])
        words = (("better", "good"), ("worse", "bad"))
        handles = [key(f"{labels[1]} {word}", theme[c], marker="o", ms=5) for word, c in words]
        handles.append(key("no difference shown", theme["muted"], marker="o", ms=5))
        legend(figure, handles, theme)
    return figure


def _draw_ratio(axes: Axes, position: int, row: Row, theme: Theme) -> None:
    assert row.ratio is not None
    colour = theme[{"better": "good", "worse": "bad"}.get(row.verdict, "muted")]
    if row.ratio.low is not None and row.ratio.high is not None:
        axes.plot([row.ratio.low, row.ratio.high], [position] * 2, color=colour, lw=2.2)
    axes.plot([row.ratio.value], [position], color=colour, marker="o", ms=5.5)


def _ratio_axis(axes: Axes, rows: Sequence[Row]) -> None:
    """At least from a third less to a half more, so that small differences look small."""
    found = [row.ratio for row in rows if row.ratio is not None]
    ends = [x for ratio in found for x in (ratio.low, ratio.value, ratio.high) if x is not None]
    low = max(1 / 60, min([1 / 1.6, *(0.93 * end for end in ends)]))
    high = min(60.0, max([1.6, *(1.07 * end for end in ends)]))
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    steps = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
    fine = (0.67, 1, 1.5)
    axes.set_xticks([x for x in (fine if high / low < 6 else steps) if low <= x <= high])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))


_Series = Sequence[tuple[float, Interval]]


def _series(
    summaries: Sequence[Summary], axis: Axis, group: str, metric: str, name: str
) -> _Series:
    found = [
        (axis.of(summary), distribution.percentile(name))
        for summary in summaries
        if (some := summary.groups.get(group)) and (distribution := some.latencies.get(metric))
    ]
    return sorted(found, key=lambda point: point[0])


def _draw_series(axes: Axes, found: _Series, colour: str, look: str) -> None:
    """A line through the means at each value, a dot and its interval for each run."""
    x = [value for value, _ in found]
    low = [i.value if i.low is None else i.low for _, i in found]
    high = [i.value if i.high is None else i.high for _, i in found]
    axes.plot(x, [i.value for _, i in found], color=colour, ls="", marker="o", ms=3.5)
    axes.vlines(x, low, high, color=colour, lw=1, alpha=0.6)
    values = sorted(set(x))
    middle, below, above = (
        [_mean_at(value, x, y) for value in values]
        for y in ([i.value for _, i in found], low, high)
    )
    axes.plot(values, middle, color=colour, ls=look)
    axes.fill_between(values, below, above, color=colour, alpha=0.13, lw=0)


def _mean_at(value: float, x: Sequence[float], y: Sequence[float]) -> float:
    found = [one for at, one in zip(x, y, strict=True) if at == value]
    return sum(found) / len(found)


def _x_axis(axes: Axes, values: Sequence[float]) -> None:
    positive = sorted({value for value in values if value > 0})
    if positive and positive[-1] / positive[0] > SPREAD:
        axes.set_xscale("log")
        axes.set_xticks(_apart([math.log(value) for value in positive], positive))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _apart(positions: Sequence[float], values: Sequence[float]) -> list[float]:
    """Those that leave room for a label each."""
    gap = MIN_TICK_GAP * (positions[-1] - positions[0])
    chosen: list[float] = []
    last = -math.inf
    for position, value in zip(positions, values, strict=True):
        if position - last >= gap:
            chosen.append(value)
            last = position
    return chosen


def _percentiles(summary: Summary, metric: str) -> list[float]:
    found = [g.latencies[metric] for g in summary.groups.values() if metric in g.latencies]
    return [distribution.percentile(name).value for distribution in found for name in _LOOKS]


def _spread(values: Sequence[float]) -> float:
    positive = [value for value in values if value > 0]
    return max(positive) / min(positive) if positive else 1.0


def _modalities(summaries: Sequence[Summary]) -> list[str]:
    found = {name for summary in summaries for name in summary.modalities}
    return [str(modality) for modality in Modality if modality in found] or [ALL]
