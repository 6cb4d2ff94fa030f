"""The form in which visual tokens enter an engine, and the check that comes before.

Nothing unchecked may reach an engine: a wrong shape or position kills its process, and NaN passes
without a word. No client can cause any of it, so it is a failure of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from vllm.inputs import EngineInput, MultiModalInput, TokensInput
from vllm.multimodal.inputs import (
    MultiModalBatchedField,
    MultiModalFieldElem,
    MultiModalKwargsItem,
    MultiModalKwargsItems,
    PlaceholderRange,
)

from saccade.encoders.base import Family, VisualTokens
from saccade.serving.transport.instance_pb2 import Prompt, StepPlace, VisualSpan

VISUAL_TOKENS = "visual_tokens"
POSITIONS = "visual_positions"
EXTENT = "visual_extent"


class BadHandOverError(Exception):
    """Visual tokens that the engine would not survive, or would take for others."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """What an engine expects."""

    family: Family
    dtype: torch.dtype
    max_positions: int
    """How far text may stand from the beginning, in a model that takes positions."""
    takes_positions: bool
    """Whether it rotates by positions that are given, or counts for itself."""

    @classmethod
    def of(cls, family: Family, model_config: Any) -> Self:
        """From vLLM's configuration of the model."""
        limit = getattr(model_config.hf_text_config, "max_position_embeddings", None)
        positions = int(limit or model_config.max_model_len)
        return cls(family, model_config.dtype, positions, bool(model_config.uses_mrope))


def engine_input(
    prompt: Prompt, visual_tokens: Sequence[VisualTokens], receiver: Receiver
) -> EngineInput:
    """A prompt with its pictures and clips, as vLLM's engines take it.

    Raises `BadHandOverError`.
    """
    token_ids = list(prompt.token_ids)
    spans = list(prompt.visual_spans)
    check_handed(spans, visual_tokens, receiver, len(token_ids))
    if not spans:
        text = TokensInput(type="token", prompt_token_ids=token_ids)
        if prompt.cache_salt:
            text["cache_salt"] = prompt.cache_salt
        return text
    # Clips too: our models take them as they take pictures.
    pairs = zip(spans, visual_tokens, strict=True)
    items = MultiModalKwargsItems({"image": [_item(*pair, receiver) for pair in pairs]})
    places = [_place(span) for span in spans]
    visual = MultiModalInput(
        type="multimodal",
        prompt_token_ids=token_ids,
        mm_kwargs=items,
        mm_hashes={"image": [span.key for span in spans]},
        mm_placeholders={"image": places},
    )
    if prompt.cache_salt:
        visual["cache_salt"] = prompt.cache_salt
    return visual


def check_handed(
    spans: Sequence[VisualSpan],
    visual_tokens: Sequence[VisualTokens],
    receiver: Receiver,
    num_prompt_tokens: int,
) -> None:
    """Compare with what the prompt has room for, picture by picture.

    Raises `BadHandOverError`.
    """
    family = receiver.family
    if len(spans) != len(visual_tokens):
        raise BadHandOverError(f"{len(visual_tokens)} pictures for {len(spans)} places")
    last = num_prompt_tokens
    for index, (span, tokens) in enumerate(zip(spans, visual_tokens, strict=True)):
        count = sum(step.num_tokens for step in _steps(span))
        problem = (
            _span_problem(span, num_prompt_tokens)
            or _embeddings_problem(tokens, count, receiver)
            or _positions_problem(tokens, family)
            or _steps_problem(tokens, span)
        )
        if problem:
            raise BadHandOverError(f"picture {index}: {problem}")
        last += tokens.extent * len(_steps(span)) - count
    if receiver.takes_positions and last > receiver.max_positions:
        raise BadHandOverError(f"position {last}, the model has {receiver.max_positions}")


def _steps(span: VisualSpan) -> list[StepPlace]:
    """Where visual tokens are in a span."""
    return list(span.steps) or [StepPlace(offset=0, num_tokens=span.num_tokens)]


def _place(span: VisualSpan) -> PlaceholderRange:
    if not span.steps:
        return PlaceholderRange(offset=span.offset, length=span.num_tokens)
    is_embed = torch.zeros(span.num_tokens, dtype=torch.bool)
    for step in span.steps:
        is_embed[step.offset : step.offset + step.num_tokens] = True
    return PlaceholderRange(offset=span.offset, length=span.num_tokens, is_embed=is_embed)


def _item(span: VisualSpan, tokens: VisualTokens, receiver: Receiver) -> MultiModalKwargsItem:
    """One picture or clip for `serving.engine.models`."""
    item = {VISUAL_TOKENS: _element(tokens.embeddings.to(receiver.dtype))}
    if receiver.takes_positions:
        positions, extent = span_positions(span, tokens)
        item[POSITIONS] = _element(positions, keep_on_cpu=True)
        item[EXTENT] = _element(torch.tensor(extent), keep_on_cpu=True)
    return MultiModalKwargsItem(item)


def span_positions(span: VisualSpan, tokens: VisualTokens) -> tuple[torch.Tensor, int]:
    """[span.num_tokens, 3] from 0, and where text goes on.

    Between the steps of a clip text counts on one by one; each step's rows and columns stand on
    where the text was, and text goes on behind the extent of the unpruned step.
    """
    positions = tokens.positions
    if positions is None:
        positions = torch.arange(len(tokens.embeddings))[:, None].expand(-1, 3)
    if tokens.steps_apart:
        positions = positions * torch.tensor([0, 1, 1])  # the time is said in words
    parts: list[torch.Tensor] = []
    index = position = num_placed = 0
    for step in _steps(span):
        num_words = step.offset - index
        parts.append(torch.arange(position, position + num_words)[:, None].expand(-1, 3))
        position += num_words
        parts.append(positions[num_placed : num_placed + step.num_tokens] + position)
        position += tokens.extent
        num_placed += step.num_tokens
        index = step.offset + step.num_tokens
    return torch.cat(parts), position


def _span_problem(span: VisualSpan, num_prompt_tokens: int) -> str | None:
    end = 0
    for step in _steps(span):
        if step.offset < end:
            return "places that overlap"
        end = step.offset + step.num_tokens
    if end != span.num_tokens or span.offset + end > num_prompt_tokens:
        return f"places up to {span.offset + end} in a prompt of {num_prompt_tokens} tokens"
    return None


def _steps_problem(tokens: VisualTokens, span: VisualSpan) -> str | None:
    places = tuple(step.num_tokens for step in _steps(span))
    if max(tokens.steps_apart, 1) != len(places):
        return f"{tokens.steps_apart} steps that stand apart for {len(places)} places"
    if not tokens.steps_apart:
        return None
    assert tokens.positions is not None, "they were checked"
    times = tokens.positions[:, 0]
    if bool((times.diff() < 0).any()) or tokens.step_counts != places:
        return f"steps of {tokens.step_counts} tokens for places of {places}"
    return None


def _embeddings_problem(tokens: VisualTokens, count: int, receiver: Receiver) -> str | None:
    embeddings: Any = tokens.embeddings  # whatever came from another process
    expected = (count, receiver.family.row_size)
    if not isinstance(embeddings, torch.Tensor) or not embeddings.is_floating_point():
        return "visual tokens that are no tensor of floating-point numbers"
    if tuple(embeddings.shape) != expected:
        return f"visual tokens of shape {tuple(embeddings.shape)}, {expected} expected"
    if not bool(torch.isfinite(embeddings.to(receiver.dtype)).all()):
        return f"visual tokens that are not finite as {receiver.dtype}"
    return None


def _positions_problem(tokens: VisualTokens, family: Family) -> str | None:
    positions = tokens.positions
    if positions is None and not family.uses_grid_positions:
        in_order = tokens.extent == len(tokens.embeddings)
        return None if in_order else f"an extent of {tokens.extent} without positions"
    if not isinstance(positions, torch.Tensor) or positions.dtype != torch.int64:
        return "no positions as whole numbers of 64 bits, which the model needs"
    expected = (len(tokens.embeddings), 3)
    if tuple(positions.shape) != expected:
        return f"positions of shape {tuple(positions.shape)}, {expected} expected"
    inside = positions[:, 1:] if tokens.steps_apart else positions
    if not 0 <= int(positions.min()) <= int(inside.max()) < tokens.extent:
        return f"positions outside of 0 … {tokens.extent - 1}"
    if tokens.steps_apart and int(positions[:, 0].max()) >= tokens.steps_apart:
        return f"steps outside of 0 … {tokens.steps_apart - 1}"
    return None


def _element(data: torch.Tensor, *, keep_on_cpu: bool = False) -> MultiModalFieldElem:
    return MultiModalFieldElem(data=data, field=MultiModalBatchedField(keep_on_cpu=keep_on_cpu))
