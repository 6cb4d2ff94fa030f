"""Encoding for pruning: visual tokens together with what choosing among them may look at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from saccade.encoders.base import Prepared, VisionEncoder, VisualFeatures, VisualTokens

if TYPE_CHECKING:
    from PIL.Image import Image

    from saccade.encoders.questions import ContrastiveSpace
    from saccade.encoders.views import TowerView


class FeatureEncoder:
    """A `VisionEncoder` that is watched where somebody may want to prune. One thread encodes."""

    def __init__(
        self, encoder: VisionEncoder, *, watched: bool, space: ContrastiveSpace | None = None
    ) -> None:
        """`watched`: give the tower's attention, and its states in `space`, if the family shows
        them."""
        self._encoder = encoder
        self._watched = watched and bool(encoder.family.support.exposes)
        self._space = space

    def revision(self, of_encoder: str) -> str:
        """What features depend on beside the picture; `of_encoder` is `encoder_revision`."""
        if not self._watched:
            return of_encoder
        digest = hashlib.blake2b(f"{of_encoder} watched".encode(), digest_size=16)
        if self._space is not None:
            digest.update(self._space.revision)
        return digest.hexdigest()

    def preprocess(self, image: Image) -> Prepared:
        """As `VisionEncoder.preprocess`."""
        return self._encoder.preprocess(image)

    def preprocess_clip(self, frames: Sequence[Image], frames_per_s: float) -> Prepared:
        """As `VisionEncoder.preprocess_clip`."""
        return self._encoder.preprocess_clip(frames, frames_per_s)

    def encode(self, batch: Sequence[Prepared]) -> list[VisualFeatures]:
        """Of each, on the encoder's device; sizes and kinds may be mixed."""
        if not self._watched:
            return [VisualFeatures(tokens) for tokens in self._encoder.encode(batch)]
        results: dict[int, VisualFeatures] = {}
        for kind in {prepared.kind for prepared in batch}:
            indices = [index for index, prepared in enumerate(batch) if prepared.kind == kind]
            seen = self._encoder.encode_with_views([batch[index] for index in indices])
            results |= {
                index: self._features(tokens, view)
                for index, (tokens, view) in zip(indices, seen, strict=True)
            }
        return [results[index] for index in range(len(batch))]

    def _features(self, tokens: VisualTokens, view: TowerView) -> VisualFeatures:
        if self._space is None:
            return VisualFeatures(tokens, view.attention)
        embeds = self._space.image_embeds(view.states).to(tokens.embeddings.dtype)
        return VisualFeatures(tokens, view.attention, embeds)
