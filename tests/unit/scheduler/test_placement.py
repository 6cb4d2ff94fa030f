import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cluster import InstanceState, Role
from saccade.scheduler.cost_model import UNIT, cost_model_of
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.placement import (
    NoInstanceError,
    added_loads,
    place,
    placement_records,
)
from saccade.scheduler.policy import (
    ONE_POOL,
    IsolationPolicy,
    PlacementPolicy,
    Policy,
    UnknownModalityError,
)
from saccade.scheduler.requests import PrefixKey, RequestShape, VisualItem
from tests.unit.scheduler.scan import Scan
from tests.unit.scheduler.worlds import ALL, COST, clusters, instance, load, policies, requests

LLM: tuple[Role, ...] = ("prefill", "decode")


def pool(*states: InstanceState) -> PlacementIndex:
    """Without groups, every stage of a request a second."""
    return PlacementIndex(
        ONE_POOL, UNIT, [dataclasses.replace(state, group="all") for state in states]
    )


# The index against the slow scan -----------------------------------------------------------------


@given(policies, clusters, requests())
def test_the_index_finds_what_a_scan_of_all_instances_finds(
    policy: Policy, states: list[InstanceState], request_: RequestShape
) -> None:
    scan = Scan(policy, COST, states)
    index = PlacementIndex(policy, COST, states)
    prefill = scan.best_prefill(request_)
    if prefill is None:
        with pytest.raises(NoInstanceError, match="prefill"):
            place(index, request_, LLM)
        return
    decode = scan.best_decode(request_, prefill[0])
    if decode is None:
        with pytest.raises(NoInstanceError, match="decode"):
            place(index, request_, LLM)
        return
    placement = place(index, request_, LLM)
    scores = [-choice.scored.minus_score_s for choice in placement.choices]
    assert scores == pytest.approx([prefill[1], decode[1]], abs=1e-12)
    # Two that differ by the last bit of a sum are both the best.
    if scores == [prefill[1], decode[1]]:
        assert (placement.prefill, placement.decode) == (prefill[0], decode[0])


@given(policies, clusters, requests())
def test_an_index_that_was_changed_step_by_step_decides_as_a_new_one(
    policy: Policy, states: list[InstanceState], request_: RequestShape
) -> None:
    index = PlacementIndex(policy, COST)
    for state in states:
        index.upsert(dataclasses.replace(state, load={}, visual_cache=frozenset()))
    for state in reversed(states):
        for role, stage_load in state.load.items():
            index.add_load(state.name, role, load(7, 7.0), 123)
            index.take_load(state.name, role, load(7, 7.0), 123)
            index.set_load(state.name, role, stage_load)
        for key in state.visual_cache:
            index.hold_visual(state.name, key)
        index.hold_visual(state.name, "dropped")
        index.drop_visual(state.name, "dropped")
    assert sorted(index.states(), key=lambda one: one.name) == [
        dataclasses.replace(state, kv_used_tokens=state.kv_used_tokens)
        if state.kv_capacity_tokens is not None
        else dataclasses.replace(state, kv_used_tokens=0)
        for state in states
    ]
    new = PlacementIndex(policy, COST, states)
    assert chosen(index, request_) == chosen(new, request_)


def chosen(index: PlacementIndex, request_: RequestShape) -> tuple[str | None, ...] | str:
    try:
        placement = place(index, request_, LLM)
    except NoInstanceError as error:
        return error.role
    return (placement.prefill, placement.decode)


@given(policies, clusters, requests())
def test_a_walk_that_is_cut_short_misses_no_more_than_the_popular_keys_save(
    policy: Policy, states: list[InstanceState], request_: RequestShape
) -> None:
    exact = Scan(policy, COST, states).best_prefill(request_)
    if exact is None:
        return
    hasty = dataclasses.replace(policy.placement, max_holders=0, max_walk=1)
    index = PlacementIndex(dataclasses.replace(policy, placement=hasty), COST, states)
    found = place(index, request_, ("prefill",)).choices[0]
    most_s = COST.prefill_s(COST.prompt_tokens(request_))
    most_s += sum(
        COST.encode_s(item.tokens) + COST.visual_transfer_s(item.tokens) for item in request_.visual
    )
    assert -found.scored.minus_score_s >= exact[1] - most_s - 1e-9


@given(clusters, requests())
def test_placing_leaves_the_index_as_it_is(
    states: list[InstanceState], request_: RequestShape
) -> None:
    index = PlacementIndex(Policy(), COST, states)
    before = index.states()
    chosen(index, request_)
    assert index.states() == before


@given(clusters, requests())
def test_hard_groups_are_never_left(states: list[InstanceState], request_: RequestShape) -> None:
    index = PlacementIndex(Policy(), COST, states)
    found = chosen(index, request_)
    if isinstance(found, tuple):
        home = Policy().group_of(request_.modality).name
        assert {index.state(name).group for name in found if name} == {home}


@given(policies, clusters, requests())
def test_nobody_on_the_move_gets_work(
    policy: Policy, states: list[InstanceState], request_: RequestShape
) -> None:
    found = chosen(PlacementIndex(policy, COST, states), request_)
    moving = {state.name for state in states if state.moving}
    assert isinstance(found, str) or moving.isdisjoint(found)


@given(clusters, requests())
def test_taking_back_what_a_request_added_leaves_nothing(
    states: list[InstanceState], request_: RequestShape
) -> None:
    empty = [dataclasses.replace(state, load={}) for state in states]
    index = PlacementIndex(ONE_POOL, COST, [dataclasses.replace(s, group="all") for s in empty])
    before = index.states()
    try:
        added = added_loads(COST, request_, place(index, request_))
    except NoInstanceError:
        return
    for one in added:
        index.add_load(one.instance, one.role, one.load, one.kv_tokens)
    for one in added:
        index.take_load(one.instance, one.role, one.load, one.kv_tokens)
    after = [
        dataclasses.replace(s, load={r: x for r, x in s.load.items() if x.num_requests})
        for s in index.states()
    ]
    assert tuple(after) == before


# Examples ----------------------------------------------------------------------------------------


def test_the_shortest_queue_is_taken() -> None:
    index = pool(
        instance("p0", "prefill", load={"prefill": load(2, 2.0)}),
        instance("p1", "prefill", load={"prefill": load(1, 1.0)}),
        instance("d0", "decode", load={"decode": load(5, 5.0)}),
        instance("d1", "decode", load={"decode": load(6, 6.0)}),
    )
    placement = place(index, RequestShape("r"))
    assert (placement.prefill, placement.decode, placement.split) == ("p1", "d0", True)


def test_between_equal_queues_the_most_unused_kv_decides_and_then_the_name() -> None:
    index = pool(
        instance("p", "prefill"),
        instance("d2", "decode", kv_capacity_tokens=1000, kv_used_tokens=100),
        instance("d1", "decode", kv_capacity_tokens=1000, kv_used_tokens=100),
        instance("d0", "decode", kv_capacity_tokens=1000, kv_used_tokens=200),
    )
    assert place(index, RequestShape("r")).decode == "d1"


def test_a_hand_over_has_to_gain_something() -> None:
    index = pool(instance("a", "prefill", "decode"), instance("b", "prefill", "decode"))
    assert not place(index, RequestShape("r")).split


def test_what_holds_the_beginning_is_worth_waiting_for_as_long_as_that_saves() -> None:
    prefix = (PrefixKey("beginning", 900),)
    request_ = RequestShape("r", text_tokens=1000, prefix=prefix)
    saved_s = COST.prefill_s(1000) - COST.prefill_s(1000, 900)

    def prefers(queue_s: float) -> str | None:
        holder = instance("holder", "prefill", load={"prefill": load(1, queue_s)})
        holder = dataclasses.replace(holder, prefix_cache=frozenset({"beginning"}))
        index = PlacementIndex(Policy(), COST, [holder, instance("free", "prefill")])
        return place(index, request_, ("prefill",)).prefill

    assert prefers(saved_s * 0.99) == "holder"
    assert prefers(saved_s * 1.01) == "free"


def test_pictures_of_a_request_are_shared_out_over_the_encoders() -> None:
    index = PlacementIndex(
        Policy(), COST, [instance(f"e{i}", "encode", group="multimodal") for i in range(3)]
    )
    pictures = tuple(VisualItem(f"v{i}", 1000) for i in range(6))
    placement = place(index, RequestShape("r", "image", visual=pictures), ("encode",))
    assert sorted(filter(None, placement.encode)) == ["e0", "e0", "e1", "e1", "e2", "e2"]


def test_a_picture_whose_visual_tokens_exist_is_not_encoded_again() -> None:
    states = [
        instance("e", "encode", group="multimodal"),
        instance("p0", "prefill", "decode", group="multimodal"),
        dataclasses.replace(
            instance("p1", "prefill", "decode", group="multimodal"), visual_cache=frozenset({"v"})
        ),
    ]
    request_ = RequestShape("r", "image", 10, (VisualItem("v", 1000), VisualItem("w", 1000)))
    placement = place(PlacementIndex(Policy(), COST, states), request_)
    assert placement.encode == (None, "e")
    assert placement.sources == ("p1", "e")
    # It lies there, so that the other one alone has to be fetched.
    assert placement.prefill == "p1"


def test_without_sharing_a_cache_helps_only_where_it_is() -> None:
    policy = Policy(placement=PlacementPolicy(share_visual_cache=False))
    busy = instance("p1", "prefill", group="multimodal", load={"prefill": load(9, 9.0)})
    states = [
        instance("e", "encode", group="multimodal"),
        instance("p0", "prefill", "decode", group="multimodal"),
        dataclasses.replace(busy, visual_cache=frozenset({"v"})),
    ]
    request_ = RequestShape("r", "image", 10, (VisualItem("v", 1000),))
    placement = place(PlacementIndex(policy, COST, states), request_)
    assert (placement.prefill, placement.encode) == ("p0", ("e",))


def test_a_request_leaves_its_group_when_that_saves_more_than_the_isolation_asks() -> None:
    policy = Policy(isolation=IsolationPolicy(level=0.5, reference_s=2.0))

    def prefers(queue_s: float) -> str | None:
        home = instance("home", "prefill", load={"prefill": load(1, queue_s)})
        states = [home, instance("abroad", "prefill", group="multimodal")]
        request_ = RequestShape("r", text_tokens=5)
        return place(PlacementIndex(policy, COST, states), request_, ("prefill",)).prefill

    assert prefers(1.99) == "home"
    assert prefers(2.01) == "abroad"


def test_a_request_that_fits_nowhere_now_waits_where_the_queue_is_shortest() -> None:
    full = instance("full", "prefill", kv_capacity_tokens=1000, kv_used_tokens=990)
    fuller = instance(
        "fuller",
        "prefill",
        kv_capacity_tokens=1000,
        kv_used_tokens=995,
        load={"prefill": load(1, 1.0)},
    )
    index = PlacementIndex(Policy(), COST, [full, fuller])
    placement = place(index, RequestShape("r", text_tokens=500), ("prefill",))
    assert placement.prefill == "full"
    assert not placement.choices[0].has_room
    (record,) = placement_records(placement, RequestShape("r"), 0.0)
    assert "nobody has room" in record.text


def test_what_needs_one_instance_gets_the_one_with_the_least_work_and_both_sets_of_weights() -> (
    None
):
    index = pool(
        instance("p", "prefill", load={"prefill": load(1, 1.0)}),
        instance("d", "decode", resident=frozenset({"decode"})),
    )
    placement = place(index, RequestShape("r", one_instance=True))
    assert (placement.prefill, placement.decode) == ("p", "p")
    with pytest.raises(NoInstanceError):
        place(
            pool(instance("d", "decode", resident=frozenset({"decode"}))),
            RequestShape("r", one_instance=True),
        )


@pytest.mark.parametrize("missing", ["prefill", "decode"])
def test_a_stage_without_an_instance_is_named(missing: Role) -> None:
    index = pool(*(instance(role, role) for role in LLM if role != missing))
    with pytest.raises(NoInstanceError, match=missing) as caught:
        place(index, RequestShape("r"))
    assert caught.value.role == missing


def test_a_modality_of_no_group_is_refused_with_the_remedy() -> None:
    with pytest.raises(UnknownModalityError, match=r"'smell'.*modalities"):
        place(pool(instance("a", *ALL)), RequestShape("r", "smell"))


def test_a_cross_attended_picture_does_not_lengthen_the_prompt() -> None:
    picture = RequestShape("r", "image", 50, (VisualItem("v", 6404),), output_tokens=10)
    assert COST.prompt_tokens(picture) == 6454
    cross = cost_model_of("a800", "llama-3.2-vision-11b")
    assert cross.prompt_tokens(picture) == 50
    # A quarter of the bytes of a token of the sequence.
    assert cross.kv_tokens(picture) == 50 + 1601 + 10


def test_a_placement_is_told_in_one_line_with_all_that_were_looked_at() -> None:
    index = pool(instance("p", "prefill"), instance("d", "decode"), instance("d1", "decode"))
    request_ = RequestShape("r7", text_tokens=100)
    prefill, decode = placement_records(place(index, request_), request_, 12.5)
    assert prefill.text == (
        "r7: p, best of 1 looked at for prefill: saves 0 s of encode and 0 s of prefill, "
        "waits 0 s, transfers 0 s, has room for its KV"
    )
    assert decode.to_json()["choice"] == "d"
    assert decode.at_s == 12.5


@given(st.integers(1, 40))
def test_no_more_than_the_head_of_the_queue_is_looked_at_when_nobody_holds_anything(
    num: int,
) -> None:
    states = [instance(f"p{i}", "prefill", load={"prefill": load(i, i * 0.1)}) for i in range(num)]
    placement = place(
        PlacementIndex(Policy(), COST, states), RequestShape("r", text_tokens=9), ("prefill",)
    )
    assert len(placement.choices[0].looked_at) == 1
