"""Plots over several runs: against the rate, and of one server against another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from saccade.loadtest.metrics.definitions import METRICS
from saccade.loadtest.metrics.schema import ALL, Summary
from saccade.loadtest.modes.comparison import Row
from saccade.loadtest.records import Modality
from saccade.loadtest.report import units
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
            handles.append(key("SLO", theme["muted"], ls=(0, (1, 1.6)), lw=1.4))
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
    x = [axis.of(summary) for summary in ordered]
    with style(theme):
        figure, (axes,) = panels(1, 3.1)
        handles = []
        if all(summary.offered_rate is not None for summary in ordered):
            axes.plot(
                x,
                [summary.offered_rate or 0 for summary in ordered],
                color=theme["muted"],
                ls="--",
                lw=1.2,
            )
            handles.append(key("offered", theme["muted"], ls="--", lw=1.2))
        completed = [summary.all.request_throughput for summary in ordered]
        axes.plot(x, completed, color=theme["a"], marker="o", ms=4)
        handles.append(key("completed", theme["a"], marker="o", ms=4))
        good = [(v, s.all.goodput.rate) for v, s in zip(x, ordered, strict=True) if s.all.goodput]
        if good:
            axes.plot(*zip(*good, strict=True), color=theme["good"], marker="s", ms=4)
            handles.append(key("good: held the SLO", theme["good"], marker="s", ms=4))
        axes.set_title("Requests by second")
        axes.set_xlabel(axis.title)
        axes.set_ylim(bottom=0)
        _x_axis(axes, x)
        legend(figure, handles, theme)
    return figure


def ratios(rows: Sequence[Row], labels: tuple[str, str], theme: Theme) -> Figure:
    """B / A with its interval for each row; left and right of 1, green where B is better."""
    shown = [row for row in rows if row.ratio is not None]
    with style(theme):
        figure, (axes,) = panels(1, 1.0 + 0.27 * max(3, len(shown)))
        for position, row in enumerate(reversed(shown)):
            _draw_ratio(axes, position, row, theme)
        axes.axvline(1, color=theme["muted"], lw=1.2)
        axes.set_yticks(range(len(shown)), [f"{r.title}, {r.group}" for r in reversed(shown)])
        axes.set_ylim(-0.7, max(0.7, len(shown) - 0.3))
        axes.grid(visible=False, axis="y")
        axes.set_xscale("log")
        _ratio_ticks(axes)
        axes.set_title(f"{labels[1]} / {labels[0]}")
        handles = [
            key(f"{labels[1]} is {word}", theme[colour], marker="o", ms=5)
            for word, colour in (("better", "good"), ("worse", "bad"))
        ]
        handles.append(key("no difference shown", theme["muted"], marker="o", ms=5))
        legend(figure, handles, theme)
    return figure


def _draw_ratio(axes: Axes, position: int, row: Row, theme: Theme) -> None:
    assert row.ratio is not None
    colour = theme[{"better": "good", "worse": "bad"}.get(row.verdict, "muted")]
    if row.ratio.low is not None and row.ratio.high is not None:
        axes.plot([row.ratio.low, row.ratio.high], [position] * 2, color=colour, lw=2.2)
    axes.plot([row.ratio.value], [position], color=colour, marker="o", ms=5.5)


def _ratio_ticks(axes: Axes) -> None:
    """At least from a third less to a half more, so that small differences look small."""
    low, high = axes.get_xlim()
    low, high = max(1 / 50, min(low, 1 / 1.5)), min(50.0, max(high, 1.5))
    axes.set_xlim(low, high)
    steps = (0.02, 0.05, 0.1, 0.2, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 5, 10, 20, 50)
    if high / low > 6:
        steps = tuple(step for step in steps if step not in (0.67, 0.8, 1.25, 1.5))
    axes.set_xticks([step for step in steps if low <= step <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.ratio(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


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
    x = [value for value, _ in found]
    y = [interval.value for _, interval in found]
    low = [i.value if i.low is None else i.low for _, i in found]
    high = [i.value if i.high is None else i.high for _, i in found]
    axes.plot(x, y, color=colour, ls=look, marker="o", ms=3.5)
    axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
    axes.vlines(x, low, high, color=colour, lw=1, alpha=0.6)


def _x_axis(axes: Axes, values: Sequence[float]) -> None:
    positive = [value for value in values if value > 0]
    if positive and max(positive) / min(positive) > SPREAD:
        axes.set_xscale("log")
        every = max(1, len(set(positive)) // 6)
        axes.set_xticks(sorted(set(positive))[::every])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _percentiles(summary: Summary, metric: str) -> list[float]:
    found = [g.latencies[metric] for g in summary.groups.values() if metric in g.latencies]
    return [distribution.percentile(name).value for distribution in found for name in _LOOKS]


def _spread(values: Sequence[float]) -> float:
    positive = [value for value in values if value > 0]
    return max(positive) / min(positive) if positive else 1.0


def _modalities(summaries: Sequence[Summary]) -> list[str]:
    found = {name for summary in summaries for name in summary.modalities}
    return [str(modality) for modality in Modality if modality in found] or [ALL]
