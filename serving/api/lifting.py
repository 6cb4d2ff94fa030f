"""Long strings are taken out of a JSON body as it arrives, before the rest is parsed.

Sixteen pictures as data URLs in one body are a hundred megabytes of JSON, which Python's parser
reads in one go, holding up everybody else. So what can only be a plain string, however long, is
put aside chunk by chunk, and a name takes its place.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

from saccade.serving.media.inline import LiftedText

MIN_LIFTED_BYTES: Final = 16 * 2**10
# Printable ASCII that may stand in a JSON string.
_PLAIN_OR_BACKSLASH: Final = bytes(code for code in range(0x20, 0x7F) if chr(code) != '"')
_IN_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


class Lifter:
    """Feed it the chunks of a body; O(n) in all, and a chunk takes microseconds a kilobyte.

    A string is lifted when it is long and consists of printable ASCII without escapes, but for
    `\\/`, which some clients write for every slash. All else is left as it is, broken JSON too.
    """

    def __init__(self, min_bytes: int = MIN_LIFTED_BYTES) -> None:
        self._min_bytes = min_bytes
        # What is outside of strings, and short strings with few escapes.
        self._outside = re.compile(
            rb'(?:[^"]++|"[^"\\]{0,%d}+(?:\\.[^"\\]{0,64}+){0,64}+")*+' % (min_bytes - 1), re.DOTALL
        )
        # No client can know it, so none can write a string that is taken for a lifted one.
        self._prefix = f"lifted-{secrets.token_hex(16)}-"
        self._rest = bytearray()
        self._lifted: dict[str, bytes] = {}
        self._held: bytearray | None = None
        """Of a string that may be lifted, since its opening quote."""
        self._in_string = False
        """In one that stays."""
        self._escaped = False

    def feed(self, chunk: bytes) -> None:
        position = 0
        while position < len(chunk):
            if self._held is not None:
                position = self._hold(chunk, position, self._held)
            elif self._in_string:
                position = self._pass(chunk, position)
            else:
                position = self._skip(chunk, position)

    def finish(self) -> tuple[bytes, Mapping[str, bytes]]:
        """The body with names instead of what was lifted, and that by name."""
        if self._held is not None:
            self._rest += b'"' + self._held
            self._held = None
        return bytes(self._rest), self._lifted

    def _skip(self, chunk: bytes, position: int) -> int:
        match = self._outside.match(chunk, position)
        end = match.end() if match else position
        self._rest += chunk[position:end]
        if end < len(chunk):
            self._held = bytearray()
            end += 1
        return end

    def _hold(self, chunk: bytes, position: int, held: bytearray) -> int:
        end = chunk.find(b'"', position)
        piece = chunk[position:] if end < 0 else chunk[position:end]
        held += piece
        if _is_mixed(piece) or (end >= 0 and held.endswith(b"\\")):
            # Not plain, or this quote may belong to an escape.
            del held[len(held) - len(piece) :]
            self._rest += b'"'
            self._rest += held
            self._held, self._in_string = None, True
            self._escaped = _ends_escaping(held)
            return position
        if end < 0:
            return len(chunk)
        self._held = None
        text = held.replace(b"\\/", b"/") if b"\\" in held else held
        if len(held) < self._min_bytes or b"\\" in text:
            self._rest += b'"' + held + b'"'
        else:
            name = f"{self._prefix}{len(self._lifted)}"
            self._lifted[name] = bytes(text)
            self._rest += f'"{name}"'.encode()
        return end + 1

    def _pass(self, chunk: bytes, position: int) -> int:
        start, position = position, position + self._escaped
        match = _IN_STRING.match(chunk, position)
        end = match.end() if match else position
        self._escaped = end < len(chunk) and chunk[end] == ord("\\")
        if end < len(chunk):
            # The closing quote, or a backslash that is the last of the chunk.
            self._in_string = self._escaped
            end += 1
        self._rest += chunk[start:end]
        return end


def put_back(body: dict[str, Any], lifted: Mapping[str, bytes]) -> dict[str, Any]:
    """The parsed body with its strings, except where pictures and clips are: there, `LiftedText`.

    May change `body`.
    """
    if not lifted:
        return body
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                _mark_media(part, lifted)
    restored: dict[str, Any] = _restored(body, lifted)
    return restored


def _mark_media(part: dict[str, Any], lifted: Mapping[str, bytes]) -> None:
    for key in ("image_url", "video_url"):
        inner = part.get(key)
        if isinstance(inner, dict):
            if "url" in inner:
                inner["url"] = _marked(inner["url"], lifted)
        elif key in part:
            part[key] = _marked(inner, lifted)
    if isinstance(part.get("video"), list):
        part["video"] = [_marked(url, lifted) for url in part["video"]]


def _marked(url: Any, lifted: Mapping[str, bytes]) -> Any:
    if isinstance(url, str) and url in lifted:
        return LiftedText(url, lifted[url])
    return url


def _restored(value: Any, lifted: Mapping[str, bytes]) -> Any:
    if isinstance(value, LiftedText):
        return value
    if isinstance(value, str):
        return lifted[value].decode("ascii") if value in lifted else value
    if isinstance(value, dict):
        return {_restored(k, lifted): _restored(v, lifted) for k, v in value.items()}
    if isinstance(value, list):
        return [_restored(one, lifted) for one in value]
    return value


def _is_mixed(piece: bytes) -> bool:
    """Whether there is more in it than plain characters and `\\/`."""
    if piece.translate(None, _PLAIN_OR_BACKSLASH):
        return True
    # The last character may begin an escape that the next piece ends.
    return b"\\" in piece and b"\\" in piece.replace(b"\\/", b"")[:-1]


def _ends_escaping(text: bytearray) -> bool:
    """Whether the next character belongs to an escape."""
    num_backslashes = 0
    while num_backslashes < len(text) and text[-1 - num_backslashes] == ord("\\"):
        num_backslashes += 1
    return num_backslashes % 2 == 1
