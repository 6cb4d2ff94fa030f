"""Answers of a checkpoint whose visual tokens are pruned, without a server: our encoder and pruning
stages, transformers' language model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from saccade.encoders.base import (
    UnsupportedCheckpointError,
    VisualFeatures,
    VisualLayout,
    VisualTokens,
)
from saccade.encoders.features import FeatureEncoder
from saccade.encoders.pruning.flops import Decoder
from saccade.encoders.pruning.pictures import prune
from saccade.encoders.pruning.pipeline import Pipeline
from saccade.encoders.pruning.stage import PruningRequestError, Query
from saccade.encoders.questions import ContrastiveSpace, question_encoder
from saccade.encoders.registry import ENCODERS
from saccade.training.evaluation.answering import MOST_TOKENS, AnswerError, messages
from saccade.training.evaluation.items import Item

BATCH = 32


@dataclass(frozen=True, slots=True)
class Seen:
    """One question with what the encoder makes of its pictures."""

    item: Item
    pictures: tuple[tuple[VisualLayout, VisualFeatures], ...]
    query: Query | None


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A whole prompt: embeddings [n, D], positions [n], and how many tokens are visual."""

    embeddings: torch.Tensor
    positions: torch.Tensor
    num_visual: int


class PrunedModel:
    """Encodes once; answers for any pruning."""

    def __init__(
        self,
        checkpoint: Path,
        text_tower: Path | None,
        dtype: str = "float32",
        *,
        keep_positions: bool = False,
    ) -> None:
        """`text_tower`: compare questions in its space, else by input embeddings.

        `keep_positions`: kept tokens stand where they stood, and the text after a picture where it
        would have stood; else what is behind a dropped token moves up.
        """
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        try:
            space = ContrastiveSpace.of(checkpoint, text_tower) if text_tower else None
            encoder = ENCODERS.load_encoder(checkpoint, dtype=dtype)
            self._questions = question_encoder(checkpoint, text_tower)
            processor: Any = AutoProcessor.from_pretrained(checkpoint)
            model: Any = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype)
        except (OSError, ValueError, UnsupportedCheckpointError) as error:
            raise AnswerError(f"cannot load {checkpoint}: {error}") from error
        self._encoder = FeatureEncoder(encoder, watched=True, space=space)
        self._processor = processor
        self._embed = model.get_input_embeddings()
        self._language = model
        self._keep_positions = keep_positions
        self._image_token = int(model.config.image_token_id)
        end = model.generation_config.eos_token_id
        self._ends = torch.tensor(end if isinstance(end, list) else [end])
        text = model.config.text_config
        self.decoder = Decoder(text.hidden_size, text.intermediate_size, text.num_hidden_layers)

    def see(self, items: Sequence[Item]) -> Iterator[Seen]:
        """Encode the pictures of each."""
        for item in items:
            prepared = [self._encoder.preprocess(_rgb(one)) for one in item.pictures()]
            features = self._encoder.encode(prepared)
            layouts = [one.layout for one in prepared]
            yield Seen(
                item,
                tuple(zip(layouts, features, strict=True)),
                self._questions.query(item.question.text),
            )

    def answers(self, seen: Sequence[Seen], pipeline: Pipeline) -> Iterator[tuple[int, str, int]]:
        """Number of an item, its answer, and how many visual tokens were given.

        Raises `AnswerError` for what cannot be done with this model.
        """
        for start in range(0, len(seen), BATCH):
            prompts = [self._prompt(one, pipeline) for one in seen[start : start + BATCH]]
            texts = self._generate(prompts)
            for offset, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
                yield start + offset, text, prompt.num_visual

    @torch.inference_mode()
    def _prompt(self, seen: Seen, pipeline: Pipeline) -> PromptTokens:
        try:
            kept = [
                prune(pipeline, layout, features, seen.query).tokens
                for layout, features in seen.pictures
            ]
        except PruningRequestError as error:
            raise AnswerError(str(error)) from error
        text = self._processor.apply_chat_template(
            messages(seen.item, len(kept)), add_generation_prompt=True
        )
        ids = torch.tensor(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        embeddings, positions = self._spliced(ids, kept)
        if not self._keep_positions:
            positions = torch.arange(len(embeddings))
        return PromptTokens(embeddings, positions, sum(len(one.embeddings) for one in kept))

    def _spliced(
        self, ids: torch.Tensor, pictures: Sequence[VisualTokens]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures in the places of their tokens in `ids`, and where everything stands."""
        [places] = torch.where(ids == self._image_token)
        embedded = self._embed(ids)
        pieces, positions, done, position = [], [], 0, 0
        for place, tokens in zip([*places.tolist(), len(ids)], [*pictures, None], strict=True):
            pieces.append(embedded[done:place])
            positions.append(position + torch.arange(place - done))
            position += place - done
            done = place + 1
            if tokens is not None:
                pieces.append(tokens.embeddings.to(embedded.dtype))
                positions.append(position + _places(tokens))
                position += tokens.extent
        return torch.cat(pieces), torch.cat(positions)

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[PromptTokens]) -> list[str]:
        """Greedily; transformers' own loop would count positions by itself."""
        embeddings, mask, positions = _left_padded(prompts)
        said = torch.zeros((len(prompts), 0), dtype=torch.long)
        over = torch.zeros(len(prompts), dtype=torch.bool)
        cache = None
        while said.shape[1] < MOST_TOKENS and not over.all():
            output = self._language.model.language_model(
                inputs_embeds=embeddings,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            best = self._language.lm_head(output.last_hidden_state[:, -1]).argmax(-1)
            best = best.masked_fill(over, int(self._ends[0]))
            over |= torch.isin(best, self._ends)
            said = torch.cat([said, best[:, None]], 1)
            embeddings = self._embed(best[:, None])
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            positions = positions[:, -1:] + 1
        decoded: list[str] = self._processor.batch_decode(said, skip_special_tokens=True)
        return decoded


def _places(tokens: VisualTokens) -> torch.Tensor:
    """[n]"""
    if tokens.positions is None:
        return torch.arange(len(tokens.embeddings))
    return tokens.positions[:, 0]


def _left_padded(
    prompts: Sequence[PromptTokens],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings [B, n, D], mask [B, n] and positions [B, n]."""
    longest = max(len(prompt.positions) for prompt in prompts)
    width = prompts[0].embeddings.shape[-1]
    embeddings = prompts[0].embeddings.new_zeros((len(prompts), longest, width))
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    positions = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        first = longest - len(prompt.positions)
        embeddings[row, first:] = prompt.embeddings
        mask[row, first:] = 1
        positions[row, first:] = prompt.positions
    return embeddings, mask, positions


def _rgb(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")
