"""Replaying a log gives the same decisions, bit for bit."""

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.scheduler.admission import Admission
from saccade.scheduler.cluster import ClusterState, GroupState, InstanceState
from saccade.scheduler.codec import decode, encode
from saccade.scheduler.fairness import FairQueue
from saccade.scheduler.index import Change, PlacementIndex
from saccade.scheduler.journal import (
    RecordedManager,
    ReplayError,
    Tick,
    call_log,
    manager_log,
    placement_log,
    replay_admission,
    replay_manager,
    replay_placement,
    replay_queue,
)
from saccade.scheduler.placement import NoInstanceError, added_loads, place
from saccade.scheduler.policy import AdmissionPolicy, Budget, FairnessPolicy, Policy
from saccade.scheduler.records import Call, Candidate, Record
from saccade.scheduler.requests import RequestShape, VisualItem
from tests.unit.scheduler.test_manager import BURST, QUIET, eight, loads, run, toys
from tests.unit.scheduler.toy import Toy
from tests.unit.scheduler.worlds import COST, clusters, instance, load, policies, requests


def recorded(toy: Toy) -> RecordedManager:
    """Let the toy's manager keep its ticks."""
    manager = RecordedManager(toy.policy, toy.cost)
    toy.manager = manager  # type: ignore[assignment]
    return manager


@settings(max_examples=10, deadline=None)
@given(toys, loads)
def test_a_replayed_log_of_the_manager_gives_the_same_decisions(
    toy: Toy, rates: list[tuple[float, float]]
) -> None:
    manager = recorded(toy)
    run(toy, rates, num_ticks=4)
    lines = list(manager_log(toy.policy, toy.cost, manager.ticks))
    assert replay_manager(lines) == 4 * len(rates)


@settings(max_examples=30, deadline=None)
@given(policies, clusters, st.lists(requests(), max_size=5))
def test_a_replayed_journal_of_placements_gives_the_same_placements(
    policy: Policy, states: list[InstanceState], shapes: list[RequestShape]
) -> None:
    journal: list[Change] = []
    index = PlacementIndex(policy, COST, states, journal)
    num_placed = 0
    for shape in shapes:
        try:
            placement = place(index, shape)
        except NoInstanceError:
            continue
        num_placed += 1
        for one in added_loads(COST, shape, placement):
            index.add_load(one.instance, one.role, one.load, one.kv_tokens)
        if placement.prefill is not None:
            for prefix in shape.prefix:
                index.hold_prefix(placement.prefill, prefix.key)
    assert replay_placement(placement_log(policy, COST, journal)) == num_placed


arrivals = st.lists(
    st.tuples(st.sampled_from(("one", "two")), st.integers(1, 9000), st.booleans()), max_size=20
)


@given(arrivals)
def test_a_replayed_log_of_admission_gives_the_same_decisions(
    asked: list[tuple[str, int, bool]],
) -> None:
    policy = AdmissionPolicy(any_tenant=Budget(visual_tokens=10_000))
    journal: list[Call] = []
    admission = Admission(policy, journal)
    inside: list[str] = []
    for number, (tenant, tokens, ends) in enumerate(asked):
        item = VisualItem("v", tokens)
        request = RequestShape(str(number), "image", visual=(item,), tenant=tenant)
        if admission.decide(request, 0.1 * number, 0.2, number / 3).admitted:
            admission.admit(request)
            inside.append(request.key)
        if ends and inside:
            admission.release(inside.pop(0), number / 3)
    lines = list(call_log(policy, journal))
    assert replay_admission(lines) == len(asked)
    if asked:
        lines[1] = lines[1].replace('"admitted": true', '"admitted": false')
        with pytest.raises(ReplayError, match="line 2"):
            replay_admission(lines)


@given(arrivals)
def test_a_replayed_log_of_a_queue_serves_in_the_same_order(
    pushed: list[tuple[str, int, bool]],
) -> None:
    policy = FairnessPolicy()
    journal: list[Call] = []
    queue = FairQueue[None](policy, journal)
    num_taken = 0
    for number, (tenant, cost, ends) in enumerate(pushed):
        request = RequestShape(str(number), tenant=tenant, arrival_s=number / 3)
        queue.push(None, request, cost / 7)
        if ends:
            queue.pop()
            num_taken += 1
    assert replay_queue(call_log(policy, journal)) == num_taken


@pytest.mark.parametrize("replay", [replay_admission, replay_queue])
def test_a_call_that_does_not_exist_is_named(replay: Callable[[list[str]], int]) -> None:
    policy = AdmissionPolicy() if replay is replay_admission else FairnessPolicy()
    with pytest.raises(ValueError, match=r"line 2: .* no call 'steal'"):
        replay([*call_log(policy, [("steal", ())])])


def test_a_number_of_another_kind_is_another_decision() -> None:
    lines = a_log()
    entry = json.loads(lines[3])
    entry["decision"]["next_tick_s"] = int(entry["decision"]["next_tick_s"])
    lines[3] = json.dumps(entry)
    with pytest.raises(ReplayError, match="line 4"):
        replay_manager(lines)


def a_log() -> list[str]:
    toy = eight()
    manager = recorded(toy)
    toy.run(QUIET, 5)
    toy.run(BURST, 5)
    return list(manager_log(toy.policy, toy.cost, manager.ticks))


def test_a_log_that_was_changed_is_found_out_with_its_line() -> None:
    lines = a_log()
    entry = json.loads(lines[3])
    entry["decision"]["burst_tolerance"]["text"] += 1e-12
    lines[3] = json.dumps(entry)
    with pytest.raises(ReplayError, match="line 4") as caught:
        replay_manager(lines)
    assert caught.value.line == 4


def test_a_line_that_is_no_json_is_named() -> None:
    with pytest.raises(ValueError, match="line 2 of the log is no JSON"):
        replay_manager([*a_log()[:1], "{"])


def test_a_call_that_changes_no_index_is_refused() -> None:
    header = next(iter(placement_log(Policy(), COST, [])))
    line = json.dumps({"call": "__init__", "arguments": []})
    with pytest.raises(ValueError, match="'__init__' changes no index"):
        replay_placement([header, line])


def test_a_state_survives_the_way_through_json() -> None:
    state = ClusterState(
        (instance("a", "prefill", load={"prefill": load(1, 0.1 + 0.2)}),),
        {"text": GroupState(oldest_wait_s=1 / 3)},
    )
    again = decode(ClusterState, json.loads(json.dumps(encode(state))))
    assert again == state
    assert decode(Policy, json.loads(json.dumps(encode(Policy())))) == Policy()


def test_infinity_survives_too() -> None:
    assert encode(math.inf) == "inf"
    assert decode(float, "inf") == math.inf


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="not a InstanceState"):
        decode(InstanceState, {"name": "a"})
    with pytest.raises(TypeError, match="object is no value of a decision"):
        encode(object())


def test_a_record_is_ready_for_json_with_the_best_candidate_first() -> None:
    record = Record(
        kind="role",
        at_s=1.5,
        subject="text",
        inputs=(("rate_per_s", 2.5),),
        candidates=(Candidate("worse", 1.0, 2.0), Candidate("better", 2.0, 1.0)),
        choice="better",
        gain=2.0,
        cost=math.inf,
        template="{subject}: {choice} at {rate_per_s} a second, {gain} > {cost}",
    )
    written = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert written["reason"] == "text: better at 2.5 a second, 2.0 > inf"
    assert [one["name"] for one in written["candidates"]] == ["better", "worse"]


def test_every_tick_of_the_log_holds_its_input_and_its_decision() -> None:
    toy = eight()
    manager = recorded(toy)
    toy.run(QUIET, 3)
    assert [tick.now_s for tick in manager.ticks] == [1.0, 2.0, 3.0]
    assert all(isinstance(tick, Tick) for tick in manager.ticks)
