"""The scheduler's own logs (`saccade.scheduler.journal`): the requests that it decided about.

A request counts once, when admission was first asked about it, let in or not (at the time of that
question), or else when it was first queued or placed (at its arrival). Output tokens are those that
were expected. Shared beginnings are not taken over: the log names them, not their blocks.
"""

from collections.abc import Iterator
from pathlib import Path

from saccade.scheduler.codec import decode
from saccade.scheduler.requests import RequestShape
from saccade.scheduler.simulator.workloads.base import TraceRequest
from saccade.scheduler.simulator.workloads.readers.files import Row, content_key, json_rows

_ASKING = ("decide", "push", "place")


def read(path: Path) -> Iterator[TraceRequest]:
    """By arrival: decisions are not made in that order, so the file is read whole."""
    found: dict[str, TraceRequest] = {}
    for row in json_rows(path):
        if row.get("policy") is None:
            _note(row, found)
    return iter(sorted(found.values(), key=lambda request: request.arrival_s))


def _note(row: Row, found: dict[str, TraceRequest]) -> None:
    call, arguments = row.get("call"), row.get("arguments")
    if call is None or not isinstance(arguments, list):
        raise row.error("is no call of a log of placements, of admission or of a queue")
    if call not in _ASKING:
        return
    try:
        shape = decode(RequestShape, arguments[0])
        arrival_s = float(arguments[3]) if call == "decide" else shape.arrival_s
    except (ValueError, TypeError, IndexError) as error:
        raise row.error(f"{call} names no request ({error})") from None
    found.setdefault(shape.key, _request(shape, arrival_s))


def _request(shape: RequestShape, arrival_s: float) -> TraceRequest:
    return TraceRequest(
        arrival_s=arrival_s,
        text_tokens=max(1, shape.text_tokens),
        output_tokens=max(1, shape.output_tokens),
        image_tokens=tuple(max(1, item.tokens) for item in shape.visual),
        image_keys=tuple(content_key(item.key) for item in shape.visual),
        tenant=shape.tenant,
    )
