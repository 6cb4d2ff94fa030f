"""The folder of one run: its plan, its requests, its summary and its report."""

from pathlib import Path

from pydantic import ValidationError

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.jsonl import REQUESTS, SUMMARY, read_run, write_run, write_summary
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import RunRecord

PLAN = "plan.json"
REPORT = "report.html"


def write_run_folder(
    folder: Path, plan: Plan, run: RunRecord, summary: Summary, *, png: bool
) -> None:
    """Write everything; plan.json does not hold the API key."""
    write_run(folder / REQUESTS, run)
    write_summary(folder / SUMMARY, summary)
    (folder / PLAN).write_text(plan.model_dump_json(exclude={"api_key"}, indent=2) + "\n")
    write_report(folder, run, summary, png=png)


def write_report(folder: Path, run: RunRecord, summary: Summary, *, png: bool) -> None:
    """Write report.html, and the plots as PNG if wanted."""
    from saccade.loadtest.report.html import write_html

    title = f"{run.label}: {run.workload}, {run.arrivals}"
    write_html(folder / REPORT, [(summary, run)], title)
    if png:
        from saccade.loadtest.report.png import write_png

        write_png(folder, [(summary, run)])


def read_run_folder(folder: Path) -> tuple[Plan, RunRecord]:
    """The plan and the records of a run.

    Raises:
        InputFileError: the folder holds no run.
    """
    path = folder / PLAN
    try:
        plan = Plan.model_validate_json(path.read_bytes())
    except OSError:
        raise InputFileError(
            path, "no such file; give the folder of a run (--output of `saccade loadtest run`)"
        ) from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise InputFileError(path, f"not a plan ({problem})") from None
    return plan, read_run(folder / REQUESTS)
