"""Decode the frames that are taken from a checked clip; runs in the encode workers."""

from collections.abc import Sequence
from typing import Any, Final

from av.error import FFmpegError
from PIL import Image

from saccade.serving.media.clip import MAX_RECORDED_FPS, clip_refusal, opened
from saccade.serving.media.container import PictureError
from saccade.serving.media.decode import decode
from saccade.serving.media.sampling import ClipHeader

# Decoders pad their frames, to whole blocks and for motion beyond the edge.
DECODER_MARGIN: Final = 256
HARMLESS_PIXELS: Final = 1_000_000


def decode_clip(data: bytes, header: ClipHeader, *, param: str | None = None) -> list[Image.Image]:
    """`header.num_frames` upright RGB frames of the header's size.

    A frame is the last one shown at its time; where the file ends early, the last frame stays.
    Memory is that of the frames that are kept, and of a few that the decoder holds.

    Raises InvalidRequestError, and nothing else.
    """
    try:
        with opened(data) as (container, stream):
            # The decoder itself refuses a stream that turns out larger than its header.
            padded = (header.width + DECODER_MARGIN) * (header.height + DECODER_MARGIN)
            most = max(padded, HARMLESS_PIXELS)
            stream.codec_context.options = {"max_pixels": str(most)}
            stream.thread_type = "NONE"
            return _taken(container, stream, header)
    except PictureError as error:
        raise clip_refusal(error, param) from error


def decode_frames(files: Sequence[bytes], max_pixels: int) -> list[Image.Image]:
    """A clip that was sent as pictures. Raises InvalidRequestError, and nothing else."""
    return [decode(data, max_pixels) for data in files]


def _taken(container: Any, stream: Any, header: ClipHeader) -> list[Image.Image]:
    frames: list[Image.Image] = []
    shown: Any = None
    begin_s: float | None = None
    # A file may hold more frames than its header's duration and rate allow for.
    left = int(header.duration_s * MAX_RECORDED_FPS) + 1000
    times_s = header.times_s()
    try:
        for frame in container.decode(stream):
            left -= 1
            if left < 0:
                raise PictureError("it has more frames than its header says", "invalid_video")
            begin_s = frame.time if begin_s is None else begin_s
            while shown is not None and frame.time - begin_s > times_s[len(frames)]:
                frames.append(_rgb(shown, header))
                if len(frames) == header.num_frames:
                    return frames
            shown = frame
    except (FFmpegError, ValueError, TypeError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError("its frames cannot be decoded", "invalid_video") from error
    if shown is None:
        raise PictureError("it has no frames", "invalid_video")
    last = _rgb(shown, header)
    return [*frames, *[last] * (header.num_frames - len(frames))]


def _rgb(frame: Any, header: ClipHeader) -> Image.Image:
    if (frame.width, frame.height) != header.stored_size:
        raise PictureError("its frames are not of the size that its header says", "invalid_video")
    image: Image.Image = frame.to_image().convert("RGB")
    return image if header.transpose is None else image.transpose(header.transpose)
