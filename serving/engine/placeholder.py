"""What stands in a request's body for a picture or clip: vLLM renders the prompt without pixels.

vLLM reserves as many prompt positions as a precomputed embedding has rows, or as its grid has
cells. A one-element tensor expanded to [n, row_size] has them, and is 1.5 KB when it is saved.
"""

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from saccade.encoders.base import Family, VisualLayout, VisualTokens
from saccade.serving.config.media import MediaKind
from saccade.serving.engine.given import GivenTokens, UnusableTensorError
from saccade.serving.errors import InvalidRequestError


class Placeholders:
    """Implements `serving.api.guard.PicturePlaceholders`."""

    def __init__(self, family: Family, given: GivenTokens | None = None) -> None:
        self._family = family
        self._given = given

    def picture(self, width: int, height: int) -> VisualLayout:
        """Of a picture of this size in pixels. Raises `UnsupportedSizeError`."""
        return self._family.picture(width, height)

    @property
    def takes_video(self) -> bool:
        return self._family.support.video

    def clip(self, width: int, height: int, num_frames: int, frames_per_s: float) -> VisualLayout:
        """Of a clip of which so many frames are taken. Raises `UnsupportedSizeError`."""
        return self._family.clip(width, height, num_frames, frames_per_s)

    def stamps_s(self, times_s: Sequence[float]) -> tuple[float, ...]:
        """Of a clip of which frames are taken at these times, what the prompt says of them."""
        return self._family.stamps_s(times_s)

    def part(
        self, kind: MediaKind, counts: Sequence[int], stamps_s: Sequence[float] = ()
    ) -> dict[str, Any]:
        """The message part for a picture or clip of this many visual tokens.

        `counts` and `stamps_s` have one for each step of a clip whose steps stand apart; all counts
        are equal.
        """
        key = f"{kind}_embeds"
        embeds: Any = _rows(sum(counts), self._family.row_size)
        if self._family.uses_grid_positions:
            # Only the count matters here: an engine gets each token with its own position.
            embeds = {key: embeds, f"{kind}_grid_thw": _rows_of_cells(len(counts), counts[0])}
            if stamps_s:
                embeds["timestamps"] = list(stamps_s)
        return {"type": key, key: embeds}

    def given(self, files: Mapping[str, bytes], param: str) -> VisualTokens:
        """Raises `InvalidRequestError` for what is not in the form of the model's visual tokens."""
        assert self._given is not None, "the configuration takes image_embeds"
        try:
            return self._given.read(files)
        except UnusableTensorError as error:
            raise InvalidRequestError(
                f"The embeddings cannot be used: {error}.",
                param=f"{param}.image_embeds",
                code="invalid_image_embeds",
            ) from error


@functools.lru_cache(maxsize=1024)
def _rows(count: int, row_size: int) -> str:
    # zeros: the storage of `empty` would be uninitialised memory.
    return _saved(torch.zeros(1).expand(count, row_size))


@functools.lru_cache(maxsize=1024)
def _rows_of_cells(steps: int, count: int) -> str:
    """Steps of one row of `count` cells of 2 x 2 patches, which all of these models merge."""
    return _saved(torch.tensor([steps, 2, 2 * count]))


def _saved(tensor: torch.Tensor) -> str:
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return base64.b64encode(buffer.getvalue()).decode()
