"""How the frames of an MP4 file are to be turned, from its header: phones record sideways.

A track's header has a matrix that takes a point of the stored frame to where it is shown
(ISO/IEC 14496-12, 8.3.2). Quarter turns and mirror images are honoured, any other matrix is not.
PyAV tells it with a decoded frame only, which is too late: sizes are settled before.
"""

import struct
from collections.abc import Iterator
from typing import Final

from PIL.Image import Transpose

# Real files have some dozens above the level of tracks.
_MOST_BOXES: Final = 10_000
# (a, b, c, d): x' = a x + c y, y' = b x + d y, with y pointing down.
_TRANSPOSES: Final[dict[tuple[int, ...], Transpose]] = {
    (0, 1, -1, 0): Transpose.ROTATE_270,
    (-1, 0, 0, -1): Transpose.ROTATE_180,
    (0, -1, 1, 0): Transpose.ROTATE_90,
    (-1, 0, 0, 1): Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Transpose.TRANSPOSE,
    (0, -1, -1, 0): Transpose.TRANSVERSE,
}
_SIDEWAYS: Final = frozenset(
    {Transpose.ROTATE_90, Transpose.ROTATE_270, Transpose.TRANSPOSE, Transpose.TRANSVERSE}
)
_MATRIX_AFTER: Final = {0: 40, 1: 52}
"""Bytes of a track's header before its matrix, by version."""
_ONE: Final = 1 << 16

Span = tuple[int, int]


def upright(data: bytes) -> Transpose | None:
    """What turns the stored frames of the first video track upright; None: nothing."""
    for track in _inside(data, (0, len(data)), b"moov", b"trak"):
        handlers = list(_inside(data, track, b"mdia", b"hdlr"))
        if any(data[start + 8 : start + 12] == b"vide" for start, _ in handlers):
            for header in _inside(data, track, b"tkhd"):
                return _TRANSPOSES.get(_matrix(data, header))
    return None


def is_sideways(transpose: Transpose | None) -> bool:
    """Whether width and height change places."""
    return transpose in _SIDEWAYS


def _matrix(data: bytes, header: Span) -> tuple[int, ...]:
    start, stop = header
    place = start + _MATRIX_AFTER.get(data[start] if start < stop else 0, 40)
    if place + 20 > stop:
        return ()
    a, b, _, c, d = struct.unpack_from(">5i", data, place)
    if any(number not in (-_ONE, 0, _ONE) for number in (a, b, c, d)):
        return ()
    return (a // _ONE, b // _ONE, c // _ONE, d // _ONE)


def _inside(data: bytes, span: Span, kind: bytes, *further: bytes) -> Iterator[Span]:
    """The bodies of all boxes that the path leads to."""
    for found, body in _boxes(data, span):
        if found == kind:
            if further:
                yield from _inside(data, body, *further)
            else:
                yield body


def _boxes(data: bytes, span: Span) -> Iterator[tuple[bytes, Span]]:
    position, end = span
    for _ in range(_MOST_BOXES):
        if position + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        body = position + 8
        if size == 1 and body + 8 <= end:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = end if size == 0 else position + size
        if not body <= stop <= end:
            return
        yield kind, (body, stop)
        position = stop
