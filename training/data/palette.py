"""The colours of objects and of backgrounds.

One name covers what people draw under that name: the CSS colour, the pure one, and the muted one
of a plotting library. A shade is one of these, slightly moved.
"""

from random import Random
from typing import TypeAlias

Rgb: TypeAlias = tuple[int, int, int]

SHADES: dict[str, tuple[Rgb, ...]] = {
    "red": ((255, 0, 0), (220, 20, 30), (214, 39, 40), (230, 50, 45)),
    "green": ((0, 128, 0), (0, 170, 0), (44, 160, 44), (0, 220, 0), (40, 180, 90)),
    "blue": ((0, 0, 255), (30, 60, 200), (31, 90, 190), (40, 100, 240), (0, 0, 160)),
    "yellow": ((255, 255, 0), (255, 220, 0), (240, 220, 40), (250, 235, 70)),
    "orange": ((255, 165, 0), (255, 127, 14), (255, 140, 0), (240, 130, 30)),
    "purple": ((128, 0, 128), (148, 60, 190), (160, 32, 240), (110, 40, 160)),
    "pink": ((255, 192, 203), (255, 105, 180), (255, 150, 190), (240, 140, 170)),
    "brown": ((165, 42, 42), (139, 69, 19), (140, 86, 75), (120, 72, 30)),
    "black": ((0, 0, 0), (20, 20, 20), (35, 35, 38)),
    "white": ((255, 255, 255), (245, 245, 245)),
    "grey": ((128, 128, 128), (110, 110, 110), (150, 150, 150), (127, 127, 127)),
    "cyan": ((0, 255, 255), (23, 190, 207), (0, 200, 220), (64, 224, 230)),
}
COLOURS = tuple(SHADES)

LIGHT: tuple[Rgb, ...] = (
    (255, 255, 255),
    (250, 248, 240),
    (240, 240, 240),
    (225, 225, 225),
    (230, 240, 250),
    (250, 235, 215),
    (235, 250, 230),
    (255, 245, 225),
    (245, 245, 220),
    (240, 230, 245),
    (225, 235, 235),
    (250, 230, 232),
)
OTHER: tuple[Rgb, ...] = (
    (200, 200, 200),
    (180, 190, 200),
    (60, 60, 70),
    (25, 30, 45),
    (10, 10, 10),
    (90, 80, 75),
    (40, 70, 60),
    (190, 180, 160),
)
LIGHT_RATIO = 0.7

LEAST_DISTANCE = 85
"""Between an object and what is behind it, in RGB space: below that, nobody could tell."""


def shade(rng: Random, colour: str) -> Rgb:
    return moved(rng, rng.choice(SHADES[colour]), 10)


def background(rng: Random, shades: list[Rgb]) -> Rgb:
    """One on which all of `shades` can be seen."""
    best, best_distance = (255, 255, 255), 0.0
    for _ in range(12):
        base = rng.choice(LIGHT if rng.random() < LIGHT_RATIO else OTHER)
        candidate = moved(rng, base, 6)
        nearest = min((distance(candidate, s) for s in shades), default=999.0)
        if nearest >= LEAST_DISTANCE:
            return candidate
        if nearest > best_distance:
            best, best_distance = candidate, nearest
    return best


def moved(rng: Random, colour: Rgb, by: int) -> Rgb:
    red, green, blue = (min(255, max(0, part + rng.randint(-by, by))) for part in colour)
    return red, green, blue


def distance(one: Rgb, other: Rgb) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)
