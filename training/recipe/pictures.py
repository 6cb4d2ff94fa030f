"""Pictures as the checkpoint's own processor hands them to the tower, and what each patch shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from saccade.training.data.drawing import NOBODY, Owners
from saccade.training.data.examples import Example
from saccade.training.data.palette import COLOURS
from saccade.training.data.scenes import SINGLE_CHARACTERS, SIZES
from saccade.training.data.shapes import SHAPES

LONGEST_LABEL = 3
OFFSETS_IN_A_PICTURE = 4
SILHOUETTE_SIDE = 10
LEAST_COVER_RATIO = 0.12
"""Of a patch, for the patch to count as showing an object."""

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]

IGNORED = -100
"""What `cross_entropy` passes over."""


def squeezed(picture: Image.Image, side: int) -> Tensor:
    """[3, side, side] of uint8, by bicubic filtering, as CLIPImageProcessor does it."""
    small = picture.resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)


@dataclass(frozen=True)
class PatchTargets:
    """What every patch of B pictures with N patches shows."""

    shape: Tensor  # [B, N], ignored on the background
    colour: Tensor  # [B, N], 0 is the background
    size: Tensor  # [B, N], ignored on the background
    characters: Tensor  # [B, N, 3], 0 for none, ignored on the background
    offset: Tensor  # [B, N, 2], from the patch to its object's middle, in quarters of a picture
    region: Tensor  # [B, N], number of the object in the whole batch, or -1

    outline: Tensor  # [B, N, cells], 1 where a cell of the patch shows any object
    silhouette: Tensor  # [B, N, points], 1 where its object is, seen from that object's middle

    @staticmethod
    def of(examples: Sequence[Example], patches_side: int) -> "PatchTargets":
        tables = []
        first_region = 0
        for example in examples:
            tables.append(_table(example, first_region, patches_side))
            first_region += len(example.scenes[0].objects)
        rows, offsets, outlines, silhouettes = (
            torch.from_numpy(np.stack(part)) for part in zip(*tables, strict=True)
        )
        shape, colour, size, region = rows[..., :4].unbind(-1)
        characters = rows[..., 4:]
        return PatchTargets(shape, colour, size, characters, offsets, region, outlines, silhouettes)


def _table(
    example: Example, first_region: int, side: int
) -> tuple[Integers, Floats, Floats, Floats]:
    """By patch: (shape, colour, size, region, three characters), offset, outline, silhouette."""
    scene = example.scenes[0]
    cells = _cells_of_patches(example.owners[0], side)
    owner = _owner_of_patches(cells, len(scene.objects))
    rows = [
        [
            SHAPES.index(o.shape),
            1 + COLOURS.index(o.colour),
            SIZES.index(o.size),
            first_region + index,
            *_characters(o.label),
        ]
        for index, o in enumerate(scene.objects)
    ]
    nothing = [IGNORED, 0, IGNORED, -1] + [IGNORED] * LONGEST_LABEL
    table = np.array([*rows, nothing], dtype=np.int64)[owner]
    middles = [[o.x / scene.width, o.y / scene.height] for o in scene.objects]
    ticks = (np.arange(side) + 0.5) / side
    patches = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    offsets = (np.array([*middles, [0.0, 0.0]])[owner] - patches) * OFFSETS_IN_A_PICTURE
    offsets[owner == NOBODY] = 0
    silhouettes = np.stack([*_silhouettes(example), np.zeros(SILHOUETTE_SIDE**2)])[owner]
    outlines = cells != NOBODY
    return (
        table,
        offsets.astype(np.float32),
        outlines.astype(np.float32),
        silhouettes.astype(np.float32),
    )


def _silhouettes(example: Example) -> Iterator[NDArray[np.bool_]]:
    """What can be seen of each object, at points in a square around its middle."""
    scene, owners = example.scenes[0], example.owners[0]
    cells = owners.shape[0]
    ticks = np.linspace(-1.05, 1.05, SILHOUETTE_SIDE)
    for number, thing in enumerate(scene.objects):
        columns = ((thing.x + ticks * thing.radius) * cells / scene.width).astype(int)
        rows = ((thing.y + ticks * thing.radius) * cells / scene.height).astype(int)
        inside = (rows >= 0) & (rows < cells)
        inside_across = (columns >= 0) & (columns < cells)
        seen = owners[np.ix_(rows.clip(0, cells - 1), columns.clip(0, cells - 1))] == number
        yield (seen & inside[:, None] & inside_across[None]).reshape(-1)


def _cells_of_patches(owners: Owners, side: int) -> Owners:
    """[patches, cells of a patch]"""
    cell = owners.shape[0] // side
    return owners.reshape(side, cell, side, cell).swapaxes(1, 2).reshape(side * side, -1)


def _owner_of_patches(cells: Owners, num_objects: int) -> Owners:
    """The object that most cells of a patch show, if enough do."""
    counts = np.stack([(cells == n).sum(axis=1) for n in range(num_objects)], axis=1)
    enough = counts.max(axis=1) >= LEAST_COVER_RATIO * cells.shape[1]
    return np.where(enough, counts.argmax(axis=1), NOBODY).astype(np.int8)


def _characters(label: str) -> list[int]:
    known = [1 + SINGLE_CHARACTERS.index(c) for c in label]
    return known + [0] * (LONGEST_LABEL - len(known))
