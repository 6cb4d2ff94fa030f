"""Synthetic pictures and videos."""

import base64
import io
from pathlib import Path

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.loadtest.spool import Spool, needs_spool, write_spool
from saccade.loadtest.workloads.pictures import data_url, mp4_bytes, picture_bytes
from saccade.loadtest.workloads.session import MediaUrl, Picture, Video


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


@settings(max_examples=25)
@given(
    st.builds(
        Picture,
        seed=st.integers(0, 2**31 - 1),
        width=st.integers(1, 200),
        height=st.integers(1, 200),
        format=st.sampled_from(["jpeg", "png"]),
    )
)
def test_a_picture_has_its_resolution_and_format_and_is_always_the_same(picture: Picture) -> None:
    data = picture_bytes(picture)
    assert opened(data).size == (picture.width, picture.height)
    assert opened(data).format == picture.format.upper()
    assert picture_bytes(picture) == data


@pytest.mark.parametrize("format_", ["jpeg", "png"])
@pytest.mark.parametrize("num_bytes", [9_000, 20_000, 200_000])
def test_a_picture_has_the_wanted_number_of_bytes(format_: str, num_bytes: int) -> None:
    picture = Picture(3, 320, 240, num_bytes, format_)  # type: ignore[arg-type]
    data = picture_bytes(picture)
    # Padding comes in pieces of at least 4 bytes in a JPEG, 12 in a PNG.
    assert num_bytes - 12 < len(data) <= num_bytes
    assert opened(data).size == (320, 240)


def test_more_bytes_mean_more_content_and_not_only_padding() -> None:
    small, large = (opened(picture_bytes(Picture(3, 320, 240, size))) for size in (10_000, 60_000))
    assert len(set(large.convert("L").tobytes())) > len(set(small.convert("L").tobytes()))


def test_a_picture_that_cannot_be_as_small_stays_as_small_as_it_can_be() -> None:
    assert len(picture_bytes(Picture(3, 320, 240, 10))) == len(picture_bytes(Picture(3, 320, 240)))


def test_pictures_with_different_seeds_differ() -> None:
    assert picture_bytes(Picture(1, 64, 64)) != picture_bytes(Picture(2, 64, 64))


def test_a_video_can_be_decoded_and_has_its_frames(tmp_path: Path) -> None:
    video = Video(5, 64, 48, num_frames=6, frames_per_s=4)
    path = tmp_path / "video.mp4"
    path.write_bytes(mp4_bytes(video))
    reader = cv2.VideoCapture(str(path))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(4)
    frames = []
    while (read := reader.read())[0]:
        frames.append(read[1])
    assert len(frames) == 6
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert (frames[0] != frames[5]).any()


def test_a_video_as_frames_is_a_list_of_jpegs() -> None:
    url = data_url(Video(5, 64, 48, num_frames=3, format="jpeg-frames"))
    head, _, frames = url.partition(";base64,")
    assert head == "data:video/jpeg"
    sizes = [opened(base64.b64decode(frame)).size for frame in frames.split(",")]
    assert sizes == [(64, 48)] * 3


def test_the_spool_gives_back_every_picture_and_keeps_a_repeat_once(tmp_path: Path) -> None:
    first, second = Picture(1, 32, 32), Picture(2, 32, 32)
    address = MediaUrl("http://127.0.0.1/picture.png")
    inline = MediaUrl("data:image/png;base64,AAAA")
    sizes: list[int] = []
    places = write_spool(tmp_path / "media", [first, second, first, address, inline], sizes.append)
    assert set(places) == {first, second, inline}
    assert not needs_spool(address)
    assert sum(sizes) == (tmp_path / "media").stat().st_size
    spool = Spool(tmp_path / "media")
    for media, place in places.items():
        assert spool.read(place).decode() == data_url(media)
    spool.close()


def test_a_run_without_media_has_an_empty_spool(tmp_path: Path) -> None:
    assert write_spool(tmp_path / "media", [], lambda _: None) == {}
    Spool(tmp_path / "media").close()
