"""Stage one: a convolutional network that reads patches, for the tower to imitate.

A vision transformer of this size does not find out what a shape is from the pictures that two
cores can draw and train on in an hour; a convolutional network does, since it need not learn which
pixels are neighbours. What it has learned layer by layer, a transformer can take over quickly
(DeiT, arXiv 2012.12877, does so with the last layer's answers).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from saccade.training.architecture import VisionSizes
from saccade.training.data import Example, Split, still
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.patch_heads import PatchHeads
from saccade.training.recipe.pictures import PatchTargets, squeezed
from saccade.training.recipe.settings import RecipeError, TeacherStage

TEACHER = "teacher.safetensors"
STEM_WIDTHS = (24, 48, 96)


class Teacher(nn.Module):
    """Pictures to features of patches, in four depths."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        first, second, third = STEM_WIDTHS
        width = sizes.hidden_size
        assert sizes.patch_size == 16, "four strides of two"
        self.s1 = nn.Sequential(
            _convolution(3, first, stride=2),
            _convolution(first, second, stride=2),
            _convolution(second, 64),
            _convolution(64, third, stride=2),
            _convolution(third, third),
            _convolution(third, width, stride=2),
        )
        self.s2, self.s3, self.s4 = _Residual(width), _Residual(width, 2), _Residual(width)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[B, 3, S, S] -> four times [B, patches, width], from local to global."""
        seen, depths = self.s1(pixels), []
        for block in (nn.Identity(), self.s2, self.s3, self.s4):
            seen = block(seen)
            depths.append(seen.flatten(2).transpose(1, 2))
        return depths


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.a = _convolution(width, width, dilation=dilation)
        self.b = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, seen: Tensor) -> Tensor:
        return torch.relu(seen + self.b(self.a(seen)))


def _convolution(before: int, after: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


@dataclass(frozen=True)
class PatchBatch:
    pictures: Tensor  # [B, 3, S, S] of uint8
    patches: PatchTargets


class TeacherTask:
    def __init__(self, model: TinyModel, settings: TeacherStage) -> None:
        self.settings = settings
        self.sizes = model.architecture.vision
        self.model = model
        self.teacher = Teacher(self.sizes)
        self.heads = PatchHeads(self.sizes)

    def modules(self) -> dict[str, nn.Module]:
        return {"teacher": self.teacher, "heads": self.heads}

    def trained(self) -> Iterable[nn.Parameter]:
        yield from self.teacher.parameters()
        yield from self.heads.parameters()

    def batch(self, step: int) -> PatchBatch:
        size = self.settings.schedule.batch_size
        return self._batch(
            [
                still(Split.TRAIN, self.settings.seed, step * size + i, ("colour",))
                for i in range(size)
            ]
        )

    def loss(self, batch: PatchBatch) -> tuple[Tensor, dict[str, Tensor]]:
        losses = self.heads.losses(self._read(batch), batch.patches)
        return torch.stack(list(losses.values())).sum(), losses

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Of patches with an object on held-out pictures, the share that is read rightly."""
        examples = [
            still(Split.HELD_OUT, 0, i, ("colour",))
            for i in range(self.settings.reports.evaluation_examples)
        ]
        batch = self._batch(examples)
        return self.heads.scores(self._read(batch), batch.patches)

    def _read(self, batch: PatchBatch) -> Tensor:
        deepest: Tensor = self.teacher(self.model.pixels(batch.pictures))[-1]
        return deepest

    def _batch(self, examples: Sequence[Example]) -> PatchBatch:
        side = self.sizes.image_size
        return PatchBatch(
            torch.stack([squeezed(e.pictures[0], side) for e in examples]),
            PatchTargets.of(examples, side // self.sizes.patch_size),
        )


def save_teacher(teacher: Teacher, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    values = {name: value.contiguous().cpu() for name, value in teacher.state_dict().items()}
    save_file(values, directory / TEACHER)


def load_teacher(sizes: VisionSizes, directory: Path) -> Teacher:
    """Ready to be asked, not to be trained. Raises `RecipeError`."""
    teacher = Teacher(sizes)
    try:
        teacher.load_state_dict(load_file(directory / TEACHER))
    except (OSError, RuntimeError) as error:
        raise RecipeError(f"cannot read {directory / TEACHER}: {error}") from error
    return teacher.eval().requires_grad_(requires_grad=False)
