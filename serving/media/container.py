"""Walk the structure of a picture file: is it whole, how large is it, how is it turned?

Plain Python that never touches pixels, so it is safe on hostile bytes and its cost is bounded
by the file's size. Two things come out of it: the numbers of the header, and the *essential*
bytes, which are the same picture without metadata and later frames. Only these reach Pillow,
so no colour profile, comment, thumbnail or EXIF block is ever parsed by anything but this file.
(WebP stays as it is: Pillow does not look into its metadata, nor beyond the first frame.)
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

PictureFormat = Literal["PNG", "JPEG", "WEBP", "GIF"]

# Files of many tiny pieces would cost seconds. Real pieces have 255 bytes (GIF) or more; small
# files get some for free.
_FREE_BLOCKS: Final = 10_000
_SMALLEST_BLOCK_BYTES: Final = 128
# Each scan of a progressive JPEG costs as much as a whole picture; encoders write about ten.
_MOST_SCANS: Final = 32
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES: Final = 25
_PNG_ESSENTIAL: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# A marker in a JPEG: not a stuffed zero, not a restart, and the last of several fill bytes.
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_JPEG_END: Final = 0xD9
_JPEG_SCAN: Final = 0xDA
_JPEG_EXIF: Final = 0xE1
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SERVED_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
# Comments and application data, but for JFIF (E0) and Adobe (EE), which say how colours are
# stored.
_JPEG_DROPPED: Final = frozenset({0xFE, *range(0xE1, 0xF0)}) - {0xEE}
_GIF_EXTENSION: Final = 0x21
_GIF_CONTROL: Final = 0xF9
_GIF_FRAME: Final = 0x2C
_EXIF_ORIENTATION: Final = 0x0112
_EXIF_SHORT: Final = 3
_EXIF_MOST_ENTRIES: Final = 1000  # cameras write dozens
_EXIF_ORIENTATIONS: Final = range(1, 9)


class PictureError(ValueError):
    """The file cannot be used; `code` is that of the error the client sees."""

    def __init__(self, message: str, code: str = "invalid_image") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Container:
    """Sizes are as stored, before `orientation` (EXIF's 1 to 8) is applied."""

    format: PictureFormat
    width: int
    height: int
    orientation: int
    essential: bytes


def walk(data: bytes) -> Container:
    """Raises PictureError, and nothing else, whatever the bytes are."""
    for magic, walker in _WALKERS:
        if magic.match(data):
            try:
                return walker(data)
            except (struct.error, IndexError) as error:
                raise PictureError("the file is cut off") from error
    raise PictureError("the file is not PNG, JPEG, WebP or GIF", "unsupported_image_format")


def _block_numbers(data: bytes) -> Iterator[int]:
    """As many numbers as the file may have blocks."""
    return iter(range(_FREE_BLOCKS + len(data) // _SMALLEST_BLOCK_BYTES))


def exif_orientation(exif: bytes) -> int:
    """Orientation in a TIFF block, with or without its `Exif` prefix; 1 if it has none."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for index in range(min(num_entries, _EXIF_MOST_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(
                f"{order}HHIH", tiff, directory + 2 + 12 * index
            )
            if tag == _EXIF_ORIENTATION:
                return value if kind == _EXIF_SHORT and value in _EXIF_ORIENTATIONS else 1
    except struct.error:
        pass
    return 1


def _walk_png(data: bytes) -> Container:
    width = height = 0
    orientation = 1
    kept = [_PNG_SIGNATURE]
    kinds: set[bytes] = set()
    for kind, start, end in _png_chunks(data):
        if (kind == b"IHDR") == bool(kinds):
            raise PictureError("a PNG file begins with one IHDR chunk")
        if kind == b"IHDR" and end - start == _PNG_HEADER_BYTES:
            width, height = struct.unpack_from(">II", data, start + 8)
        elif kind == b"eXIf" and kind not in kinds:
            orientation = exif_orientation(data[start + 8 : end - 4])
        if kind in _PNG_ESSENTIAL:
            kept.append(data[start:end])
        kinds.add(kind)
    if b"IDAT" not in kinds:
        raise PictureError("the PNG file has no picture in it")
    return Container("PNG", width, height, orientation, b"".join(kept))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk up to IEND, lengths and checksums verified."""
    view = memoryview(data)
    start = len(_PNG_SIGNATURE)
    for _ in _block_numbers(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[start + 4 : end - 4]) != checksum:
            raise PictureError("a checksum in the PNG file is wrong")
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end
    raise PictureError("the PNG file has too many chunks")


def _walk_jpeg(data: bytes) -> Container:
    width = height = num_scans = 0
    orientation: int | None = None
    kept: list[bytes] = []
    keep_from = end = 0
    for marker, start, end in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            if width or marker not in _JPEG_SERVED_FRAMES or data[start + 4] != 8:
                raise PictureError(
                    "only baseline and progressive JPEG of 8 bits is served",
                    "unsupported_image_format",
                )
            height, width = struct.unpack_from(">HH", data, start + 5)
        elif marker == _JPEG_SCAN:
            num_scans += 1
        elif marker in _JPEG_DROPPED:
            body = data[start + 4 : end]
            if marker == _JPEG_EXIF and orientation is None and body.startswith(b"Exif\0\0"):
                orientation = exif_orientation(body)
            kept.append(data[keep_from:start])
            keep_from = end
    if not 0 < num_scans <= _MOST_SCANS:
        raise PictureError(f"a JPEG file of {num_scans} scans is not served")
    kept.append(data[keep_from:end])
    return Container("JPEG", width, height, orientation or 1, b"".join(kept))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, up to the end-of-image marker.

    Entropy-coded data belongs to no segment: it lies between the end of one and the next.
    """
    position = 2
    for _ in _block_numbers(data):
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            raise PictureError("the file is cut off")
        marker = found[1][0]
        start = found.start()
        if marker == _JPEG_END:
            yield marker, start, found.end()
            return
        (length,) = struct.unpack_from(">H", data, start + 2)
        position = start + 2 + max(length, 2)
        yield marker, start, position
    raise PictureError("the JPEG file has too many segments")


def _walk_gif(data: bytes) -> Container:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _gif_palette_size(flags)
    kept = [data[:position]]
    control = b""
    blocks = _block_numbers(data)  # used up by the blocks of all levels together
    for _ in blocks:
        kind = data[position]
        if kind == _GIF_FRAME:  # the first, which may reach beyond the screen
            x, y, frame_width, frame_height, flags = struct.unpack_from("<4HB", data, position + 1)
            if not frame_width or not frame_height:
                break
            end = _gif_end_of_blocks(data, position + 11 + _gif_palette_size(flags), blocks)
            kept += [control, data[position:end], b";"]
            size = max(width, x + frame_width), max(height, y + frame_height)
            return Container("GIF", *size, 1, b"".join(kept))
        if kind != _GIF_EXTENSION:
            break
        end = _gif_end_of_blocks(data, position + 2, blocks)
        if data[position + 1] == _GIF_CONTROL:  # says which colour is transparent
            control = data[position:end]
        position = end
    raise PictureError("the GIF file has no picture in it")


def _gif_palette_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_end_of_blocks(data: bytes, position: int, blocks: Iterator[int]) -> int:
    for _ in blocks:
        length = data[position]
        position += 1 + length
        if not length:
            return position
    raise PictureError("the GIF file has too many blocks")


def _walk_webp(data: bytes) -> Container:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise PictureError("the file is cut off")
    chunks: dict[bytes, bytes] = {}
    for kind, start, stop in _webp_chunks(data, end):
        head = stop if kind == b"EXIF" else min(stop, start + 10)
        chunks.setdefault(kind, data[start:head])
    if not chunks.keys() & {b"VP8 ", b"VP8L", b"ANMF"}:
        raise PictureError("the WebP file has no picture in it")
    return Container(
        "WEBP", *_webp_size(chunks), exif_orientation(chunks.get(b"EXIF", b"")), data[:end]
    )


def _webp_size(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    if canvas := chunks.get(b"VP8X"):
        return (
            int.from_bytes(canvas[4:7], "little") + 1,
            int.from_bytes(canvas[7:10], "little") + 1,
        )
    if lossless := chunks.get(b"VP8L"):
        (bits,) = struct.unpack_from("<I", lossless, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", chunks.get(b"VP8 ", b""), 6)
    return width & 0x3FFF, height & 0x3FFF


def _webp_chunks(data: bytes, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and start and end of the body, of each chunk."""
    position = 12
    for _ in _block_numbers(data):
        if position >= end:
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        stop = position + 8 + length
        if stop > end:
            raise PictureError("the file is cut off")
        yield kind, position + 8, stop
        position = stop + length % 2
    raise PictureError("the WebP file has too many chunks")


_WALKERS: Final[tuple[tuple[re.Pattern[bytes], Callable[[bytes], Container]], ...]] = (
    (re.compile(re.escape(_PNG_SIGNATURE)), _walk_png),
    (re.compile(rb"\xff\xd8\xff"), _walk_jpeg),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _walk_webp),
    (re.compile(rb"GIF8[79]a"), _walk_gif),
)
