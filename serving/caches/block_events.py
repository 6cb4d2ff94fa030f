"""vLLM's KV events, as they come over ZMQ: which blocks an engine has stored and removed.

Only what the index needs is decoded; token ids, which are most of a message, are skipped.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import msgspec

END_OF_REPLAY = -1
_MASK = (1 << 64) - 1
# Where an engine's own KV lies, on a CPU too; other media are those of offloading connectors.
_OWN = (None, "GPU")


@dataclass(frozen=True, slots=True)
class KvEventSource:
    """Where an engine publishes which KV blocks it stores and removes."""

    endpoint: str
    replay_endpoint: str
    block_size: int
    hash_seed: str
    """`serving.engine.block_hashes.hash_seed` there; hashes of other seeds are other names."""


class BlockStored(msgspec.Struct, tag=True):
    """Names and fields are vLLM's (`vllm.distributed.kv_events`)."""

    block_hashes: list[bytes | int]
    block_size: int
    medium: str | None = None
    group_idx: int | None = None


class BlockRemoved(msgspec.Struct, tag=True):
    """As above."""

    block_hashes: list[bytes | int]
    medium: str | None = None
    group_idx: int | None = None


class AllBlocksCleared(msgspec.Struct, tag=True):
    """As above."""


class _Batch(msgspec.Struct, array_like=True):
    ts: float
    events: list[BlockStored | BlockRemoved | AllBlocksCleared]


class Stored(NamedTuple):
    """Blocks that can be hit from now on."""

    hashes: tuple[int, ...]


class Removed(NamedTuple):
    """One copy of each block has gone; there may be others."""

    hashes: tuple[int, ...]


class Cleared(NamedTuple):
    """Nothing is left."""


Event: TypeAlias = Stored | Removed | Cleared


class Batch(NamedTuple):
    """What one step of an engine has changed."""

    seq: int
    """Counted by the publisher, from 0."""
    digest: int
    """Tells a batch from another publisher's of the same number."""
    events: tuple[Event, ...]


class BadBatchError(Exception):
    """A message that is not what this version of vLLM sends."""


_decoder = msgspec.msgpack.Decoder(_Batch)


def decode_batch(seq: bytes, payload: bytes, block_size: int) -> Batch:
    """From the last two frames of a message.

    Blocks of another size, of other cache groups than the first, and of other media are left out:
    no prefix is looked for by their hashes.

    Raises:
        BadBatchError: it is none.
    """
    try:
        events = _decoder.decode(payload).events
    except msgspec.MsgspecError as error:
        raise BadBatchError(str(error)) from error
    kept = tuple(_event(event) for event in events if _counts(event, block_size))
    return Batch(int.from_bytes(seq, "big", signed=True), hash(payload), kept)


def short_hash(block_hash: bytes | int) -> int:
    """64 bits, which are enough to find a block: a mistake costs time, never a wrong answer.

    The same bits that vLLM keeps with `VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES`.
    """
    if isinstance(block_hash, bytes):
        return int.from_bytes(block_hash[-8:], "big")
    return block_hash & _MASK


def _counts(event: BlockStored | BlockRemoved | AllBlocksCleared, block_size: int) -> bool:
    if isinstance(event, AllBlocksCleared):
        return True
    if event.medium not in _OWN or event.group_idx not in (None, 0):
        return False
    return isinstance(event, BlockRemoved) or event.block_size == block_size


def _event(event: BlockStored | BlockRemoved | AllBlocksCleared) -> Event:
    if isinstance(event, AllBlocksCleared):
        return Cleared()
    hashes = tuple(short_hash(one) for one in event.block_hashes)
    return Stored(hashes) if isinstance(event, BlockStored) else Removed(hashes)
