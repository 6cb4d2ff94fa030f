"""What instances remember: visual tokens by picture, KV by beginning of the sequence."""

from collections import OrderedDict

from saccade.scheduler.simulator.workloads.base import TraceRequest


class LruCache:
    """Keys with their size in tokens; the least recently used go when it is full."""

    __slots__ = ("_held", "capacity_tokens", "hits", "misses", "used_tokens")

    def __init__(self, capacity_tokens: int) -> None:
        self.capacity_tokens = capacity_tokens
        self.used_tokens = 0
        self.hits = 0
        self.misses = 0
        self._held: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: int) -> bool:
        return key in self._held

    def touch(self, key: int) -> bool:
        """Look for it, and count what was found."""
        if key in self._held:
            self._held.move_to_end(key)
            self.hits += 1
            return True
        self.misses += 1
        return False

    def put(self, key: int, tokens: int) -> list[int]:
        """Remember it; returns the keys that had to go (itself, if it is too large)."""
        if tokens > self.capacity_tokens:
            return [key]
        if key in self._held:
            self._held.move_to_end(key)
            return []
        self._held[key] = tokens
        self.used_tokens += tokens
        gone = []
        while self.used_tokens > self.capacity_tokens:
            old, size = self._held.popitem(last=False)
            self.used_tokens -= size
            gone.append(old)
        return gone

    def clear(self) -> list[int]:
        gone = list(self._held)
        self._held.clear()
        self.used_tokens = 0
        return gone


def prefix_blocks(request: TraceRequest) -> tuple[tuple[int, int], ...]:
    """(key of the beginning, its length in tokens), shortest first.

    Recorded blocks where the trace has them; else the pictures, which chat templates put before
    the question, so that a picture that comes again brings its KV.
    """
    if request.prefix_keys:
        size = request.prefix_block_tokens
        # The last block may be cut short; the token to compute next is never cached.
        whole = (request.input_tokens - 1) // size
        return tuple(
            (key, size * number) for number, key in enumerate(request.prefix_keys[:whole], 1)
        )
    chain, length, blocks = 0, 0, []
    for key, tokens in zip(request.image_keys, request.image_tokens, strict=False):
        chain = hash((chain, key))
        length += tokens
        blocks.append((chain, length))
    return tuple(blocks)


def cached_prefix_tokens(cache: LruCache, request: TraceRequest) -> int:
    """Tokens of the longest beginning that `cache` holds."""
    found = 0
    for key, length in prefix_blocks(request):
        if not cache.touch(key):
            break
        found = length
    return found


def remember_prefix(cache: LruCache, request: TraceRequest) -> list[int]:
    """Put all beginnings of a finished prefill; returns the keys that had to go."""
    gone: list[int] = []
    before = 0
    for key, length in prefix_blocks(request):
        gone += cache.put(key, length - before)
        before = length
    return gone
