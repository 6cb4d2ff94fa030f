"""What the gateway knows about one HTTP request, carried beside vLLM's own request object."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from saccade.encoders.base import VisualTokens
from saccade.scheduler.placement import Placement
from saccade.serving.errors import SaccadeError
from saccade.serving.media.load import Media

Stage = Literal["preprocess", "encode", "prefill", "decode"]
STAGES: tuple[Stage, ...] = ("preprocess", "encode", "prefill", "decode")


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage of one request, as `"explain": true` shows it."""

    stage: Stage
    instance: str
    ms: float
    cache: str | None = None
    """Where the result came from, if the stage did not run: a tier, or `joined`."""

    def shown(self) -> dict[str, Any]:
        shown = {"stage": self.stage, "instance": self.instance, "ms": self.ms}
        return shown if self.cache is None else shown | {"cache": self.cache}


@dataclass(frozen=True, slots=True)
class PendingPicture:
    """A checked picture or clip, and the number of visual tokens that it will become."""

    picture: Media
    num_visual_tokens: int
    given: VisualTokens | None = None
    """They came with the request, and were checked: nothing is left to encode."""


@dataclass(slots=True, eq=False)
class RequestContext:
    """One HTTP request on its way; lives until its response is complete."""

    key: str
    """Ours and unique; a client's x-request-id may repeat."""
    request_id: str
    tenant: str
    deadline: float
    """On the event loop's clock, seconds."""
    explain: bool = False
    pictures: tuple[PendingPicture, ...] = ()
    pinned: Placement | None = None
    """Set by the warm-up, which has to reach every instance."""
    records: list[StageRecord] = field(default_factory=list)
    ahead: bool = False
    """Its text may have been sent ahead of its pictures."""
    error: SaccadeError | None = None
    """What ended the request after its response had begun."""
    encoded: "asyncio.Task[list[Any]] | None" = None
    """References to the visual tokens, encoded once for all choices."""

    @property
    def num_visual_tokens(self) -> int:
        return sum(pending.num_visual_tokens for pending in self.pictures)

    def record(self, stage: Stage, instance: str, ms: float, cache: str | None = None) -> None:
        self.records.append(StageRecord(stage, instance, round(ms, 3), cache))

    def explanation(self) -> dict[str, Any]:
        """The `saccade` object of a response."""
        ordered = sorted(self.records, key=lambda record: STAGES.index(record.stage))
        stages = [record.shown() for record in ordered]
        return {"request_key": self.key, "tenant": self.tenant, "stages": stages}


current_request: ContextVar[RequestContext] = ContextVar("current_request")
pinned_placement: ContextVar[Placement | None] = ContextVar("pinned_placement", default=None)
