"""Mooncake: JSON lines of timestamp (ms), input_length, output_length, hash_ids.

`hash_ids` name blocks of 512 tokens; equal leading ids are a shared beginning.
"""

from collections.abc import Iterator
from pathlib import Path

from saccade.scheduler.simulator.workloads.base import TraceRequest
from saccade.scheduler.simulator.workloads.readers.files import Row, in_order, json_rows

BLOCK_TOKENS = 512


def read(path: Path) -> Iterator[TraceRequest]:
    arrival_s = float("-inf")
    for row in json_rows(path):
        arrival_s = in_order(row, row.number("timestamp") / 1e3, arrival_s)
        yield TraceRequest(
            arrival_s=arrival_s,
            text_tokens=max(1, row.count("input_length")),
            output_tokens=max(1, row.count("output_length")),
            prefix_keys=_blocks(row),
            prefix_block_tokens=BLOCK_TOKENS,
        )


def _blocks(row: Row) -> tuple[int, ...]:
    found = row.get("hash_ids")
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(one, int) for one in found):
        raise row.error("hash_ids must be a list of whole numbers")
    return tuple(found)
