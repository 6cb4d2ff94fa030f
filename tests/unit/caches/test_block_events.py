"""Messages as vLLM makes them, read by our decoder."""

import msgspec
import pytest

from saccade.serving.caches.block_events import (
    BadBatchError,
    Cleared,
    Removed,
    Stored,
    decode_batch,
    short_hash,
)

# Written by vLLM's `KVEventBatch` of the pinned version: tests/integration/test_kv_events.py
# compares with what it writes today.
STORED = {
    "type": "BlockStored",
    "block_hashes": [b"\x01" * 32, b"\x02" * 32],
    "parent_block_hash": None,
    "token_ids": list(range(64)),
    "block_size": 32,
    "lora_id": None,
    "medium": "GPU",
    "lora_name": None,
    "extra_keys": [["salt"], None],
    "group_idx": 0,
    "kv_cache_spec_kind": "full_attention",
}
REMOVED = {"type": "BlockRemoved", "block_hashes": [b"\x01" * 32], "medium": "GPU", "group_idx": 0}
ONE, TWO = int.from_bytes(b"\x01" * 8, "big"), int.from_bytes(b"\x02" * 8, "big")


def batch_of(*events: object) -> bytes:
    return msgspec.msgpack.encode([1.5, events, 0])


def test_a_batch_is_read_in_order() -> None:
    payload = batch_of(STORED, REMOVED, {"type": "AllBlocksCleared"})
    batch = decode_batch((7).to_bytes(8, "big"), payload, 32)
    assert batch.seq == 7
    assert batch.events == (Stored((ONE, TWO)), Removed((ONE,)), Cleared())


@pytest.mark.parametrize("other", [{"block_size": 16}, {"group_idx": 1}, {"medium": "CPU"}])
def test_blocks_that_no_prefix_is_looked_for_by_are_left_out(other: dict[str, object]) -> None:
    assert decode_batch(bytes(8), batch_of(STORED | other), 32).events == ()


def test_whole_numbers_of_vllm_are_the_same_bits_as_ours() -> None:
    # VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES keeps the last 64 bits of the hash.
    block_hash = bytes(range(32))
    as_vllm = int.from_bytes(block_hash, "big") & ((1 << 64) - 1)
    assert short_hash(block_hash) == short_hash(as_vllm) == as_vllm


def test_batches_of_two_publishers_are_told_apart() -> None:
    first, second = (msgspec.msgpack.encode([ts, [REMOVED], 0]) for ts in (1.5, 1.6))
    assert decode_batch(bytes(8), first, 32).digest != decode_batch(bytes(8), second, 32).digest


@pytest.mark.parametrize("payload", [b"", b"\xc1", batch_of({"type": "Other"}), b"\x93\x01\x02"])
def test_what_is_no_batch_is_an_error_of_its_own(payload: bytes) -> None:
    with pytest.raises(BadBatchError):
        decode_batch(bytes(8), payload, 32)
