"""What stands in a request's body for a picture, so that vLLM renders the prompt without pixels.

vLLM reserves as many prompt positions as a precomputed embedding has rows. A one-element tensor
expanded to [n, hidden] has them, and is 1.5 KB when it is saved.
"""

import base64
import functools
import io
from typing import Any

import torch

from saccade.encoders.base import VisualTokenCounter


class Placeholders:
    """Implements `serving.api.guard.PicturePlaceholders`."""

    def __init__(self, counter: VisualTokenCounter, hidden_size: int) -> None:
        self._counter = counter
        self._hidden_size = hidden_size

    def num_visual_tokens(self, width: int, height: int) -> int:
        """Of a picture of this size in pixels."""
        return self._counter.num_visual_tokens(width, height)

    def part(self, num_visual_tokens: int) -> dict[str, Any]:
        """The message part for a picture of this many visual tokens."""
        return {
            "type": "image_embeds",
            "image_embeds": _saved(num_visual_tokens, self._hidden_size),
        }


@functools.lru_cache(maxsize=1024)
def _saved(num_visual_tokens: int, hidden_size: int) -> str:
    buffer = io.BytesIO()
    # zeros: the storage of `empty` would be uninitialised memory.
    torch.save(torch.zeros(1).expand(num_visual_tokens, hidden_size), buffer)
    return base64.b64encode(buffer.getvalue()).decode()
