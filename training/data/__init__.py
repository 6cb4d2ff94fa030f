"""Synthetic visual question answering: coloured shapes, drawn from a seed, without files.

`still(split, seed, index)` and `clip(split, seed, index)` make one example each, and always the
same one; `stream` goes through them one after another. Nothing here needs torch.
"""

from saccade.training.data.examples import Example, clip, still, stream, text_only
from saccade.training.data.questions import CLIP_KINDS, MORE_KINDS, STILL_KINDS, Question
from saccade.training.data.scenes import MOST_OBJECTS, Split

__all__ = [
    "CLIP_KINDS",
    "MORE_KINDS",
    "MOST_OBJECTS",
    "STILL_KINDS",
    "Example",
    "Question",
    "Split",
    "clip",
    "still",
    "stream",
    "text_only",
]
