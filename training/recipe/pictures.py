"""Pictures as the checkpoint's own processor hands them to the tower, and what each patch shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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
    characters: Tensor  # [B, N, 3], of the object's label; 0 for none, ignored on the background
    glyph: Tensor  # [B, N], the character in this very patch; 0 for none, ignored at its edges
    region: Tensor  # [B, N], number of the object in the whole batch, or -1
    offset: Tensor  # [B, N, 2], from the patch to its object's middle, in quarters of a picture
    place: Tensor  # [B, N, 2], of the object's middle, or of the patch if it shows none; the same
    outline: Tensor  # [B, N, cells], 1 where a cell of the patch shows any object
    silhouette: Tensor  # [B, N, points], 1 where its object is, seen from that object's middle

    @staticmethod
    def of(examples: Sequence[Example], patches_side: int) -> "PatchTargets":
        tables = []
        first_region = 0
        for example in examples:
            tables.append(_table(example, first_region, patches_side))
            first_region += len(example.scenes[0].objects)
        return PatchTargets(
            **{
                name: torch.from_numpy(np.stack([table[name] for table in tables]))
                for name in tables[0]
            }
        )


def _place(example: Example, owner: Owners, side: int) -> NDArray[np.float64]:
    """[patches, 2], of each patch's object's middle, or of the patch itself."""
    scene = example.scenes[0]
    ticks = (np.arange(side) + 0.5) / side
    patches = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    middles = np.array([*([o.x / scene.width, o.y / scene.height] for o in scene.objects), [0, 0]])
    place = np.where((owner == NOBODY)[:, None], patches, middles[owner])
    return np.asarray(place * OFFSETS_IN_A_PICTURE, dtype=np.float64)


def _table(example: Example, first_region: int, side: int) -> dict[str, Integers | Floats]:
    """One picture's row of every field."""
    objects = example.scenes[0].objects
    cells = _cells_of_patches(example.drawn[0].owners, side)
    owner = _owner_of_patches(cells, len(objects))

    def by_owner(values: Sequence[Any], nothing: Any, dtype: type = np.int64) -> Any:
        """`owner` is -1 for the background, and so the last row."""
        return np.array([*values, nothing], dtype=dtype)[owner]

    place = _place(example, owner, side)
    offset = place - _place(example, np.full_like(owner, NOBODY), side)
    return {
        "shape": by_owner([SHAPES.index(o.shape) for o in objects], IGNORED),
        "colour": by_owner([1 + COLOURS.index(o.colour) for o in objects], 0),
        "size": by_owner([SIZES.index(o.size) for o in objects], IGNORED),
        "characters": by_owner([_characters(o.label) for o in objects], [IGNORED] * LONGEST_LABEL),
        "glyph": _glyphs(example, side),
        "region": by_owner(range(first_region, first_region + len(objects)), -1),
        "offset": offset.astype(np.float32),
        "place": place.astype(np.float32),
        "outline": (cells != NOBODY).astype(np.float32),
        "silhouette": by_owner(
            list(_silhouettes(example)), np.zeros(SILHOUETTE_SIDE**2), np.float32
        ),
    }


def _glyphs(example: Example, side: int) -> Integers:
    """The character whose middle a patch holds, if nothing has been drawn over that."""
    scene, drawn = example.scenes[0], example.drawn[0]
    cells = drawn.owners.shape[0]
    patches = np.zeros((side, side), dtype=np.int64)
    middles = []
    for glyph in drawn.glyphs:
        across, down = glyph.x / scene.width, glyph.y / scene.height
        half_across, half_down = glyph.width / scene.width / 2, glyph.height / scene.height / 2
        columns = slice(int((across - half_across) * side), int((across + half_across) * side) + 1)
        rows = slice(int((down - half_down) * side), int((down + half_down) * side) + 1)
        patches[rows, columns] = IGNORED
        if drawn.owners[int(down * cells), int(across * cells)] == glyph.owner:
            middles.append((int(down * side), int(across * side), glyph.character))
    for row, column, character in middles:
        patches[row, column] = 1 + SINGLE_CHARACTERS.index(character)
    return patches.reshape(-1)


def _silhouettes(example: Example) -> Iterator[NDArray[np.bool_]]:
    """What can be seen of each object, at points in a square around its middle."""
    scene, owners = example.scenes[0], example.drawn[0].owners
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
