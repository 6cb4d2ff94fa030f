import dataclasses
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.serving.errors import InvalidRequestError
from saccade.serving.media import container
from saccade.serving.media import inspect as inspect_module
from saccade.serving.media.container import exif_orientation
from saccade.serving.media.inspect import PictureHeader, content_hash, inspect
from tests.unit.media.pictures import (
    encoded,
    exif,
    gif_claiming,
    gif_with_first_frame_at,
    jpeg_claiming,
    picture,
    png,
    png_chunk,
    png_claiming,
    png_ihdr,
    two_colours,
    webp,
    webp_claiming,
)

pytestmark = pytest.mark.filterwarnings("error")  # nothing may leak from Pillow

FORMATS = ["PNG", "JPEG", "WEBP", "GIF"]
IEND = png_chunk(b"IEND", b"")
PIXELS = png_chunk(b"IDAT", zlib.compress(bytes(1000)))


def look(data: bytes, max_pixels: int = 10_000, max_side: int = 1000) -> PictureHeader:
    return inspect(data, max_pixels=max_pixels, max_side=max_side, param="p")


def code(data: bytes, **limits: int) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        look(data, **limits)
    assert (caught.value.param, caught.value.status) == ("p", 400)
    return caught.value.code


@pytest.mark.parametrize("kind", FORMATS)
def test_size_and_format_come_from_the_header(kind: str) -> None:
    assert look(picture(kind)) == PictureHeader(kind, 12, 8, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        picture("WEBP", lossless=False),
        picture("WEBP", exif=exif(1)),
        picture("WEBP", save_all=True, append_images=[two_colours().rotate(180)], duration=9),
        picture("JPEG", progressive=True),
        picture("PNG", save_all=True, append_images=[two_colours().rotate(180)]),
        picture("GIF", save_all=True, append_images=[two_colours().rotate(180)]),
        encoded(Image.new("CMYK", (12, 8)), "JPEG"),
        encoded(Image.new("I;16", (12, 8)), "PNG"),
        encoded(Image.new("P", (12, 8)), "PNG"),
        encoded(Image.new("1", (12, 8)), "PNG"),
        picture("PNG") + b"something after the end",
        picture("JPEG") + b"something after the end",
        picture("WEBP") + b"something after the end",
        picture("GIF")[:-1],  # the first frame is whole
    ],
)
def test_all_sorts_of_good_files_pass(data: bytes) -> None:
    header = look(data)
    assert (header.width, header.height) == (12, 8)


def test_pictures_of_phones_that_hold_several_are_jpeg() -> None:
    several = encoded(two_colours(), "MPO", save_all=True, append_images=[two_colours(4, 4)])
    assert b"MPF\0" in several
    assert look(several) == PictureHeader("JPEG", 12, 8, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_picture(kind: str, orientation: int) -> None:
    header = look(picture(kind, exif=exif(orientation)))
    assert header.orientation == orientation
    assert (header.width, header.height) == ((8, 12) if orientation > 4 else (12, 8))


def test_exif_after_the_pixels_of_a_png_counts() -> None:
    first, second = (png_chunk(b"eXIf", exif(n).removeprefix(b"Exif\0\0")) for n in (6, 3))
    assert look(png(png_ihdr(12, 8), PIXELS, first, second, IEND)).orientation == 6


# Limits


@pytest.mark.parametrize(
    "data",
    [
        png_claiming(60_000, 60_000),
        png_claiming(2**31 - 1, 2**31 - 1),
        png_claiming(2**31 - 1, 1),
        jpeg_claiming(65_000, 65_000),
        gif_claiming(65_535, 65_535),
        gif_with_first_frame_at(60_000, 60_000),
        webp_claiming(2**24, 2**24),
        webp_claiming(16_384, 16_384),
    ],
)
def test_decompression_bombs_are_refused_by_their_header(data: bytes) -> None:
    assert code(data, max_pixels=89_478_485, max_side=65_535) == "image_too_many_pixels"


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limits_are_exact(kind: str) -> None:
    data = picture(kind)
    look(data, max_pixels=96, max_side=12)
    assert code(data, max_pixels=95) == "image_too_many_pixels"
    assert code(data, max_side=11) == "image_too_many_pixels"


def test_a_first_frame_beyond_the_screen_counts() -> None:
    header = look(gif_with_first_frame_at(20, 3))
    assert (header.width, header.height) == (32, 11)


@pytest.mark.parametrize(
    "data",
    [png_claiming(0, 8), png_claiming(8, 0), jpeg_claiming(12, 0), jpeg_claiming(0, 8)],
)
def test_a_picture_without_pixels_is_refused(data: bytes) -> None:
    assert code(data) == "invalid_image"


# What is no picture


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><title>Not found</title>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"GIF88a" + bytes(50),
        b"\0" + picture("PNG"),
        picture("BMP"),
        picture("TIFF"),
        picture("PPM"),
        picture("ICO"),
        picture("JPEG2000"),
        picture("AVIF"),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(28),
    ],
)
def test_other_formats_are_refused(data: bytes) -> None:
    assert code(data) == "unsupported_image_format"


@pytest.mark.parametrize("marker", [b"\xff\xc3", b"\xff\xc9"])  # lossless, arithmetic coding
def test_rare_kinds_of_jpeg_are_refused_here_and_not_by_a_worker(marker: bytes) -> None:
    assert code(picture("JPEG").replace(b"\xff\xc0", marker)) == "unsupported_image_format"


def test_jpeg_of_12_bits_is_refused() -> None:
    data = picture("JPEG").replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c")
    assert code(data) == "unsupported_image_format"


# What is broken


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_off_anywhere_is_refused(kind: str) -> None:
    data = picture(kind)
    whole = len(data) - (kind == "GIF")  # its last byte says only that no frame follows
    for length in range(whole):
        with pytest.raises(container.PictureError) as caught:
            container.walk(data[:length])
        assert caught.value.code == ("invalid_image" if length > 11 else caught.value.code)
    assert code(data[: whole - 1]) == "invalid_image"


def test_a_header_that_pillow_reads_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    read = container.walk(picture("PNG"))
    monkeypatch.setattr(inspect_module, "walk", lambda _: dataclasses.replace(read, width=13))
    assert code(picture("PNG")) == "invalid_image"


def test_every_byte_of_a_png_is_under_a_checksum() -> None:
    data = picture("PNG")
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 0x10
        assert code(bytes(broken)) in ("invalid_image", "unsupported_image_format")


@pytest.mark.parametrize(
    "data",
    [
        png(),
        png(IEND),
        png(png_ihdr(2, 2), IEND),
        png(PIXELS, png_ihdr(2, 2), IEND),
        png(png_ihdr(2, 2), png_ihdr(4, 4), PIXELS, IEND),
        png(png_ihdr(2, 2), PIXELS),
        png(png_chunk(b"IHDR", bytes(3)), PIXELS, IEND),
        png(png_ihdr(2, 2, bits=3), PIXELS, IEND),
        png(png_ihdr(2, 2, colour=5), PIXELS, IEND),
        png(png_ihdr(2, 2), struct.pack(">I4s", 2**31, b"IDAT"), IEND),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\0\x02\xff\xd9",
        b"\xff\xd8" + picture("JPEG")[2:].replace(b"\xff\xda", b"\xff\xfe"),
        b"\xff\xd8\xff\xfe\0\0" + picture("JPEG")[2:40],
        b"GIF89a" + bytes(7) + b";",
        b"GIF89a" + bytes(7) + b"\x2c" + bytes(12) + b";",
        b"GIF89a" + bytes(7) + b"?" + bytes(12) + b";",
        webp(),
        webp((b"VP8X", bytes(10))),
        webp((b"VP8X", bytes(3)), (b"VP8 ", bytes(20))),
        webp((b"VP8 ", b"")),
        webp((b"VP8L", b"\x2f")),
        webp((b"VP8 ", b"\0\0\0\x9d\x01\x2a\x08\0\x08\0" + bytes(20))),
        webp_claiming(30, 30),  # its picture is 12 x 8
    ],
)
def test_broken_structures_are_refused(data: bytes) -> None:
    assert code(data) == "invalid_image"


def test_files_of_countless_pieces_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_FREE_BLOCKS", 100)
    empty = png_chunk(b"tEXt", b"")
    assert code(png(png_ihdr(2, 2), empty * 1001, PIXELS, IEND)) == "invalid_image"
    gif = picture("GIF")
    assert code(gif[:13] + b"\x21\xfe\0" * 1001) == "invalid_image"
    assert code(gif[:13] + b"\x21\xfe" + b"\x01x" * 1001 + b"\0") == "invalid_image"
    assert code(webp(*[(b"JUNK", b"")] * 1001)) == "invalid_image"
    jpeg = picture("JPEG")
    assert code(jpeg[:2] + b"\xff\xfe\0\x02" * 1001 + jpeg[2:]) == "invalid_image"


def test_a_long_gif_is_not_taken_for_a_file_of_countless_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(container, "_FREE_BLOCKS", 100)
    noise = encoded(Image.effect_noise((400, 400), 60), "GIF")
    assert len(noise) > 100 * 255
    look(noise, max_pixels=160_000)


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    data = picture("JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    look(data[:-2] + data[scan:-2] * 16 + b"\xff\xd9")
    assert code(data[:-2] + data[scan:-2] * 32 + b"\xff\xd9") == "invalid_image"


# Metadata


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",  # 9 is no orientation
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01\0\x06\0\0",  # text is no orientation
        b"PK*\0\x08\0\0\0\x01\0",
    ],
)
def test_exif_that_makes_no_sense_is_ignored(block: bytes) -> None:
    assert exif_orientation(block) == 1
    body = b"Exif\0\0" + block
    jpeg = picture("JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    assert look(jpeg[:2] + segment + jpeg[2:]).orientation == 1
    chunk = png_chunk(b"eXIf", block)
    assert look(png(png_ihdr(12, 8), chunk, PIXELS, IEND)).orientation == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_of_exif_are_read(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 8, 0)
    block = mark + struct.pack(f"{order}IH", 8, 1) + entry
    assert exif_orientation(block) == 8


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0"]))
def test_any_exif_has_an_orientation(tail: bytes, start: bytes) -> None:
    assert exif_orientation(start + tail) in range(1, 9)


def test_hostile_metadata_never_reaches_pillow() -> None:
    # Each of these makes Pillow's own parser warn, or inflate megabytes.
    bomb = png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(4 * 2**20)))
    animation = png_chunk(b"acTL", bytes(8))
    look(png(png_ihdr(12, 8), bomb * 30, animation, animation, PIXELS, IEND))
    jpeg = picture("JPEG")
    broken = b"Exif\0\0MM\0*\0\0\0\x08\0\x7f\x01\x1a\0\x05\0\xff\xff\xff\xff\xff\xff\xff"
    blocks = [broken, b"MPF\0II*\0\x08\0\0\0\x7f\0", b"ICC_PROFILE\0\x01\x02x"]
    for marker, body in zip((b"\xff\xe1", b"\xff\xe2", b"\xff\xe2"), blocks, strict=True):
        segment = marker + struct.pack(">H", len(body) + 2) + body
        look(jpeg[:2] + segment + jpeg[2:])


def test_the_hash_names_the_bytes() -> None:
    data = picture("PNG")
    assert content_hash(data) == content_hash(bytes(data))
    assert content_hash(data) != content_hash(data + b"x")
    assert len(content_hash(data)) == 64
