"""What a request's pruning comes to, decided before anything is encoded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saccade.encoders.base import Family, VisualLayout
from saccade.encoders.pruning.pictures import plan
from saccade.encoders.pruning.pipeline import Limits, Pipeline
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.pruning.stage import PluginError, PruningRequestError
from saccade.scheduler.quality import kept_share
from saccade.serving.config.pruning import PruningConfig
from saccade.serving.errors import InternalError, InvalidRequestError
from saccade.serving.gateway.context import PlannedPruning
from saccade.serving.instance.pruning import PruningOrder

PARAM = "saccade.pruning"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request's pruning, the same for all of its pictures."""

    pipeline: Pipeline
    limits: Limits
    quality: float = 1.0
    """Share of what was asked for; less than 1 under overload."""

    @property
    def looks_at_question(self) -> bool:
        return "query" in self.pipeline.needs


class PruningPolicy:
    """For one model and one configuration."""

    def __init__(
        self,
        config: PruningConfig,
        family: Family,
        registry: PruningRegistry,
        load: Callable[[], tuple[int, int]],
    ) -> None:
        """`load` says how many requests wait for admission, and how many run.

        Raises:
            PruningRequestError: the configured default cannot be done with this model.
        """
        self._config = config
        self._family = family
        self._registry = registry
        self._load = load
        methods = None if config.methods is None else tuple(config.methods)
        self._limits = Limits(methods=methods, min_keep_ratio=config.min_keep_ratio)
        self._default = self._possible(Pipeline.of(config.default, registry))

    def asked(self, request: Mapping[str, Any] | Sequence[Any] | None) -> Asked:
        """From the body's field; None asks for the operator's default.

        Raises:
            InvalidRequestError: for what is unknown, not allowed, or not possible.
        """
        if request is None:
            return self._adapted(Asked(self._default, Limits()))
        if not self._config.enabled and request:
            raise InvalidRequestError("This server does not prune.", param=PARAM)
        try:
            pipeline = self._possible(Pipeline.of(_checked(request), self._registry, self._limits))
        except PluginError as error:
            raise InternalError(f"A pruning method cannot be used: {error}.") from error
        except PruningRequestError as error:
            raise _invalid(error) from error
        return self._adapted(Asked(pipeline, self._limits))

    def planned(
        self, asked: Asked, layout: VisualLayout, question: str | None
    ) -> PlannedPruning | None:
        """Of one picture; None where nothing is pruned.

        Raises:
            InvalidRequestError: too little would be kept, or there is no question to look at.
        """
        if not asked.pipeline.stages:
            return None
        if asked.looks_at_question and not (question or "").strip():
            raise InvalidRequestError(
                "The pruning method looks at the question, and there is no text with the picture.",
                param=PARAM,
                code="invalid_pruning",
            )
        reserved = plan(asked.pipeline, layout)
        try:
            asked.limits.check_share(reserved.num_tokens, layout.num_tokens)
        except PruningRequestError as error:
            raise _invalid(error) from error
        seen = question if asked.looks_at_question else None
        return PlannedPruning(
            PruningOrder(asked.pipeline.settings, seen, layout),
            reserved.num_tokens,
            reserved.is_exact,
            asked.pipeline.key(seen),
        )

    def _possible(self, pipeline: Pipeline) -> Pipeline:
        if "attention" in pipeline.needs and not self._family.support.exposes:
            raise PruningRequestError(
                f"method: {pipeline.stages[0].name} needs the tower's attention, which "
                f"{self._family.name} does not show"
            )
        return pipeline

    def _adapted(self, asked: Asked) -> Asked:
        if self._config.quality == "exact" or not asked.pipeline.stages:
            return asked
        share = kept_share(*self._load(), self._config.min_adaptive_ratio)
        if share == 1.0:
            return asked
        # What the operator lets the server do is not held against the request.
        return Asked(asked.pipeline.scaled(share), Limits(), share)


def _checked(request: Mapping[str, Any] | Sequence[Any]) -> Any:
    if not isinstance(request, Mapping) and not all(isinstance(one, Mapping) for one in request):
        raise PruningRequestError("a list of methods has to hold mappings with `method`")
    return request


def _invalid(error: PruningRequestError) -> InvalidRequestError:
    place, _, rest = str(error).partition(": ")
    param = f"{PARAM}.{place}" if rest and place.replace("_", "").isalnum() else PARAM
    return InvalidRequestError(f"{PARAM}: {error}.", param=param, code="invalid_pruning")
