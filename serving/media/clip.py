"""Check a video file without decoding its pixels, and settle which frames will be taken.

Only the demuxer runs here. It is named after the file's first bytes, reads from memory, and can
reach no file or address.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

import av
from av.error import FFmpegError

from saccade.serving.config.media import MediaConfig
from saccade.serving.errors import InvalidRequestError
from saccade.serving.media.container import PictureError
from saccade.serving.media.sampling import ClipHeader, Sampling, sampled
from saccade.serving.media.upright import upright

_MATROSKA: Final = b"\x1a\x45\xdf\xa3"
_MP4_BRAND: Final = slice(4, 8)
_CODECS: Final = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg4"})
# Faster cameras record at most this; a header that says more would make decoding long.
MAX_RECORDED_FPS: Final = 240.0


def inspect_clip(
    data: bytes, sampling: Sampling, config: MediaConfig, *, param: str | None
) -> ClipHeader:
    """Raises InvalidRequestError, and nothing else."""
    try:
        with opened(data) as (_, stream):
            header = _header(stream, sampling, config)
    except PictureError as error:
        raise clip_refusal(error, param) from error
    return header.turned(upright(data))


def clip_refusal(error: PictureError, param: str | None) -> InvalidRequestError:
    return InvalidRequestError(f"The video cannot be used: {error}.", param=param, code=error.code)


@contextmanager
def opened(data: bytes) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its first video stream; raises PictureError."""
    if data[:4] == _MATROSKA:
        kind = "matroska"
    elif data[_MP4_BRAND] == b"ftyp":
        kind = "mp4"
    else:
        raise PictureError("the file is not MP4, WebM or Matroska", "unsupported_video_format")
    try:
        with av.open(BytesIO(data), format=kind) as container:
            if not container.streams.video:
                raise PictureError("it has no pictures", "invalid_video")
            yield container, container.streams.video[0]
    except (FFmpegError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError("it is not a video that can be read", "invalid_video") from error


def _header(stream: Any, sampling: Sampling, config: MediaConfig) -> ClipHeader:
    # There is none for a codec that the library does not know.
    context = stream.codec_context
    if context is None or not {context.name, context.codec.canonical_name} & _CODECS:
        codec = "unknown" if context is None else context.name
        raise PictureError(f"its codec is {codec}", "unsupported_video_format")
    width, height = int(stream.width or 0), int(stream.height or 0)
    if width < 1 or height < 1:
        raise PictureError("it has no pixels", "invalid_video")
    if width * height > config.max_video_pixels:
        raise PictureError(
            f"{width} x {height} is more than {config.max_video_pixels} pixels",
            "video_too_many_pixels",
        )
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0 < rate <= MAX_RECORDED_FPS:
        raise PictureError(f"it has {rate:g} frames a second", "invalid_video")
    duration_s = _duration_s(stream, rate)
    if duration_s > config.max_video_duration_s:
        raise PictureError(
            f"it is {duration_s:.0f} s long, at most {config.max_video_duration_s:g} s are allowed",
            "video_too_long",
        )
    return sampled((width, height), duration_s, rate, sampling, config)


def _duration_s(stream: Any, rate: float) -> float:
    """Of the stream, or of the whole file; nothing is read to its end to find out."""
    if stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    elif stream.container.duration:
        duration_s = stream.container.duration / av.time_base
    else:
        duration_s = stream.frames / rate
    if not math.isfinite(duration_s) or duration_s <= 0:
        raise PictureError("its header does not say how long it is", "invalid_video")
    return duration_s
