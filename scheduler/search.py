"""The best instance for one stage of one request, without looking at all of them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from saccade.scheduler.cluster import Role
from saccade.scheduler.index import PlacementIndex, Rank, size_class_of


class Worth(NamedTuple):
    """What an instance has for a request, in seconds, besides its queue."""

    saved_encode_s: float = 0.0
    saved_prefill_s: float = 0.0
    transfer_s: float = 0.0
    cached_tokens: int = 0

    @property
    def net_s(self) -> float:
        return self.saved_encode_s + self.saved_prefill_s - self.transfer_s


class Scored(NamedTuple):
    """An instance that was looked at. The smallest is the best: equal scores go by rank."""

    minus_score_s: float
    rank: Rank
    penalty_s: float
    worth: Worth


class Want(NamedTuple):
    """What a stage of a request asks of an instance."""

    role: Role
    groups: Mapping[str, float]
    """Those that may serve it, and what leaving the own one has to save, in seconds."""
    kv_tokens: int | None = None
    """What has to be free; None: the stage needs no KV."""
    delay_factor: float = 1.0
    """How often the delay of the ordering is waited: decode waits it at each step."""
    others: Worth = Worth()
    """Of every instance that is not in `holders`."""
    holders: Mapping[str, Worth] = {}
    worth_of: Callable[[str], Worth] | None = None
    """Set when some instances that are worth more than `others` are missing from `holders`."""
    at_most_s: float = 0.0
    """With `worth_of`: no instance outside `holders` is worth more."""
    max_walk: int = 0
    """With `worth_of`: how many of those are looked at in one list at most."""


class Choice(NamedTuple):
    """The instance of one stage, and all that were looked at."""

    role: Role
    scored: Scored
    looked_at: tuple[Scored, ...]
    has_room: bool
    """False: nobody has that much KV free now, so the request will wait for it."""

    @property
    def name(self) -> str:
        return self.scored.rank[3]


def search(index: PlacementIndex, want: Want) -> Choice | None:
    """The best of those with room; of all, when none has any; None when none serves the role."""
    found = _Round(index, want, want.kv_tokens)
    has_room = found.best is not None
    if not has_room and want.kv_tokens is not None:
        found = _Round(index, want, None)
    if found.best is None:
        return None
    return Choice(want.role, found.best, tuple(found.looked_at), has_room)


class _Round:
    """One search among the instances that have `kv_tokens` free; None takes all."""

    __slots__ = ("best", "looked_at")

    def __init__(self, index: PlacementIndex, want: Want, kv_tokens: int | None) -> None:
        self.best: Scored | None = None
        self.looked_at: list[Scored] = []
        if want.holders:
            self._holders(index, want, kv_tokens)
        needed_class = -1 if kv_tokens is None else size_class_of(kv_tokens)
        for group, penalty_s in want.groups.items():
            ordering = index.ordering(group, want.role)
            if ordering is None:
                continue
            for size_class, ranks in ordering.items():
                if size_class > needed_class:
                    self._walk(want, penalty_s, ranks)
                elif size_class == needed_class and kv_tokens is not None:
                    # The class of the need itself: some have room, some have not.
                    self._walk(want, penalty_s, ranks, kv_tokens)

    def _holders(self, index: PlacementIndex, want: Want, kv_tokens: int | None) -> None:
        for name, worth in want.holders.items():
            entry = index.entry(name)
            stands = entry.ranks.get(want.role)
            penalty_s = want.groups.get(entry.state.group)
            if stands is None or penalty_s is None:
                continue
            if kv_tokens is None or entry.kv_free_tokens >= kv_tokens:
                self._look_at(want, penalty_s, stands[1], worth)

    def _walk(
        self, want: Want, penalty_s: float, ranks: list[Rank], kv_tokens: int | None = None
    ) -> None:
        """From the shortest queue on, until nothing further down can be better."""
        at_most_s = want.others.net_s if want.worth_of is None else want.at_most_s
        walked = 0
        for rank in ranks:
            best = self.best
            if best is not None:
                bound = want.delay_factor * rank[0] + penalty_s - at_most_s
                if bound > best[0] or (bound == best[0] and rank >= best[1]):
                    return
            if kv_tokens is not None and -rank[1] < kv_tokens:
                continue
            if rank[3] in want.holders:
                continue
            if want.worth_of is None:
                # All others are worth the same, so the first of them is the best of them.
                self._look_at(want, penalty_s, rank, want.others)
                return
            self._look_at(want, penalty_s, rank, want.worth_of(rank[3]))
            walked += 1
            if walked >= want.max_walk:
                return

    def _look_at(self, want: Want, penalty_s: float, rank: Rank, worth: Worth) -> None:
        minus_score_s = want.delay_factor * rank[0] + penalty_s - worth.net_s
        scored = Scored(minus_score_s, rank, penalty_s, worth)
        self.looked_at.append(scored)
        if self.best is None or scored < self.best:
            self.best = scored
