"""Makes the bytes of synthetic pictures and videos. The same description gives the same bytes."""

import base64
import io
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.loadtest.errors import PlanError
from saccade.loadtest.workloads.session import Media, MediaUrl, Picture, Video

_QUALITY = 85
_MAX_COMMENT = 65_533


def data_url(media: Media) -> str:
    """What stands in a request's `url`."""
    match media:
        case MediaUrl():
            return media.url
        case Picture():
            return f"data:image/{media.format};base64,{_base64(picture_bytes(media))}"
        case Video(format="jpeg-frames"):
            frames = ",".join(_base64(_jpeg(frame, _QUALITY)) for frame in _frames(media))
            return f"data:video/jpeg;base64,{frames}"
        case Video():
            return f"data:video/mp4;base64,{_base64(mp4_bytes(media))}"


def picture_bytes(picture: Picture) -> bytes:
    """A file of the wanted resolution and, if given, of the wanted number of bytes.

    Bytes are reached from below: noise covers as much of the picture as fits, and a comment fills
    up the rest. A flat picture that is larger than wanted stays as it is.
    """
    if picture.num_bytes is None:
        return _encoded(picture, noise_ratio=0.0)
    low, high = 0.0, 1.0
    best = _encoded(picture, low)
    for _ in range(7):
        middle = (low + high) / 2
        tried = _encoded(picture, middle)
        if len(tried) <= picture.num_bytes:
            low, best = middle, tried
        else:
            high = middle
    return _padded(best, picture)


def mp4_bytes(video: Video) -> bytes:
    """An MPEG-4 file.

    Raises:
        PlanError: OpenCV, which encodes it, is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise PlanError(
            "Synthetic mp4 videos need OpenCV: pip install 'saccade[loadtest]', or choose "
            "the video format jpeg-frames."
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        code = cv2.VideoWriter.fourcc(*"mp4v")
        size = (video.width, video.height)
        writer = cv2.VideoWriter(str(path), code, video.frames_per_s, size)
        for frame in _frames(video):
            writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
        writer.release()
        return path.read_bytes()


def _encoded(picture: Picture, noise_ratio: float) -> bytes:
    pixels = _pixels(picture, noise_ratio)
    if picture.format == "png":
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG", compress_level=1)
        return out.getvalue()
    return _jpeg(pixels, _QUALITY)


def _jpeg(pixels: np.ndarray[Any, Any], quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()


def _pixels(picture: Picture, noise_ratio: float) -> np.ndarray[Any, Any]:
    """[height, width, 3] uint8: one colour runs into another; a square; noise on top."""
    rng = np.random.default_rng(picture.seed)
    first, second, third = rng.integers(0, 256, (3, 3)).astype(np.float32)
    across = np.linspace(0, 1, picture.width, dtype=np.float32)[None, :, None]
    pixels = np.broadcast_to(
        first + (second - first) * across, (picture.height, picture.width, 3)
    ).astype(np.uint8)
    top, left = (int(rng.integers(0, max(1, side // 2))) for side in pixels.shape[:2])
    pixels[top : top + picture.height // 3, left : left + picture.width // 3] = third
    num_rows = round(picture.height * noise_ratio)
    if num_rows:
        shape = (num_rows, picture.width, 3)
        pixels[:num_rows] = rng.integers(0, 256, shape, dtype=np.uint8)
    return pixels


def _frames(video: Video) -> list[np.ndarray[Any, Any]]:
    """Each [height, width, 3] uint8: a square that moves."""
    rng = np.random.default_rng(video.seed)
    background, colour = rng.integers(0, 256, (2, 3)).astype(np.uint8)
    side = max(1, min(video.width, video.height) // 4)
    begin, step = rng.integers(0, max(1, video.width - side)), int(rng.integers(1, 9))
    frames = []
    for index in range(video.num_frames):
        frame = np.empty((video.height, video.width, 3), dtype=np.uint8)
        frame[:] = background
        left = int(begin + step * index) % max(1, video.width - side)
        frame[video.height // 3 : video.height // 3 + side, left : left + side] = colour
        frames.append(frame)
    return frames


def _padded(data: bytes, picture: Picture) -> bytes:
    missing = (picture.num_bytes or 0) - len(data)
    if picture.format == "png":
        # An ancillary chunk that decoders skip, before IEND, which has 12 bytes.
        if missing < 12:
            return data
        body = b"saCc" + bytes(missing - 12)
        chunk = (missing - 12).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
        return data[:-12] + chunk + data[-12:]
    comments = []
    while missing >= 4:
        size = min(missing - 4, _MAX_COMMENT)
        comments.append(b"\xff\xfe" + (size + 2).to_bytes(2) + bytes(size))
        missing -= size + 4
    return data[:2] + b"".join(comments) + data[2:]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
