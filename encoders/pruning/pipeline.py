"""Several stages in a row, each on what the one before it left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.pruning.stage import (
    Budget,
    Need,
    PruningRequestError,
    PruningStage,
    Query,
    Report,
    Shape,
    Visual,
)

MAX_STAGES = 4


class Limits(BaseModel):
    """What an operator allows requests to ask for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: tuple[str, ...] | None = Field(
        default=None, description="Methods that requests may name; all if not set."
    )
    min_keep_ratio: float = Field(
        default=0.0, ge=0, le=1, description="Share of visual tokens that must be kept."
    )

    def check_method(self, name: str) -> None:
        """Raises `PruningRequestError` for a method that is not allowed."""
        if self.methods is not None and name not in self.methods:
            allowed = ", ".join(self.methods) or "none"
            raise PruningRequestError(f"method: {name} is not allowed here; allowed: {allowed}")

    def check_share(self, num_kept: int, num_tokens: int) -> None:
        """Raises `PruningRequestError` if less than the share would be left."""
        if num_kept < self.min_keep_ratio * num_tokens:
            raise PruningRequestError(
                f"keep: {num_kept} of {num_tokens} visual tokens would be kept; "
                f"at least {self.min_keep_ratio:.0%} must be"
            )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left, and what each stage did."""

    visual: Visual
    reports: tuple[Report, ...]


class Pipeline:
    """Raises `PruningRequestError` if a stage needs what one before it destroys."""

    def __init__(self, stages: Sequence[PruningStage]) -> None:
        for index, stage in enumerate(stages):
            merging = [before.name for before in stages[:index] if before.merges]
            if merging and "attention" in stage.needs:
                raise PruningRequestError(
                    f"{stage.name} needs the tower's attention, which {merging[0]} merges away; "
                    f"put {stage.name} first"
                )
        self.stages = tuple(stages)

    @classmethod
    def of(
        cls,
        request: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        registry: PruningRegistry,
        limits: Limits | None = None,
    ) -> Pipeline:
        """Of `{"method": …, "keep": …}`, or of a list of such; an empty list prunes nothing.

        Raises `PruningRequestError`, whose message names the field.
        """
        settings = [request] if isinstance(request, Mapping) else list(request)
        if len(settings) > MAX_STAGES:
            raise PruningRequestError(f"{len(settings)} stages; at most {MAX_STAGES} are allowed")
        stages = [registry.stage(one) for one in settings]
        for stage in stages:
            (limits or Limits()).check_method(stage.name)
        return cls(stages)

    def scaled(self, share: float) -> Pipeline:
        """Keeping only `share` of what is asked for."""
        return Pipeline([type(stage)(stage.options.scaled(share)) for stage in self.stages])

    @property
    def settings(self) -> str:
        """As JSON; `of` makes the same pipeline of what is read from it."""
        return json.dumps(self._settings(), sort_keys=True)

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there besides the visual tokens."""
        return frozenset(need for stage in self.stages for need in stage.needs)

    def plan(self, shape: Shape) -> Budget:
        """What all stages leave, exactly if each knows exactly."""
        budget = Budget(shape)
        for stage in self.stages:
            following = stage.plan(budget.shape)
            budget = Budget(following.shape, budget.is_exact and following.is_exact)
        return budget

    def apply(self, visual: Visual, query: Query | None) -> Outcome:
        """Run all stages; each plans again with what is really left."""
        reports = []
        for stage in self.stages:
            pruned = stage.apply(visual, query, stage.plan(visual.shape))
            visual = pruned.visual
            reports.append(pruned.report)
        return Outcome(visual, tuple(reports))

    def key(self, query: str | None) -> str:
        """What a cache of pruned tokens must tell apart, besides the picture.

        Methods, their options, and the question if one of them looks at it.
        """
        seen = query if "query" in self.needs else None
        text = json.dumps([self._settings(), seen], sort_keys=True, ensure_ascii=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _settings(self) -> list[dict[str, Any]]:
        return [
            {"method": stage.name, **stage.options.model_dump(mode="json", exclude_none=True)}
            for stage in self.stages
        ]
