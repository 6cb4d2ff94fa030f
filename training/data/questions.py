"""Questions about a still picture, each with the one word that answers it.

Every kind is one function from a scene to a question, or to nothing where the scene does not lend
itself. A thing is only ever named by what sets it apart: "the circle" means the one circle.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from saccade.training.data.palette import COLOURS
from saccade.training.data.scenes import Object, Scene, Split, is_held_out, sample_pair
from saccade.training.data.shapes import PLURALS, SHAPES

STILL_KINDS = (
    "colour",
    "shape",
    "count",
    "existence",
    "position",
    "comparison",
    "size",
    "label",
)
MORE_KINDS = ("side", "half", "beside", "description")
"""Only taught: steps towards the others, and what nobody can score by a word."""

LEAST_FROM_THE_MIDDLE = 0.06
LEAST_APART = 0.1

CLIP_KINDS = ("motion", "appearance", "order")


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str
    """One lower-case word or number."""

    held_out: bool = False
    """It is about an object whose pair of colour and shape no training picture shows."""


Asker: TypeAlias = Callable[[Random, Scene, Split], Question | None]


def ask(rng: Random, scene: Scene, split: Split, kind: str) -> Question | None:
    asked = ASKERS[kind](rng, scene, split)
    return None if asked is None else reworded(rng, asked)


def reworded(rng: Random, question: Question) -> Question:
    """As different people would type it."""
    text = question.text
    if "colour" in text and rng.random() < 0.35:
        text = text.replace("colour", "color")
    if rng.random() < 0.08:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.06:
        text = text.rstrip("?.")
    elif rng.random() < 0.1:
        text += rng.choice((" Answer in one word.", " Answer with one word.", " One word, please."))
    return Question(question.kind, text, question.answer, question.held_out)


def article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def name(
    rng: Random,
    scene: Scene,
    thing: Object,
    *,
    colour: bool = True,
    shape: bool = True,
    size: bool = True,
) -> str | None:
    """Words that fit `thing` and no other object, using only what is allowed."""
    noun = thing.shape if shape else rng.choice(("object", "shape", "thing"))
    choices: list[tuple[bool, bool]] = [(False, False)]
    if colour:
        choices += [(True, False), (True, False)]
    if size and rng.random() < 0.25:
        choices += [(False, True), (colour, True)]
    rng.shuffle(choices)
    for says_colour, says_size in choices:
        matching = [
            other
            for other in scene.objects
            if (not shape or other.shape == thing.shape)
            and (not says_colour or other.colour == thing.colour)
            and (not says_size or other.size == thing.size)
        ]
        if len(matching) == 1:
            words = [thing.size] * says_size + [thing.colour] * says_colour + [noun]
            return " ".join(words)
    return None


def _colour(rng: Random, scene: Scene, _split: Split) -> Question | None:
    thing = rng.choice(scene.objects)
    called = name(rng, scene, thing, colour=False)
    if len(scene.objects) == 1 and rng.random() < 0.3:
        called = rng.choice(("object", "shape", "thing"))
    if called is None:
        return None
    text = rng.choice(
        (
            f"What colour is the {called}?",
            f"What colour is the {called}?",
            f"What is the colour of the {called}?",
            f"Which colour is the {called}?",
            f"Which colour does the {called} have?",
            f"The {called} is what colour?",
            f"What colour does the {called} have?",
            f"Name the colour of the {called}.",
            f"Tell me the colour of the {called}.",
        )
    )
    return Question("colour", text, thing.colour, thing.held_out)


def _shape(rng: Random, scene: Scene, _split: Split) -> Question | None:
    thing = rng.choice(scene.objects)
    called = name(rng, scene, thing, shape=False)
    if called is None:
        return None
    *qualities, noun = called.split()
    if qualities == [thing.colour] and rng.random() < 0.5:
        text = rng.choice(
            (
                f"What shape is {thing.colour}?",
                f"Which shape is {thing.colour}?",
                f"Which object is {thing.colour}?",
                f"What is {thing.colour}?",
            )
        )
    else:
        called = " ".join([*qualities, "object" if noun == "shape" else noun])
        text = rng.choice(
            (
                f"What shape is the {called}?",
                f"What is the shape of the {called}?",
                f"Which shape does the {called} have?",
                f"What shape does the {called} have?",
                f"What is the {' '.join([*qualities, 'shape'])}?",
                f"Name the shape of the {called}.",
            )
        )
    return Question("shape", text, thing.shape, thing.held_out)


def _count(rng: Random, scene: Scene, split: Split) -> Question | None:
    plural, fits = "", scene.objects
    draw = rng.random()
    if draw < 0.4:
        plural = rng.choice(("objects", "objects", "shapes", "things"))
    elif draw < 0.7:
        shape = rng.choice([o.shape for o in scene.objects] * 3 + [rng.choice(SHAPES)])
        plural, fits = PLURALS[shape], tuple(o for o in scene.objects if o.shape == shape)
    elif draw < 0.95:
        colour = rng.choice([o.colour for o in scene.objects] * 3 + [rng.choice(COLOURS)])
        plural = f"{colour} {rng.choice(('objects', 'shapes', 'things'))}"
        fits = tuple(o for o in scene.objects if o.colour == colour)
    else:
        colour, shape = _pair_in_question(rng, scene, split)
        plural = f"{colour} {PLURALS[shape]}"
        fits = tuple(o for o in scene.objects if (o.colour, o.shape) == (colour, shape))
    where = rng.choice(("", "", " in the picture", " in the image"))
    text = rng.choice(
        (
            f"How many {plural} are there{where}?",
            f"How many {plural} are there{where}?",
            f"How many {plural} are in the picture?",
            f"How many {plural} do you see?",
            f"How many {plural} can you see?",
            f"Count the {plural}.",
            f"What is the number of {plural}?",
        )
    )
    return Question("count", text, str(len(fits)), any(o.held_out for o in fits))


def _existence(rng: Random, scene: Scene, split: Split) -> Question | None:
    wants_yes = rng.random() < 0.5
    thing = rng.choice(scene.objects)
    draw = rng.random()
    if draw < 0.45:
        absent = [s for s in SHAPES if all(o.shape != s for o in scene.objects)]
        shape = thing.shape if wants_yes else rng.choice(absent)
        noun, plural = shape, PLURALS[shape]
    elif draw < 0.65:
        absent = [c for c in COLOURS if all(o.colour != c for o in scene.objects)]
        colour = thing.colour if wants_yes else rng.choice(absent)
        noun, plural = f"{colour} object", f"{colour} objects"
        thing = thing if wants_yes else scene.objects[0]
    else:
        pair = (thing.colour, thing.shape) if wants_yes else _absent_pair(rng, scene, split)
        if pair is None:
            return None
        noun, plural = " ".join(pair), f"{pair[0]} {PLURALS[pair[1]]}"
    where = rng.choice(("", "", " in the picture", " in the image"))
    text = rng.choice(
        (
            f"Is there {article(noun)}{where}?",
            f"Is there {article(noun)}{where}?",
            f"Are there any {plural}{where}?",
            f"Do you see {article(noun)}?",
            f"Can you see {article(noun)}?",
            f"Does the picture show {article(noun)}?",
        )
    )
    return Question("existence", text, _yes_no(wants_yes), wants_yes and thing.held_out)


SIDES = {
    "left": (("to the left of", "left of", "on the left of"), -1, 0),
    "right": (("to the right of", "right of", "on the right of"), 1, 0),
    "above": (("above", "above", "higher than"), 0, -1),
    "below": (("below", "below", "under", "lower than"), 0, 1),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


@dataclass(frozen=True)
class _Relation:
    """How two things stand to each other: the first is, or is not, on that side of the second."""

    first: str
    second: str
    side: str
    holds: bool
    held_out: bool

    @property
    def answer(self) -> str:
        return self.side if self.holds else OPPOSITE[self.side]


def _relation(rng: Random, scene: Scene, sides: Sequence[str]) -> _Relation | None:
    if len(scene.objects) < 2:
        return None
    one, other = rng.sample(scene.objects, 2)
    side = rng.choice(sides)
    _, across, down = SIDES[side]
    ahead = across * (one.x - other.x) / scene.width + down * (one.y - other.y) / scene.height
    if abs(ahead) < LEAST_APART:
        return None
    first, second = name(rng, scene, one), name(rng, scene, other)
    if first is None or second is None:
        return None
    return _Relation(first, second, side, ahead > 0, one.held_out or other.held_out)


def _position(rng: Random, scene: Scene, _split: Split) -> Question | None:
    found = _relation(rng, scene, tuple(SIDES))
    if found is None:
        return None
    phrases, across, _ = SIDES[found.side]
    if rng.random() < 0.7:
        text = rng.choice(
            (
                f"Is the {found.first} {rng.choice(phrases)} the {found.second}?",
                f"Is the {found.first} {rng.choice(phrases)} the {found.second}?",
                f"Does the {found.first} lie {phrases[0]} the {found.second}?",
            )
        )
        return Question("position", text, _yes_no(found.holds), found.held_out)
    pair = "left or right of" if across else "above or below"
    text = f"Is the {found.first} {pair} the {found.second}?"
    return Question("position", text, found.answer, found.held_out)


def _beside(rng: Random, scene: Scene, _split: Split) -> Question | None:
    found = _relation(rng, scene, ("left", "right"))
    if found is None:
        return None
    text = f"Is the {found.first} left or right of the {found.second}?"
    return Question("beside", text, found.answer, found.held_out)


HALVES = {
    ("left", "right"): (
        "Is the {} on the left or on the right?",
        "In which half is the {}, left or right?",
        "Is the {} in the left or the right half of the picture?",
    ),
    ("top", "bottom"): (
        "Is the {} at the top or at the bottom?",
        "In which half is the {}, top or bottom?",
        "Is the {} in the top or the bottom half of the picture?",
    ),
}


def _half(rng: Random, scene: Scene, _split: Split) -> Question | None:
    return _in_a_half(rng, scene, "half", tuple(HALVES))


def _side(rng: Random, scene: Scene, _split: Split) -> Question | None:
    return _in_a_half(rng, scene, "side", (("left", "right"),))


def _in_a_half(
    rng: Random, scene: Scene, kind: str, halves: Sequence[tuple[str, str]]
) -> Question | None:
    thing = rng.choice(scene.objects)
    called = name(rng, scene, thing)
    sides = rng.choice(halves)
    share = thing.y / scene.height if "top" in sides else thing.x / scene.width
    if called is None or abs(share - 0.5) < LEAST_FROM_THE_MIDDLE:
        return None
    answer = sides[share > 0.5]
    return Question(kind, rng.choice(HALVES[sides]).format(called), answer, thing.held_out)


def _comparison(rng: Random, scene: Scene, _split: Split) -> Question | None:
    if len(scene.objects) < 2:
        return None
    quality = rng.choice(("colour", "colour", "shape", "shape", "size"))
    one, other = _pair_to_compare(rng, scene, quality)
    first = name(rng, scene, one, colour=quality != "colour", shape=quality != "shape",
                 size=quality != "size")  # fmt: skip
    second = name(rng, scene, other, colour=quality != "colour", shape=quality != "shape",
                  size=quality != "size")  # fmt: skip
    if first is None or second is None:
        return None
    same = getattr(one, quality) == getattr(other, quality)
    held_out = one.held_out or other.held_out
    if rng.random() < 0.6:
        text = rng.choice(
            (
                f"Are the {first} and the {second} the same {quality}?",
                f"Do the {first} and the {second} have the same {quality}?",
                f"Is the {first} the same {quality} as the {second}?",
            )
        )
        return Question("comparison", text, _yes_no(same), held_out)
    text = rng.choice(
        (
            f"Do the {first} and the {second} have the same or different {quality}s?",
            f"Same or different {quality}: the {first} and the {second}?",
        )
    )
    return Question("comparison", text, "same" if same else "different", held_out)


def _size(rng: Random, scene: Scene, _split: Split) -> Question | None:
    thing = rng.choice(scene.objects)
    called = name(rng, scene, thing, size=False)
    if called is None:
        return None
    text = rng.choice(
        (
            f"What size is the {called}?",
            f"How big is the {called}?",
            f"How large is the {called}?",
            f"What is the size of the {called}?",
            f"Is the {called} small, medium or large?",
        )
    )
    return Question("size", text, thing.size, thing.held_out)


def _label(rng: Random, scene: Scene, _split: Split) -> Question | None:
    labelled = [o for o in scene.objects if o.label]
    if not labelled:
        return None
    thing = rng.choice(labelled)
    called = name(rng, scene, thing)
    if called is None:
        return None
    choices = [
        f"What is written on the {called}?",
        f"What does the {called} say?",
        f"What does the label on the {called} say?",
        f"Read the label on the {called}.",
        f"What is the label of the {called}?",
        f"What text is on the {called}?",
    ]
    if len(thing.label) == 1:
        sort = "digit" if thing.label.isdigit() else "letter"
        choices += [f"What {sort} is on the {called}?", f"Which {sort} is on the {called}?"] * 2
    return Question("label", rng.choice(choices), thing.label.lower(), thing.held_out)


ASKERS: dict[str, Asker] = {
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "existence": _existence,
    "side": _side,
    "half": _half,
    "beside": _beside,
    "position": _position,
    "comparison": _comparison,
    "size": _size,
    "label": _label,
}


def _yes_no(yes: bool) -> str:
    return "yes" if yes else "no"


def _pair_to_compare(rng: Random, scene: Scene, quality: str) -> tuple[Object, Object]:
    """Alike half of the time, where the scene has two alike."""
    counts = Counter(getattr(o, quality) for o in scene.objects)
    shared = [value for value, count in counts.items() if count > 1]
    if shared and rng.random() < 0.6:
        value = rng.choice(shared)
        one, other = rng.sample([o for o in scene.objects if getattr(o, quality) == value], 2)
        return one, other
    one, other = rng.sample(scene.objects, 2)
    return one, other


def _pair_in_question(rng: Random, scene: Scene, split: Split) -> tuple[str, str]:
    thing = rng.choice(scene.objects)
    if rng.random() < 0.7:
        return thing.colour, thing.shape
    return _absent_pair(rng, scene, split) or (thing.colour, thing.shape)


def _absent_pair(rng: Random, scene: Scene, split: Split) -> tuple[str, str] | None:
    """Often made of a colour and a shape that are there, but not on one object."""
    there = {(o.colour, o.shape) for o in scene.objects}
    for _ in range(20):
        if rng.random() < 0.6:
            pair = (rng.choice(scene.objects).colour, rng.choice(scene.objects).shape)
        else:
            pair = sample_pair(rng, split)
        # In training, "is there …?" about a held-out pair would always be answered by no.
        if pair not in there and (split is Split.HELD_OUT or not is_held_out(*pair)):
            return pair
    return None
