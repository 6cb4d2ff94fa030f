"""One example of the data: pictures, and questions about them.

An example is a pure function of (split, seed, index), so that any two readers see the same data, a
training run can go on anywhere, and nothing has to be stored.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from PIL import Image

from saccade.training.data.captions import caption, describe
from saccade.training.data.chat import sample_chat
from saccade.training.data.clips import NUM_FRAMES, sample_clip
from saccade.training.data.drawing import Drawer, Drawn
from saccade.training.data.questions import CLIP_KINDS, STILL_KINDS, Question, ask
from saccade.training.data.scenes import MOST_OBJECTS, Scene, Split, sample_scene

T = TypeVar("T")

LASTING_KINDS = ("colour", "shape")
"""Of questions whose answers are the same in every frame."""


@dataclass(frozen=True)
class Example:
    scenes: tuple[Scene, ...]
    """None for plain chat, one for a still, the frames in order for a clip."""

    drawn: tuple[Drawn, ...]
    """Of each scene."""

    questions: tuple[Question, ...]
    caption: str = ""

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """RGB, of any size."""
        return tuple(drawn.picture for drawn in self.drawn)


def still(
    split: Split,
    seed: int,
    index: int,
    kinds: Sequence[str] = STILL_KINDS,
    num_questions: int = 1,
    *,
    all_of: bool = False,
    most_objects: int = MOST_OBJECTS,
) -> Example:
    """A picture with `num_questions` different questions, of kinds drawn from `kinds`.

    The kinds of `MORE_KINDS` can be asked too. With `all_of`, the kinds come round in turn,
    beginning with that of this index, so that a test has as many of each.
    """
    rng = _rng(split, seed, "still", index)
    while True:
        scene = sample_scene(rng, split, most_objects=most_objects)
        questions = _several(rng, scene, split, _kinds(rng, kinds, index, all_of), num_questions)
        if questions is not None:
            drawn = Drawer(rng).draw(scene)
            return Example((scene,), (drawn,), questions, caption(rng, scene))


def clip(
    split: Split,
    seed: int,
    index: int,
    kinds: Sequence[str] = CLIP_KINDS,
    num_frames: int = NUM_FRAMES,
    num_questions: int = 1,
) -> Example:
    """A clip with at most `num_questions` different questions: first about what the kind of this
    index is about, then about what its last frame shows as well as any."""
    rng = _rng(split, seed, "clip", index)
    sampled = sample_clip(rng, split, kinds[index % len(kinds)], num_frames)
    drawer = Drawer(rng)
    drawn = tuple(drawer.draw(scene) for scene in sampled.frames)
    asked: dict[str, Question] = {}
    lasting = _lasting(rng, sampled.frames[-1], split, attempts=2 * num_questions)
    for question in itertools.chain(sampled.questions, lasting):
        if len(asked) == num_questions:
            break
        asked.setdefault(question.text, question)
    return Example(sampled.frames, drawn, tuple(asked.values()))


def text_only(split: Split, seed: int, index: int, num_questions: int = 1) -> Example:
    rng = _rng(split, seed, "chat", index)
    return Example((), (), tuple(sample_chat(rng) for _ in range(num_questions)))


def stream(make: Callable[[int], T], start: int = 0) -> Iterator[T]:
    """Examples without end: `stream(partial(still, Split.TRAIN, seed))`."""
    return map(make, itertools.count(start))


def _rng(split: Split, seed: int, sort: str, index: int) -> Random:
    return Random(f"{split}/{seed}/{sort}/{index}")


def _kinds(rng: Random, kinds: Sequence[str], index: int, all_of: bool) -> Iterator[str]:
    if all_of:
        yield from (kinds[(index + i) % len(kinds)] for i in range(len(kinds)))
    while True:
        yield rng.choice(kinds)


def _lasting(rng: Random, scene: Scene, split: Split, attempts: int) -> Iterator[Question]:
    for _ in range(attempts):
        question = ask(rng, scene, split, rng.choice(LASTING_KINDS))
        if question is not None:
            yield question


def _several(
    rng: Random, scene: Scene, split: Split, kinds: Iterator[str], num_questions: int
) -> tuple[Question, ...] | None:
    """Nothing if the scene does not lend itself to the first kind, or to so many questions."""
    questions: dict[str, Question] = {}
    for attempt in range(30 + 10 * num_questions):
        kind = next(kinds)
        new = describe(rng, scene) if kind == "description" else ask(rng, scene, split, kind)
        if new is None and attempt == 0 and num_questions == 1:
            return None
        if new is not None:
            questions.setdefault(new.text, new)
        if len(questions) == num_questions:
            return tuple(questions.values())
    return None
