"""Language models without a vision tower: served by the same system, with no encode instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from saccade.encoders.base import Family, Support, UnsupportedCheckpointError, VisualLayout

if TYPE_CHECKING:
    import torch


class TextOnly(Family):
    """Every architecture that ends in `ForCausalLM`; whether vLLM serves it is vLLM's to say."""

    name = "text only"
    architectures = ()
    support = Support(pictures=False, video=False)
    weights = ()

    def picture(self, width: int, height: int) -> VisualLayout:
        self._refuse()

    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UnsupportedCheckpointError("this checkpoint has no vision tower: it takes text only")
