"""Logs of decisions that can be replayed: the same inputs give the same decisions, bit for bit.

A log is lines of JSON: first the policy and the cost model, then each input with what was decided.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from saccade.scheduler.admission import Admission
from saccade.scheduler.cluster import ClusterState, InstanceState, Role, StageLoad
from saccade.scheduler.codec import Json, decode, encode
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.fairness import FairQueue
from saccade.scheduler.index import Change, PlacementIndex
from saccade.scheduler.manager import Manager, TickDecision
from saccade.scheduler.placement import place
from saccade.scheduler.policy import AdmissionPolicy, FairnessPolicy, Policy
from saccade.scheduler.records import Call
from saccade.scheduler.requests import RequestShape

_CALLS: dict[str, tuple[Any, ...]] = {
    "upsert": (InstanceState,),
    "remove": (str,),
    "set_load": (str, Role, StageLoad),
    "add_load": (str, Role, StageLoad, int),
    "take_load": (str, Role, StageLoad, int),
    "set_kv_used": (str, int),
    "hold_visual": (str, str),
    "drop_visual": (str, str),
    "hold_prefix": (str, str),
    "drop_prefix": (str, str),
}
"""Calls that change an index, with the types of their arguments."""


class ReplayError(Exception):
    """A replayed log did not give the decision that it holds."""

    def __init__(self, line: int, logged: Json, replayed: Json) -> None:
        super().__init__(
            f"line {line}: the log says {json.dumps(logged)}, the replay {json.dumps(replayed)}; "
            "was it written by another version?"
        )
        self.line = line


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick of the manager, in and out."""

    now_s: float
    state: ClusterState
    decision: TickDecision


class RecordedManager:
    """A manager that keeps its ticks for a log."""

    def __init__(self, policy: Policy, cost_model: CostModel) -> None:
        self.manager = Manager(policy, cost_model)
        self.ticks: list[Tick] = []

    def tick(self, state: ClusterState, now_s: float) -> TickDecision:
        decision = self.manager.tick(state, now_s)
        self.ticks.append(Tick(now_s, state, decision))
        return decision


# Writing -----------------------------------------------------------------------------------------


def manager_log(policy: Policy, cost_model: CostModel, ticks: Iterable[Tick]) -> Iterator[str]:
    """Lines of the log of a manager's ticks, from its first on."""
    yield _header(policy, cost_model)
    for tick in ticks:
        entry = {"now_s": tick.now_s, "state": tick.state, "decision": tick.decision}
        yield json.dumps(encode(entry))


def placement_log(
    policy: Policy, cost_model: CostModel, journal: Iterable[Change]
) -> Iterator[str]:
    """Lines of the log of an index's journal, from its first entry on."""
    yield _header(policy, cost_model)
    for call, arguments in journal:
        yield json.dumps({"call": call, "arguments": encode(arguments)})


def call_log(policy: AdmissionPolicy | FairnessPolicy, journal: Iterable[Call]) -> Iterator[str]:
    """Lines of the log of an `Admission` or a `FairQueue`, from its first call on."""
    yield json.dumps({"policy": encode(policy)})
    for call, arguments in journal:
        yield json.dumps({"call": call, "arguments": encode(arguments)})


def _header(policy: Policy, cost_model: CostModel) -> str:
    return json.dumps({"policy": encode(policy), "cost_model": encode(cost_model)})


# Replaying ---------------------------------------------------------------------------------------


def replay_manager(lines: Iterable[str]) -> int:
    """Decide all over again; returns the number of ticks.

    Raises:
        ReplayError: at the first tick that comes out differently.
        ValueError: when a line is not of such a log.
    """
    entries = _entries(lines)
    manager = Manager(*_read_header(next(entries)))
    num_ticks = 0
    for number, entry in enumerate(entries, start=2):
        decision = manager.tick(decode(ClusterState, entry["state"]), entry["now_s"])
        _compare(number, entry["decision"], encode(decision))
        num_ticks += 1
    return num_ticks


def replay_placement(lines: Iterable[str]) -> int:
    """Place all over again; returns the number of placements. Raises as `replay_manager`."""
    entries = _entries(lines)
    index = PlacementIndex(*_read_header(next(entries)))
    num_placements = 0
    for number, entry in enumerate(entries, start=2):
        call, arguments = entry["call"], entry["arguments"]
        if call == "place":
            request, stages, logged = arguments
            placement = place(
                index, decode(RequestShape, request), decode(tuple[Role, ...], stages)
            )
            _compare(number, logged, encode(placement))
            num_placements += 1
        else:
            getattr(index, call)(*_arguments(call, arguments))
    return num_placements


def replay_admission(lines: Iterable[str]) -> int:
    """Decide on all again; returns the number of decisions. Raises as `replay_manager`."""
    entries = _entries(lines)
    admission = Admission(decode(AdmissionPolicy, next(entries)["policy"]))
    num_decisions = 0
    for number, entry in enumerate(entries, start=2):
        call, arguments = entry["call"], entry["arguments"]
        if call == "decide":
            shape, *times_s, logged = arguments
            decision = admission.decide(decode(RequestShape, shape), *times_s)
            _compare(number, logged, encode(decision))
            num_decisions += 1
        elif call == "admit":
            admission.admit(decode(RequestShape, arguments[0]))
        elif call == "release":
            admission.release(*arguments)
        else:
            raise ValueError(f"line {number}: admission has no call {call!r}")
    return num_decisions


def replay_queue(lines: Iterable[str]) -> int:
    """Serve all again; returns the number of requests taken. Raises as `replay_manager`."""
    entries = _entries(lines)
    journal: list[Call] = []
    queue = FairQueue[None](decode(FairnessPolicy, next(entries)["policy"]), journal)
    num_taken = 0
    for number, entry in enumerate(entries, start=2):
        call, arguments = entry["call"], entry["arguments"]
        if call == "push":
            queue.push(None, decode(RequestShape, arguments[0]), arguments[1])
        elif call == "pop":
            queue.pop()
            _compare(number, arguments, encode(journal[-1][1]))
            num_taken += 1
        elif call == "remove":
            queue.remove(arguments[0])
        else:
            raise ValueError(f"line {number}: a queue has no call {call!r}")
        journal.clear()
    return num_taken


def _arguments(call: str, values: Sequence[Json]) -> list[Any]:
    if call not in _CALLS:
        raise ValueError(f"{call!r} changes no index; known: {', '.join(_CALLS)}")
    return [decode(kind, value) for kind, value in zip(_CALLS[call], values, strict=True)]


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} of the log is no JSON: {error}") from error
        yield entry


def _read_header(entry: dict[str, Any]) -> tuple[Policy, CostModel]:
    return decode(Policy, entry["policy"]), decode(CostModel, entry["cost_model"])


def _compare(number: int, logged: Json, replayed: Json) -> None:
    # Through JSON once more, so that both have passed it.
    again = json.dumps(replayed)
    # As text: Python takes 1, 1.0 and True for equal, and 0.0 and -0.0.
    if again != json.dumps(logged):
        raise ReplayError(number, logged, json.loads(again))
