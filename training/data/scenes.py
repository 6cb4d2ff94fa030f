"""What is in a picture, before anything is drawn. Lengths are pixels, y grows downwards."""

import dataclasses
import enum
from dataclasses import dataclass
from random import Random

from saccade.training.data import palette
from saccade.training.data.palette import COLOURS, Rgb
from saccade.training.data.shapes import SHAPES

SIZES = ("small", "medium", "large")
RADII = {"small": (0.075, 0.1), "medium": (0.13, 0.165), "large": (0.21, 0.26)}
"""Half the width of an object, in shares of the picture's mean side."""

MOST_OBJECTS = 8
NUMBERS_OF_OBJECTS = (1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8)
"""One is drawn for each picture."""

LABEL_RATIO = 0.6
LABELLED = ("circle", "square", "rectangle", "pentagon", "hexagon", "heart", "diamond")
SINGLE_CHARACTERS = "ABCDEFGHJKLMNPRSTUVXYZ" + "123456789"
"""Of labels of one character. Without I, O, Q, W and 0: too like another one, or too wide."""

CHARACTERS = "BDFHKMNPRSVXZ" + "123456789"
"""Of longer labels: letters that, in lower case, stay a token each beside one another."""


class Split(enum.StrEnum):
    """`train` never shows a held-out pair of colour and shape, and never names one."""

    TRAIN = "train"
    HELD_OUT = "held-out"


def is_held_out(colour: str, shape: str) -> bool:
    """About one pair in nine; every colour and every shape has one or two."""
    return (COLOURS.index(colour) * 4 + SHAPES.index(shape) * 7) % 9 == 2


@dataclass(frozen=True)
class Object:
    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    shade: Rgb
    label: str = ""

    @property
    def held_out(self) -> bool:
        return is_held_out(self.colour, self.shape)

    def at(self, x: float, y: float) -> "Object":
        return dataclasses.replace(self, x=x, y=y)


@dataclass(frozen=True)
class Scene:
    width: int
    height: int
    background: Rgb
    objects: tuple[Object, ...]
    """In the order in which they are drawn."""


def sample_scene(
    rng: Random,
    split: Split,
    num_objects: int | None = None,
    *,
    most_objects: int = MOST_OBJECTS,
    width: int | None = None,
    height: int | None = None,
    labels: bool = True,
) -> Scene:
    """Objects may overlap a little; none is hidden so far that it cannot be named.

    Where no room is found for an object, there is one less, but never none.
    """
    if width is None or height is None:
        width, height = sample_frame(rng)
    wanted = num_objects or rng.choice([n for n in NUMBERS_OF_OBJECTS if n <= most_objects])
    roomy = rng.uniform(0.72, 0.85) if rng.random() < 0.25 else rng.uniform(0.98, 1.15)
    objects: list[Object] = []
    for _ in range(wanted):
        new = _fitting(rng, split, objects, width, height, wanted, roomy)
        if new is not None:
            objects.append(_labelled(rng, new) if labels else new)
    shades = [o.shade for o in objects]
    return Scene(width, height, palette.background(rng, shades), tuple(objects))


def sample_frame(rng: Random) -> tuple[int, int]:
    """Any aspect ratio from 3:5 to 5:3, mostly nearer to a square."""
    mean = rng.randint(170, 400)
    aspect = rng.uniform(0.72, 1.4) if rng.random() < 0.75 else rng.uniform(0.6, 1.67)
    return round(mean * aspect**0.5), round(mean / aspect**0.5)


def sample_pair(rng: Random, split: Split, held_out_ratio: float = 0.3) -> tuple[str, str]:
    """A colour and a shape that this split may show."""
    wants_held_out = split is Split.HELD_OUT and rng.random() < held_out_ratio
    while True:
        colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
        if is_held_out(colour, shape) == wants_held_out:
            return colour, shape


def _fitting(
    rng: Random,
    split: Split,
    others: list[Object],
    width: int,
    height: int,
    wanted: int,
    roomy: float,
) -> Object | None:
    mean = (width * height) ** 0.5
    for attempt in range(40):
        weights = (3, 3, 3) if wanted <= 3 else (3, 3, 1) if wanted <= 5 else (4, 2, 0)
        size = rng.choices(SIZES, weights)[0] if attempt < 20 else "small"
        radius = rng.uniform(*RADII[size]) * mean
        if 2 * radius > min(width, height) - 4:
            continue
        x = rng.uniform(radius + 1, width - radius - 1)
        y = rng.uniform(radius + 1, height - radius - 1)
        if all(
            (x - o.x) ** 2 + (y - o.y) ** 2 > (roomy * (radius + o.radius)) ** 2 for o in others
        ):
            colour, shape = _pair_near(rng, split, others)
            return Object(shape, colour, size, x, y, radius, palette.shade(rng, colour))
    return None


def _pair_near(rng: Random, split: Split, others: list[Object]) -> tuple[str, str]:
    """Often the colour or the shape of another object, so that one of the two does not tell all."""
    for _ in range(20):
        colour, shape = sample_pair(rng, split)
        if not others or rng.random() < 0.6:
            return colour, shape
        other = rng.choice(others)
        if rng.random() < 0.5:
            colour = other.colour
        else:
            shape = other.shape
        if split is Split.HELD_OUT or not is_held_out(colour, shape):
            return colour, shape
    return sample_pair(rng, split)


def _labelled(rng: Random, thing: Object) -> Object:
    if thing.size == "small" or thing.shape not in LABELLED or rng.random() > LABEL_RATIO:
        return thing
    longest = 2 if thing.size == "medium" else 3
    length = min(longest, rng.choice((1, 1, 2, 2, 3)))
    characters = SINGLE_CHARACTERS if length == 1 else CHARACTERS
    return dataclasses.replace(thing, label="".join(rng.sample(characters, k=length)))
