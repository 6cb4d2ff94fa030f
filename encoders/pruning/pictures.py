"""A whole picture or clip through a pipeline: what is pruned together, and what is put together
again behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from saccade.encoders.base import Block, VisualFeatures, VisualLayout, VisualTokens
from saccade.encoders.pruning.pipeline import Pipeline
from saccade.encoders.pruning.stage import Query, Report, Shape, Visual


@dataclass(frozen=True, slots=True)
class Plan:
    """How many visual tokens a language model will be given, or at most be given."""

    num_tokens: int
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class PrunedPicture:
    """What is left, and what each stage did with each view."""

    tokens: VisualTokens
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Tokens of one picture or clip that are pruned together: where they stand, patches first."""

    indices: torch.Tensor
    shape: Shape


def plan(pipeline: Pipeline, layout: VisualLayout) -> Plan:
    """From what a header says. A pipeline without stages leaves all."""
    if not pipeline.stages:
        return Plan(layout.num_tokens)
    budgets = [pipeline.plan(view.shape) for view in views(layout)]
    num_tokens = layout.num_leading + sum(budget.num_tokens for budget in budgets)
    return Plan(num_tokens, all(budget.is_exact for budget in budgets))


def prune(
    pipeline: Pipeline, layout: VisualLayout, features: VisualFeatures, query: Query | None
) -> PrunedPicture:
    """The tokens that are left, each in its own position; the extent stays that of the picture.

    Raises `PruningRequestError` for what cannot be done with these features.
    """
    tokens = features.tokens
    if not pipeline.stages:
        return PrunedPicture(tokens, ())
    outcomes = [pipeline.apply(_visual(features, view), query) for view in views(layout)]
    pieces = [tokens.kept(torch.arange(layout.num_leading))]
    pieces += [outcome.visual.tokens for outcome in outcomes]
    reports = tuple(report for outcome in outcomes for report in outcome.reports)
    return PrunedPicture(_joined(pieces, tokens), reports)


def views(layout: VisualLayout) -> list[View]:
    """Equal blocks (frames, steps in time) are parts of one view. Others (a picture as a whole, and
    its tiles put together) are views of their own, whose newlines are left out: they end rows that
    are no longer whole."""
    blocks, first = layout.blocks, layout.num_leading
    num_trailing = layout.num_tokens - first - sum(block.num_tokens for block in blocks)
    if len(set(blocks)) == 1 and not blocks[0].newlines:
        shape = Shape(blocks[0].num_tokens, len(blocks), num_trailing)
        return [View(torch.arange(first, layout.num_tokens), shape)]
    return list(_separate(blocks, first))


def _separate(blocks: Sequence[Block], first: int) -> Iterator[View]:
    tile_patches = blocks[0].rows * blocks[0].columns
    for block in blocks:
        places = torch.arange(first, first + block.num_tokens).view(block.rows, -1)
        num_patches = block.rows * block.columns
        shape = Shape(num_patches, tiles_per_part=num_patches / tile_patches)
        yield View(places[:, : block.columns].flatten(), shape)
        first += block.num_tokens


def _visual(features: VisualFeatures, view: View) -> Visual:
    patches = view.indices[: view.shape.num_patches]
    seen = (
        None if one is None else one[patches] for one in (features.attention, features.image_embeds)
    )
    return Visual(features.tokens.kept(view.indices), view.shape, *seen)


def _joined(pieces: Sequence[VisualTokens], whole: VisualTokens) -> VisualTokens:
    positions = [piece.positions for piece in pieces if piece.positions is not None]
    embeddings = torch.cat([piece.embeddings for piece in pieces])
    return replace(whole, embeddings=embeddings, positions=torch.cat(positions))
