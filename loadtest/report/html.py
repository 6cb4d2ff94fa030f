"""The report as one HTML file that needs nothing else: no network, no scripts."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.records import RunRecord
from saccade.loadtest.report import tables
from saccade.loadtest.report.canvas import to_svg
from saccade.loadtest.report.page import Page, run_page
from saccade.loadtest.report.tables import Table
from saccade.loadtest.report.theme import PAGE, variables

TEMPLATE = "page.html.jinja"


def write_html(path: Path, runs: Sequence[tuple[Summary, RunRecord]], title: str) -> None:
    """Write the report of a run, or of several under each other."""
    write_page(path, run_page(title, runs))


def write_page(path: Path, page: Page) -> None:
    """Write any page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(page), encoding="utf-8")


def render_page(page: Page) -> str:
    """The page as text. Names of servers and workloads are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # What matplotlib has written is XML with its texts escaped.
    drawn = {
        plot.name: Markup(to_svg(plot.draw(PAGE), PAGE, plot.name, plot.caption))
        for plot in page.plots
    }
    return environment.get_template(TEMPLATE).render(
        page=page,
        drawn=drawn,
        definitions=tables.definitions(),
        words=word_columns,
        repeats=tables.repeats,
        light=variables("light"),
        dark=variables("dark"),
    )


def word_columns(table: Table) -> frozenset[int]:
    """Columns that are read, not compared: flush left."""
    return frozenset(
        index
        for index in range(len(table.headings))
        if index == 0 or all(not tables.is_number(row[index].text) for row in table.rows)
    )
