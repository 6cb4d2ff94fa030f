"""Which workload a plan asks for."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from saccade.loadtest.workloads.distributions import Dist, constant

_FROZEN = ConfigDict(extra="forbid", frozen=True)


class PictureSpec(BaseModel):
    """Synthetic pictures."""

    model_config = _FROZEN

    width: Dist = constant(336)
    height: Dist = constant(336)
    file_bytes: Dist | None = None
    """Size of the file; if not given, what the encoder makes of it."""
    format: Literal["jpeg", "png"] = "jpeg"
    repeat_ratio: float = Field(default=0.0, ge=0, le=1)
    """Share of pictures that were sent before in this run."""
    recent: int = Field(default=64, ge=1)
    """A repeat is one of this many latest different pictures."""


class VideoSpec(BaseModel):
    """Synthetic videos."""

    model_config = _FROZEN

    num_frames: Dist = constant(8)
    width: Dist = constant(336)
    height: Dist = constant(336)
    frames_per_s: float = Field(default=8.0, gt=0)
    format: Literal["mp4", "jpeg-frames"] = "mp4"


class Wave(BaseModel):
    """A stretch of a component's own rhythm."""

    model_config = _FROZEN

    duration_s: float = Field(gt=0)
    factor: float = Field(ge=0)
    """Of the component's share of the rate."""


class Component(BaseModel):
    """One kind of request in a mixture."""

    model_config = _FROZEN

    name: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)
    """Share of sessions, relative to the other components."""
    text_tokens: Dist = constant(64)
    """Of a turn's text."""
    output_tokens: Dist = constant(32)
    """`max_tokens`; that long exactly where the server knows `ignore_eos` (see --exact-output)."""
    system_tokens: int = Field(default=0, ge=0)
    """A system message that all sessions of the component share."""
    num_pictures: Dist = constant(0)
    """In a session's first turn."""
    picture: PictureSpec = PictureSpec()
    video: VideoSpec | None = None
    num_turns: Dist = constant(1)
    think_s: Dist = constant(1)
    """From an answer to the next turn."""
    history: Literal["actual", "scripted"] = "actual"
    """`actual`: a turn waits for the answer before and quotes it. `scripted`: answers are made up,
    and turns go out on time whether the answer before is there or not."""
    waves: tuple[Wave, ...] = ()
    """Repeated over the run. Factors are taken relative to their mean."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.waves and not any(wave.factor > 0 for wave in self.waves):
            raise ValueError(f"{self.name}: one of the waves needs a factor above 0")
        return self


class MixtureSpec(BaseModel):
    """Synthetic requests."""

    model_config = _FROZEN

    kind: Literal["mixture"] = "mixture"
    name: str
    components: tuple[Component, ...] = Field(min_length=1)
    length_scale: float = Field(default=1.0, gt=0)
    """Multiplies all text and output lengths, for models with a short context."""


class FileSpec(BaseModel):
    """Your own requests, a JSON object a line."""

    model_config = _FROZEN

    kind: Literal["jsonl"] = "jsonl"
    path: Path
    output_tokens: int = Field(default=128, ge=1)
    """For lines that do not say."""

    @property
    def name(self) -> str:
        return self.path.name


TraceFormat = Literal["mooncake", "burstgpt", "azure-llm", "azure-lmm", "servegen"]


class TraceSpec(BaseModel):
    """A published recording."""

    model_config = _FROZEN

    kind: Literal["trace"] = "trace"
    format: TraceFormat
    path: Path
    begin_s: float = Field(default=0.0, ge=0)
    """Where in the recording to begin."""
    length_scale: float = Field(default=1.0, gt=0)
    max_text_tokens: int | None = Field(default=None, ge=1)
    """Longer prompts are cut to this."""
    max_pictures: int = Field(default=16, ge=0)
    """Of one request; further ones are left out."""
    picture: PictureSpec = PictureSpec()
    """Where the recording does not say how large pictures are."""
    pixels_per_token: float = Field(default=784.0, gt=0)
    """To make pictures of the recorded number of visual tokens: 28 x 28 for Qwen2-VL's encoder."""

    @property
    def name(self) -> str:
        return f"{self.format}:{self.path.name}"


class DatasetSpec(BaseModel):
    """Questions about synthetic pictures, with known answers, as `saccade dataset` makes them."""

    model_config = _FROZEN

    kind: Literal["dataset"] = "dataset"
    split: Literal["train", "held-out"] = "held-out"
    output_tokens: int = Field(default=16, ge=1)

    @property
    def name(self) -> str:
        return f"dataset:{self.split}"


WorkloadSpec = Annotated[
    MixtureSpec | FileSpec | TraceSpec | DatasetSpec, Field(discriminator="kind")
]
