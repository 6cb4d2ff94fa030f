"""The questions of an evaluation, and what a blind model would get to see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from saccade.training.data import CLIP_KINDS, STILL_KINDS, Example, Question, Split, clip, still

KINDS = (*STILL_KINDS, *CLIP_KINDS)
GREY = (128, 128, 128)


@dataclass(frozen=True)
class Item:
    """A question, and by what to draw its pictures again: a thousand clips fill a memory."""

    question: Question
    seed: int
    index: int
    is_blind: bool = False

    @property
    def text_first(self) -> bool:
        """People put the text before the pictures as often as after them; so do the items."""
        return self.index % 2 == 1

    def pictures(self) -> list[Image.Image]:
        drawn = _example(self.question.kind, self.seed, self.index).pictures
        return [Image.new("RGB", p.size, GREY) if self.is_blind else p for p in drawn]

    def blind(self) -> "Item":
        """The same question about grey pictures of the same sizes."""
        return replace(self, is_blind=True)


def items(kinds: Sequence[str], per_kind: int, seed: int) -> Iterator[Item]:
    """`per_kind` questions of each kind, each about a picture or clip of its own."""
    for kind in kinds:
        for index in range(per_kind):
            yield Item(_example(kind, seed, index).questions[0], seed, index)


def _example(kind: str, seed: int, index: int) -> Example:
    make = still if kind in STILL_KINDS else clip
    return make(Split.HELD_OUT, seed, index, (kind,))
