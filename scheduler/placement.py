"""Where one request runs.

For each stage, of the instances that may serve it, the one with the highest

    score = saved encode time + saved prefill time - queueing - transfer - leaving the group

in seconds. Two instances that hold nothing of the request differ in their queue alone, so the
search (`search.py`) looks at who holds something (`affinity.py`) and at the head of the ordering
by queue (`index.py`), not at the rest.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from saccade.scheduler.affinity import Affinity
from saccade.scheduler.cluster import ROLES, Role, StageLoad
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.records import Candidate, Record
from saccade.scheduler.requests import RequestShape, VisualItem
from saccade.scheduler.search import Choice, Want, Worth, search

Groups = Mapping[str, float]
"""Groups that may serve a request, and what leaving its own one has to save, in seconds."""


class NoInstanceError(Exception):
    """No instance serves a stage that the request needs."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"no instance serves {role}")
        self.role = role


class Placement(NamedTuple):
    """The instances of a request; the same name for prefill and decode means no KV hand-over.

    A stage that was not asked for has None, or an empty tuple.
    """

    prefill: str | None = None
    decode: str | None = None
    encode: tuple[str | None, ...] = ()
    """For each picture who encodes it; None when its visual tokens exist already."""
    sources: tuple[str | None, ...] = ()
    """For each picture where its visual tokens come from: its encoder, or who holds them."""
    cached_tokens: int = 0
    """Prompt tokens whose KV the prefill instance holds."""
    choices: tuple[Choice, ...] = ()
    """How it came about."""

    @property
    def split(self) -> bool:
        return self.prefill != self.decode


def place(
    index: PlacementIndex, request: RequestShape, stages: Sequence[Role] = ROLES
) -> Placement:
    """Choose an instance for each stage; the index stays as it is.

    Args:
        stages: those to choose for. Encode and the LLM's stages may be placed one after the other,
            each when its turn comes.

    Raises:
        NoInstanceError: when no instance that the isolation allows serves a stage.
        UnknownModalityError: when the modality belongs to no group.
    """
    choices: list[Choice] = []
    groups = index.eligible_groups(request.modality)
    kv_tokens = index.cost_model.prompt_kv_tokens(request)
    whole = request.one_instance and "prefill" in stages
    if whole:
        choices.append(_choose_whole(index, groups))
    elif "prefill" in stages:
        choices.append(_choose_prefill(index, request, groups, kv_tokens))
    prefill = choices[0].name if choices else None
    cached_tokens = choices[0].best[3].cached_tokens if choices else 0
    decode = prefill if whole else None
    if "decode" in stages and not whole:
        choices.append(_choose_decode(index, request, groups, kv_tokens, prefill))
        decode = choices[-1].name
    encode: tuple[str | None, ...] = ()
    sources: tuple[str | None, ...] = ()
    if request.visual and "encode" in stages:
        encode, sources = _choose_encode(index, request, groups, prefill, choices)
    placement = Placement(prefill, decode, encode, sources, cached_tokens, tuple(choices))
    index.note("place", request, tuple(stages), placement)
    return placement


# Stages ----------------------------------------------------------------------------------------


def _choose_prefill(
    index: PlacementIndex, request: RequestShape, groups: Groups, kv_tokens: int
) -> Choice:
    if not request.visual and not request.prefix:
        return _found(search(index, Want("prefill", groups, kv_tokens)), "prefill")
    affinity = Affinity(index, request, index.cost_model.prompt_tokens(request))
    want = Want(
        "prefill",
        groups,
        kv_tokens,
        others=affinity.of_others,
        holders=affinity.holders,
        worth_of=None if affinity.complete else affinity.worth_of,
        at_most_s=affinity.at_most_s,
        max_walk=index.policy.placement.max_walk,
    )
    return _found(search(index, want), "prefill")


def _choose_decode(
    index: PlacementIndex,
    request: RequestShape,
    groups: Groups,
    kv_tokens: int,
    prefill: str | None,
) -> Choice:
    here: dict[str, Worth] = {}
    others = Worth()
    if prefill is not None:
        here = {prefill: Worth()}
        others = Worth(transfer_s=index.cost_model.kv_transfer_s(kv_tokens))
    want = Want(
        "decode",
        groups,
        kv_tokens + request.output_tokens,
        delay_factor=request.output_tokens,
        others=others,
        holders=here,
    )
    return _found(search(index, want), "decode")


def _choose_whole(index: PlacementIndex, groups: Groups) -> Choice:
    """One instance for prefill and decode: any with both weights, whatever it serves now.

    Few requests ask for it (prompt log-probabilities), so all such instances are looked at.
    """
    able = [
        (entry.work_s, -entry.kv_free_tokens, 0.0, entry.state.name)
        for entry in index.entries()
        if {"prefill", "decode"} <= entry.state.resident
        and entry.state.group in groups
        and not entry.state.moving
    ]
    if not able:
        raise NoInstanceError("prefill")
    rank = min(able)
    row = (rank[0], rank, 0.0, Worth())
    return Choice("prefill", row, (row,), True)


def _choose_encode(
    index: PlacementIndex,
    request: RequestShape,
    groups: Groups,
    prefill: str | None,
    choices: list[Choice],
) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """Data parallel: each picture goes where it is encoded first, after those before it."""
    encode: list[str | None] = []
    sources: list[str | None] = []
    given_s: dict[str, float] = {}
    for item in request.visual:
        holder = _holder(index, item, prefill)
        if holder is None:
            transfer_s = index.cost_model.visual_transfer_s(item.tokens)
            given = {name: Worth(transfer_s=transfer_s + s) for name, s in given_s.items()}
            if prefill is not None:
                given[prefill] = Worth(transfer_s=given_s.get(prefill, 0.0))
            want = Want("encode", groups, others=Worth(transfer_s=transfer_s), holders=given)
            chosen = _found(search(index, want), "encode")
            size = index.entry(chosen.name).state.tensor_parallel_size
            encode_s = index.cost_model.encode_s(item.tokens, size)
            given_s[chosen.name] = given_s.get(chosen.name, 0.0) + encode_s
            choices.append(chosen)
            holder = chosen.name
            encode.append(chosen.name)
        else:
            encode.append(None)
        sources.append(holder)
    return tuple(encode), tuple(sources)


def _holder(index: PlacementIndex, item: VisualItem, prefill: str | None) -> str | None:
    """Who holds the picture's visual tokens where they are of use; the prefill instance first."""
    policy = index.policy.placement
    holders = index.visual_holders.get(item.key)
    if not holders or not policy.visual_affinity:
        return None
    if prefill is not None and prefill in holders:
        return prefill
    return next(iter(holders)) if policy.share_visual_cache else None


def _found(choice: Choice | None, role: Role) -> Choice:
    if choice is None:
        raise NoInstanceError(role)
    return choice


# What a placed request adds ---------------------------------------------------------------------


class AddedLoad(NamedTuple):
    """One stage of a placed request, as `PlacementIndex.add_load` and `take_load` take it."""

    instance: str
    role: Role
    load: StageLoad
    kv_tokens: int = 0


def added_loads(
    cost_model: CostModel, request: RequestShape, placement: Placement
) -> list[AddedLoad]:
    """What the request adds to the instances that it was placed on."""
    added = [
        AddedLoad(
            name,
            "encode",
            StageLoad(1, cost_model.encode_s(item.tokens), item.tokens, 0, 1 / max(1, item.tokens)),
        )
        for name, item in zip(placement.encode, request.visual, strict=False)
        if name is not None
    ]
    prompt = cost_model.prompt_tokens(request)
    if placement.prefill is not None:
        cached = placement.cached_tokens
        prefill_s = cost_model.prefill_s(prompt, cached)
        load = StageLoad(1, prefill_s, prompt - cached, 0, 1 / max(1, prompt))
        kv_tokens = cost_model.prompt_kv_tokens(request) if placement.split else 0
        added.append(AddedLoad(placement.prefill, "prefill", load, kv_tokens))
    if placement.decode is not None:
        output = request.output_tokens
        decode_s = cost_model.decode_s(prompt + output / 2, output)
        load = StageLoad(1, decode_s, prompt, output, 1 / max(1, output), 1.0)
        added.append(AddedLoad(placement.decode, "decode", load, cost_model.kv_tokens(request)))
    return added


# Records ---------------------------------------------------------------------------------------

_TEXT = (
    "{subject}: {choice}, best of {num_looked_at} looked at for {role}: saves "
    "{saved_encode_s:.4g} s of encode and {saved_prefill_s:.4g} s of prefill, waits "
    "{queue_s:.4g} s, transfers {transfer_s:.4g} s, {room}"
)


def placement_records(
    placement: Placement, request: RequestShape, at_s: float
) -> tuple[Record, ...]:
    """The decision of each stage in full; made when it is asked for."""
    return tuple(_record(choice, request, at_s) for choice in placement.choices)


def _record(choice: Choice, request: RequestShape, at_s: float) -> Record:
    minus_score_s, rank, penalty_s, worth = choice.scored
    queue_s = minus_score_s + worth.net_s - penalty_s
    room = "has room for its KV" if choice.has_room else "nobody has room for its KV now"
    saved_s = worth.saved_encode_s + worth.saved_prefill_s
    return Record(
        kind="place",
        at_s=at_s,
        subject=request.key,
        inputs=(
            ("role", choice.role),
            ("num_looked_at", len(choice.looked_at)),
            ("saved_encode_s", worth.saved_encode_s),
            ("saved_prefill_s", worth.saved_prefill_s),
            ("cached_tokens", worth.cached_tokens),
            ("queue_s", queue_s),
            ("transfer_s", worth.transfer_s),
            ("leave_group_s", penalty_s),
            ("kv_free_tokens", -rank[1]),
            ("room", room),
        ),
        candidates=tuple(
            Candidate(
                one.rank[3],
                one.worth.saved_encode_s + one.worth.saved_prefill_s,
                one.minus_score_s + one.worth.saved_encode_s + one.worth.saved_prefill_s,
            )
            for one in choice.looked_at
        ),
        choice=rank[3],
        gain=saved_s,
        cost=minus_score_s + saved_s,
        template=_TEXT,
    )
