"""What the commands of `saccade loadtest` print and write at their end."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from rich.console import Console

    from saccade.loadtest.metrics.schema import Summary
    from saccade.loadtest.modes.compare import CompareResult
    from saccade.loadtest.modes.search import SearchResult
    from saccade.loadtest.modes.sweep import SweepResult
    from saccade.loadtest.slo import Slo


@contextlib.contextmanager
def in_plain_words(code: int = 1) -> Iterator[None]:
    """Turn what a user can cause into a message and an exit code."""
    from pydantic import ValidationError

    from saccade.loadtest.errors import LoadTestError, PlanError

    try:
        yield
    except PlanError as error:
        fail(str(error), 2)
    except LoadTestError as error:
        fail(str(error), code)
    except ValidationError as error:
        fail(_first_problem(error), 2)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("saccade"):
            raise
        fail(f"{error.name} is not installed; load tests need: pip install 'saccade[loadtest]'")
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        fail(f"{place}{error.strerror or error}", code)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _first_problem(error: "ValidationError") -> str:
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "value_error":  # our own words
        return problem["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}, not {problem['input']!r}"


def make_folder(folder: Path | None, own: str | None = None) -> None:
    """Make the folder of the results, before the time is spent that they cost.

    Exits with code 2 and a message if nothing can be written there, or if it holds a result of
    another kind than that of the file `own`.
    """
    if folder is None:
        return
    from saccade.loadtest.folder import check_folder

    check_folder(folder, own)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        fail(f"--output {folder}: nothing can be written there; name another folder", 2)


def console(*, stderr: bool = False) -> "Console":
    """For tables, or for what is shown while a run goes on."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def write(folder: Path, png: bool, slo: "Slo | None" = None) -> None:
    """Write the report of a folder, and say where it is."""
    from saccade.loadtest.report.render import render

    for path in render(folder, png=png, slo=slo):
        typer.echo(f"wrote {path}", err=True)


def show_run(summary: "Summary", as_json: bool) -> None:
    """Tables of a run."""
    if as_json:
        return _show_json(summary)
    from saccade.loadtest.report.console import print_run

    print_run(summary, console())


def show_sweep(result: "SweepResult", as_json: bool) -> None:
    """A row for each point."""
    if as_json:
        return _show_json(result)
    from saccade.loadtest.report.console import print_sweep

    print_sweep(result, console())


def show_search(result: "SearchResult", as_json: bool) -> None:
    """The rate that was found, and every probe."""
    if as_json:
        return _show_json(result)
    from saccade.loadtest.report.console import print_search

    print_search(result, console())


def show_compare(result: "CompareResult", as_json: bool) -> None:
    """The ratios with their intervals."""
    if as_json:
        return _show_json(result)
    from saccade.loadtest.report.console import print_compare

    print_compare(result, console())


def _show_json(model: "BaseModel") -> None:
    typer.echo(model.model_dump_json(indent=2))
