"""From the folder of a run, a sweep, a search or a comparison to its report."""

from pathlib import Path

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.jsonl import REQUESTS, SUMMARY, read_run, read_summary
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.modes import compare, search, sweep
from saccade.loadtest.modes.comparison import rows
from saccade.loadtest.modes.measuring import read_result
from saccade.loadtest.records import RunRecord
from saccade.loadtest.report.html import write_page
from saccade.loadtest.report.page import Page, compare_page, run_page, search_page, sweep_page
from saccade.loadtest.report.png import write_plots
from saccade.loadtest.slo import Slo, parse_slo

FILE = "report.html"


def render(folder: Path, *, png: bool = False, slo: Slo | None = None) -> list[Path]:
    """Write `report.html` into the folder, with PNGs if wanted, and say what was written.

    With an SLO, the requests are judged by it, and not by the one of the run.

    Raises:
        InputFileError: The folder holds no result, or one that cannot be read; or a search is to be
            judged by another SLO than the one that chose its probes.
    """
    page = load_page(folder, slo)
    write_page(folder / FILE, page)
    return [folder / FILE, *(write_plots(folder, page) if png else [])]


def load_page(folder: Path, slo: Slo | None = None) -> Page:
    """What the report of a folder shows."""
    if (folder / sweep.FILE).exists():
        return _sweep_page(folder, slo)
    if (folder / search.FILE).exists():
        return _search_page(folder, slo)
    if (folder / compare.FILE).exists():
        return _compare_page(folder, slo)
    if (folder / REQUESTS).exists():
        summary, record = _load_run(folder, slo)
        title = f"{summary.label}: {summary.workload}, {summary.arrivals}"
        return run_page(title, [(summary, record)])
    raise InputFileError(
        folder,
        "holds no result; give the --output of `saccade loadtest` run, sweep, search or compare",
    )


def _sweep_page(folder: Path, slo: Slo | None) -> Page:
    result = read_result(folder / sweep.FILE, sweep.SweepResult)
    if slo is not None:
        points = [
            point.model_copy(update={"summary": _load_run(_inside(folder, point.folder), slo)[0]})
            for point in result.points
        ]
        result = result.model_copy(update={"points": tuple(points)})
    return sweep_page(result, slo or _parsed(result.slo))


def _search_page(folder: Path, slo: Slo | None) -> Page:
    result = read_result(folder / search.FILE, search.SearchResult)
    if slo is not None and str(slo) != result.slo:
        raise InputFileError(
            folder / search.FILE,
            f"was searched with --slo {result.slo}, which decided its probes; search again to "
            "hold another SLO",
        )
    return search_page(result)


def _compare_page(folder: Path, slo: Slo | None) -> Page:
    result = read_result(folder / compare.FILE, compare.CompareResult)
    slo = slo or _parsed(result.slo)
    loaded = {
        name: [
            _load_run(_inside(folder, one.folder), slo) for one in result.slices if one.side == name
        ]
        for name in compare.SIDES
    }
    records = {name: [record for _, record in runs] for name, runs in loaded.items()}
    summaries = {name: [summary for summary, _ in runs] for name, runs in loaded.items()}
    result = result.model_copy(
        update={"rows": rows(summaries, records), "slo": str(slo) if slo else None}
    )
    labelled = {result.a.label: records["A"], result.b.label: records["B"]}
    return compare_page(result, labelled, slo)


def _load_run(folder: Path, slo: Slo | None) -> tuple[Summary, RunRecord]:
    """A run, judged by `slo` or else as it was."""
    record = read_run(folder / REQUESTS)
    if slo is None and (folder / SUMMARY).exists():
        return read_summary(folder / SUMMARY), record
    return summarise(record, slo), record


def _inside(folder: Path, name: str | None) -> Path:
    if name is None:
        raise InputFileError(folder, "its runs were not kept, so there is nothing to judge again")
    return folder / name


def _parsed(text: str | None) -> Slo | None:
    return parse_slo(text) if text else None
