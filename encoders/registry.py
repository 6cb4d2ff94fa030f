"""Which encoder goes with which checkpoint, by the `architectures` of its config.json.

Families are named here and imported when one of their checkpoints is opened: counting visual
tokens needs no torch, and this module imports none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.encoders.base import UnsupportedCheckpointError, VisionEncoder, VisualTokenCounter

if TYPE_CHECKING:
    import torch

CounterFactory = Callable[[Mapping[str, Any]], VisualTokenCounter]
"""From the content of config.json."""

EncoderFactory = Callable[[Path, "torch.device", "torch.dtype"], VisionEncoder]
"""From a checkpoint's folder; where and in which precision to compute."""


@dataclass(frozen=True)
class EncoderFamily:
    """Where a family's two factories are found, each as "module:name"."""

    counter: str
    encoder: str


class EncoderRegistry:
    def __init__(self) -> None:
        self._families: dict[str, EncoderFamily] = {}

    def register(self, architecture: str, family: EncoderFamily) -> None:
        """Raises `ValueError` if the architecture has a family already."""
        if architecture in self._families:
            raise ValueError(f"architecture {architecture} is registered already")
        self._families[architecture] = family

    @property
    def architectures(self) -> list[str]:
        return sorted(self._families)

    def visual_token_counter(self, checkpoint: Path) -> VisualTokenCounter:
        """Raises `UnsupportedCheckpointError` if there is no counter for the checkpoint."""
        config = _read_config(checkpoint)
        factory: CounterFactory = _load(self._family(checkpoint, config).counter)
        return factory(config)

    def load_encoder(
        self, checkpoint: Path, *, device: str = "cpu", dtype: str = "float32"
    ) -> VisionEncoder:
        """Read the tower and the projector. `device` and `dtype` are named as torch names them.

        Raises `UnsupportedCheckpointError` if there is no encoder for the checkpoint.
        """
        import torch

        family = self._family(checkpoint, _read_config(checkpoint))
        factory: EncoderFactory = _load(family.encoder)
        return factory(checkpoint, torch.device(device), getattr(torch, dtype))

    def _family(self, checkpoint: Path, config: Mapping[str, Any]) -> EncoderFamily:
        architectures = config.get("architectures") or []
        for architecture in architectures:
            if architecture in self._families:
                return self._families[architecture]
        raise UnsupportedCheckpointError(
            f"no vision encoder for {checkpoint}: its architecture is "
            f"{', '.join(architectures) or 'not stated'}, known are "
            f"{', '.join(self.architectures)}"
        )


def _read_config(checkpoint: Path) -> Mapping[str, Any]:
    path = checkpoint / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise UnsupportedCheckpointError(f"{checkpoint} is not a checkpoint: {error}") from error
    except ValueError as error:
        raise UnsupportedCheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise UnsupportedCheckpointError(f"{path} is not a JSON object")
    return config


def _load(target: str) -> Any:
    module, _, path = target.partition(":")
    return attrgetter(path)(import_module(module))


ENCODERS = EncoderRegistry()
ENCODERS.register(
    "LlavaForConditionalGeneration",
    EncoderFamily(
        counter="saccade.encoders.llava.counter:LlavaTokenCounter.from_config",
        encoder="saccade.encoders.llava.encoder:LlavaEncoder.from_checkpoint",
    ),
)
