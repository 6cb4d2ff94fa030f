"""What the caches of the instances are worth to one request."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.requests import RequestShape
from saccade.scheduler.search import Worth

_NOTHING = frozenset[str]()


class Affinity:
    """Seconds that each instance saves a request in encode and prefill, before its queue."""

    __slots__ = (
        "_cost", "_encoded", "_index", "_prefix", "_prompt_tokens", "_visual", "_visual_keys",
        "_worths", "at_most_s", "complete", "holders", "of_others",
    )  # fmt: skip

    def __init__(self, index: PlacementIndex, request: RequestShape, prompt_tokens: int) -> None:
        policy = index.policy.placement
        cost = index.cost_model
        self._index = index
        self._cost = cost
        self._prompt_tokens = prompt_tokens
        self._worths: dict[tuple[AbstractSet[str], int], Worth] = {}
        self._prefix = request.prefix if policy.prefix_affinity else ()
        self._visual = [
            (item.key, cost.encode_s(item.tokens), cost.visual_transfer_s(item.tokens))
            for item in request.visual
        ]
        self._visual_keys = _NOTHING
        """Pictures that it matters to hold."""
        if policy.visual_affinity and self._visual:
            self._visual_keys = frozenset([item.key for item in request.visual])
        held = index.visual_holders if policy.share_visual_cache else {}
        self._encoded = [key for key in self._visual_keys if key in held]
        """Pictures whose encoding is saved wherever the request goes."""
        self.of_others = self._worth(_NOTHING, 0)
        self.holders: dict[str, Worth] = {}
        self.at_most_s = self._find_holders(policy.max_holders)
        self.complete = self.at_most_s <= self.of_others.net_s
        """No instance outside `holders` has anything."""

    def worth_of(self, name: str) -> Worth:
        entry = self._index.entry(name)
        for prefix in reversed(self._prefix):
            if prefix.key in entry.prefix:
                return self._worth(entry.visual, prefix.tokens)
        return self._worth(entry.visual, 0)

    def _find_holders(self, max_holders: int) -> float:
        """List who has anything; returns what those are worth at most that are too many to list."""
        holders = self.holders
        rest_tokens = 0
        for prefix in reversed(self._prefix):
            having = self._index.prefix_holders.get(prefix.key)
            if having is None:
                continue
            if len(holders) + len(having) > max_holders:
                rest_tokens = prefix.tokens
                break
            self._list(having)
        rest_visual = set()
        # In the order of the request: that of a set differs from one process to the next.
        for key, _, _ in self._visual if self._visual_keys else ():
            having = self._index.visual_holders.get(key)
            if having is None:
                continue
            if len(having) > max_holders:
                rest_visual.add(key)
            else:
                self._list(having)
        return self._worth(rest_visual, rest_tokens).net_s

    def _list(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.holders:
                self.holders[name] = self.worth_of(name)

    def _worth(self, visual: AbstractSet[str], cached_tokens: int) -> Worth:
        # Most instances hold the same of a request: nothing, or its system prompt.
        held = (self._visual_keys & visual, cached_tokens)
        worth = self._worths.get(held)
        if worth is None:
            worth = self._worths[held] = self._new_worth(*held)
        return worth

    def _new_worth(self, here: AbstractSet[str], cached_tokens: int) -> Worth:
        saved_encode_s = saved_prefill_s = transfer_s = 0.0
        for key, encode_s, visual_transfer_s in self._visual:
            if key in here or key in self._encoded:
                saved_encode_s += encode_s
            if key not in here:
                transfer_s += visual_transfer_s
        # The last token of a prompt is always computed.
        cached_tokens = max(0, min(cached_tokens, self._prompt_tokens - 1))
        if cached_tokens:
            saved_prefill_s = self._cost.prefill_s(self._prompt_tokens)
            saved_prefill_s -= self._cost.prefill_s(self._prompt_tokens, cached_tokens)
        return Worth(saved_encode_s, saved_prefill_s, transfer_s, cached_tokens)
