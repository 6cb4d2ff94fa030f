"""The prefix caches of the LLM instances as the gateway sees them.

What an instance holds of a prompt is an estimate: it may have gone when the prompt arrives. What
was really cached comes back with the first token, and both are counted.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from saccade.scheduler.cost_model import CostModel
from saccade.serving.caches.block_events import KvEventSource
from saccade.serving.caches.prefix_index import PrefixIndex
from saccade.serving.config.prefix_index import PrefixIndexConfig
from saccade.serving.gateway.costs import PrefillCosts
from saccade.serving.gateway.kv_events import KvEventFollower
from saccade.serving.gateway.prefix_metrics import PrefixMetrics
from saccade.serving.transport.instance_pb2 import GenerateChunk, Prompt

log = logging.getLogger(__name__)

Hasher = Callable[[Prompt], Iterator[int]]
"""The names of a prompt's whole blocks, `serving.engine.block_hashes.BlockHasher`."""


@dataclass(slots=True)
class PrefixEstimate:
    """What is known of one answer's prompt and the prefix cache of the instance it is placed on."""

    expected_tokens: int | None = None
    """Its cached tokens by the index; None when placement did not ask."""
    prefill_s: float | None = None
    """How long its prefill took, if it had the instance to itself."""
    settled: bool = False


class PrefixCaches:
    """Follows the engines that publish, and says which of them holds what of a prompt."""

    def __init__(self, config: PrefixIndexConfig, metrics: PrefixMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self.index = PrefixIndex(config.max_blocks)
        self._followed: dict[str, tuple[KvEventSource, asyncio.Task[None]]] = {}
        self._refused: set[KvEventSource] = set()
        self._hasher: tuple[Hasher, int, str] | None = None
        self._costs = PrefillCosts()
        metrics.watch(self.index)

    @property
    def costs(self) -> CostModel:
        """For placement, in prefills of usual length."""
        return self._costs.in_requests

    def hash_with(self, hasher: Hasher, block_size: int, seed: str) -> None:
        """From now on; before that, nobody holds anything."""
        self._hasher = (hasher, block_size, seed)

    @property
    def block_size(self) -> int | None:
        """Tokens in a block; None while nothing can be asked."""
        return None if self._hasher is None else self._hasher[1]

    def count_ahead(self, num_tokens: int) -> None:
        """Text that was prefilled while its pictures were encoded."""
        self._metrics.ahead_tokens.inc(num_tokens)

    # Following ---------------------------------------------------------------------------------

    def follow(self, name: str, source: KvEventSource | None) -> None:
        """Follow what an instance publishes at this place; None when it is gone, or publishes
        nothing. May be called again and again; a new place is an engine that has started again."""
        followed = self._followed.get(name)
        if followed is not None and followed[0] == source:
            return
        if followed is not None:
            followed[1].cancel()
            del self._followed[name]
            self.index.drop(name)
        if source is not None and self._comparable(name, source):
            follower = KvEventFollower(name, source, self.index.add(name), self._config.reconcile_s)
            self._followed[name] = (source, asyncio.create_task(follower.run()))

    async def close(self) -> None:
        tasks = [task for _, task in self._followed.values()]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _comparable(self, name: str, source: KvEventSource) -> bool:
        if self._hasher is None:
            return False
        _, block_size, seed = self._hasher
        if (source.block_size, source.hash_seed) == (block_size, seed):
            return True
        if source not in self._refused:
            self._refused.add(source)
            log.warning(
                "instance %s: its prefix cache is not in the index, since its blocks of %d tokens "
                "are not named as those of %d here; set PYTHONHASHSEED to the same value, or "
                "nowhere, on all nodes",
                name, source.block_size, block_size,
            )  # fmt: skip
        return False

    # Asking ------------------------------------------------------------------------------------

    def held_tokens(self, prompt: Prompt) -> dict[str, int]:
        """By instance how many tokens of the prompt it holds, if any."""
        if self._hasher is None or not self.index.num_blocks:
            return {}
        hasher, block_size, _ = self._hasher
        found = self.index.match(hasher(prompt))
        return {name: num_blocks * block_size for name, num_blocks in found.items()}

    def settle(self, estimate: PrefixEstimate, prompt: Prompt, chunk: GenerateChunk) -> None:
        """Compare with what was really cached, once, with the first chunk of an answer."""
        if estimate.settled or not chunk.HasField("num_cached_tokens"):
            return
        estimate.settled = True
        num_tokens, num_cached = len(prompt.token_ids), chunk.num_cached_tokens
        if estimate.prefill_s is not None:
            expected_s = self._costs.prefill_s(num_tokens, num_cached)
            self._metrics.count_cost("prefill", expected_s, estimate.prefill_s)
            self._costs.observe(num_tokens, num_cached, estimate.prefill_s)
        saved_s = self._costs.saved_s(num_tokens, num_cached)
        self._metrics.count(estimate.expected_tokens, num_cached, saved_s)
