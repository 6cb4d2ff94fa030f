"""Small video files: each frame has a colour of its own."""

from io import BytesIO
from typing import Any

import av
from PIL import Image

COLOURS = ("red", "lime", "blue", "yellow", "magenta", "cyan", "white", "black")


def clip_file(
    num_frames: int = 8,
    *,
    fps: int = 4,
    size: tuple[int, int] = (64, 48),
    kind: str = "mp4",
    codec: str = "h264",
    shown: tuple[int, bool, bool] | None = None,
    corner: str | None = None,
) -> bytes:
    """One colour a frame, in the order of `COLOURS`, over and over.

    `shown` is the header's rotation (degrees counter-clockwise) and its horizontal and vertical
    flip; `corner` the colour of the upper left quarter of all frames.
    """
    file = BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        if shown is not None:
            stream.set_display_rotation(*shown)
        for index in range(num_frames):
            image = Image.new("RGB", size, COLOURS[index % len(COLOURS)])
            if corner is not None:
                image.paste(corner, (0, 0, size[0] // 2, size[1] // 2))
            frame: Any = av.VideoFrame
            for packet in stream.encode(frame.from_image(image)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def colour_of(frame: Image.Image) -> str:
    """The nearest of `COLOURS` to a frame's middle."""
    middle = frame.getpixel((frame.width // 2, frame.height // 2))
    assert isinstance(middle, tuple)

    def distance(name: str) -> int:
        other = Image.new("RGB", (1, 1), name).getpixel((0, 0))
        assert isinstance(other, tuple)
        return sum((int(a) - int(b)) ** 2 for a, b in zip(middle, other, strict=True))

    return min(COLOURS, key=distance)
