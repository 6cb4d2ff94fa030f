"""Stage one: a convolutional network that reads patches, for the tower to imitate.

A vision transformer of this size does not find out what a shape is from the pictures that two
cores can draw and train on in an hour; a convolutional network does, since it need not learn which
pixels are neighbours. The tower gets what it has learned as a target for every patch at every depth
(DeiT, arXiv 2012.12877, distils the last layer's answers in the same way).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle
from torch.nn.utils.fusion import fuse_conv_bn_eval

from saccade.training.architecture import VisionSizes
from saccade.training.data import Example, Split, still
from saccade.training.recipe.device import on_device
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.patch_heads import PatchHeads
from saccade.training.recipe.pictures import PatchTargets, squeezed
from saccade.training.recipe.settings import RecipeError, TeacherStage

TEACHER = "teacher.safetensors"
STEM_WIDTH = 96
DEPTHS = 5


class Teacher(nn.Module):
    """Pictures to features of patches, in `DEPTHS` depths."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width = sizes.hidden_size
        assert sizes.patch_size == 16, "four strides of two"
        self.stem = nn.Sequential(
            _convolution(3, 24, stride=2),
            _convolution(24, 48, stride=2),
            _convolution(48, 64),
            _convolution(64, STEM_WIDTH, stride=2),
        )
        self.patches = nn.Sequential(
            _convolution(STEM_WIDTH, STEM_WIDTH),
            _convolution(STEM_WIDTH, width, stride=2),
        )
        self.blocks = nn.ModuleList(_Residual(width, dilation) for dilation in (1, 2, 1))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[B, 3, S, S] -> every depth, from local to global, each [B, patches, its width]."""
        fine = self.stem(pixels)
        depths = [pixel_unshuffle(fine, 2), self.patches(fine)]
        for block in self.blocks:
            depths.append(block(depths[-1]))
        return [seen.flatten(2).transpose(1, 2) for seen in depths]


def widths_of_depths(sizes: VisionSizes) -> list[int]:
    return [4 * STEM_WIDTH] + [sizes.hidden_size] * (DEPTHS - 1)


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

    def begin(self) -> None:
        """From random weights."""

    def batch(self, number: int) -> PatchBatch:
        size = self.settings.schedule.batch_size
        return self._batch(
            [
                still(Split.TRAIN, self.settings.seed, number * size + i, ("colour",))
                for i in range(size)
            ]
        )

    def loss(self, batch: PatchBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        losses = self.heads.losses(self._read(batch), batch.patches)
        return torch.stack(list(losses.values())).sum(), losses

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Of patches with an object on held-out pictures, the share that is read rightly."""
        examples = [
            still(Split.HELD_OUT, 0, i, ("colour",))
            for i in range(self.settings.reports.evaluation_examples)
        ]
        batch = on_device(self._batch(examples), self.model.device)
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
    teacher.eval().requires_grad_(requires_grad=False)
    _fold_norms(teacher)
    for parameter in teacher.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return teacher


def _fold_norms(module: nn.Module) -> None:
    """Into the convolutions before them, which spares a pass over all that is seen."""
    for name, part in module.named_children():
        if isinstance(part, nn.Sequential) and isinstance(part[0], nn.Conv2d):
            norm = part[1]
            assert isinstance(norm, nn.BatchNorm2d)
            convolution = fuse_conv_bn_eval(part[0], norm)
            setattr(module, name, nn.Sequential(convolution, *list(part)[2:]))
        else:
            _fold_norms(part)
