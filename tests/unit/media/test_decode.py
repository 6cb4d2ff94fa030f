import contextlib
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageOps

from saccade.serving.errors import InvalidRequestError
from saccade.serving.media.decode import decode
from saccade.serving.media.inspect import inspect
from tests.unit.media.pictures import (
    BLUE,
    RED,
    encoded,
    exif,
    gif_with_first_frame_at,
    jpeg_claiming,
    picture,
    png,
    png_chunk,
    png_claiming,
    png_ihdr,
    two_colours,
    webp_claiming,
)

pytestmark = pytest.mark.filterwarnings("error")  # nothing may leak from Pillow

MAX_PIXELS = 10_000
WHITE = (255, 255, 255)


def pixels(data: bytes) -> Image.Image:
    image = decode(data, MAX_PIXELS)
    assert image.mode == "RGB"
    assert type(image) is Image.Image
    header = inspect(data, max_pixels=MAX_PIXELS, max_side=1000, param=None)
    assert image.size == (header.width, header.height)
    return image


def assert_same(image: Image.Image, expected: Image.Image, tolerance: int = 0) -> None:
    assert image.size == expected.size
    difference = ImageChops.difference(image, expected.convert("RGB"))
    assert max(difference.tobytes()) <= tolerance


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (picture("PNG"), 0),
        (picture("GIF"), 0),
        (picture("WEBP"), 0),
        (picture("JPEG"), 4),
        (picture("JPEG", progressive=True), 4),
    ],
)
def test_all_formats_give_the_picture(data: bytes, tolerance: int) -> None:
    assert_same(pixels(data), two_colours(), tolerance)


def test_lossy_webp_gives_what_pillow_gives() -> None:
    data = picture("WEBP", lossless=False)
    assert_same(pixels(data), Image.open(BytesIO(data)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_upright_as_pillow_would_have_it(kind: str, orientation: int) -> None:
    data = picture(kind, exif=exif(orientation))
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert_same(pixels(data), upright)


def test_orientation_after_the_pixels_of_a_png_counts() -> None:
    data = picture("PNG")
    block = png_chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))
    end = data.rindex(b"IEND") - 4
    assert_same(pixels(data[:end] + block + data[end:]), two_colours().rotate(-90, expand=True))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [two_colours().rotate(180), Image.new("RGB", (12, 8), "lime")]
    data = picture(kind, save_all=True, append_images=frames, duration=10)
    assert Image.open(BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert_same(pixels(data), two_colours())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"), ("WEBP", "RGBA"), ("GIF", "RGBA")],
)
def test_transparent_pixels_become_white(kind: str, mode: str) -> None:
    image = Image.new("RGBA", (12, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 6, 4))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    result = pixels(encoded(image, kind))
    assert result.getpixel((0, 0)) == (0, 0, 0)
    assert result.getpixel((11, 7)) == WHITE


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert pixels(encoded(image, "PNG")).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(
    ("image", "key"),
    [
        (Image.new("RGB", (4, 4), RED), RED),
        (Image.new("L", (4, 4), 7), 7),
        (Image.new("P", (4, 4), 0), 0),
    ],
)
def test_a_transparent_colour_of_a_png_becomes_white(image: Image.Image, key: object) -> None:
    result = pixels(encoded(image, "PNG", transparency=key))
    assert result.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (255, 0), (256, 1), (32_768, 128), (65_535, 255)]
)
def test_16_bits_become_8(value: int, expected: int) -> None:
    image = Image.new("I;16", (4, 4), value)
    assert pixels(encoded(image, "PNG")).getpixel((0, 0)) == (expected,) * 3


@pytest.mark.parametrize("colour", [0, 2])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_of_many_bits_does_no_harm(colour: int, bits: int) -> None:
    samples = 3 if colour == 2 else 1
    row = b"\0" + bytes([0x81] * (4 * samples * bits // 8))
    data = png(
        png_ihdr(4, 4, bits, colour),
        png_chunk(b"tRNS", b"\xff\xff" * samples),
        png_chunk(b"IDAT", zlib.compress(row * 4)),
        png_chunk(b"IEND", b""),
    )
    assert pixels(data).getpixel((0, 0)) == (0x81,) * 3


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), RED),
        (Image.new("L", (8, 8), 90), (90, 90, 90)),
    ],
)
def test_other_colours_of_jpeg_are_converted(
    image: Image.Image, expected: tuple[int, int, int]
) -> None:
    result = pixels(encoded(image, "JPEG")).getpixel((4, 4))
    assert isinstance(result, tuple)
    assert max(abs(a - b) for a, b in zip(result, expected, strict=True)) <= 3


def test_jpeg_that_is_rgb_by_its_adobe_block_alone_keeps_its_colours() -> None:
    data = bytearray(picture("JPEG", keep_rgb=True))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number in range(3):  # the channels are called 1, 2, 3 as in YCbCr, instead of R, G, B
        data[frame + 10 + 3 * number] = data[scan + 5 + 2 * number] = 1 + number
    assert_same(pixels(bytes(data)), two_colours(), tolerance=4)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_few_colours_are_converted(mode: str) -> None:
    image = two_colours().convert(mode)
    assert_same(pixels(encoded(image, "PNG")), image)


def test_a_frame_beyond_the_screen_of_a_gif_is_shown_whole() -> None:
    result = pixels(gif_with_first_frame_at(20, 3))
    assert result.size == (32, 11)
    assert result.getpixel((20, 3)) == BLUE
    assert result.getpixel((31, 10)) == RED


@pytest.mark.parametrize(
    "data",
    [
        png_claiming(60_000, 60_000),
        jpeg_claiming(60_000, 60_000),
        gif_with_first_frame_at(60_000, 60_000),
        webp_claiming(16_384, 16_384),
    ],
)
def test_bombs_are_refused_again(data: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(data, 89_478_485, param="p")
    assert (caught.value.code, caught.value.param) == ("image_too_many_pixels", "p")


@pytest.mark.parametrize(
    "data",
    [
        png_claiming(90, 90),  # too few pixels behind an honest structure
        picture("PNG").replace(b"IDAT", b"IDAX"),
        jpeg_claiming(12, 8).replace(b"\xff\xdb", b"\xff\xfe"),  # no quantisation tables
        b"",
    ],
)
def test_what_cannot_be_decoded_is_the_clients_error(data: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(data, MAX_PIXELS, param="p")
    assert caught.value.param == "p"


VALID = [
    *(picture(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")),
    picture("JPEG", progressive=True, exif=exif(6)),
    picture("PNG", exif=exif(3), save_all=True, append_images=[two_colours().rotate(180)]),
    picture("WEBP", exif=exif(8), lossless=False),
    picture("GIF", save_all=True, append_images=[two_colours().rotate(180)]),
]


@settings(deadline=None)
@given(st.data())
def test_damaged_files_decode_to_the_inspected_size_or_are_refused(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    file = bytes(damaged[:end])
    try:
        header = inspect(file, max_pixels=MAX_PIXELS, max_side=1000, param=None)
    except InvalidRequestError:
        with pytest.raises(InvalidRequestError):
            decode(file, MAX_PIXELS)
        return
    try:
        image = decode(file, MAX_PIXELS)
    except InvalidRequestError:
        return
    assert (image.mode, image.size) == ("RGB", (header.width, header.height))


STARTS = [b"", *(file[:size] for file in VALID for size in (8, 16, 40))]


@settings(deadline=None)
@given(st.sampled_from(STARTS), st.binary(max_size=80))
def test_any_bytes_are_refused_or_decoded(start: bytes, tail: bytes) -> None:
    with contextlib.suppress(InvalidRequestError):
        decode(start + tail, MAX_PIXELS)
