"""What a workload makes: sessions of one or more turns, with media described but not yet made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from saccade.loadtest.records import Modality


@dataclass(frozen=True, slots=True)
class Picture:
    """A synthetic picture. The same description gives the same bytes, so that it is a repeat."""

    seed: int
    width: int
    height: int
    num_bytes: int | None = None
    """Wanted size of the file; None takes what comes out."""
    format: Literal["jpeg", "png"] = "jpeg"

    @property
    def num_pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Video:
    """A synthetic video: shapes that move over a background."""

    seed: int
    width: int
    height: int
    num_frames: int
    frames_per_s: float = 8.0
    format: Literal["mp4", "jpeg-frames"] = "mp4"

    @property
    def num_pixels(self) -> int:
        return self.width * self.height * self.num_frames


@dataclass(frozen=True, slots=True)
class MediaUrl:
    """Given media: a data URL, or an address that the server fetches."""

    url: str
    modality: Literal["image", "video"] = "image"
    num_pixels: int = 0


Media = Picture | Video | MediaUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a user says once."""

    text: str
    media: tuple[Media, ...] = ()
    """Stand before the text."""
    text_tokens: int | None = None
    """As was asked for."""
    max_tokens: int
    think_s: float = 0.0
    """From the answer before (or, with a scripted history, from the turn before) to this turn."""
    scripted_answer: str | None = None
    """Stands in the history in place of what the server answers."""
    expected: str | None = None
    """The right answer, if there is one."""
    messages: tuple[Mapping[str, Any], ...] | None = None
    """The whole conversation as given by a file; then `text` and `media` only describe it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One user's turns, one after the other."""

    component: str
    turns: tuple[Turn, ...]
    system: str | None = None
    at_s: float | None = None
    """When it begins, if the workload is a recording."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Fields for the body of each of its requests."""

    def modality(self, turn: int) -> Modality:
        """Of all that the model sees in a turn: media of earlier turns are in its history."""
        media = [one for t in self.turns[: turn + 1] for one in t.media]
        if any(
            isinstance(m, Video) or (isinstance(m, MediaUrl) and m.modality == "video")
            for m in media
        ):
            return Modality.VIDEO
        return Modality.IMAGE if media else Modality.TEXT
