"""Requests that Saccade recorded: JSON lines, one a request.

    {"arrival_s": 12.5, "text_tokens": 80, "image_tokens": [1369], "output_tokens": 120}

Optional: image_keys (content of each picture, any text or number), prefix_keys with
prefix_block_tokens, tenant. Other fields are passed over.
"""

from collections.abc import Iterator
from pathlib import Path

from saccade.scheduler.simulator.workloads.base import TraceRequest
from saccade.scheduler.simulator.workloads.readers.files import (
    Row,
    content_key,
    in_order,
    json_rows,
)


def read(path: Path) -> Iterator[TraceRequest]:
    arrival_s = float("-inf")
    for row in json_rows(path):
        arrival_s = in_order(row, row.number("arrival_s"), arrival_s)
        images = _counts(row, "image_tokens")
        keys = _keys(row, "image_keys")
        if keys and len(keys) != len(images):
            raise row.error(f"{len(keys)} image_keys for {len(images)} image_tokens")
        blocks = _keys(row, "prefix_keys")
        yield TraceRequest(
            arrival_s=arrival_s,
            text_tokens=max(1, row.count("text_tokens", "input_tokens")),
            output_tokens=max(1, row.count("output_tokens")),
            image_tokens=images,
            image_keys=keys,
            prefix_keys=blocks,
            prefix_block_tokens=row.count("prefix_block_tokens", least=1) if blocks else 0,
            tenant=str(row.get("tenant") or "default"),
        )


def _list(row: Row, name: str) -> list[object]:
    found = row.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise row.error(f"{name} must be a list")
    return found


def _counts(row: Row, name: str) -> tuple[int, ...]:
    found = _list(row, name)
    if not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in found):
        raise row.error(f"{name} must hold whole numbers above 0")
    return tuple(one for one in found if isinstance(one, int))


def _keys(row: Row, name: str) -> tuple[int, ...]:
    return tuple(one if isinstance(one, int) else content_key(str(one)) for one in _list(row, name))
