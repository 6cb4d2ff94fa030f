"""A request's body, from its first byte to a parsed object."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from saccade.serving.api.asgi import ClientDisconnectedError, Receive, Scope, header
from saccade.serving.api.in_flight import Lease
from saccade.serving.api.lifting import Lifter, put_back
from saccade.serving.errors import InvalidRequestError, TooLargeError

# Bodies above this, less what was lifted, are parsed in a thread.
LARGE_BODY_BYTES = 64 * 2**10


async def read_body(
    scope: Scope, receive: Receive, *, limit_bytes: int, lease: Lease
) -> dict[str, Any]:
    """Long strings at the places of pictures and clips are `LiftedText`.

    Raises:
        InvalidRequestError: it is no JSON object.
        TooLargeError: it has more than `limit_bytes`.
        TooMuchInFlightError: there is no room for it now.
        ClientDisconnectedError: the client has left.
    """
    declared = header(scope, b"content-length") or ""
    if declared.isascii() and declared.isdigit():
        # Refused before it is sent, where the client waits for that.
        _check_size(int(declared), limit_bytes)
        lease.check(int(declared))
    lifter = Lifter()
    num_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        num_bytes += len(chunk)
        _check_size(num_bytes, limit_bytes)
        lease.take(len(chunk))
        lifter.feed(chunk)
        # What has arrived already comes without a pause; others have requests, too.
        await asyncio.sleep(0)
    return await _parse(*lifter.finish())


def _check_size(num_bytes: int, limit_bytes: int) -> None:
    if num_bytes > limit_bytes:
        raise TooLargeError(
            f"The request body is larger than {limit_bytes} bytes (api.max_body_bytes)."
        )


async def _parse(raw: bytes, lifted: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        if len(raw) > LARGE_BODY_BYTES:
            body = await asyncio.to_thread(_loads, raw, lifted)
        else:
            body = _loads(raw, lifted)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"The request body is not valid JSON: {error}", code="invalid_json"
        ) from None
    if not isinstance(body, dict):
        raise InvalidRequestError("The request body must be a JSON object.", code="invalid_json")
    return body


def _loads(raw: bytes, lifted: Mapping[str, bytes]) -> Any:
    # Strictly UTF-8: json.loads of bytes would guess others and let half surrogate pairs through.
    text = raw.decode("utf-8")
    body = json.loads(text)
    if "\\ud" in text.lower():
        # Half a surrogate pair is valid JSON, but no text; vLLM answers it with a 500.
        json.dumps(body, ensure_ascii=False).encode()
    return put_back(body, lifted) if isinstance(body, dict) else body
