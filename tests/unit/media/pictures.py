"""Small picture files, good and bad, made on the spot."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image

RED = (255, 0, 0)
BLUE = (0, 0, 255)


def two_colours(width: int = 12, height: int = 8) -> Image.Image:
    """Red with a blue top left quarter, so that every orientation looks different."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (0, 0, width // 2, height // 2))
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "WEBP":
        options.setdefault("lossless", True)
    if kind == "JPEG":
        options.setdefault("quality", 100)
        options.setdefault("subsampling", 0)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(kind: str = "PNG", **options: Any) -> bytes:
    return encoded(two_colours(), kind, **options)


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_ihdr(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_claiming(width: int, height: int) -> bytes:
    body = zlib.compress(bytes(1000))
    return png(png_ihdr(width, height), png_chunk(b"IDAT", body), png_chunk(b"IEND", b""))


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(picture("JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_claiming(width: int, height: int) -> bytes:
    data = bytearray(picture("GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def gif_with_first_frame_at(x: int, y: int) -> bytes:
    """A screen of 12 x 8 and a first frame of that size, moved to x, y."""
    data = bytearray(picture("GIF"))
    frame = data.rindex(b"\x2c\0\0\0\0")
    data[frame + 1 : frame + 5] = struct.pack("<HH", x, y)
    return bytes(data)


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP"
    for kind, content in chunks:
        body += kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_claiming(width: int, height: int) -> bytes:
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    still = picture("WEBP")
    return webp((b"VP8X", canvas), (b"VP8L", still[20:]))
