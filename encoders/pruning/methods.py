"""The built-in stages: the functions of this package, behind the protocol of `stage`."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import Field

from saccade.encoders.pruning import baselines, cdpruner, holitom
from saccade.encoders.pruning.checks import check_finite
from saccade.encoders.pruning.stage import (
    Budget,
    Need,
    Options,
    Pruned,
    PruningRequestError,
    PruningStage,
    Query,
    Shape,
    Visual,
)


class SelectingStage(PruningStage):
    """Keeps some tokens of each part as they are; a subclass says which."""

    def plan(self, shape: Shape) -> Budget:
        return Budget(shape.keeping(self.options.kept_of_part(shape)))

    def apply(self, visual: Visual, query: Query | None, budget: Budget) -> Pruned:
        indices = self.choose(visual, query, budget.shape.part_tokens)
        kept = visual.kept(_numbered(indices, visual.shape), budget.shape)
        return Pruned(kept, self.report(visual, kept))

    @abstractmethod
    def choose(self, visual: Visual, query: Query | None, keep: int) -> torch.Tensor:
        """Rising indices [parts, keep] within each part."""


class Uniform(SelectingStage):
    name = "uniform"

    def choose(self, visual: Visual, query: Query | None, keep: int) -> torch.Tensor:
        indices = baselines.uniform(visual.shape.part_tokens, keep)
        return indices.to(visual.tokens.embeddings.device).expand(visual.shape.num_parts, -1)


class RandomOptions(Options):
    seed: int = Field(default=0, ge=0, lt=2**63)


class Random(SelectingStage):
    name = "random"
    options_type = RandomOptions
    options: RandomOptions

    def choose(self, visual: Visual, query: Query | None, keep: int) -> torch.Tensor:
        # Parts differ from each other, and are the same whatever follows them.
        chosen = [
            baselines.random(visual.shape.part_tokens, keep, (self.options.seed + part) % 2**63)
            for part in range(visual.shape.num_parts)
        ]
        return torch.stack(chosen).to(visual.tokens.embeddings.device)


class DivPrune(SelectingStage):
    name = "divprune"

    def choose(self, visual: Visual, query: Query | None, keep: int) -> torch.Tensor:
        return baselines.divprune(visual.parts(visual.tokens.embeddings), keep)


class CDPrunerOptions(Options):
    theta: float | None = Field(default=None, ge=0, lt=1)
    """The strength of relevance; without it relevance is taken as it is, as by the authors."""
    negate: bool | None = None
    """The sign of relevance; without it, that of the query's space: CLIP's is negated."""
    joint: bool = True
    """Whether relevance is spread over all parts, or over each."""


class CDPruner(SelectingStage):
    name = "cdpruner"
    needs: ClassVar[frozenset[Need]] = frozenset({"query"})
    options_type = CDPrunerOptions
    options: CDPrunerOptions

    def choose(self, visual: Visual, query: Query | None, keep: int) -> torch.Tensor:
        tokens = visual.parts(visual.tokens.embeddings)
        if query is None:
            raise PruningRequestError("cdpruner needs a question; there is no text in the request")
        # What a row holds behind the token itself (features for deeper layers) is not compared.
        embeds, contrastive = tokens[..., : query.embeds.shape[-1]], query.space == "contrastive"
        if contrastive:
            if visual.image_embeds is None:
                raise PruningRequestError(
                    "this picture has no embeddings in the text tower's space; "
                    "cdpruner can go by the language model's embeddings"
                )
            embeds = visual.parts(visual.image_embeds)
        negate = contrastive if self.options.negate is None else self.options.negate
        relevance = cdpruner.relevance(
            embeds, query.embeds, negate=negate, joint=self.options.joint
        )
        if self.options.theta is not None:
            relevance = cdpruner.strengthened(relevance, self.options.theta)
        indices = cdpruner.select(tokens, relevance, keep)
        assert isinstance(indices, torch.Tensor)
        return indices


class VisionZip(PruningStage):
    name = "visionzip"
    needs: ClassVar[frozenset[Need]] = frozenset({"attention"})
    merges = True

    def plan(self, shape: Shape) -> Budget:
        return Budget(shape.keeping(self.options.kept_of_part(shape)))

    def apply(self, visual: Visual, query: Query | None, budget: Budget) -> Pruned:
        tokens = visual.parts(visual.tokens.embeddings)
        attention = _attention(self.name, visual)
        merged, indices = baselines.visionzip(tokens, tokens, attention, budget.shape.part_tokens)
        places = _numbered(indices, visual.shape)
        kept = visual.merged(merged.flatten(0, 1), places, budget.shape)
        return Pruned(kept, self.report(visual, kept))


class LLaVolta(PruningStage):
    """Average pooling before the first layer (K = -1).

    The stride is the smallest whole number that leaves at most the budget. The last window of a
    part may be shorter. A pooled token stands where its window's middle stood, which in a plain
    sequence is the average position, cut off.
    """

    name = "llavolta"
    merges = True

    def plan(self, shape: Shape) -> Budget:
        return Budget(shape.keeping(-(-shape.part_tokens // self._stride(shape))))

    def apply(self, visual: Visual, query: Query | None, budget: Budget) -> Pruned:
        tokens = visual.parts(visual.tokens.embeddings)
        check_finite(visual_tokens=tokens)
        windows = tokens.split(self._stride(visual.shape), dim=1)
        pooled = torch.stack([window.mean(1) for window in windows], 1)
        starts = torch.arange(len(windows), device=tokens.device) * self._stride(visual.shape)
        lengths = torch.tensor([window.shape[1] for window in windows], device=tokens.device)
        middles = (starts + (lengths - 1) // 2).expand(visual.shape.num_parts, -1)
        places = _numbered(middles, visual.shape)
        kept = visual.merged(pooled.flatten(0, 1), places, budget.shape)
        return Pruned(kept, self.report(visual, kept, stride=self._stride(visual.shape)))

    def _stride(self, shape: Shape) -> int:
        return -(-shape.part_tokens // self.options.kept_of_part(shape))


class HoliTomOptions(Options):
    tau: float = Field(default=0.8, ge=-1, le=1)
    beta: float = Field(default=0.6, ge=0, le=1)
    neighbours: int = Field(default=7, ge=1, le=64)
    max_window: int = Field(default=1024, ge=1)


class HoliTom(PruningStage):
    """The outer stage. How much is left depends on the clip; the budget is a bound."""

    name = "holitom"
    needs: ClassVar[frozenset[Need]] = frozenset({"attention"})
    merges = True
    options_type = HoliTomOptions
    options: HoliTomOptions

    def plan(self, shape: Shape) -> Budget:
        ratio = self.options.ratio_of(shape)
        most = max(holitom.bound(shape.num_parts, shape.part_tokens, ratio), 1)
        return Budget(shape.joined(most), is_exact=False)

    def apply(self, visual: Visual, query: Query | None, budget: Budget) -> Pruned:
        attention = _attention(self.name, visual)
        merged, places, segments = holitom.merge_with_sources(
            visual.parts(visual.tokens.embeddings),
            attention,
            tau=self.options.tau,
            retain_ratio=self.options.ratio_of(visual.shape),
            beta=self.options.beta,
            k=self.options.neighbours,
            max_window=self.options.max_window,
        )
        if not len(merged):
            # Of a still clip rounding may leave nothing, and a picture of nothing is no picture.
            places = attention.flatten().argmax()[None]
            merged = visual.tokens.embeddings[places]
        kept = visual.merged(merged, places, visual.shape.joined(len(merged)))
        return Pruned(kept, self.report(visual, kept, segments=len(segments)))


def _numbered(indices: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Indices [parts, k] within parts as numbers of patches [parts · k]."""
    first = torch.arange(shape.num_parts, device=indices.device) * shape.part_tokens
    return (indices + first[:, None]).flatten()


def _attention(name: str, visual: Visual) -> torch.Tensor:
    if visual.attention is None:
        raise PruningRequestError(f"{name} needs the tower's attention, which this model hides")
    return visual.parts(visual.attention)
