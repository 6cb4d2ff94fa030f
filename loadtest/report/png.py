"""The plots as PNG files, for slides and other pages."""

from collections.abc import Sequence
from pathlib import Path

from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.records import RunRecord
from saccade.loadtest.report.canvas import to_png
from saccade.loadtest.report.page import Page, run_page
from saccade.loadtest.report.theme import LIGHT, Theme


def write_png(
    folder: Path, runs: Sequence[tuple[Summary, RunRecord]], theme: Theme = LIGHT
) -> list[Path]:
    """Write a file for each plot of these runs, and say which."""
    return write_plots(folder, run_page("", runs), theme)


def write_plots(folder: Path, page: Page, theme: Theme = LIGHT) -> list[Path]:
    """Write a file for each plot of a page, and say which."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for plot in page.plots:
        path = folder / f"{plot.name}.png"
        to_png(plot.draw(theme), theme, path)
        paths.append(path)
    return paths
