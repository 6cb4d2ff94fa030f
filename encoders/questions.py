"""Questions as vectors, for pruning that looks at them: in the space of a CLIP text tower, or in
that of the language model's input embeddings (CDPruner, section 1.3 of its specification)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextModelWithProjection

from saccade.encoders.base import UnsupportedCheckpointError
from saccade.encoders.pruning.stage import Query
from saccade.encoders.weights import read_tensors, tensor_names

TEXT_TOWER = "text_tower"
"""A folder of this name in a checkpoint is its text tower."""

_EMBEDDING_ENDS = ("embed_tokens.weight", "wte.weight")
_NORM_ENDS = ("post_layernorm.weight", "post_layernorm.bias")


class QuestionEncoder(ABC):
    """From text to a `Query`; free of side effects."""

    @abstractmethod
    def query(self, text: str) -> Query | None:
        """None for a text without a word."""


class LanguageQuestions(QuestionEncoder):
    """The mean of the input embeddings of a question's tokens, for models without a text tower."""

    def __init__(self, tokenizer: Any, embeddings: torch.Tensor) -> None:
        """`embeddings` is [vocabulary, D]."""
        self._tokenizer = tokenizer
        self._embeddings = embeddings

    @classmethod
    def from_checkpoint(cls, checkpoint: Path) -> Self:
        """Raises `UnsupportedCheckpointError` if there are no input embeddings, or several."""
        names = [
            name
            for name in tensor_names(checkpoint)
            if name.endswith(_EMBEDDING_ENDS) and "vision" not in name and "visual" not in name
        ]
        if len(names) != 1:
            raise UnsupportedCheckpointError(
                f"{checkpoint} has {len(names)} tensors that may be the language model's input "
                "embeddings; one is needed"
            )
        tensors = read_tensors(checkpoint, names)
        return cls(AutoTokenizer.from_pretrained(checkpoint), tensors[names[0]])

    def query(self, text: str) -> Query | None:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            return None
        return Query(self._embeddings[ids].float().mean(0, keepdim=True), "language")


class ContrastiveQuestions(QuestionEncoder):
    """A CLIP text tower, which reads at most `max_position_embeddings` (77) tokens at once.

    Longer questions are padded with zeros to a multiple of that and cut into rows, each of which is
    read by itself, as the authors of CDPruner do it; only the last ends as the tower expects.
    """

    def __init__(self, tokenizer: Any, tower: Any) -> None:
        self._tokenizer = tokenizer
        self._tower = tower
        self._row_length = int(tower.config.max_position_embeddings)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Of a CLIP checkpoint, or of one that is a text tower alone.

        Raises `UnsupportedCheckpointError`.
        """
        try:
            tower: Any = CLIPTextModelWithProjection.from_pretrained(folder, dtype=torch.float32)
            return cls(AutoTokenizer.from_pretrained(folder), tower.eval())
        except (OSError, ValueError) as error:
            raise UnsupportedCheckpointError(f"{folder} is no text tower: {error}") from error

    @torch.inference_mode()
    def query(self, text: str) -> Query | None:
        if not text.strip():
            return None
        encoded = self._tokenizer(text, verbose=False)
        ids, mask = (
            _rows(encoded[name], self._row_length) for name in ("input_ids", "attention_mask")
        )
        embeds = self._tower(input_ids=ids, attention_mask=mask).text_embeds
        return Query(embeds.float(), "contrastive")


class ContrastiveSpace:
    """From a tower's patch states to the space of its text tower: CLIP's last norm, which it
    otherwise applies to its summary token, and the visual projection, in 32 bits."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, projection: torch.Tensor) -> None:
        """`weight` and `bias` [width] are the norm's, `projection` is [C, width]."""
        self._weight, self._bias = weight.float(), bias.float()
        self._projection = projection.float()

    @classmethod
    def of(cls, checkpoint: Path, text_tower: Path) -> Self:
        """The norm from the vision tower of `checkpoint`, the projection from `text_tower`.

        Raises `UnsupportedCheckpointError` if one of them is missing.
        """
        weight, bias = (_ending_with(checkpoint, end) for end in _NORM_ENDS)
        own = text_tower / "visual_projection.safetensors"
        if own.is_file():
            try:
                projection = load_file(own)["visual_projection.weight"]
            except (SafetensorError, OSError, KeyError) as error:
                raise UnsupportedCheckpointError(f"{own} cannot be read: {error}") from error
        else:
            projection = _ending_with(text_tower, "visual_projection.weight")
        if projection.shape[-1] != len(weight):
            raise UnsupportedCheckpointError(
                f"{text_tower} belongs to a vision tower of width {projection.shape[-1]}, that of "
                f"{checkpoint} has {len(weight)}"
            )
        return cls(weight, bias, projection)

    @property
    def revision(self) -> bytes:
        """Of its weights."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in (self._weight, self._bias, self._projection):
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.digest()

    def image_embeds(self, states: torch.Tensor) -> torch.Tensor:
        """[n, width] -> [n, C]."""
        width = (states.shape[-1],)
        device = states.device
        normed = torch.nn.functional.layer_norm(
            states.float(), width, self._weight.to(device), self._bias.to(device)
        )
        return normed @ self._projection.to(device).T


def text_tower_of(checkpoint: Path, configured: Path | None) -> Path | None:
    """The folder that an operator has named, or the one that came with the checkpoint."""
    if configured is not None:
        return configured
    own = checkpoint / TEXT_TOWER
    return own if own.is_dir() else None


def question_encoder(checkpoint: Path, text_tower: Path | None) -> QuestionEncoder:
    """By the text tower if there is one, else by the language model's embeddings.

    Raises `UnsupportedCheckpointError`.
    """
    if text_tower is not None:
        return ContrastiveQuestions.from_folder(text_tower)
    return LanguageQuestions.from_checkpoint(checkpoint)


def _rows(numbers: list[int], length: int) -> torch.Tensor:
    missing = -len(numbers) % length if len(numbers) > length else 0
    padded = torch.tensor(numbers + [0] * missing)
    return padded.view(-1, length) if missing or len(numbers) > length else padded[None]


def _ending_with(checkpoint: Path, end: str) -> torch.Tensor:
    names = [name for name in tensor_names(checkpoint) if name.endswith(end)]
    if len(names) != 1:
        raise UnsupportedCheckpointError(
            f"{checkpoint} has {len(names)} tensors named …{end}; one is needed for relevance in "
            "the space of a text tower"
        )
    return read_tensors(checkpoint, names)[names[0]]
