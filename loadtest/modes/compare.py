"""Measure two servers in turns, A B A B …, and give their ratios with intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from saccade.loadtest.errors import PlanError
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.modes.comparison import Row, Slices, rows
from saccade.loadtest.modes.measuring import (
    Announce,
    Measurer,
    ResultModel,
    silent,
    write_result,
)
from saccade.loadtest.plan import Plan, Run

FILE = "compare.json"
NUM_PAIRS = 5

SideName = Literal["A", "B"]
SIDES: tuple[SideName, SideName] = ("A", "B")


class Side(BaseModel):
    """A server to compare."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    label: str
    """Its name in the report."""
    url: str
    """Base URL."""
    model: str | None = None
    """The server's first one if not given."""


class Slice(ResultModel):
    """One run against one server."""

    pair: int
    side: SideName
    folder: str | None = None
    resumed: bool = False
    summary: Summary


class CompareResult(ResultModel):
    """What `compare.json` holds."""

    schema_version: Literal[1] = 1
    kind: Literal["compare"] = "compare"
    plan: str
    """In words; the same for both."""
    slo: str | None = None
    a: Side
    b: Side
    num_pairs: int
    """Asked for; `slices` may have fewer after an interruption."""
    slices: tuple[Slice, ...] = ()
    """In the order in which they ran."""
    rows: tuple[Row, ...] = ()
    """The comparison, over complete pairs."""
    interrupted: bool = False
    """Ctrl-C ended it early."""

    @property
    def num_complete_pairs(self) -> int:
        return len(self.slices) // 2

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader has to know before believing the result."""
        found = []
        if self.interrupted:
            found.append(
                f"Interrupted: {self.num_complete_pairs} of {self.num_pairs} pairs; run the same "
                "command to go on."
            )
        if self.num_complete_pairs < 3:
            found.append("Fewer than 3 pairs give no usable interval; raise --pairs.")
        late = [one for one in self.slices if not one.summary.client.trustworthy]
        if late:
            found.append(
                f"In {len(late)} of {len(self.slices)} slices the client did not keep its schedule."
            )
        return tuple(found)


def compare(
    plan: Plan,
    sides: tuple[Side, Side],
    run: Run,
    *,
    num_pairs: int = NUM_PAIRS,
    folder: Path | None = None,
    announce: Announce = silent,
) -> tuple[CompareResult, Slices]:
    """Run `plan` against A and B in turns, `num_pairs` times each.

    Both get the same requests at the same times within a pair, and others in the next one: its seed
    is the plan's plus its number. The records come with the result. With a folder, each slice is
    kept, and the same comparison again goes on from them.

    Raises:
        LoadTestError: A slice cannot be measured, or the labels are the same.
    """
    if sides[0].label == sides[1].label:
        raise PlanError(f"Both servers are called {sides[0].label!r}; give them different labels.")
    measurer = Measurer(run, folder)
    done: list[Slice] = []
    kept: Slices = {side: [] for side in SIDES}
    interrupted = False
    for pair, name, side in _turns(sides, num_pairs):
        announce(f"pair {pair + 1} of {num_pairs}: {side.label}")
        prefix = f"slice-{pair:02d}-{name}"
        found = measurer.measure(_plan_for(plan, side, pair), prefix)
        if found.summary.interrupted:
            interrupted = True
            break
        kept[name].append(found.record)
        done.append(
            Slice(
                pair=pair,
                side=name,
                folder=found.folder,
                resumed=found.resumed,
                summary=found.summary,
            )
        )
    result = CompareResult(
        plan=plan.describe(),
        slo=str(plan.slo) if plan.slo else None,
        a=sides[0],
        b=sides[1],
        num_pairs=num_pairs,
        slices=tuple(done),
        rows=rows(_summaries(done), kept),
        interrupted=interrupted,
    )
    if folder is not None:
        write_result(folder / FILE, result)
    return result, kept


def _turns(sides: tuple[Side, Side], num_pairs: int) -> list[tuple[int, SideName, Side]]:
    return [
        (pair, name, side)
        for pair in range(num_pairs)
        for name, side in zip(SIDES, sides, strict=True)
    ]


def _plan_for(plan: Plan, side: Side, pair: int) -> Plan:
    return plan.with_target(side.url, side.label, side.model).with_seed(plan.seed + pair)


def _summaries(slices: Sequence[Slice]) -> dict[SideName, list[Summary]]:
    return {name: [one.summary for one in slices if one.side == name] for name in SIDES}
