"""The folder of one run: its plan, its requests, its summary; the report comes to them."""

from pathlib import Path

from saccade.loadtest.jsonl import REQUESTS, SUMMARY, write_run, write_summary
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import RunRecord

PLAN = "plan.json"


def write_run_folder(folder: Path, plan: Plan, run: RunRecord, summary: Summary) -> None:
    """Write all but the report; plan.json does not hold the API key."""
    write_run(folder / REQUESTS, run)
    write_summary(folder / SUMMARY, summary)
    (folder / PLAN).write_text(plan.model_dump_json(exclude={"api_key"}, indent=2) + "\n")
