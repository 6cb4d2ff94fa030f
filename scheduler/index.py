"""The instances in the order in which placement wants them, kept up to date one change at a time.

Placing must not look at every instance. So the instances of a group that serve a role are kept
sorted by how long a newcomer would wait, in a list for each size class of their free KV (a class
holds what lies between two powers of two, as a memory allocator's bins do): what has room is found
without walking past what is full. Holders of a cache key are found by the key.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from saccade.scheduler.cluster import NO_LOAD, InstanceState, Role, StageLoad
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.cost_model.model import speedup
from saccade.scheduler.policy import Policy
from saccade.scheduler.records import Call

# A plain tuple: one is made for every change of a load.
Rank = tuple[float, int, float, str]
"""The order of the instances of one role, the smallest is the first choice: what a newcomer waits
(for decode, at each of its steps); minus the free KV tokens, since equal waits are decided by the
most unused KV; seconds of work in all stages; name."""


class Entry:
    """One instance in the index; changed by the index alone."""

    __slots__ = ("alone", "kv_free_tokens", "load", "prefix", "ranks", "state", "visual")

    def __init__(self, state: InstanceState) -> None:
        self.state = state
        self.alone = (state.name,)
        """Holder of every key that nobody else holds."""
        self.load: dict[Role, StageLoad] = dict(state.load)
        self.kv_free_tokens = state.kv_free_tokens
        self.visual = set(state.visual_cache)
        self.prefix = set(state.prefix_cache)
        self.ranks: dict[Role, tuple[list[Rank], Rank]] = {}
        """Where it stands in each ordering: (list of its size class, rank)."""

    def take_kv(self, tokens: int) -> None:
        if self.state.kv_capacity_tokens is not None:
            self.kv_free_tokens -= tokens

    @property
    def work_s(self) -> float:
        """Seconds of work in all stages."""
        work_s = 0.0
        for load in self.load.values():
            work_s += load.work_s
        return work_s

    def snapshot(self) -> InstanceState:
        state = self.state
        used = 0
        if state.kv_capacity_tokens is not None:
            used = state.kv_capacity_tokens - self.kv_free_tokens
        return replace(
            state,
            load=dict(self.load),
            kv_used_tokens=used,
            visual_cache=frozenset(self.visual),
            prefix_cache=frozenset(self.prefix),
        )


Ordering = dict[int, list[Rank]]
"""Sorted ranks by size class of free KV."""
Holders = dict[str, tuple[str] | dict[str, None]]
"""Instances by the key that they hold, in the order in which they came to hold it: the first is a
choice that a replay makes again. Most keys are of one picture on one instance, and there are as
many as fit into all caches, so that one holder costs no container of its own."""
Change = Call
"""A call that changed the index."""


class PlacementIndex:
    """What placement looks at. Every change is O(log n), besides moving array entries.

    With `journal`, every change is appended to it, so that a log can be replayed.
    """

    def __init__(
        self,
        policy: Policy,
        cost_model: CostModel,
        instances: Iterable[InstanceState] = (),
        journal: list[Change] | None = None,
    ) -> None:
        self.policy = policy
        self.cost_model = cost_model
        self.journal = journal
        self._entries: dict[str, Entry] = {}
        self._orderings: dict[tuple[str, Role], Ordering] = {}
        self.visual_holders: Holders = {}
        self.prefix_holders: Holders = {}
        self._groups = {
            modality: _eligible_groups(policy, spec.name)
            for spec in policy.groups
            for modality in spec.modalities
        }
        for state in instances:
            self.upsert(state)

    # Reading -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def entry(self, name: str) -> Entry:
        return self._entries[name]

    def entries(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def state(self, name: str) -> InstanceState:
        """As of now."""
        return self._entries[name].snapshot()

    def states(self) -> tuple[InstanceState, ...]:
        return tuple(entry.snapshot() for entry in self._entries.values())

    def ordering(self, group: str, role: Role) -> Ordering | None:
        return self._orderings.get((group, role))

    def eligible_groups(self, modality: str) -> Mapping[str, float]:
        """Groups that may take it, and the waiting (seconds) that it must save in each."""
        groups = self._groups.get(modality)
        if groups is None:
            self.policy.group_of(modality)  # raises, with the remedy
            raise AssertionError(modality)
        return groups

    def least_wait_s(self, modality: str, role: Role) -> float:
        """What a newcomer waits for `role` where it waits the least; 0 when nobody serves it."""
        waits_s = [
            ranks[0][0]
            for group in self.eligible_groups(modality)
            for ranks in self._orderings.get((group, role), {}).values()
            if ranks
        ]
        return min(waits_s, default=0.0)

    # Changing ----------------------------------------------------------------------------------

    def upsert(self, state: InstanceState) -> None:
        """Take in an instance, or all that is new about it."""
        self.note("upsert", state)
        if state.name in self._entries:
            self._remove(state.name)
        entry = self._entries[state.name] = Entry(state)
        for key in entry.visual:
            _hold(self.visual_holders, key, entry.alone)
        for key in entry.prefix:
            _hold(self.prefix_holders, key, entry.alone)
        self._rank(entry)

    def remove(self, name: str) -> None:
        self.note("remove", name)
        self._remove(name)

    def set_load(self, name: str, role: Role, load: StageLoad) -> None:
        self.note("set_load", name, role, load)
        entry = self._entries[name]
        entry.load[role] = load
        self._rank(entry)

    def add_load(self, name: str, role: Role, load: StageLoad, kv_tokens: int = 0) -> None:
        """Count a request in a stage of an instance, and the KV that it takes there."""
        self.note("add_load", name, role, load, kv_tokens)
        entry = self._entries[name]
        entry.load[role] = entry.load.get(role, NO_LOAD).plus(load)
        entry.take_kv(kv_tokens)
        self._rank(entry)

    def take_load(self, name: str, role: Role, load: StageLoad, kv_tokens: int = 0) -> None:
        """Undo `add_load`."""
        self.note("take_load", name, role, load, kv_tokens)
        entry = self._entries[name]
        entry.load[role] = entry.load.get(role, NO_LOAD).minus(load)
        entry.take_kv(-kv_tokens)
        self._rank(entry)

    def set_kv_used(self, name: str, tokens: int) -> None:
        self.note("set_kv_used", name, tokens)
        entry = self._entries[name]
        if entry.state.kv_capacity_tokens is not None:
            entry.kv_free_tokens = entry.state.kv_capacity_tokens - tokens
            self._rank(entry)

    def hold_visual(self, name: str, key: str) -> None:
        self.note("hold_visual", name, key)
        entry = self._entries[name]
        entry.visual.add(key)
        _hold(self.visual_holders, key, entry.alone)

    def drop_visual(self, name: str, key: str) -> None:
        self.note("drop_visual", name, key)
        self._entries[name].visual.discard(key)
        _forget(self.visual_holders, key, name)

    def hold_prefix(self, name: str, key: str) -> None:
        self.note("hold_prefix", name, key)
        entry = self._entries[name]
        entry.prefix.add(key)
        _hold(self.prefix_holders, key, entry.alone)

    def drop_prefix(self, name: str, key: str) -> None:
        self.note("drop_prefix", name, key)
        self._entries[name].prefix.discard(key)
        _forget(self.prefix_holders, key, name)

    # Orderings ---------------------------------------------------------------------------------

    def note(self, name: str, *arguments: object) -> None:
        """Append a call to the journal, if one is kept."""
        if self.journal is not None:
            self.journal.append((name, arguments))

    def _remove(self, name: str) -> None:
        entry = self._entries.pop(name)
        for ranks, rank in entry.ranks.values():
            del ranks[bisect_left(ranks, rank)]
        for key in entry.visual:
            _forget(self.visual_holders, key, name)
        for key in entry.prefix:
            _forget(self.prefix_holders, key, name)

    def _rank(self, entry: Entry) -> None:
        state = entry.state
        if state.moving:
            return
        free_tokens = entry.kv_free_tokens
        work_s = entry.work_s
        size_class = size_class_of(free_tokens)
        for role in state.roles:
            rank = (self.delay_s(entry, role), -free_tokens, work_s, state.name)
            stands = entry.ranks.get(role)
            if stands is not None:
                if stands[1] == rank:
                    continue
                del stands[0][bisect_left(stands[0], stands[1])]
            ordering = self._orderings.get((state.group, role))
            if ordering is None:
                ordering = self._orderings[state.group, role] = {}
            ranks = ordering.get(size_class)
            if ranks is None:
                ranks = ordering[size_class] = []
            insort(ranks, rank)
            entry.ranks[role] = (ranks, rank)

    def delay_s(self, entry: Entry, role: Role) -> float:
        """What a newcomer waits in `role` on this instance; for decode, at each step.

        Encode and prefill on one instance take turns, so they wait for each other.
        """
        load = entry.load
        size = entry.state.tensor_parallel_size
        if role == "decode":
            batch = load.get("decode", NO_LOAD)
            return self.cost_model.decode_slope_s(batch.num_requests, batch.tokens, size)
        encode_s = load.get("encode", NO_LOAD).work_s
        prefill_s = load.get("prefill", NO_LOAD).work_s
        if size == 1:
            return encode_s + prefill_s
        return encode_s / speedup("encode", size) + prefill_s / speedup("prefill", size)


def size_class_of(tokens: int) -> int:
    """0 for none, otherwise how often it can be halved: what is in a higher class is larger."""
    return tokens.bit_length() if tokens > 0 else 0


def _eligible_groups(policy: Policy, home: str) -> dict[str, float]:
    penalty_s = policy.isolation.penalty_s
    others = {spec.name: penalty_s for spec in policy.groups if spec.name != home}
    return {home: 0.0} | (others if math.isfinite(penalty_s) else {})


def _hold(holders: Holders, key: str, alone: tuple[str]) -> None:
    having = holders.get(key)
    if having is None:
        holders[key] = alone
    elif isinstance(having, dict):
        having[alone[0]] = None
    elif having != alone:
        holders[key] = {having[0]: None, alone[0]: None}


def _forget(holders: Holders, key: str, name: str) -> None:
    having = holders.get(key)
    if having is None or name not in having:
        return
    if isinstance(having, dict) and len(having) > 1:
        del having[name]
    else:
        del holders[key]
