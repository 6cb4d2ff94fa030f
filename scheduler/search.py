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


# What a search makes for each instance that it looks at; a `Scored` without names is made in a
# third of the time.
ScoredRow = tuple[float, Rank, float, Worth]


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
    best: ScoredRow
    rows: tuple[ScoredRow, ...]
    has_room: bool
    """False: nobody has that much KV free now, so the request will wait for it."""

    @property
    def name(self) -> str:
        return self.best[1][3]

    @property
    def scored(self) -> Scored:
        return Scored(*self.best)

    @property
    def looked_at(self) -> tuple[Scored, ...]:
        """All that were looked at, in that order."""
        return tuple(Scored(*row) for row in self.rows)


def search(index: PlacementIndex, want: Want) -> Choice | None:
    """The best of those with room; of all, when none has any; None when none serves the role."""
    best, rows = _round(index, want, want.kv_tokens)
    has_room = best is not None
    if best is None and want.kv_tokens is not None:
        best, rows = _round(index, want, None)
    return None if best is None else Choice(want.role, best, tuple(rows), has_room)


def _round(
    index: PlacementIndex, want: Want, kv_tokens: int | None
) -> tuple[ScoredRow | None, list[ScoredRow]]:
    """The best among the instances that have `kv_tokens` free, and all looked at; None takes
    all."""
    rows = _holders(index, want, kv_tokens) if want.holders else []
    best = min(rows, default=None)
    needed_class = -1 if kv_tokens is None else size_class_of(kv_tokens)
    for group, penalty_s in want.groups.items():
        ordering = index.ordering(group, want.role)
        if ordering is None:
            continue
        for size_class, ranks in ordering.items():
            if size_class > needed_class:
                best = _walk(want, penalty_s, ranks, None, best, rows)
            elif size_class == needed_class:
                # The class of the need itself: some have room, some have not.
                best = _walk(want, penalty_s, ranks, kv_tokens, best, rows)
    return best, rows


def _holders(index: PlacementIndex, want: Want, kv_tokens: int | None) -> list[ScoredRow]:
    rows: list[ScoredRow] = []
    for name, worth in want.holders.items():
        entry = index.entry(name)
        stands = entry.ranks.get(want.role)
        penalty_s = want.groups.get(entry.state.group)
        if stands is None or penalty_s is None:
            continue
        if kv_tokens is None or entry.kv_free_tokens >= kv_tokens:
            rank = stands[1]
            minus_score_s = want.delay_factor * rank[0] + penalty_s - worth.net_s
            rows.append((minus_score_s, rank, penalty_s, worth))
    return rows


def _walk(
    want: Want,
    penalty_s: float,
    ranks: list[Rank],
    kv_tokens: int | None,
    best: ScoredRow | None,
    rows: list[ScoredRow],
) -> ScoredRow | None:
    """From the shortest queue on, until nothing further down can be better than the best."""
    others, worth_of = want.others, want.worth_of
    at_most_s = others.net_s if worth_of is None else want.at_most_s
    walked = 0
    for rank in ranks:
        delay_s = want.delay_factor * rank[0] + penalty_s
        if best is not None:
            bound = delay_s - at_most_s
            if bound > best[0] or (bound == best[0] and rank >= best[1]):
                return best
        name = rank[3]
        if (kv_tokens is not None and -rank[1] < kv_tokens) or name in want.holders:
            continue
        worth = others if worth_of is None else worth_of(name)
        row = (delay_s - worth.net_s, rank, penalty_s, worth)
        rows.append(row)
        if best is None or row < best:
            best = row
        walked += 1
        # When all others are worth the same, the first of them is the best of them.
        if worth_of is None or walked >= want.max_walk:
            return best
    return best
