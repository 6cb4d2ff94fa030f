"""What the rest of the system knows of a vision encoder.

EncoderError
├── UnsupportedCheckpointError   this checkpoint cannot be encoded for
├── UnsupportedPictureError      a picture is not in the form that preprocessing takes
└── BrokenOutputError            the encoder made numbers that must not reach an engine
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


class EncoderError(Exception):
    """Something about vision encoding went wrong."""


class UnsupportedCheckpointError(EncoderError):
    """The checkpoint is of a family, or has a setting, that no encoder here handles."""


class UnsupportedPictureError(EncoderError):
    """Pictures must be RGB: how transparency is filled is for whoever decodes them to settle."""


class BrokenOutputError(EncoderError):
    """Visual tokens with NaN or infinity, which an engine would take without a word."""


class VisualTokenCounter(Protocol):
    """Counts from a checkpoint's configuration files alone: no weights, no torch."""

    @property
    def hidden_size(self) -> int:
        """The width of one visual token, which is that of the language model."""

    def num_visual_tokens(self, width: int, height: int) -> int:
        """How many visual tokens a picture of this size becomes, before any pruning."""


class VisionEncoder(ABC):
    """From pictures to visual tokens: the tower and the projector of one checkpoint.

    Both steps are free of side effects, and may run in different threads at once.
    """

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """The width of one visual token, which is that of the language model."""

    @abstractmethod
    def preprocess(self, images: Sequence[Image]) -> torch.Tensor:
        """The pixels that stock vLLM would compute, bit for bit.

        [B, 3, H, W], float32, on the CPU. Pixels of several calls may be joined along the first
        dimension. Raises `UnsupportedPictureError` if a picture is not RGB.
        """

    @abstractmethod
    def encode(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The visual tokens of each picture, [n, hidden_size], each in memory of its own.

        Raises `BrokenOutputError` if one of them is not finite.
        """
