"""Scenes into pictures, by Pillow, and where in a picture each object is.

Edges, textures, noise and compression vary: a model that has seen one drawing library only answers
questions about that library's pictures.
"""

import io
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from saccade.training.data import palette
from saccade.training.data.palette import Rgb
from saccade.training.data.scenes import Object, Scene
from saccade.training.data.shapes import (
    DEFAULT_TILT_DEGREES,
    LARGEST_TILT_DEGREES,
    Outline,
    outlines,
    tilt,
)

LABEL_ROOM = {
    "circle": (1.3, 1.1),
    "square": (1.5, 1.3),
    "rectangle": (1.6, 0.66),
    "pentagon": (1.2, 1.0),
    "hexagon": (1.3, 1.1),
    "heart": (1.1, 0.9),
    "diamond": (1.0, 0.8),
}
"""Width and height of a label, in radii. Other shapes carry none."""

FURTHEST_CORNER = 1.25
"""From an object's middle, in radii."""

OWNERS_SIDE = 48
NOBODY = -1
Owners = NDArray[np.int8]
"""The picture as 48 x 48 cells: the index of the object that a cell shows, or `NOBODY`."""


class Drawer:
    """Draws one scene, or the frames of one clip: the style is settled once for all of them."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._oversampling = rng.choice((1, 2, 3, 3, 4))
        self._outlined = rng.random() < 0.15
        self._texture = rng.choice(TEXTURES) if rng.random() < 0.4 else None
        self._texture_seed = rng.getrandbits(32)
        self._noise = rng.choice((0, 0, 0, rng.uniform(1, 10)))
        self._softening = rng.choice((0, 0, 0, 0, rng.uniform(0.3, 0.8)))
        self._jpeg_quality = rng.randint(55, 95) if rng.random() < 0.15 else None
        self._outlines: dict[tuple[str, Rgb, float], tuple[Outline, Outline]] = {}

    def draw(self, scene: Scene) -> tuple[Image.Image, Owners]:
        picture = self._background(scene)
        # Pillow's smallest numbers are unsigned: object n is n + 1, nobody 0.
        owners = Image.new("L", (OWNERS_SIDE, OWNERS_SIDE), 0)
        owners_drawer = ImageDraw.Draw(owners)
        scale = (OWNERS_SIDE / scene.width, OWNERS_SIDE / scene.height)
        for index, thing in enumerate(scene.objects):
            outline, hole = self._outline(thing)
            self._paint(picture, thing, outline, hole)
            owners_drawer.polygon(_placed(thing, outline, scale), fill=index + 1)
            if hole:
                owners_drawer.polygon(_placed(thing, hole, scale), fill=0)
        return self._finished(picture), np.asarray(owners).astype(np.int8) + np.int8(NOBODY)

    def _outline(self, thing: Object) -> tuple[Outline, Outline]:
        key = (thing.shape, thing.shade, thing.radius)
        if key not in self._outlines:
            most = LARGEST_TILT_DEGREES.get(thing.shape, DEFAULT_TILT_DEGREES)
            degrees = self._rng.uniform(-most, most) if self._rng.random() < 0.6 else 0
            outline, hole = outlines(thing.shape, self._rng)
            self._outlines[key] = (tilt(outline, degrees), tilt(hole, degrees))
        return self._outlines[key]

    def _background(self, scene: Scene) -> Image.Image:
        size = (scene.width, scene.height)
        plain = Image.new("RGB", size, scene.background)
        if self._texture is None:
            return plain
        rng = Random(self._texture_seed)
        mask = self._texture(size, rng)
        return Image.composite(
            Image.new("RGB", size, palette.moved(rng, scene.background, 22)), plain, mask
        )

    def _paint(self, picture: Image.Image, thing: Object, outline: Outline, hole: Outline) -> None:
        times = self._oversampling
        reach = FURTHEST_CORNER * thing.radius
        left, top = int(thing.x - reach) - 2, int(thing.y - reach) - 2
        side = int(2 * reach) + 5
        mask = Image.new("L", (side * times, side * times), 0)
        here = thing.at(thing.x - left, thing.y - top)
        drawer = ImageDraw.Draw(mask)
        drawer.polygon(_placed(here, outline, (times, times)), fill=255)
        if hole:
            drawer.polygon(_placed(here, hole, (times, times)), fill=0)
        mask = mask.resize((side, side), Image.Resampling.BOX) if times > 1 else mask
        picture.paste(thing.shade, (left, top), mask)
        if self._outlined:
            points = _placed(thing, outline, (1, 1))
            dark = (0, 0, 0) if sum(thing.shade) > 150 else (90, 90, 90)
            ImageDraw.Draw(picture).line([*points, points[0]], fill=dark, width=1)
        if thing.label:
            self._write(picture, thing)

    def _write(self, picture: Image.Image, thing: Object) -> None:
        wide, high = (part * thing.radius for part in LABEL_ROOM[thing.shape])
        font_of = self._rng.choice(FONTS)
        rough = font_of(40)
        box = rough.getbbox(thing.label)
        size = 40 * min(wide / (box[2] - box[0]), high / (box[3] - box[1]))
        drop = thing.radius * (0.05 if thing.shape != "heart" else -0.1)
        ink = (0, 0, 0) if palette.distance(thing.shade, (0, 0, 0)) > 200 else (255, 255, 255)
        ImageDraw.Draw(picture).text(
            (thing.x, thing.y + drop), thing.label, fill=ink, font=font_of(size), anchor="mm"
        )

    def _finished(self, picture: Image.Image) -> Image.Image:
        if self._softening:
            picture = picture.filter(ImageFilter.GaussianBlur(self._softening))
        if self._noise:
            noise = np.random.default_rng(self._rng.getrandbits(32)).normal(
                0, self._noise, (picture.height, picture.width, 3)
            )
            noisy = np.asarray(picture, dtype=np.float32) + noise
            picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        if self._jpeg_quality:
            packed = io.BytesIO()
            picture.save(packed, "JPEG", quality=self._jpeg_quality)
            picture = Image.open(packed).convert("RGB")
        return picture


def _placed(thing: Object, outline: Outline, scale: tuple[float, float]) -> Outline:
    across, down = scale
    return [
        ((thing.x + x * thing.radius) * across, (thing.y + y * thing.radius) * down)
        for x, y in outline
    ]


def _stripes(size: tuple[int, int], rng: Random) -> Image.Image:
    step = rng.randint(6, 24)
    slope = rng.choice((0, 1, -1, 0.5, 100))
    down, across = np.mgrid[: size[1], : size[0]]
    ramp = down if slope == 100 else across + slope * down
    return Image.fromarray(((ramp // step % 2) * 255).astype(np.uint8))


def _checks(size: tuple[int, int], rng: Random) -> Image.Image:
    step = rng.randint(8, 28)
    down, across = np.mgrid[: size[1], : size[0]]
    return Image.fromarray((((down // step + across // step) % 2) * 255).astype(np.uint8))


def _dots(size: tuple[int, int], rng: Random) -> Image.Image:
    step, radius = rng.randint(10, 26), rng.uniform(1.5, 4)
    down, across = np.mgrid[: size[1], : size[0]]
    off_down, off_across = down % step - step / 2, across % step - step / 2
    inside = off_down**2 + off_across**2 < radius**2
    return Image.fromarray((inside * 255).astype(np.uint8))


def _gradient(size: tuple[int, int], rng: Random) -> Image.Image:
    down, across = np.mgrid[: size[1], : size[0]]
    ramp = across / size[0] if rng.random() < 0.5 else down / size[1]
    return Image.fromarray((ramp * 255).astype(np.uint8))


def _clouds(size: tuple[int, int], rng: Random) -> Image.Image:
    coarse = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (9, 9), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


TEXTURES = (_stripes, _checks, _dots, _gradient, _clouds)


class _Font:
    """A typeface in any size. The files are those of matplotlib; Pillow has one inside."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._sizes: dict[int, ImageFont.FreeTypeFont] = {}

    def __call__(self, size: float) -> ImageFont.FreeTypeFont:
        rounded = max(6, round(size))
        if rounded not in self._sizes:
            self._sizes[rounded] = self._load(rounded)
        return self._sizes[rounded]

    def _load(self, size: int) -> ImageFont.FreeTypeFont:
        if self._file is not None:
            import matplotlib

            folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
            return ImageFont.truetype(str(folder / self._file), size)
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font


FONTS = tuple(
    _Font(file)
    for file in (
        None,
        "DejaVuSans.ttf",
        "DejaVuSans-Bold.ttf",
        "DejaVuSansMono-Bold.ttf",
        "DejaVuSerif.ttf",
    )
)
