"""What the gateway knows about one HTTP request, carried beside vLLM's own request object."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from saccade.scheduler.placement import Placement
from saccade.serving.errors import SaccadeError
from saccade.serving.media.load import Media

if TYPE_CHECKING:
    from saccade.encoders.base import VisualTokens
    from saccade.encoders.pruning.stage import Report
    from saccade.serving.instance.pruning import PruningOrder

Stage = Literal["preprocess", "encode", "prune", "prefill", "decode"]
STAGES: tuple[Stage, ...] = ("preprocess", "encode", "prune", "prefill", "decode")
LLM_STAGES = STAGES[3:]


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
    """Before pruning."""
    pruning: "PlannedPruning | None" = None
    given: "VisualTokens | None" = None
    """They came with the request, and were checked: nothing is left to encode."""
    stamps_s: tuple[float, ...] = ()
    """Of a clip whose steps have places of their own in the prompt: what it says before each."""

    @property
    def num_reserved(self) -> int:
        """The most that the LLM may be given, for which its prompt has room."""
        return self.num_visual_tokens if self.pruning is None else self.pruning.num_tokens

    @property
    def reserved_counts(self) -> tuple[int, ...]:
        """The same for each place in the prompt: one, or one for each step that stands apart.

        How many each step keeps is known when they are there, so what is left is reserved evenly.
        """
        num_places = len(self.stamps_s) or 1
        return (-(-self.num_reserved // num_places),) * num_places

    @property
    def is_exact(self) -> bool:
        """Else fewer than `num_reserved` may be left, or otherwise spread over places, which is
        known when they are there."""
        return self.pruning is None or (self.pruning.is_exact and len(self.stamps_s) <= 1)

    @property
    def pruning_key(self) -> str:
        """What a cache of pruned tokens must tell apart, besides the picture."""
        return "" if self.pruning is None else self.pruning.key


@dataclass(frozen=True, slots=True)
class PlannedPruning:
    """What is to be done with one picture, and what will be left of it."""

    order: "PruningOrder"
    num_tokens: int
    is_exact: bool
    """Else `num_tokens` is a bound, and the number is known when it is done."""
    key: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One picture's visual tokens, ready for an LLM instance."""

    tokens: Any
    """A reference that only instances look into, or the tokens that a client has given."""
    num_tokens: int
    reports: "Sequence[Report]" = ()
    step_counts: tuple[int, ...] = ()
    """Of each step of a clip whose steps stand apart."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Of each place in the prompt."""
        return self.step_counts or (self.num_tokens,)


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
    encoded: "asyncio.Task[list[Reference]] | None" = None
    """References to the visual tokens, encoded once for all choices."""
    kept: "list[Reference]" = field(default_factory=list)
    """The same when they are there."""
    pruning_quality: float = 1.0
    """Under overload, the share of the visual tokens asked for that is kept."""

    @property
    def num_visual_tokens(self) -> int:
        """Before pruning."""
        return sum(pending.num_visual_tokens for pending in self.pictures)

    @property
    def num_visual_tokens_kept(self) -> int:
        """As the LLM sees them; as planned until they are there."""
        if self.kept:
            return sum(reference.num_tokens for reference in self.kept)
        return sum(pending.num_reserved for pending in self.pictures)

    def record(self, stage: Stage, instance: str, ms: float, cache: str | None = None) -> None:
        self.records.append(StageRecord(stage, instance, round(ms, 3), cache))

    def explanation(self) -> dict[str, Any]:
        """The `saccade` object of a response."""
        ordered = sorted(self.records, key=lambda record: STAGES.index(record.stage))
        stages = [record.shown() for record in ordered]
        explained = {"request_key": self.key, "tenant": self.tenant, "stages": stages}
        pruning = [
            {"picture": index, **_shown(report)}
            for index, reference in enumerate(self.kept)
            for report in reference.reports
        ]
        return explained | {"pruning": pruning} if pruning else explained


def _shown(report: "Report") -> dict[str, Any]:
    return {
        "method": report.method,
        "tokens_before": report.num_tokens_before,
        "tokens_after": report.num_tokens_after,
        **report.details,
    }


current_request: ContextVar[RequestContext] = ContextVar("current_request")
pinned_placement: ContextVar[Placement | None] = ContextVar("pinned_placement", default=None)
