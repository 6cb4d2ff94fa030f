"""Short clips of shapes that move and appear, and questions about what happens in them.

A clip is a few frames, each a picture of its own. One thing happens in each clip: an object moves,
an object appears, or two appear one after the other.
"""

import dataclasses
from dataclasses import dataclass
from random import Random

from saccade.training.data.questions import Question, name, reworded
from saccade.training.data.scenes import Object, Scene, Split, sample_scene

NUM_FRAMES = 8
FASTEST, SLOWEST = 0.75, 0.35
"""Way of a moving object over the whole clip, in shares of the picture's side."""

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Clip:
    frames: tuple[Scene, ...]
    questions: tuple[Question, ...]
    """Every one that can be asked about what happens; the first is the most telling."""


def sample_clip(rng: Random, split: Split, kind: str, num_frames: int = NUM_FRAMES) -> Clip:
    """`kind` is one of `CLIP_KINDS`."""
    while True:
        count = rng.choice((2, 2, 3)) if kind == "order" else rng.choice((1, 2, 2, 3))
        if kind == "appearance":
            count = rng.choice((2, 2, 3))
        scene = sample_scene(rng, split, count, labels=False)
        scene = dataclasses.replace(
            scene, objects=tuple(rng.sample(scene.objects, len(scene.objects)))
        )
        happening = HAPPENINGS[kind](rng, scene, num_frames)
        if happening is not None:
            return Clip(happening.frames, tuple(reworded(rng, q) for q in happening.questions))


def _motion(rng: Random, scene: Scene, num_frames: int) -> Clip | None:
    mover = rng.choice(scene.objects)
    if name(rng, scene, mover) is None:
        return None
    direction = rng.choice(tuple(DIRECTIONS))
    across, down = DIRECTIONS[direction]
    way = rng.uniform(SLOWEST, FASTEST)
    end_x = mover.x + across * way * scene.width
    end_y = mover.y + down * way * scene.height
    if not (
        mover.radius < end_x < scene.width - mover.radius
        and mover.radius < end_y < scene.height - mover.radius
    ):
        return None
    frames = []
    for index in range(num_frames):
        share = index / (num_frames - 1)
        moved = mover.at(mover.x + share * (end_x - mover.x), mover.y + share * (end_y - mover.y))
        frames.append(_with(scene, tuple(moved if o is mover else o for o in scene.objects)))
    questions = [_direction(rng, scene, mover, direction)]
    texts = ["Which object moves?", "What moves?", "Which shape is moving?"]
    for text in rng.sample(texts, 2):
        questions.append(Question("motion", text, mover.shape, mover.held_out))
    for thing in scene.objects:
        called = name(rng, scene, thing)
        if called is not None:
            answer = "yes" if thing is mover else "no"
            questions.append(Question("motion", f"Does the {called} move?", answer, thing.held_out))
    questions.append(_direction(rng, scene, mover, direction))
    return Clip(tuple(frames), tuple(questions))


def _direction(rng: Random, scene: Scene, mover: Object, direction: str) -> Question:
    called = name(rng, scene, mover)
    text = rng.choice(
        (
            f"In which direction does the {called} move?",
            f"Which direction does the {called} move?",
            f"Which way does the {called} move?",
            f"Where does the {called} move?",
            f"What is the direction of the {called}?",
            "In which direction does the object move?",
        )
    )
    return Question("motion", text, direction, mover.held_out)


def _appearance(rng: Random, scene: Scene, num_frames: int) -> Clip | None:
    late = rng.choice(scene.objects)
    if any(o.shape == late.shape and o is not late for o in scene.objects):
        return None
    since = rng.randint(1, num_frames - 1)
    rest = tuple(o for o in scene.objects if o is not late)
    frames = tuple(_with(scene, rest if i < since else scene.objects) for i in range(num_frames))
    shape_texts = (
        "Which object appears?",
        "Which object appeared?",
        "What appears?",
        "What shape appears?",
        "Which shape appears?",
        "Which shape appeared?",
    )
    colour_texts = (
        "What colour is the object that appears?",
        "Which colour has the object that appears?",
    )
    questions = [
        Question("appearance", text, answer, late.held_out)
        for texts, answer in ((shape_texts, late.shape), (colour_texts, late.colour))
        for text in rng.sample(texts, len(texts))
    ]
    first, *others = questions
    return Clip(frames, (first, *rng.sample(others, len(others))))


def _order(rng: Random, scene: Scene, num_frames: int) -> Clip | None:
    if len(scene.objects) < 2:
        return None
    first, second = rng.sample(scene.objects, 2)
    names = name(rng, scene, first, size=False), name(rng, scene, second, size=False)
    if None in names or first.shape == second.shape:
        return None
    first_since, second_since = sorted(rng.sample(range(num_frames), 2))

    def seen(thing: Object, index: int) -> bool:
        if thing is first:
            return index >= first_since
        return thing is not second or index >= second_since

    frames = tuple(
        _with(scene, tuple(o for o in scene.objects if seen(o, index)))
        for index in range(num_frames)
    )
    held_out = first.held_out or second.held_out
    one, other = rng.sample(names, 2)
    texts = {
        first.shape: (
            f"Which appears first, the {one} or the {other}?",
            f"What appears first: the {one} or the {other}?",
        ),
        second.shape: (
            f"Which appears last, the {one} or the {other}?",
            f"Which appears second, the {one} or the {other}?",
        ),
        "yes": (f"Does the {names[0]} appear before the {names[1]}?",
                f"Does the {names[1]} appear after the {names[0]}?"),
        "no": (f"Does the {names[1]} appear before the {names[0]}?",
               f"Does the {names[0]} appear after the {names[1]}?"),
    }  # fmt: skip
    questions = [
        Question("order", rng.choice(texts[answer]), answer, held_out)
        for answer in rng.sample(tuple(texts), len(texts))
    ]
    return Clip(frames, tuple(questions))


def _with(scene: Scene, objects: tuple[Object, ...]) -> Scene:
    return dataclasses.replace(scene, objects=objects)


HAPPENINGS = {"motion": _motion, "appearance": _appearance, "order": _order}
