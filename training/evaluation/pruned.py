"""Answers of a checkpoint whose visual tokens are pruned, without a server: our encoder and pruning
stages, transformers' language model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from saccade.encoders.base import UnsupportedCheckpointError, VisualFeatures, VisualLayout
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


class PrunedModel:
    """Encodes once; answers for any pruning."""

    def __init__(self, checkpoint: Path, text_tower: Path | None, dtype: str = "float32") -> None:
        """`text_tower`: compare questions in its space, else by input embeddings."""
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
        self._image_token = int(model.config.image_token_id)
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
            texts = self._generate([embeds for embeds, _ in prompts])
            for offset, (text, (_, count)) in enumerate(zip(texts, prompts, strict=True)):
                yield start + offset, text, count

    @torch.inference_mode()
    def _prompt(self, seen: Seen, pipeline: Pipeline) -> tuple[torch.Tensor, int]:
        """Embeddings [n, D] of the whole prompt, and the number of visual tokens in it."""
        try:
            kept = [
                prune(pipeline, layout, features, seen.query).tokens.embeddings
                for layout, features in seen.pictures
            ]
        except PruningRequestError as error:
            raise AnswerError(str(error)) from error
        text = self._processor.apply_chat_template(
            messages(seen.item, len(kept)), add_generation_prompt=True
        )
        ids = torch.tensor(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        [places] = torch.where(ids == self._image_token)
        embedded, pieces, done = self._embed(ids), [], 0
        for place, tokens in zip(places.tolist(), kept, strict=True):
            pieces += [embedded[done:place], tokens.to(embedded.dtype)]
            done = place + 1
        return torch.cat([*pieces, embedded[done:]]), sum(map(len, kept))

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[torch.Tensor]) -> list[str]:
        longest = max(map(len, prompts))
        embeds = prompts[0].new_zeros((len(prompts), longest, prompts[0].shape[-1]))
        mask = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            embeds[row, longest - len(prompt) :] = prompt
            mask[row, longest - len(prompt) :] = 1
        output = self._language.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=MOST_TOKENS,
        )
        decoded: list[str] = self._processor.batch_decode(output, skip_special_tokens=True)
        return decoded


def _rgb(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")
