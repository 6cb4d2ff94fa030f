"""Which family a checkpoint is of, by the `architectures` of its config.json.

Families are named here and imported when one of their checkpoints is opened, or when they are
listed; none imports torch before it encodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from saccade.encoders.base import Family, UnsupportedCheckpointError, VisionEncoder
from saccade.encoders.checkpoint import CheckpointFiles

FamilyTarget = str
"""Where a family's class is found, as "module:name"."""

TEXT_ONLY = "saccade.encoders.families.text_only:TextOnly"


class EncoderRegistry:
    def __init__(self) -> None:
        self._targets: dict[str, FamilyTarget] = {}

    def register(self, architecture: str, target: FamilyTarget) -> None:
        """Raises `ValueError` if the architecture has a family already."""
        if architecture in self._targets:
            raise ValueError(f"architecture {architecture} is registered already")
        self._targets[architecture] = target

    @property
    def architectures(self) -> list[str]:
        return sorted(self._targets)

    def families(self) -> list[type[Family]]:
        """Every family once, in the order of registration."""
        return [_load(target) for target in dict.fromkeys(self._targets.values())]

    def family(self, checkpoint: Path) -> Family:
        """What a checkpoint's folder holds.

        Raises `UnsupportedCheckpointError`, with the list of what is supported.
        """
        return self.family_of(CheckpointFiles.read(checkpoint), str(checkpoint))

    def family_of(self, files: CheckpointFiles, name: str) -> Family:
        """The same from configuration files alone; `name` is how errors call the checkpoint."""
        target = self._target(files.architectures)
        if target is None:
            raise UnsupportedCheckpointError(
                f"{name} is not served: its architecture is "
                f"{', '.join(files.architectures) or 'not stated'}, known are "
                f"{', '.join(self.architectures)}, and language models (…ForCausalLM)"
            )
        return _load(target)(files)

    def load_encoder(
        self, checkpoint: Path, *, device: str = "cpu", dtype: str = "float32"
    ) -> VisionEncoder:
        """Read the tower and the projector. `device` and `dtype` are named as torch names them.

        Raises `UnsupportedCheckpointError` if there is no encoder for the checkpoint.
        """
        family = self.family(checkpoint)
        if not family.support.pictures:
            raise UnsupportedCheckpointError(
                f"{checkpoint} has no vision tower: it is a language model without pictures"
            )
        import torch

        from saccade.encoders.transformers_encoder import TransformersEncoder

        return TransformersEncoder.from_checkpoint(
            checkpoint, family, torch.device(device), getattr(torch, dtype)
        )

    def _target(self, architectures: Sequence[str]) -> FamilyTarget | None:
        for architecture in architectures:
            if architecture in self._targets:
                return self._targets[architecture]
        if any(architecture.endswith("ForCausalLM") for architecture in architectures):
            return TEXT_ONLY
        return None


def _load(target: FamilyTarget) -> type[Family]:
    module, _, name = target.partition(":")
    family: type[Family] = getattr(import_module(module), name)
    return family


ENCODERS = EncoderRegistry()
for _architecture, _target in {
    "LlavaForConditionalGeneration": "llava:Llava",
    "LlavaNextForConditionalGeneration": "llava_next:LlavaNext",
    "LlavaOnevisionForConditionalGeneration": "llava_onevision:LlavaOnevision",
    "Qwen2_5_VLForConditionalGeneration": "qwen2_5_vl:Qwen25VL",
    "Qwen3VLForConditionalGeneration": "qwen3_vl:Qwen3VL",
}.items():
    ENCODERS.register(_architecture, f"saccade.encoders.families.{_target}")
