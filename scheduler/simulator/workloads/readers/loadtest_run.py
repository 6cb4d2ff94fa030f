"""`requests.jsonl` of a `saccade loadtest` run: what was sent, at the times it was due.

Times are in ns after the run's start. Visual tokens are the server's count, or else follow from the
pixels; they are shared evenly among the pictures. Requests of unknown length (they failed before
the first token, and asked for no number) are passed over.
"""

from collections.abc import Iterator
from pathlib import Path

from saccade.scheduler.simulator.workloads.base import PIXELS_PER_TOKEN, TraceRequest
from saccade.scheduler.simulator.workloads.readers.files import Row, json_rows


def read(path: Path) -> Iterator[TraceRequest]:
    """By due time: the file is in the order in which requests ended, so it is read whole."""
    rows = (row for row in json_rows(path) if row.get("type") == "request")
    found = [request for row in rows if (request := _request(row)) is not None]
    return iter(sorted(found, key=lambda request: request.arrival_s))


def _request(row: Row) -> TraceRequest | None:
    output_tokens = row.count("output_tokens", "wanted_output_tokens", default=0)
    if output_tokens == 0:
        return None
    images = _images(row)
    seen = row.count("input_tokens", default=0)
    text = seen - sum(images) if seen else row.count("wanted_input_tokens", default=1)
    return TraceRequest(
        arrival_s=row.number("scheduled_ns") / 1e9,
        text_tokens=max(1, text),
        output_tokens=output_tokens,
        image_tokens=images,
    )


def _images(row: Row) -> tuple[int, ...]:
    number = row.count("num_images", default=0)
    if number == 0:
        return ()
    pixels = row.count("num_pixels", default=0)
    tokens = row.count("visual_tokens", default=pixels // PIXELS_PER_TOKEN)
    return (max(1, tokens // number),) * number
