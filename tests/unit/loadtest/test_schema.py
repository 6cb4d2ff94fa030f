"""The schema of summary.json says what everything is, and holds for what is written."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.modes.compare import CompareResult
from saccade.loadtest.modes.search import SearchResult
from saccade.loadtest.modes.sweep import SweepResult
from saccade.loadtest.slo import parse_slo
from tests.unit.loadtest.some_runs import queue_run, run_of

OBVIOUS = {
    "count", "mean", "std", "min", "max", "p50", "p90", "p95", "p99",
    "num_met", "num_missed", "num_ok", "num_failed", "num_scored", "num_correct", "num_processes",
    "seed", "model", "url", "duration_s", "mean_s", "metric", "labels", "warmup_s", "cooldown_s",
    "schema_version", "request_throughput", "output_throughput", "group", "title", "unit", "better",
    "kind", "axis", "slo", "folder", "resumed", "summary", "pair", "side", "a", "b", "settings",
    "num_sent", "num_undetermined", "limit_s", "bound",
}  # fmt: skip
"""The name says it all, together with the model's docstring."""

DOCUMENTS = [Summary, SweepResult, SearchResult, CompareResult]


def fields(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    parts = {schema["title"]: schema, **schema.get("$defs", {})}
    return [
        (part, name, field)
        for part, body in parts.items()
        for name, field in body.get("properties", {}).items()
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_field_is_described(document: type[BaseModel]) -> None:
    found = fields(document.model_json_schema())
    bare = {
        f"{part}.{name}"
        for part, name, f in found
        if "description" not in f and name not in OBVIOUS
    }
    assert not bare


@pytest.mark.parametrize("document", DOCUMENTS)
def test_times_and_shares_have_their_unit_in_the_name(document: type[BaseModel]) -> None:
    names = {name for _, name, _ in fields(document.model_json_schema())}
    assert not {name for name in names if name.endswith(("_ms", "_time", "_latency", "_percent"))}


@pytest.mark.parametrize(
    "summary",
    [
        summarise(
            queue_run(3, video=True, error_ratio=0.1), parse_slo("ttft=500ms,image.tpot=9ms")
        ),
        summarise(run_of()),
    ],
    ids=["everything", "nothing"],
)
def test_a_summary_is_read_as_it_was_written(summary: Summary) -> None:
    text = summary.model_dump_json()
    assert Summary.model_validate_json(text) == summary
    assert "NaN" not in text
    assert "Infinity" not in text


def test_a_reader_skips_fields_that_it_does_not_know() -> None:
    fields = json.loads(summarise(run_of()).model_dump_json())
    assert Summary.model_validate({**fields, "of_tomorrow": 1}) == summarise(run_of())
