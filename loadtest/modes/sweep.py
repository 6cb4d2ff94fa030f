"""Measure at each of several rates, or concurrencies."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from saccade.loadtest.errors import PlanError
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.modes.measuring import (
    Announce,
    Measurer,
    ResultModel,
    silent,
    write_result,
)
from saccade.loadtest.plan import Plan, Run
from saccade.loadtest.records import RunRecord

FILE = "sweep.json"
PREFIX = "point"
MAX_VALUES = 100

Axis = Literal["rate", "concurrency"]

_RANGE = re.compile(r"(?P<first>[\d.]+):(?P<last>[\d.]+):(?P<times>x?)(?P<step>[\d.]+)")


class SweepPoint(ResultModel):
    """The run at one value of the axis."""

    value: float
    """Requests per second that were offered, or users of the closed loop."""
    folder: str | None = None
    """Where the run is kept, within the folder of the sweep."""
    resumed: bool = False
    """It had been measured before and was not repeated."""
    summary: Summary


class SweepResult(ResultModel):
    """What `sweep.json` holds."""

    schema_version: Literal[1] = 1
    kind: Literal["sweep"] = "sweep"
    axis: Axis
    plan: str
    """In words."""
    slo: str | None = None
    points: tuple[SweepPoint, ...] = ()
    """By rising value."""
    missing: tuple[float, ...] = Field(default=())
    """Values that were asked for and not measured to the end: run the same command to resume."""

    @property
    def interrupted(self) -> bool:
        return bool(self.missing)


def sweep(
    plan: Plan,
    axis: Axis,
    values: Sequence[float],
    run: Run,
    *,
    folder: Path | None = None,
    announce: Announce = silent,
) -> tuple[SweepResult, dict[float, RunRecord]]:
    """Measure the plan at each value, and give the records with it.

    With a folder, each point is kept as it is done; the same sweep again measures what is missing.
    An interrupted run ends the sweep and is not one of its points.

    Raises:
        LoadTestError: A point cannot be measured. Those before it are kept.
    """
    measurer = Measurer(run, folder)
    points: list[SweepPoint] = []
    records: dict[float, RunRecord] = {}
    wanted = sorted(set(values))
    result = _result(plan, axis, wanted, points)
    for value in wanted:
        changed = plan_at(plan, axis, value)
        skipped = " (measured before)" if measurer.is_done(changed, PREFIX) else ""
        announce(f"{axis} {value:g}, {len(points) + 1} of {len(wanted)}{skipped}")
        done = measurer.measure(changed, PREFIX)
        if done.summary.interrupted:
            _save(folder, result)
            break
        records[value] = done.record
        points.append(
            SweepPoint(value=value, folder=done.folder, resumed=done.resumed, summary=done.summary)
        )
        result = _result(plan, axis, wanted, points)
        _save(folder, result)
    return result, records


def plan_at(plan: Plan, axis: Axis, value: float) -> Plan:
    """The plan at one value of the axis."""
    if axis == "rate":
        return plan.with_rate(value)
    if value != int(value):
        raise PlanError(f"A concurrency is a whole number, not {value:g}.")
    return plan.with_concurrency(int(value))


def parse_values(text: str) -> tuple[float, ...]:
    """Read `1,2,4`, `1:3:0.5` (to 3 in steps of 0.5) or `1:16:x2` (to 16, doubling), or a mixture.

    Raises:
        PlanError: It cannot be read, a value is not positive, or there are too many.
    """
    values = [value for part in text.split(",") if part.strip() for value in _part(part.strip())]
    if not values:
        raise PlanError("No values to sweep; write for example 1,2,4 or 1:16:x2.")
    if len(values) > MAX_VALUES:
        raise PlanError(f"{len(values)} values to sweep; more than {MAX_VALUES} is surely a slip.")
    return tuple(values)


def _part(text: str) -> list[float]:
    match = _RANGE.fullmatch(text)
    if match is None:
        return [_positive(text)]
    first, last, step = (_positive(match[name]) for name in ("first", "last", "step"))
    if match["times"] and step <= 1:
        raise PlanError(f"{text!r} never ends; the factor must be above 1, as in 1:16:x2.")
    found: list[float] = []
    while len(found) <= MAX_VALUES:
        index = len(found)
        value = first * step**index if match["times"] else first + step * index
        if value > last * (1 + 1e-9):
            break
        found.append(float(f"{value:.6g}"))
    return found


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise PlanError(f"{text!r} is no positive number; write for example 1,2,4 or 1:16:x2.")
    return value


def _save(folder: Path | None, result: SweepResult) -> None:
    if folder is not None:
        write_result(folder / FILE, result)


def _result(
    plan: Plan, axis: Axis, wanted: Sequence[float], points: Sequence[SweepPoint]
) -> SweepResult:
    done = {point.value for point in points}
    return SweepResult(
        axis=axis,
        plan=plan.describe(),
        slo=str(plan.slo) if plan.slo else None,
        points=tuple(points),
        missing=tuple(value for value in wanted if value not in done),
    )
