"""The outlines of the shapes: polygons in a square from -1 to 1, y downwards.

Pictures are squeezed into a square before the model sees them, so a circle is told from an oval,
and a square from a rectangle, only where the longer side is about twice the shorter one.
"""

import math
from collections.abc import Callable
from random import Random
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]
Outline: TypeAlias = list[Point]

SHAPES = (
    "circle",
    "square",
    "triangle",
    "rectangle",
    "pentagon",
    "hexagon",
    "star",
    "heart",
    "diamond",
    "cross",
    "oval",
    "ring",
)
PLURALS = {shape: f"{shape}s" for shape in SHAPES} | {"cross": "crosses"}

LARGEST_TILT_DEGREES = {"circle": 180.0, "ring": 180.0, "square": 14.0, "diamond": 10.0}
DEFAULT_TILT_DEGREES = 18.0


def outlines(shape: str, rng: Random) -> tuple[Outline, Outline]:
    """The shape, untilted, and its hole (empty for all but the ring)."""
    if shape == "ring":
        inner = rng.uniform(0.45, 0.66)
        return _ellipse(1, 1), _ellipse(inner, inner)
    return OUTLINES[shape](rng), []


def tilt(outline: Outline, degrees: float) -> Outline:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in outline]


def _ellipse(a: float, b: float, corners: int = 40) -> Outline:
    turns = [2 * math.pi * i / corners for i in range(corners)]
    return [(a * math.cos(t), b * math.sin(t)) for t in turns]


def _box(a: float, b: float) -> Outline:
    return [(-a, -b), (a, -b), (a, b), (-a, b)]


def _lying_or_standing(outline: Outline, rng: Random) -> Outline:
    return outline if rng.random() < 0.6 else [(y, x) for x, y in outline]


def _regular(corners: int, *, turned: bool = False) -> Outline:
    start = -math.pi / 2 + (math.pi / corners if turned else 0)
    turns = [start + 2 * math.pi * i / corners for i in range(corners)]
    return [(math.cos(t), math.sin(t)) for t in turns]


def _triangle(rng: Random) -> Outline:
    """Usually isosceles with the tip up, as people draw it."""
    tip = rng.choice([0.0, 0.0, 0.0, rng.uniform(-0.8, 0.8)])
    height = rng.uniform(0.75, 1)
    down = 1 if rng.random() < 0.85 else -1
    return [(tip, -height * down), (0.95, 0.8 * height * down), (-0.95, 0.8 * height * down)]


def _star(inner: float) -> Outline:
    radii = [1 if i % 2 == 0 else inner for i in range(10)]
    turns = [-math.pi / 2 + math.pi * i / 5 for i in range(10)]
    return [(r * math.cos(t), r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]


def _heart(corners: int = 40) -> Outline:
    points = []
    for i in range(corners):
        t = 2 * math.pi * i / corners
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -(y + 2.5) / 15))
    return points


def _cross(arm: float) -> Outline:
    return [
        (-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
        (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm),
    ]  # fmt: skip


def _diamond(width: float) -> Outline:
    return [(0, -1), (width, 0), (0, 1), (-width, 0)]


OUTLINES: dict[str, Callable[[Random], Outline]] = {
    "circle": lambda _: _ellipse(1, 1),
    "oval": lambda rng: _lying_or_standing(_ellipse(1, rng.uniform(0.38, 0.52)), rng),
    "square": lambda _: _box(0.86, 0.86),
    "rectangle": lambda rng: _lying_or_standing(_box(1, rng.uniform(0.36, 0.52)), rng),
    "triangle": _triangle,
    "pentagon": lambda _: _regular(5),
    "hexagon": lambda rng: _regular(6, turned=rng.random() < 0.5),
    "star": lambda rng: _star(rng.uniform(0.38, 0.5)),
    "heart": lambda _: _heart(),
    "diamond": lambda rng: _diamond(rng.uniform(0.66, 1)),
    "cross": lambda rng: _cross(rng.uniform(0.26, 0.38)),
}
