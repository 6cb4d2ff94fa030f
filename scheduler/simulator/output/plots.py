"""Plots as inline SVG, the same bytes for the same runs."""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from saccade.scheduler.simulator.runs import Interval, grouped
from saccade.scheduler.simulator.scenario import Outcome

_STYLE: Any = {
    "svg.hashsalt": "saccade",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
}
_ROLE_COLOURS = {
    "encode": "#e69f00", "prefill": "#0072b2", "decode": "#009e73", "decode/prefill": "#56b4e9",
    "prefill/decode": "#56b4e9", "moving": "#bbbbbb", "failed": "#d55e00",
}  # fmt: skip
_OTHER_ROLES = "#cc79a7"
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#5d3a9b",
          "#8c510a", "#000000")  # fmt: skip
_MARKERS = "osD^vP*X<>"


def latency_against_rate(outcomes: Sequence[Outcome]) -> str:
    """p99 TTFT of text and of pictures, and mean output latency, over the rate."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 3.9), layout="constrained")
        axes = figure.subplots(1, 3)
        panels = (
            ("text: TTFT p99", "text", "ttft_s", "p99", "s"),
            ("pictures: TTFT p99", "image", "ttft_s", "p99", "s"),
            ("pictures: TPOT p99", "image", "tpot_s", "p99", "s"),
        )
        lines: dict[str, Line2D] = {}
        for axis, (title, modality, metric, statistic, unit) in zip(axes, panels, strict=True):
            _rate_panel(axis, outcomes, modality, metric, statistic, lines)
            axis.set(title=title, xlabel="requests/s", ylabel=unit, yscale="log")
            means = [value for line in axis.lines for value in line.get_ydata()]
            if means:  # the intervals of few seeds would leave no room for the lines
                axis.set_ylim(min(means) / 2, max(means) * 2)
        figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=4)
        return _svg(figure, "latency against rate for each policy")


def _rate_panel(
    axis: Axes,
    outcomes: Sequence[Outcome],
    modality: str,
    metric: str,
    statistic: str,
    lines: dict[str, Line2D],
) -> None:
    groups = grouped(outcomes)
    for number, policy in enumerate(dict.fromkeys(policy for policy, _ in groups)):
        points = []
        for (name, rate), runs in groups.items():
            if name == policy:
                one = Interval.of(run.latencies[modality][metric][statistic] for run in runs)
                if not math.isnan(one.mean):
                    points.append((rate, one))
        colour = _LINES[number % len(_LINES)]
        (line,) = axis.plot(
            [rate for rate, _ in points], [one.mean for _, one in points],
            color=colour, marker=_MARKERS[number % len(_MARKERS)], markersize=4, linewidth=1.4,
            linestyle="-" if number < len(_LINES) else "--",
        )  # fmt: skip
        lines.setdefault(policy, line)
        spread = [(rate, one) for rate, one in points if not math.isnan(one.half_width)]
        axis.fill_between(
            [rate for rate, _ in spread],
            [max(one.mean * 0.05, one.mean - one.half_width) for _, one in spread],
            [one.mean + one.half_width for _, one in spread],
            color=colour, alpha=0.15, linewidth=0,
        )  # fmt: skip


def roles_over_time(outcome: Outcome) -> str:
    """One bar for an instance, coloured by what it serves; the group is told by a hatch."""
    end_s = max([time_s for time_s, *_ in outcome.timeline] + [_end_s(outcome)])
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(11, 1.6 + 0.26 * min(outcome.num_instances, 40)), layout="constrained"
        )
        axis = figure.subplots()
        shown: dict[str, str] = {}
        for index in range(min(outcome.num_instances, 40)):
            changes = [one for one in outcome.timeline if one[1] == index]
            ends = [*(one[0] for one in changes[1:]), end_s]
            for (start_s, _, group, state), until_s in zip(changes, ends, strict=True):
                colour = _ROLE_COLOURS.get(state, _OTHER_ROLES)
                shown[" + ".join(sorted(state.split("/")))] = colour
                axis.barh(
                    index, until_s - start_s, left=start_s, height=0.8, color=colour,
                    hatch="////" if group == "text" else None, edgecolor="white", linewidth=0.4,
                )  # fmt: skip
        axis.set(xlabel="s", ylabel="instance", xlim=(0, end_s), ylim=(-0.6, None))
        axis.set_yticks(range(0, min(outcome.num_instances, 40), 1 + outcome.num_instances // 20))
        axis.grid(False)
        patches = [Patch(color=colour, label=state) for state, colour in shown.items()]
        patches.append(Patch(facecolor="#888888", hatch="////", edgecolor="white",
                             label="text group"))  # fmt: skip
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))
        return _svg(figure, f"roles of each instance over time under {outcome.policy}")


def burst_tolerance_over_time(outcome: Outcome) -> str:
    """bt of each group (Eq. 1)."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 2.6), layout="constrained")
        axis = figure.subplots()
        times = [time_s for time_s, _ in outcome.burst_tolerance]
        groups = list(
            dict.fromkeys(name for _, values in outcome.burst_tolerance for name in values)
        )
        for colour, name in zip(_LINES, groups, strict=False):
            values = [one.get(name, math.nan) for _, one in outcome.burst_tolerance]
            axis.step(times, values, where="post", color=colour, label=name, linewidth=1.3)
        axis.axhline(1, color="#888888", linewidth=0.8, linestyle=":")
        shown = [one for _, values in outcome.burst_tolerance for one in values.values()]
        top = min(20.0, max([value for value in shown if value < 1e3], default=2.0) * 1.1)
        axis.set(xlabel="s", ylabel="bt = N peak / N avg", ylim=(0, top))
        axis.legend(ncols=4, loc="upper right")
        return _svg(figure, f"burst tolerance of each group over time under {outcome.policy}")


def ttft_over_time(outcomes: Sequence[Outcome], modality: str) -> str:
    """p99 TTFT by the time of arrival, one line a policy."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 3), layout="constrained")
        axis = figure.subplots()
        for number, outcome in enumerate(outcomes):
            points = outcome.ttft_p99_over_time.get(modality, [])
            if points:
                times, values = zip(*points, strict=True)
                axis.plot(times, values, color=_LINES[number % len(_LINES)], label=outcome.policy,
                          linewidth=1.3)  # fmt: skip
        axis.set(xlabel="time of arrival, s", ylabel=f"{modality} TTFT p99, s", yscale="log")
        figure.legend(loc="outside lower center", ncols=4)
        return _svg(figure, f"p99 TTFT of {modality} requests over time")


def _end_s(outcome: Outcome) -> float:
    times = [time_s for points in outcome.ttft_p99_over_time.values() for time_s, _ in points]
    return max([1.0, *times])


def _svg(figure: Figure, description: str) -> str:
    """Without XML header and date; the description is what a screen reader says."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{description}" ', text, count=1)
