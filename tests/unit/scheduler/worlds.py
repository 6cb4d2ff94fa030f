"""Small clusters and requests for Hypothesis, and short ways to write them down."""

import dataclasses

from hypothesis import strategies as st

from saccade.scheduler.cluster import ROLES, InstanceState, Role, StageLoad
from saccade.scheduler.cost_model import cost_model_of
from saccade.scheduler.policy import IsolationPolicy, PlacementPolicy, Policy
from saccade.scheduler.requests import PrefixKey, RequestShape, VisualItem

COST = cost_model_of("a800")
ALL: frozenset[Role] = frozenset(ROLES)
VISUAL_KEYS = ("v0", "v1", "v2")
PREFIXES = (PrefixKey("p0", 100), PrefixKey("p1", 400), PrefixKey("p2", 1500))
NAMES = tuple(f"i{number}" for number in range(9))


def instance(
    name: str,
    *roles: Role,
    group: str = "text",
    resident: frozenset[Role] = ALL,
    load: dict[Role, StageLoad] | None = None,
    kv_capacity_tokens: int | None = None,
    kv_used_tokens: int = 0,
) -> InstanceState:
    return InstanceState(
        name,
        resident,
        frozenset(roles),
        group,
        load=load or {},
        kv_capacity_tokens=kv_capacity_tokens,
        kv_used_tokens=kv_used_tokens,
    )


def load(num: int, work_s: float, tokens: int = 1000) -> StageLoad:
    """Of requests that have all of their answer of 100 tokens ahead."""
    return StageLoad(num, work_s, tokens, 100 * num, num / 1000, float(num))


ROLE_SETS: list[frozenset[Role]] = [
    frozenset({"encode"}),
    frozenset({"prefill"}),
    frozenset({"decode"}),
    frozenset({"prefill", "decode"}),
    ALL,
]


@st.composite
def instances(draw: st.DrawFn) -> InstanceState:
    """One without a name."""
    num_held = draw(st.integers(0, len(PREFIXES)))
    return InstanceState(
        name="",
        resident=ALL,
        roles=draw(st.sampled_from(ROLE_SETS)),
        group=draw(st.sampled_from(("text", "multimodal"))),
        tensor_parallel_size=draw(st.sampled_from((1, 1, 2))),
        load={
            role: load(num, 0.01 * num, 300 * num)
            for role in ROLES
            if (num := draw(st.integers(0, 3)))
        },
        kv_capacity_tokens=draw(st.sampled_from((None, 3000, 5000, 100_000))),
        kv_used_tokens=draw(st.integers(0, 3000)),
        visual_cache=frozenset(draw(st.sets(st.sampled_from(VISUAL_KEYS)))),
        prefix_cache=frozenset(prefix.key for prefix in PREFIXES[:num_held]),
        moving=draw(st.sampled_from((False, False, False, True))),
    )


clusters = st.lists(instances(), max_size=len(NAMES)).map(
    lambda states: [
        dataclasses.replace(state, name=name) for name, state in zip(NAMES, states, strict=False)
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> RequestShape:
    keys = draw(st.lists(st.sampled_from(VISUAL_KEYS), max_size=3, unique=True))
    return RequestShape(
        key="request",
        modality="image" if keys else "text",
        text_tokens=draw(st.integers(1, 2500)),
        visual=tuple(VisualItem(key, draw(st.integers(1, 3000))) for key in keys),
        output_tokens=draw(st.integers(1, 500)),
        prefix=PREFIXES[: draw(st.integers(0, len(PREFIXES)))],
    )


policies = st.builds(
    Policy,
    isolation=st.builds(IsolationPolicy, level=st.sampled_from((0.0, 0.01, 0.5, 1.0))),
    placement=st.builds(
        PlacementPolicy,
        prefix_affinity=st.booleans(),
        visual_affinity=st.booleans(),
        share_visual_cache=st.booleans(),
        max_holders=st.sampled_from((0, 1, 16)),
        # Walks are cut short in a test of their own.
        max_walk=st.just(1000),
    ),
)
