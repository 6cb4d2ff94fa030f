"""Empty figures in the house style, and the ways out of them: SVG for the page, PNG."""

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from saccade.loadtest.report.theme import Theme, follow_page

WIDTH = 7.2
"""Of a figure in inches; at 72 points the page shows it in its own size."""
PNG_DPI = 160

_IDENTIFIER = re.compile(r'(\bid="|url\(#|href="#)')


def style(theme: Theme) -> AbstractContextManager[None]:
    """The settings under which a figure has to be drawn *and* written."""
    return mpl.rc_context(
        {
            "font.family": ["DejaVu Sans"],
            "font.size": 10.5,
            "svg.fonttype": "none",
            "svg.hashsalt": "saccade",
            "axes.edgecolor": theme["grid"],
            "axes.facecolor": "none",
            "figure.facecolor": "none" if theme.name == "page" else theme["paper"],
            "axes.labelcolor": theme["muted"],
            "axes.titlecolor": theme["ink"],
            "axes.titlesize": 11,
            "legend.fontsize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.color": theme["grid"],
            "grid.linewidth": 0.8,
            "xtick.color": theme["muted"],
            "ytick.color": theme["muted"],
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            "xtick.minor.size": 0,
            "ytick.minor.size": 0,
            "text.color": theme["ink"],
            "lines.linewidth": 1.8,
            "lines.solid_capstyle": "round",
            "legend.frameon": False,
            "legend.handlelength": 1.6,
        }
    )


def panels(
    num_rows: int, height: float, *, share_x: bool = True, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure with one column of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(num_rows, 1, sharex=share_x, squeeze=False, height_ratios=ratios)
    return figure, [row[0] for row in grid]


def columns(num_columns: int, height: float, *, share_y: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with one row of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(1, num_columns, sharey=share_y, squeeze=False)
    return figure, list(grid[0])


def legend(figure: Figure, handles: Sequence[Line2D | Patch], theme: Theme) -> None:
    """One legend for all, above the axes, where it covers no data."""
    if handles:
        figure.legend(
            handles=list(handles),
            loc="outside upper left",
            ncols=min(len(handles), 7),
            labelcolor=theme["ink"],
            columnspacing=1.3,
        )


def key(label: str, colour: str, **look: str | float) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], color=colour, label=label, **look)  # type: ignore[arg-type]


def patch(label: str, colour: str, alpha: float = 1.0) -> Patch:
    """An entry of a legend for an area."""
    return Patch(facecolor=colour, alpha=alpha, label=label, linewidth=0)


def seconds_axis(axes: Axes, which: str, *, logarithmic: bool = False) -> None:
    """Ticks such as 200 ms and 1 s; a logarithmic one is labelled as densely as fits."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if logarithmic:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
        subs = (1.0, 2.0, 5.0) if high / low < 20 else (1.0, 3.0) if high / low < 200 else (1.0,)
        axis.set_major_locator(mpl.ticker.LogLocator(subs=subs, numticks=12))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def percent_axis(axes: Axes) -> None:
    """Shares of one on the y axis, all of them."""
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))


def to_svg(figure: Figure, theme: Theme, name: str, description: str) -> str:
    """The figure as an element of a page; `name` keeps its identifiers apart from others'."""
    buffer = io.StringIO()
    with style(theme):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _IDENTIFIER.sub(rf"\g<1>{name}-", svg)
    opening = f'<svg role="img" aria-label="{description}" class="plot"'
    svg = re.sub(r'<svg (?:width|height)="[^"]*"', "<svg", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[\d.]+pt"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[\d.]+pt"', r"\1", svg)
    return follow_page(svg.replace("<svg", opening, 1))


def to_png(figure: Figure, theme: Theme, path: Path) -> None:
    """The figure as a file."""
    with style(theme):
        figure.savefig(path, dpi=PNG_DPI, facecolor=theme["paper"], metadata={"Software": None})


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.6g} {unit}"
    return f"{value / 1e-6:.6g} µs"
