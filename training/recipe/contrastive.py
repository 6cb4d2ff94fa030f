"""Stage two: both towers. The vision tower imitates the teacher layer by layer, and then reads
patches as it does."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from saccade.training.architecture import VisionSizes
from saccade.training.recipe.initial import whiten_patches
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.settings import ContrastiveStage
from saccade.training.recipe.teacher import DEPTHS, Teacher, widths_of_depths
from saccade.training.recipe.towers import TowersBatch, TowersTask

DEPTHS_AT_FIRST = 2

PICTURES_TO_WHITEN = 256


class Imitation(nn.Module):
    """The teacher's features of a patch, from those of the tower."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.readers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(sizes.hidden_size), nn.Linear(sizes.hidden_size, width))
            for width in widths_of_depths(sizes)
        )

    def loss(self, hidden: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
        """Mean squared error of the last of `hidden`, a layer each, in shares of the variance of
        what is taught there."""
        parts = [
            mse_loss(reader(layer[:, 1:]), wanted) / wanted.var()
            for layer, reader, wanted in zip(hidden, self.readers, taught, strict=False)
        ]
        return torch.stack(parts).mean()


class ContrastiveTask(TowersTask):
    def __init__(self, model: TinyModel, settings: ContrastiveStage, teacher: Teacher) -> None:
        super().__init__(model, settings)
        self._stage = settings
        sizes = model.architecture.vision
        self._teacher = teacher
        self.imitation = Imitation(sizes)
        self._kept: dict[int, list[Tensor]] = {}
        self._first_layer = self._feature_layer - DEPTHS + 1

    def modules(self) -> dict[str, nn.Module]:
        return super().modules() | {"imitation": self.imitation}

    def begin(self) -> None:
        batches = -(-PICTURES_TO_WHITEN // self.settings.schedule.batch_size)
        pictures = [self.batch(-1 - number).pictures for number in range(batches)]
        whiten_patches(self.model, torch.cat(pictures).to(self.model.device))

    def trained(self) -> Iterable[nn.Parameter]:
        yield from super().trained()
        yield from self.imitation.parameters()

    def loss(self, batch: TowersBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        depths = self._depths(step)
        grown = depths == DEPTHS
        layers = self.model.layers(
            batch.pictures, None if grown else self._first_layer + depths - 1
        )
        imitation = self.imitation.loss(
            layers[self._first_layer :], self._taught_in(batch)[:depths]
        )
        total, parts = self._stage.imitation_weight * imitation, {"imitation": imitation}
        if grown:
            read, others = self.losses(layers, batch)
            total, parts = total + read, parts | others
        return total, parts

    def _depths(self, step: int) -> int:
        every = self._stage.grow_every
        return min(DEPTHS, DEPTHS_AT_FIRST + step // every) if every else DEPTHS

    @torch.no_grad()
    def _taught_in(self, batch: TowersBatch) -> list[Tensor]:
        """What the teacher makes of the pictures, which takes as long as half a step of the tower:
        kept if they come again, and rounded the first time too, so that a run that goes on sees
        the same."""
        if batch.number in self._kept:
            return [depth.float() for depth in self._kept[batch.number]]
        taught: list[Tensor] = self._teacher(self.model.pixels(batch.pictures))
        if not self.settings.schedule.different_batches:
            return taught
        self._kept[batch.number] = [depth.half() for depth in taught]
        return self._taught_in(batch)
