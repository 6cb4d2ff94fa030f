"""Linear readings of single patches: what is there, where its object's middle is, what it looks
like. They teach a tower and are thrown away afterwards."""

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    smooth_l1_loss,
)

from saccade.training.architecture import VisionSizes
from saccade.training.data.drawing import OWNERS_SIDE
from saccade.training.data.palette import COLOURS
from saccade.training.data.scenes import SINGLE_CHARACTERS, SIZES
from saccade.training.data.shapes import SHAPES
from saccade.training.recipe.pictures import (
    IGNORED,
    LONGEST_LABEL,
    OFFSETS_IN_A_PICTURE,
    SILHOUETTE_SIDE,
    PatchTargets,
)


class PatchHeads(nn.Module):
    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width, side = sizes.hidden_size, sizes.image_size // sizes.patch_size
        self.norm = nn.LayerNorm(width)
        self.shape = nn.Linear(width, len(SHAPES))
        self.colour = nn.Linear(width, 1 + len(COLOURS))
        self.size = nn.Linear(width, len(SIZES))
        self.characters = nn.Linear(width, LONGEST_LABEL * (1 + len(SINGLE_CHARACTERS)))
        self.offset = nn.Linear(width, 2)
        self.silhouette = nn.Linear(width, SILHOUETTE_SIDE**2)
        self.glyph = nn.Linear(width, 1 + len(SINGLE_CHARACTERS))
        self.outline = nn.Linear(width, (OWNERS_SIDE // side) ** 2)

    def read(self, features: Tensor) -> dict[str, Tensor]:
        """[B, N, width] -> by name, logits [B, N, classes], or numbers."""
        normed = self.norm(features)
        characters = self.characters(normed).unflatten(-1, (LONGEST_LABEL, -1))
        return {
            "shape": self.shape(normed),
            "colour": self.colour(normed),
            "size": self.size(normed),
            "characters": characters,
            "offset": self.offset(normed),
            "glyph": self.glyph(normed),
            "outline": self.outline(normed),
            "silhouette": self.silhouette(normed),
        }

    def losses(self, features: Tensor, targets: PatchTargets) -> dict[str, Tensor]:
        read = self.read(features)
        losses = {
            name: cross_entropy(
                read[name].flatten(0, -2), getattr(targets, name).flatten(), ignore_index=IGNORED
            )
            for name in ("shape", "colour", "size")
        }
        owned = targets.region >= 0
        return losses | {
            "characters": _rare(read["characters"], targets.characters),
            "glyph": _rare(read["glyph"], targets.glyph),
            "offset": smooth_l1_loss(read["offset"][owned], targets.offset[owned]),
            "outline": binary_cross_entropy_with_logits(read["outline"], targets.outline),
            "silhouette": binary_cross_entropy_with_logits(
                read["silhouette"][owned], targets.silhouette[owned]
            ),
        }

    @torch.no_grad()
    def scores(self, features: Tensor, targets: PatchTargets) -> dict[str, float]:
        """Of the patches with an object, which share is read rightly."""
        read = self.read(features)
        owned = targets.region >= 0
        scores = {
            name: _share((read[name].argmax(-1) == getattr(targets, name))[owned])
            for name in ("shape", "colour", "size")
        }
        lettered = targets.glyph > 0
        scores["glyph"] = _share((read["glyph"].argmax(-1) == targets.glyph)[lettered])
        labelled = targets.characters[..., 0] > 0
        hit = (read["characters"].argmax(-1) == targets.characters).all(-1)
        return scores | {"label": _share(hit[labelled])}


class PlaceHead(nn.Module):
    """A linear reading of where in the picture the object's middle is, which a patch's own
    position and its offset do not add up to by themselves. A convolution cannot know it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.place = nn.Linear(width, 2)

    def forward(self, features: Tensor) -> Tensor:
        place: Tensor = self.place(self.norm(features))
        return place

    def loss(self, features: Tensor, place: Tensor, owned: Tensor) -> Tensor:
        """Objects and the background weigh the same, however many patches they have.

        [..., N, width], [..., N, 2] and [..., N] -> a number.
        """
        each = smooth_l1_loss(self(features), place, reduction="none").sum(-1)
        parts = [each[mask].mean() for mask in (owned, ~owned) if mask.any()]
        return torch.stack(parts).mean() if parts else each.sum()

    @torch.no_grad()
    def score(self, features: Tensor, place: Tensor, owned: Tensor) -> float:
        """Of the patches with an object, which share is told its half of the picture rightly, both
        ways."""
        middle = OFFSETS_IN_A_PICTURE / 2
        hit = (self(features) > middle) == (place > middle)
        return _share(hit[owned].all(-1))


def _rare(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy where class 0, for nothing, is nearly everywhere: nothing and something count
    the same, however many there are of each."""
    each = cross_entropy(
        logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    something, nothing = targets.flatten() > 0, targets.flatten() == 0
    parts = [each[mask].mean() for mask in (something, nothing) if mask.any()]
    return torch.stack(parts).mean() if parts else each.sum()


def _share(hits: Tensor) -> float:
    return hits.float().mean().item() if hits.numel() else float("nan")
