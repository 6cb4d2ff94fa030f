"""Plots of single runs: distributions, and what happened when."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saccade.loadtest.metrics.definitions import METRICS
from saccade.loadtest.records import NS_PER_S, Modality, RequestRecord, RunRecord, Status
from saccade.loadtest.report.canvas import (
    columns,
    key,
    legend,
    panels,
    patch,
    percent_axis,
    seconds_axis,
    style,
)
from saccade.loadtest.report.theme import Theme
from saccade.loadtest.slo import Bound, Slo

NUM_CDF_POINTS = 400
"""A finer curve cannot be seen, and makes the page large."""
NUM_TIMES = 600
NUM_BARS = 60
NUM_DOTS = 4000
SLO_DASHES = (0, (1, 1.6))
WIDE = 12.0
"""Above this ratio of largest to median value an axis is logarithmic."""


def present(runs: Sequence[RunRecord]) -> list[Modality]:
    """The modalities of the measured requests, in a fixed order."""
    found = {record.modality for run in runs for record in run.measured}
    return [modality for modality in Modality if modality in found]


def samples_of(run: RunRecord, metric: str, modality: Modality) -> np.ndarray:
    """All samples of the measured requests of a modality."""
    of = METRICS[metric].of
    values = [x for record in run.measured if record.modality is modality for x in of(record)]
    return np.asarray(values, dtype=float)


def cdf(run: RunRecord, metrics: Sequence[str], slo: Slo | None, theme: Theme) -> Figure:
    """The share of requests (of gaps, for ITL) up to each latency, by modality."""
    modalities = present([run])
    with style(theme):
        figure, all_axes = columns(len(metrics), 2.9)
        for axes, metric in zip(all_axes, metrics, strict=True):
            curves = {m: samples_of(run, metric, m) for m in modalities}
            for modality, values in curves.items():
                draw_cdf(axes, values, theme[modality])
            _finish_cdf(axes, METRICS[metric].title, list(curves.values()))
            draw_limits(axes, limits_of(slo, metric, modalities), theme)
        all_axes[0].set_ylabel("share of requests")
        handles = [key(modality, theme[modality]) for modality in modalities]
        if any(limits_of(slo, metric, modalities) for metric in metrics):
            handles.append(key("SLO", theme["muted"], ls=":", lw=1.4))
        legend(figure, handles, theme)
    return figure


def cdf_of_two(
    runs: Mapping[str, Sequence[RunRecord]],
    metric: str,
    slo: Slo | None,
    theme: Theme,
) -> Figure:
    """Two servers' distributions over each other, a panel for each modality.

    `runs` maps the label of A, then that of B, to their runs.
    """
    modalities = present([run for some in runs.values() for run in some])
    with style(theme):
        figure, all_axes = columns(max(1, len(modalities)), 2.9)
        for axes, modality in zip(all_axes, modalities, strict=False):
            curves = [
                np.concatenate([samples_of(run, metric, modality) for run in some])
                for some in runs.values()
            ]
            for values, side in zip(curves, "ab", strict=True):
                draw_cdf(axes, values, theme[side], dashed=side == "b")
            _finish_cdf(axes, f"{METRICS[metric].title}, {modality}", curves)
            draw_limits(axes, limits_of(slo, metric, [modality]), theme)
        all_axes[0].set_ylabel("share of requests")
        labels = list(runs)
        handles = [key(labels[0], theme["a"]), key(labels[1], theme["b"], ls="--")]
        legend(figure, handles, theme)
    return figure


def timeline(run: RunRecord, theme: Theme) -> Figure:
    """Arrivals, requests in flight, and TTFT by the time of sending, over each other."""
    modalities = [m for m in Modality if any(r.modality is m for r in run.requests)]
    with style(theme):
        figure, (arrivals, flight, latency) = panels(3, 5.6, ratios=(2, 2, 3))
        _draw_arrivals(arrivals, run, modalities, theme)
        _draw_in_flight(flight, run, theme)
        has_failures = _draw_latency(latency, run, modalities, theme)
        for axes in (arrivals, flight, latency):
            _shade_unmeasured(axes, run, theme)
        latency.set_xlim(0, max(run.schedule_s, run.end_ns / NS_PER_S))
        latency.set_xlabel("seconds after the start")
        handles = [patch(modality, theme[modality]) for modality in modalities]
        handles += [
            patch("waiting for first token", theme["wait"], 0.85),
            patch("being answered", theme["serve"], 0.85),
        ]
        failed = key("failed", theme["bad"], ls="", marker="x", markersize=6)
        legend(figure, [*handles, *([failed] if has_failures else [])], theme)
    return figure


def draw_cdf(axes: Axes, values: np.ndarray, colour: str, *, dashed: bool = False) -> None:
    """One curve; nothing for no values."""
    if not len(values):
        return
    shares = np.linspace(0, 1, min(NUM_CDF_POINTS, max(2, len(values))))
    axes.step(
        np.quantile(values, shares, method="inverted_cdf"),
        shares,
        color=colour,
        where="post",
        ls="--" if dashed else "-",
    )


def draw_limits(
    axes: Axes, limits: Mapping[Modality, float], theme: Theme, *, across: bool = False
) -> None:
    """The SLO's limits; one that several modalities share is nobody's colour."""
    for limit_s in set(limits.values()):
        owners = [modality for modality, limit in limits.items() if limit == limit_s]
        colour = theme[owners[0]] if len(owners) == 1 and len(limits) > 1 else theme["muted"]
        (axes.axhline if across else axes.axvline)(limit_s, color=colour, ls=SLO_DASHES, lw=1.4)


def _finish_cdf(axes: Axes, title: str, curves: Sequence[np.ndarray]) -> None:
    axes.set_title(title)
    percent_axis(axes)
    known = [values for values in curves if len(values)]
    if not known:
        axes.text(0.5, 0.5, "no samples", transform=axes.transAxes, ha="center")
        return
    values = np.concatenate(known)
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    logarithmic = bool(low > 0 and high > WIDE * middle)
    if not logarithmic:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4 if len(axes.figure.axes) < 3 else 3))
    seconds_axis(axes, "x", logarithmic=logarithmic)


def limits_of(
    slo: Slo | None, metric: str, modalities: Sequence[Modality]
) -> dict[Modality, float]:
    if slo is None or metric not in set(Bound):
        return {}
    limits = {modality: slo.of(modality).get(Bound(metric)) for modality in modalities}
    return {modality: limit for modality, limit in limits.items() if limit is not None}


def _draw_arrivals(
    axes: Axes, run: RunRecord, modalities: Sequence[Modality], theme: Theme
) -> None:
    end_s = max(run.schedule_s, 1e-9)
    edges = np.linspace(0, end_s, NUM_BARS + 1)
    bottom = np.zeros(NUM_BARS)
    for modality in modalities:
        times = [r.scheduled_ns / NS_PER_S for r in run.requests if r.modality is modality]
        rates = np.histogram(times, edges)[0] / (end_s / NUM_BARS)
        axes.bar(
            edges[:-1], rates, end_s / NUM_BARS, bottom, align="edge", color=theme[modality], lw=0
        )
        bottom += rates
    axes.set_title("Arrivals by second")
    axes.set_ylim(bottom=0)


def in_flight(run: RunRecord, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each time, how many requests wait for their first token, and how many are being answered.

    A failed request waits until it has failed.
    """
    sent = [r for r in run.requests if r.sent_ns is not None]
    begins = np.sort([_seconds(r.sent_ns) for r in sent])
    firsts = np.sort([_seconds(r.content_ns[0] if r.content_ns else _end(r, run)) for r in sent])
    ends = np.sort([_seconds(_end(r, run)) for r in sent])
    begun, first, ended = (
        np.searchsorted(times, times_s, side="right") for times in (begins, firsts, ends)
    )
    return begun - first, first - ended


def _draw_in_flight(axes: Axes, run: RunRecord, theme: Theme) -> None:
    times_s = np.linspace(0, max(run.schedule_s, run.end_ns / NS_PER_S), NUM_TIMES)
    waiting, answering = in_flight(run, times_s)
    axes.stackplot(
        times_s,
        waiting,
        answering,
        colors=[theme["wait"], theme["serve"]],
        alpha=0.85,
        lw=0,
    )
    axes.set_title("In flight")
    axes.set_ylim(bottom=0)


def _draw_latency(axes: Axes, run: RunRecord, modalities: Sequence[Modality], theme: Theme) -> bool:
    """A dot for each request; says whether there are failed ones."""
    streamed = any(record.ttft_s is not None for record in run.requests)
    largest = 0.0
    for modality in modalities:
        dots = [
            (_seconds(record.sent_ns), value)
            for record in run.requests
            if record.modality is modality
            and (value := record.ttft_s if streamed else record.e2e_s) is not None
        ]
        dots = dots[:: 1 + len(dots) // NUM_DOTS]
        largest = max([largest, *(value for _, value in dots)])
        axes.scatter(
            [time for time, _ in dots],
            [value for _, value in dots],
            s=9,
            color=theme[modality],
            alpha=0.7,
            lw=0,
        )
    failed = [
        _seconds(r.sent_ns or r.scheduled_ns) for r in run.requests if r.status is Status.ERROR
    ]
    axes.scatter(
        failed, [1.06 * largest] * len(failed), s=26, color=theme["bad"], marker="x", lw=1.4
    )
    axes.set_title("TTFT by time of sending" if streamed else "E2E by time of sending")
    axes.set_ylim(bottom=0)
    seconds_axis(axes, "y")
    return bool(failed)


def _shade_unmeasured(axes: Axes, run: RunRecord, theme: Theme) -> None:
    """Warm-up, cool-down and what came after the schedule are not in the numbers."""
    begin_s, end_s = run.window_s
    last_s = max(run.schedule_s, run.end_ns / NS_PER_S)
    for left, right in ((0.0, begin_s), (end_s, last_s)):
        if right > left:
            axes.axvspan(left, right, color=theme["muted"], alpha=0.14, lw=0)


def _end(record: RequestRecord, run: RunRecord) -> int:
    return record.end_ns if record.end_ns is not None else run.end_ns


def _seconds(time_ns: int | None) -> float:
    assert time_ns is not None
    return time_ns / NS_PER_S
