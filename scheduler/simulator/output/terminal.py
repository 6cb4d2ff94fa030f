"""Tables on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable

from saccade.scheduler.simulator.output.rows import rejections, tables
from saccade.scheduler.simulator.scenario import SIMULATED, Outcome

_PLAIN_WIDTH = 200


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    console.print(SIMULATED, style="bold", markup=False)
    for table in tables(outcomes):
        shown = RichTable(title=table.title, title_justify="left")
        for number, name in enumerate(table.header):
            shown.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for note in rejections(outcomes):
        console.print(note, markup=False)
