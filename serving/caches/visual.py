"""The visual-token cache of one encode instance: its memory, and a disk behind it.

What is kept is unpruned, with what pruning may look at, so a new question about a picture needs no
new encoding.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from saccade.serving.caches.aliases import Aliases
from saccade.serving.caches.disk import DiskTier
from saccade.serving.caches.eviction import Entry, eviction
from saccade.serving.caches.memory import MemoryTier
from saccade.serving.caches.stats import Tier, TierStats
from saccade.serving.caches.tokens import num_bytes
from saccade.serving.config.visual_cache import VisualCacheConfig

if TYPE_CHECKING:
    from saccade.encoders.base import VisualFeatures

T = TypeVar("T")

# Entries that wait for the disk are held in memory beside the budget; what is beyond is not
# written.
MAX_PENDING_WRITES = 8


@dataclass(frozen=True, slots=True)
class Found:
    features: "VisualFeatures"
    cost_ms: float
    """What making them took."""
    tier: Tier


class VisualTokenCache:
    """For one event loop. The disk is touched in a thread of its own, and in no other."""

    def __init__(self, config: VisualCacheConfig, instance: str) -> None:
        """Raises `FolderInUseError` or `OSError` where the disk cannot be used."""
        self._memory: MemoryTier[VisualFeatures] = MemoryTier(
            config.memory_bytes, eviction(config.eviction)
        )
        self._aliases = Aliases()
        self._disk = _open_disk(config, instance)
        self._disk_thread = ThreadPoolExecutor(1, thread_name_prefix="visual-cache")
        self._writes: set[asyncio.Task[None]] = set()
        for alias, key in self._disk.aliases().items() if self._disk else ():
            self._aliases.add(alias, key)

    def key(self, alias: str) -> str | None:
        """Of the pixels of a file that was seen before."""
        return self._aliases.key(alias)

    def known(self) -> frozenset[str]:
        """Every alias that `key` knows."""
        return frozenset(self._aliases)

    async def find(self, key: str) -> Found | None:
        """From the fastest tier that has it; from then on it is in memory, too."""
        held = self._memory.get(key)
        if held is not None:
            return Found(held[0], held[1].cost_ms, "memory")
        if self._disk is None or key not in self._disk:
            return None
        read = await self._on_disk(lambda disk: disk.read(key))
        if read is None:
            self._tidy([key])
            return None
        features, entry = read
        self._hold(entry, features)
        return Found(features, entry.cost_ms, "disk")

    def add_alias(self, alias: str, key: str) -> None:
        """A file that has these pixels."""
        if self._has(key):
            self._aliases.add(alias, key)

    def put(
        self, key: str, features: "VisualFeatures", *, owner: str, alias: str, cost_ms: float
    ) -> None:
        """Keep what was made; it is on disk a little later."""
        entry = Entry(key, num_bytes(features), cost_ms, owner)
        self._hold(entry, features)
        self.add_alias(alias, key)
        if self._disk is not None and len(self._writes) < MAX_PENDING_WRITES:
            write = asyncio.create_task(self._write(entry, alias, features))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)

    async def clear(self, owner: str | None = None) -> int:
        """Forget everything, or what is one owner's; returns how many entries that were."""
        gone = {entry.key for entry in self._memory.clear(owner)}
        gone |= {entry.key for entry in await self._on_disk(lambda disk: disk.clear(owner)) or ()}
        self._tidy(gone)
        return len(gone)

    def stats(self) -> dict[Tier, TierStats]:
        """Of the tiers that there are."""
        stats: dict[Tier, TierStats] = {"memory": self._memory.stats()}
        if self._disk is not None:
            stats["disk"] = self._disk.stats()
        return stats

    async def settle(self) -> None:
        """Wait until all that was put is on disk."""
        while self._writes:
            await asyncio.wait(set(self._writes))

    def close(self) -> None:
        """Files stay; what is still to be written is lost."""
        self._disk_thread.shutdown(wait=True, cancel_futures=True)
        if self._disk is not None:
            self._disk.close()

    def _hold(self, entry: Entry, features: "VisualFeatures") -> None:
        here = Entry(entry.key, num_bytes(features), entry.cost_ms, entry.owner)
        self._tidy(gone.key for gone in self._memory.put(here, features))

    async def _write(self, entry: Entry, alias: str, features: "VisualFeatures") -> None:
        evicted = await self._on_disk(lambda disk: disk.write(entry, alias, features))
        self._tidy(gone.key for gone in evicted or ())
        self.add_alias(alias, entry.key)

    async def _on_disk(self, work: Callable[[DiskTier], T]) -> T | None:
        """None where there is no disk."""
        disk = self._disk
        if disk is None:
            return None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._disk_thread, lambda: work(disk))

    def _tidy(self, gone: Iterable[str]) -> None:
        """Names of what is in no tier any more."""
        for key in gone:
            if not self._has(key):
                self._aliases.forget(key)

    def _has(self, key: str) -> bool:
        return key in self._memory or (self._disk is not None and key in self._disk)


def _open_disk(config: VisualCacheConfig, instance: str) -> DiskTier | None:
    if not config.disk_bytes or config.disk_folder is None:
        return None
    return DiskTier(config.disk_folder / instance, config.disk_bytes, eviction(config.eviction))
