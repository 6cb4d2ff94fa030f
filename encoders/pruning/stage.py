"""What a pruning stage is: the protocol of built-in methods and plug-ins alike.

PruningError (an EncoderError)
├── PruningRequestError    what was asked for cannot be done; the message is for who asked
└── PluginError            an installed plug-in cannot be used
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from saccade.encoders.base import EncoderError, VisualTokens

Need = Literal["attention", "query"]


class PruningError(EncoderError):
    """Something about pruning went wrong."""


class PruningRequestError(PruningError):
    """What was asked for is unknown, out of bounds, or not possible with this model."""


class PluginError(PruningError):
    """An installed plug-in cannot be loaded, or is no pruning stage."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one picture or clip, known before it is encoded.

    `num_parts` tiles or frames of `part_tokens` visual tokens each, then `num_trailing` that stand
    for no patch (a newline) and are always kept. A part may be several tiles put together, and cut
    to the picture: then `tiles_per_part` says how many they are.
    """

    part_tokens: int
    num_parts: int = 1
    num_trailing: int = 0
    tiles_per_part: float = 1.0

    @property
    def num_patches(self) -> int:
        """Tokens that may be pruned."""
        return self.part_tokens * self.num_parts

    @property
    def num_tokens(self) -> int:
        """All of them."""
        return self.num_patches + self.num_trailing

    def keeping(self, part_tokens: int) -> Shape:
        """With another number of tokens in each part."""
        return replace(self, part_tokens=part_tokens)

    def joined(self, num_patches: int) -> Shape:
        """With another number of tokens, no longer in equal parts."""
        return Shape(num_patches, 1, self.num_trailing)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a stage will leave, or at most leave where the content decides how much it is."""

    shape: Shape
    is_exact: bool = True

    @property
    def num_tokens(self) -> int:
        return self.shape.num_tokens


@dataclass(frozen=True, slots=True)
class Query:
    """The question as vectors [M, C].

    In the `contrastive` space (CLIP's text tower) they are compared with `Visual.image_embeds`, in
    the `language` space (input embeddings of the language model) with the visual tokens.
    """

    embeds: torch.Tensor
    space: Literal["contrastive", "language"]


@dataclass(frozen=True, slots=True)
class Visual:
    """One encoded picture or clip.

    `attention` [patches] says how much the tower attended to each, `image_embeds` [patches, C] are
    in the space of the text tower; either may be missing.
    """

    tokens: VisualTokens
    shape: Shape
    attention: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.tokens.embeddings) != self.shape.num_tokens:
            raise ValueError(
                f"{len(self.tokens.embeddings)} visual tokens do not have the shape {self.shape}"
            )

    def parts(self, rows: torch.Tensor) -> torch.Tensor:
        """[parts, part_tokens, …] of something that has a row for each patch, or each token."""
        sizes = (self.shape.num_parts, self.shape.part_tokens)
        parts: torch.Tensor = rows[: self.shape.num_patches].unflatten(0, sizes)
        return parts

    def kept(self, indices: torch.Tensor, shape: Shape) -> Visual:
        """The patches at `indices` [k] and what trails."""
        return Visual(
            self.tokens.kept(self._with_trailing(indices)),
            shape,
            None if self.attention is None else self.attention[indices],
            None if self.image_embeds is None else self.image_embeds[indices],
        )

    def merged(self, embeddings: torch.Tensor, indices: torch.Tensor, shape: Shape) -> Visual:
        """New tokens [k, D] in the places of the patches at `indices` [k], and what trails.

        What the tower said of single patches no longer holds, and is dropped.
        """
        tokens = self.tokens.kept(self._with_trailing(indices))
        trailing = self.tokens.embeddings[self.shape.num_patches :]
        together = torch.cat([embeddings.to(trailing.dtype), trailing])
        return Visual(replace(tokens, embeddings=together), shape)

    def _with_trailing(self, indices: torch.Tensor) -> torch.Tensor:
        trailing = torch.arange(
            self.shape.num_patches, self.shape.num_tokens, device=indices.device
        )
        return torch.cat([indices, trailing])


@dataclass(frozen=True, slots=True)
class Report:
    """What one stage did, for `usage` and for logs."""

    method: str
    num_tokens_before: int
    num_tokens_after: int
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is left of a picture: embeddings, positions and extent are in `visual.tokens`."""

    visual: Visual
    report: Report


class Options(BaseModel):
    """What a request may say about a stage; plug-ins add fields of their own.

    Either `keep` tokens of each tile or frame, or `keep_ratio` of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    keep: int | None = Field(default=None, ge=1)
    keep_ratio: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Options:
        if (self.keep is None) == (self.keep_ratio is None):
            raise ValueError("give one of keep (tokens) and keep_ratio (a share of them)")
        return self

    def kept_of(self, num_tokens: int, num_tiles: float = 1.0) -> int:
        """Of a part of `num_tokens`, which is `num_tiles` tiles: at least one, at most all."""
        if self.keep is not None:
            return min(max(round(self.keep * num_tiles), 1), num_tokens)
        assert self.keep_ratio is not None
        return min(max(round(self.keep_ratio * num_tokens), 1), num_tokens)

    def scaled(self, share: float) -> Self:
        """Keeping only `share` of that, and at least one token."""
        if self.keep is not None:
            return self.model_copy(update={"keep": max(round(self.keep * share), 1)})
        assert self.keep_ratio is not None
        return self.model_copy(update={"keep_ratio": self.keep_ratio * share})

    def kept_of_part(self, shape: Shape) -> int:
        """Of each part."""
        return self.kept_of(shape.part_tokens, shape.tiles_per_part)

    def ratio_of(self, shape: Shape) -> float:
        """The share of each part that is kept."""
        return self.keep_ratio or self.kept_of_part(shape) / shape.part_tokens


class PruningStage(ABC):
    """Reduces the visual tokens of one picture or clip, between encode and prefill.

    A stage is made once for each set of options and keeps no state between pictures. `plan` is
    called before anything is encoded; its budget must not shrink when the shape grows.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    """`query`: the result depends on the question, so caches must keep questions apart."""
    merges: ClassVar[bool] = False
    """Whether tokens are made that the tower did not make; its attention is lost then."""
    options_type: ClassVar[type[Options]] = Options

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def plan(self, shape: Shape) -> Budget:
        """How many tokens will be left, or at most be left."""

    @abstractmethod
    def apply(self, visual: Visual, query: Query | None, budget: Budget) -> Pruned:
        """Keep what `budget` (made by `plan`) says. Raises `ValueError` for broken numbers."""

    def report(self, before: Visual, after: Visual, **details: float) -> Report:
        """What was done, under this stage's name."""
        return Report(self.name, before.shape.num_tokens, after.shape.num_tokens, details)
