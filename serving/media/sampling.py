"""Which frames are taken from a clip: settled from its header, before anything is decoded."""

import math
from dataclasses import dataclass, replace

from PIL.Image import Transpose

from saccade.serving.config.media import MediaConfig
from saccade.serving.media.upright import is_sideways

# Of a frame: a time that is its very first moment may have been rounded down.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a request asks for: frames a second, and how many at most. None: the server's."""

    fps: float | None = None
    max_frames: int | None = None


@dataclass(frozen=True, slots=True)
class ClipHeader:
    """Frames of width x height are taken at the middle of `num_frames` equal parts of the clip.

    Where it was sent as frames (`is_file` is False), all of them are.
    """

    width: int
    height: int
    duration_s: float
    num_frames: int
    is_file: bool = True
    transpose: Transpose | None = None
    """What turns a stored frame upright; `width` and `height` are those of the upright one."""
    recorded_fps: float | None = None
    """Of all frames of the file, or of those that were sent; None: of those that are taken."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of a frame in the file."""
        sideways = is_sideways(self.transpose)
        return (self.height, self.width) if sideways else (self.width, self.height)

    def turned(self, transpose: Transpose | None) -> "ClipHeader":
        """The header of stored frames, as that of upright ones."""
        width, height = replace(self, transpose=transpose).stored_size
        return replace(self, width=width, height=height, transpose=transpose)

    @property
    def frames_per_s(self) -> float:
        """Of the frames that are taken."""
        return self.num_frames / self.duration_s

    def times_s(self) -> list[float]:
        step_s = self.duration_s / self.num_frames
        return [(index + 0.5) * step_s for index in range(self.num_frames)]

    def shown_since_s(self) -> list[float]:
        """When each frame that is taken began to be shown, if all are shown equally long."""
        fps = self.recorded_fps or self.frames_per_s
        if not self.is_file:
            return [index / fps for index in range(self.num_frames)]
        return [math.floor(time_s * fps + ROUNDING) / fps for time_s in self.times_s()]


def sampled(
    size: tuple[int, int],
    duration_s: float,
    recorded_fps: float,
    sampling: Sampling,
    config: MediaConfig,
) -> ClipHeader:
    """How many frames are taken: as many as asked for, as the server allows, and at least one."""
    most = min(sampling.max_frames or config.max_video_frames, config.max_video_frames)
    wanted = max(1, math.floor(duration_s * (sampling.fps or config.video_fps)))
    return ClipHeader(*size, duration_s, min(wanted, most), recorded_fps=recorded_fps)
