"""The folder of one run: its plan, its requests, its summary; the report comes to them."""

from pathlib import Path

from saccade.loadtest.errors import PlanError
from saccade.loadtest.jsonl import REQUESTS, SUMMARY, write_run, write_summary
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import RunRecord

PLAN = "plan.json"

_RESULTS = {"sweep.json": "a sweep", "search.json": "a search", "compare.json": "a comparison"}


def check_folder(folder: Path, own: str | None = None) -> None:
    """Refuse a folder with a result of another kind: its report would be of that.

    Args:
        own: the file of the kind that is to be written; None for a single run.

    Raises:
        PlanError: there is one.
    """
    for name, kind in _RESULTS.items():
        if name != own and (folder / name).exists():
            raise PlanError(f"--output {folder}: holds the result of {kind}; name another folder.")


def write_run_folder(folder: Path, plan: Plan, run: RunRecord, summary: Summary) -> None:
    """Write all but the report; plan.json does not hold the API key."""
    write_run(folder / REQUESTS, run)
    write_summary(folder / SUMMARY, summary)
    (folder / PLAN).write_text(plan.model_dump_json(exclude={"api_key"}, indent=2) + "\n")
