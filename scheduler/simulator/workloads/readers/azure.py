"""Azure's public traces: LLM 2023 and 2024 (text), LMM 2025 (with NumImages).

TIMESTAMP is a date with up to nine decimals, or seconds. In LMM 2025 ContextTokens counts text and
pictures; NumImages lies on squares (1, 4, 9, 16), so it counts tiles: each is taken for a picture
of 256 tokens as long as the context has room for them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from saccade.scheduler.simulator.workloads.base import TraceRequest
from saccade.scheduler.simulator.workloads.readers.files import Row, csv_rows, in_order

TILE_TOKENS = 256


def read_llm(path: Path) -> Iterator[TraceRequest]:
    return _read(path)


def read_lmm(path: Path) -> Iterator[TraceRequest]:
    return _read(path, "numimages")


def _read(path: Path, *more: str) -> Iterator[TraceRequest]:
    arrival_s = float("-inf")
    for row in csv_rows(path, "timestamp", "contexttokens", "generatedtokens", *more):
        arrival_s = in_order(row, _seconds(row), arrival_s)
        context = max(1, row.count("contexttokens"))
        images = _tiles(context, row.count("numimages", default=0))
        yield TraceRequest(
            arrival_s=arrival_s,
            text_tokens=max(1, context - sum(images)),
            output_tokens=max(1, row.count("generatedtokens")),
            image_tokens=images,
        )


def _tiles(context_tokens: int, num_images: int) -> tuple[int, ...]:
    """Pictures that leave at least one token of text; smaller ones where the context is short."""
    if num_images == 0:
        return ()
    fitting = min(num_images, max(1, (context_tokens - 1) // TILE_TOKENS))
    return (min(TILE_TOKENS, max(1, context_tokens - 1)),) * fitting


def _seconds(row: Row) -> float:
    text = str(row.get("timestamp") or "")
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise row.error(
            f"timestamp is {text!r}; a date such as 2023-11-16 18:15:46.68, or seconds, is needed"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
