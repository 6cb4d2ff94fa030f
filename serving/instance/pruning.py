"""Stage prune of an instance: from what an encoder made to the visual tokens that are kept."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from saccade.encoders.base import VisualFeatures, VisualLayout, VisualTokens
from saccade.encoders.pruning.pictures import prune
from saccade.encoders.pruning.pipeline import Pipeline
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.pruning.stage import PruningRequestError, Query, Report
from saccade.serving.errors import InvalidRequestError

# Pipelines and questions that are held ready; a question's vector takes some kilobytes.
MAX_PIPELINES = 256
MAX_QUESTIONS = 1024


@dataclass(frozen=True, slots=True)
class PruningOrder:
    """What to do with one picture or clip."""

    settings: str
    """Of the pipeline, as its `settings` says them."""
    question: str | None
    layout: VisualLayout


@dataclass(frozen=True, slots=True)
class PrunedTokens:
    tokens: VisualTokens
    reports: tuple[Report, ...]
    ms: float


class PruneStage:
    """Prunes in a thread of its own, one picture at a time."""

    def __init__(
        self, registry: PruningRegistry, query: Callable[[str], Query | None] | None
    ) -> None:
        """`query` makes vectors of questions; None where no method that looks at them is run."""
        self._registry = registry
        self._pipeline = lru_cache(MAX_PIPELINES)(self._read)
        self._query = lru_cache(MAX_QUESTIONS)(query) if query else None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prune")

    async def prune(self, features: VisualFeatures, order: PruningOrder) -> PrunedTokens:
        """The tokens that are left, in memory of their own.

        Raises:
            InvalidRequestError: it cannot be done with this picture, or this question.
        """
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        try:
            tokens, reports = await loop.run_in_executor(self._pool, self._prune, features, order)
        except PruningRequestError as error:
            raise InvalidRequestError(
                f"The picture cannot be pruned: {error}.",
                param="saccade.pruning",
                code="pruning_not_possible",
            ) from error
        return PrunedTokens(tokens, reports, (time.perf_counter() - started) * 1e3)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _prune(
        self, features: VisualFeatures, order: PruningOrder
    ) -> tuple[VisualTokens, tuple[Report, ...]]:
        pipeline = self._pipeline(order.settings)
        query = None
        if "query" in pipeline.needs and order.question and self._query:
            query = self._query(order.question)
        pruned = prune(pipeline, order.layout, features, query)
        return pruned.tokens.on_cpu(), pruned.reports

    def _read(self, settings: str) -> Pipeline:
        return Pipeline.of(json.loads(settings), self._registry)
