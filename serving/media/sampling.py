"""Which frames are taken from a clip: settled from its header, before anything is decoded."""

import math
from dataclasses import dataclass

from saccade.serving.config.media import MediaConfig


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

    @property
    def frames_per_s(self) -> float:
        """Of the frames that are taken."""
        return self.num_frames / self.duration_s

    def times_s(self) -> list[float]:
        step_s = self.duration_s / self.num_frames
        return [(index + 0.5) * step_s for index in range(self.num_frames)]


def sampled(
    width: int, height: int, duration_s: float, sampling: Sampling, config: MediaConfig
) -> ClipHeader:
    """How many frames are taken: as many as asked for, as the server allows, and at least one."""
    most = min(sampling.max_frames or config.max_video_frames, config.max_video_frames)
    wanted = max(1, math.floor(duration_s * (sampling.fps or config.video_fps)))
    return ClipHeader(width, height, duration_s, min(wanted, most))
