"""Who holds which key, against dictionaries of dictionaries."""

from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cluster import ROLES, InstanceState, StageLoad
from saccade.scheduler.cost_model import UNIT
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.policy import Policy

NAMES = ("a", "b", "c")
Step = tuple[str, str, str]
steps = st.lists(
    st.tuples(st.sampled_from(("hold", "drop", "remove")), st.sampled_from(NAMES),
              st.sampled_from(("x", "y"))),
    max_size=30,
)  # fmt: skip


def instance(name: str) -> InstanceState:
    return InstanceState(name, frozenset(ROLES), frozenset({"prefill"}), "text")


@given(steps)
def test_holders_are_those_that_hold_in_the_order_in_which_they_came(taken: list[Step]) -> None:
    index = PlacementIndex(Policy(), UNIT, map(instance, NAMES))
    model: dict[str, dict[str, None]] = {}
    for what, name, key in taken:
        if what == "hold":
            index.hold_prefix(name, key)
            index.hold_visual(name, key)
            model.setdefault(key, {})[name] = None
        elif what == "drop":
            index.drop_prefix(name, key)
            index.drop_visual(name, key)
            model.get(key, {}).pop(name, None)
        else:
            index.remove(name)
            index.upsert(instance(name))
            for held in model.values():
                held.pop(name, None)
        model = {key: held for key, held in model.items() if held}
        expected = {key: list(held) for key, held in model.items()}
        assert {key: list(held) for key, held in index.prefix_holders.items()} == expected
        assert {key: list(held) for key, held in index.visual_holders.items()} == expected


@given(st.lists(st.tuples(st.sampled_from(("text", "multimodal")), st.floats(0, 9)), max_size=6))
def test_the_least_wait_is_that_of_the_shortest_queue_of_the_group(
    queues: list[tuple[str, float]],
) -> None:
    states = [
        InstanceState(
            f"i{number}", frozenset(ROLES), frozenset({"prefill"}), group,
            load={"prefill": StageLoad(1, work_s)}, kv_capacity_tokens=1000 << number,
        )
        for number, (group, work_s) in enumerate(queues)
    ]  # fmt: skip
    index = PlacementIndex(Policy(), UNIT, states)
    waits_s = [work_s for group, work_s in queues if group == "text"]
    assert index.least_wait_s("text", "prefill") == min(waits_s, default=0.0)
    assert index.least_wait_s("text", "encode") == 0.0
