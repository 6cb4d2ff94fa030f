import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cluster import InstanceView, Role
from saccade.scheduler.placement import NoInstanceError, least_loaded, place

ROLES: tuple[Role, ...] = ("encode", "prefill", "decode")
BOTH: frozenset[Role] = frozenset({"prefill", "decode"})


def instance(
    name: str,
    *roles: Role,
    resident: frozenset[Role] | None = None,
    load: dict[Role, int] | None = None,
) -> InstanceView:
    served = frozenset(roles)
    return InstanceView(name, resident or served, served, load or {})


SUBSETS = [frozenset(roles) for size in range(4) for roles in itertools.combinations(ROLES, size)]
VIEWS = [(resident, roles) for resident in SUBSETS[1:] for roles in SUBSETS if roles <= resident]
MAX_LOAD = 3


def instances() -> st.SearchStrategy[list[InstanceView]]:
    """Up to four instances with any roles; one draw each keeps this fast."""
    kinds = st.integers(0, len(VIEWS) * (MAX_LOAD + 1) ** 3 - 1)
    return st.lists(kinds, max_size=4).map(
        lambda chosen: [_view(name, kind) for name, kind in zip("dbca", chosen, strict=False)]
    )


def _view(name: str, kind: int) -> InstanceView:
    kind, encode = divmod(kind, MAX_LOAD + 1)
    kind, prefill = divmod(kind, MAX_LOAD + 1)
    kind, decode = divmod(kind, MAX_LOAD + 1)
    load: dict[Role, int] = {"encode": encode, "prefill": prefill, "decode": decode}
    return InstanceView(name, *VIEWS[kind], load)


def serving(views: list[InstanceView], role: Role) -> dict[str, InstanceView]:
    return {view.name: view for view in views if role in view.roles}


@given(instances())
def test_each_stage_runs_where_it_is_served(views: list[InstanceView]) -> None:
    able = {role: serving(views, role) for role in ROLES}
    if not able["prefill"] or not able["decode"]:
        with pytest.raises(NoInstanceError):
            place(views)
        return
    placement = place(views)
    assert placement.prefill in able["prefill"]
    assert placement.decode in able["decode"]
    assert placement.encode is None


@given(instances())
def test_nothing_that_decodes_is_less_loaded_than_the_chosen_one(
    views: list[InstanceView],
) -> None:
    able = serving(views, "decode")
    if not able or not serving(views, "prefill"):
        return
    chosen = able[place(views).decode]
    assert chosen.busy("decode") == min(view.busy("decode") for view in able.values())


@given(instances())
def test_two_instances_that_both_do_both_never_share_a_request(views: list[InstanceView]) -> None:
    by_name = {view.name: view for view in views}
    if not serving(views, "prefill") or not serving(views, "decode"):
        return
    placement = place(views)
    if placement.split:
        assert not (
            by_name[placement.prefill].roles >= BOTH and by_name[placement.decode].roles >= BOTH
        )


@given(instances(), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_the_instances_does_not_matter(
    views: list[InstanceView], order: random.Random, one_instance: bool
) -> None:
    shuffled = order.sample(views, len(views))
    try:
        expected = place(views, one_instance=one_instance)
    except NoInstanceError:
        with pytest.raises(NoInstanceError):
            place(shuffled, one_instance=one_instance)
    else:
        assert place(shuffled, one_instance=one_instance) == expected


@given(instances())
def test_what_needs_one_instance_gets_the_least_loaded_one_with_both_sets_of_weights(
    views: list[InstanceView],
) -> None:
    able = {view.name: view for view in views if view.resident >= BOTH}
    if not able:
        with pytest.raises(NoInstanceError):
            place(views, one_instance=True)
        return
    placement = place(views, one_instance=True)
    assert not placement.split
    assert able[placement.decode].total_load == min(view.total_load for view in able.values())


def test_a_prefill_and_a_decode_instance_split_a_request() -> None:
    placement = place([instance("p", "prefill"), instance("d", "decode")])
    assert (placement.prefill, placement.decode, placement.split) == ("p", "d", True)


def test_of_two_instances_that_do_both_the_one_that_decodes_less_takes_the_whole_request() -> None:
    placement = place(
        [
            instance("a", *BOTH, load={"prefill": 0, "decode": 2}),
            instance("b", *BOTH, load={"prefill": 2, "decode": 1}),
        ]
    )
    assert (placement.prefill, placement.decode) == ("b", "b")


def test_a_lone_instance_does_not_split() -> None:
    assert not place([instance("a", "prefill", "decode")]).split


def test_the_least_loaded_instance_of_each_stage_is_taken() -> None:
    placement = place(
        [
            instance("p0", "prefill", load={"prefill": 2}),
            instance("p1", "prefill", load={"prefill": 1}),
            instance("d0", "decode", load={"decode": 5}),
            instance("d1", "decode", load={"decode": 6}),
        ]
    )
    assert (placement.prefill, placement.decode) == ("p1", "d0")


def test_equal_loads_are_decided_by_name() -> None:
    views = [instance(name, "encode") for name in ("e2", "e0", "e1")]
    assert least_loaded(views, "encode").name == "e0"


def test_work_in_other_roles_decides_between_equal_loads() -> None:
    views = [
        instance("a", "encode", "decode", load={"decode": 1}),
        instance("b", "encode", "decode"),
    ]
    assert least_loaded(views, "encode").name == "b"


def test_an_instance_that_serves_another_role_now_may_still_take_a_whole_request() -> None:
    views = [instance("p", "prefill", resident=BOTH), instance("d", "decode")]
    placement = place(views, one_instance=True)
    assert (placement.prefill, placement.decode) == ("p", "p")


@pytest.mark.parametrize("missing", ["prefill", "decode"])
def test_a_stage_without_an_instance_is_named(missing: Role) -> None:
    views = [instance(role, role) for role in ROLES if role != missing]
    with pytest.raises(NoInstanceError, match=missing) as caught:
        place(views)
    assert caught.value.role == missing
