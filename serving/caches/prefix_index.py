"""Which instance holds how long a beginning of a prompt, from the KV events of the engines.

Pure: batches come from `serving.gateway.kv_events`. At any time an instance is believed to hold
what it held after the latest batch that has arrived, or less; never more.
"""

from collections.abc import Iterable, Sequence

from saccade.serving.caches.block_events import Batch, Cleared, Event, Removed, Stored


class PrefixIndex:
    """The blocks of all instances that are followed. Holds `max_blocks` of them at most."""

    def __init__(self, max_blocks: int) -> None:
        self._budget = _Budget(max_blocks)
        self._instances: dict[str, InstanceBlocks] = {}

    def add(self, name: str) -> "InstanceBlocks":
        """Begin to follow an instance, or begin anew: nothing is known of it."""
        self.drop(name)
        blocks = self._instances[name] = InstanceBlocks(self._budget)
        return blocks

    def drop(self, name: str) -> None:
        """Forget an instance; nothing happens when it is not known."""
        blocks = self._instances.pop(name, None)
        if blocks is not None:
            blocks.forget()

    def blocks(self) -> dict[str, "InstanceBlocks"]:
        return dict(self._instances)

    @property
    def num_blocks(self) -> int:
        return self._budget.used

    def match(self, hashes: Iterable[int]) -> dict[str, int]:
        """By instance how many of the first blocks of a prompt it holds, if any.

        `hashes` is read as long as somebody holds the block, and no further.
        """
        found: dict[str, int] = {}
        holding = list(self._instances.items())
        for num_blocks, block_hash in enumerate(hashes, 1):
            holding = [(name, blocks) for name, blocks in holding if block_hash in blocks]
            if not holding:
                break
            for name, _ in holding:
                found[name] = num_blocks
        return found


class InstanceBlocks:
    """What one engine holds, followed through its numbered batches of events.

    Lost batches show as a gap in the numbers, and lost ones at the end when the publisher is asked
    what came after the latest that is known. It answers with that one first, so that the publisher
    of an engine that has started again is told from the old one. (An engine that starts again has
    another endpoint, and is added anew; this is the second line of defence.)
    """

    def __init__(self, budget: "_Budget") -> None:
        self._budget = budget
        # vLLM may hold two blocks of the same content, and reports each of them.
        self._copies: dict[int, int] = {}
        self._next_seq = 0
        self._latest_digest: int | None = None
        self._latest_live = -1
        self.num_batches = 0
        self.num_gaps = 0
        self.num_rebuilds = 0

    def __contains__(self, block_hash: int) -> bool:
        return block_hash in self._copies

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def replay_from(self) -> int:
        """Where a replay has to begin: with the latest batch that is known."""
        return max(0, self._next_seq - 1)

    def on_batch(self, batch: Batch) -> bool:
        """Take in a batch as it was published.

        Returns:
            False when others are missing before it, or the numbers begin anew; a replay from
            `replay_from` is needed, and brings this one again.
        """
        began_anew = batch.seq <= self._latest_live
        self._latest_live = batch.seq
        if batch.seq > self._next_seq:
            self.num_gaps += 1
        if began_anew or batch.seq > self._next_seq:
            return False
        if batch.seq == self._next_seq:
            self._apply(batch)
        return True

    def on_replay(self, batches: Sequence[Batch]) -> bool:
        """Take in what a replay has brought, oldest first, up to the first that is missing.

        Returns:
            False when another replay is needed: something is missing, or it does not continue what
            is known, which is then forgotten.
        """
        if self._latest_digest is not None:
            latest = (self._next_seq - 1, self._latest_digest)
            if not batches or (batches[0].seq, batches[0].digest) != latest:
                self.forget()
                self.num_rebuilds += 1
                return False
            batches = batches[1:]
        for batch in batches:
            # ZMQ drops what a slow reader has no room for, in a replay too.
            if batch.seq != self._next_seq and self._latest_digest is not None:
                return False
            self._apply(batch)
        return True

    def forget(self) -> None:
        """Nothing is known any more; the next replay begins with the oldest batch."""
        self._budget.used -= len(self._copies)
        self._copies.clear()
        self._next_seq = 0
        self._latest_digest = None

    def _apply(self, batch: Batch) -> None:
        for event in batch.events:
            self._change(event)
        self._next_seq = batch.seq + 1
        self._latest_digest = batch.digest
        self.num_batches += 1

    def _change(self, event: Event) -> None:
        copies, budget = self._copies, self._budget
        if isinstance(event, Stored):
            for block_hash in event.hashes:
                known = copies.get(block_hash, 0)
                if known or budget.used < budget.limit:
                    budget.used += not known
                    copies[block_hash] = known + 1
        elif isinstance(event, Removed):
            for block_hash in event.hashes:
                known = copies.get(block_hash, 0)
                if known > 1:
                    copies[block_hash] = known - 1
                elif known:
                    del copies[block_hash]
                    budget.used -= 1
        else:
            assert isinstance(event, Cleared)
            budget.used -= len(copies)
            copies.clear()


class _Budget:
    """Blocks that all instances together may have in the index."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
