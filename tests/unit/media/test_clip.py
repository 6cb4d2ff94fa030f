from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.Image import Transpose

from saccade.serving.config.media import MediaConfig
from saccade.serving.errors import InvalidRequestError
from saccade.serving.media.clip import inspect_clip, opened
from saccade.serving.media.clip_decode import decode_clip, decode_frames
from saccade.serving.media.sampling import ClipHeader, Sampling, sampled
from saccade.serving.media.upright import upright
from tests.unit.media.clips import COLOURS, clip_file, colour_of
from tests.unit.media.pictures import picture

CONFIG = MediaConfig()


@pytest.fixture(scope="module")
def mp4() -> bytes:
    """Two seconds of four frames each."""
    return clip_file()


def header(data: bytes, config: MediaConfig = CONFIG, **asked: float) -> ClipHeader:
    sampling = Sampling(
        asked.get("fps"), int(asked["max_frames"]) if "max_frames" in asked else None
    )
    return inspect_clip(data, sampling, config, param="p")


def refusal(data: bytes, config: MediaConfig = CONFIG) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        header(data, config)
    assert caught.value.param == "p"
    return caught.value


def test_the_header_says_size_and_length(mp4: bytes) -> None:
    found = header(mp4)
    assert (found.width, found.height) == (64, 48)
    assert found.duration_s == pytest.approx(2.0)
    assert found.num_frames == 4
    assert found.frames_per_s == pytest.approx(2.0)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "mpeg4"), ("webm", "libvpx-vp9")])
def test_other_containers_and_codecs_are_read(kind: str, codec: str) -> None:
    data = clip_file(kind=kind, codec=codec)
    assert len(decode_clip(data, header(data))) == 4


@pytest.mark.parametrize(
    ("asked", "num_frames"),
    [({"fps": 4}, 8), ({"fps": 0.1}, 1), ({"max_frames": 3}, 3), ({"fps": 60}, 32)],
)
def test_a_request_may_ask_for_more_or_fewer_frames(
    mp4: bytes, asked: dict[str, Any], num_frames: int
) -> None:
    assert header(mp4, **asked).num_frames == num_frames


def test_a_request_gets_no_more_frames_than_the_server_allows(mp4: bytes) -> None:
    config = MediaConfig(max_video_frames=3)
    assert header(mp4, config, max_frames=100, fps=50).num_frames == 3


def test_frames_are_those_shown_in_the_middle_of_equal_parts(mp4: bytes) -> None:
    # Frames 0, 1, 2, … begin at 0, 0.25, 0.5, … s; the middles are at 0.25, 0.75, 1.25, 1.75 s.
    frames = decode_clip(mp4, header(mp4))
    assert {frame.size for frame in frames} == {(64, 48)}
    assert {frame.mode for frame in frames} == {"RGB"}
    assert [colour_of(frame) for frame in frames] == [COLOURS[index] for index in (1, 3, 5, 7)]


def test_every_frame_can_be_taken(mp4: bytes) -> None:
    frames = decode_clip(mp4, header(mp4, fps=4))
    assert [colour_of(frame) for frame in frames] == list(COLOURS)


def test_a_clip_that_ends_early_keeps_its_last_frame(mp4: bytes) -> None:
    longer = ClipHeader(64, 48, duration_s=4.0, num_frames=8)
    frames = decode_clip(mp4, longer)
    assert [colour_of(frame) for frame in frames[-5:]] == [COLOURS[7]] * 5


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (MediaConfig(max_video_pixels=64 * 48 - 1), "video_too_many_pixels"),
        (MediaConfig(max_video_duration_s=1.9), "video_too_long"),
    ],
)
def test_limits_hold_before_anything_is_decoded(mp4: bytes, config: MediaConfig, code: str) -> None:
    assert refusal(mp4, config).code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "unsupported_video_format"),
        (b"#EXTM3U\nhttp://127.0.0.1/secret", "unsupported_video_format"),
        (picture("PNG"), "unsupported_video_format"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 100, "invalid_video"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 100, "invalid_video"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, code: str) -> None:
    assert refusal(data).code == code


def test_a_stream_that_differs_from_its_header_is_refused(mp4: bytes) -> None:
    smaller = ClipHeader(32, 48, duration_s=2.0, num_frames=4)
    with pytest.raises(InvalidRequestError) as caught:
        decode_clip(mp4, smaller)
    assert caught.value.code == "invalid_video"


@given(cut=st.integers(0, 2000), noise=st.binary(max_size=64))
def test_no_bytes_do_anything_but_be_refused(mp4: bytes, cut: int, noise: bytes) -> None:
    broken = mp4[:cut] + noise + mp4[cut + len(noise) :]
    try:
        found = header(broken)
        frames = decode_clip(broken, found)
    except InvalidRequestError as error:
        assert error.code in (  # noqa: PT017
            "invalid_video",
            "unsupported_video_format",
            "video_too_long",
            "video_too_many_pixels",
        )
    else:
        assert len(frames) == found.num_frames


@given(
    duration_s=st.floats(0.01, 600),
    fps=st.none() | st.floats(0.01, 60),
    max_frames=st.none() | st.integers(1, 10_000),
)
def test_the_times_of_the_frames_lie_in_the_clip(
    duration_s: float, fps: float | None, max_frames: int | None
) -> None:
    found = sampled((10, 10), duration_s, 25.0, Sampling(fps, max_frames), CONFIG)
    times_s = found.times_s()
    assert 1 <= len(times_s) == found.num_frames <= CONFIG.max_video_frames
    assert all(0 < time_s < duration_s for time_s in times_s)
    assert times_s == sorted(times_s)
    for shown_s, time_s in zip(found.shown_since_s(), times_s, strict=True):
        assert shown_s <= time_s + 1e-6 < shown_s + 1 / 25.0 + 1e-6


def test_a_frame_is_dated_by_when_it_began_to_be_shown(mp4: bytes) -> None:
    # Four frames a second, of which every other is taken, and then all.
    assert header(mp4).shown_since_s() == [0.25, 0.75, 1.25, 1.75]
    assert header(mp4, fps=4).shown_since_s() == [index / 4 for index in range(8)]


def test_frames_that_were_sent_are_dated_from_the_first() -> None:
    sent = ClipHeader(64, 48, 7 / 10, 7, is_file=False, recorded_fps=10)
    assert sent.shown_since_s() == [index / 10 for index in range(7)]


def test_frames_sent_as_pictures_are_decoded_one_by_one() -> None:
    frames = decode_frames([picture("PNG"), picture("JPEG")], max_pixels=10**6)
    assert [frame.mode for frame in frames] == ["RGB", "RGB"]


ALL_WAYS = [
    (degrees, hflip, vflip)
    for degrees in (0, 90, 180, 270)
    for hflip, vflip in ((False, False), (True, False), (False, True))
]


@pytest.mark.parametrize("shown", ALL_WAYS)
def test_frames_are_turned_as_the_header_says(shown: tuple[int, bool, bool]) -> None:
    data = clip_file(2, shown=shown, corner="white")
    found = header(data)
    degrees, hflip, vflip = shown
    assert (found.width, found.height) == ((48, 64) if degrees in (90, 270) else (64, 48))

    stored = Image.new("L", (64, 48))
    stored.paste(255, (0, 0, 32, 24))
    expected = stored.rotate(degrees, expand=True)
    expected = ImageOps.mirror(expected) if hflip else expected
    expected = ImageOps.flip(expected) if vflip else expected
    for frame in decode_clip(data, found):
        assert frame.size == expected.size
        for x in (8, frame.width - 8):
            for y in (8, frame.height - 8):
                value = frame.getpixel((x, y))
                assert isinstance(value, tuple)
                assert (min(value) > 200) == (expected.getpixel((x, y)) == 255)


def test_the_decoder_reads_the_same_rotation_from_the_file() -> None:
    for degrees in (90, 180, 270):
        data = clip_file(1, shown=(degrees, False, False))
        with opened(data) as (container, stream):
            frame = next(container.decode(stream))
        turn = {90: "ROTATE_90", -90: "ROTATE_270", 180: "ROTATE_180", -180: "ROTATE_180"}
        assert upright(data) is Transpose[turn[frame.rotation]]


@given(st.binary(max_size=200))
def test_what_is_no_box_turns_nothing(tail: bytes) -> None:
    assert upright(b"\0\0\0\x10ftypisom\0\0\0\0" + tail) is None
