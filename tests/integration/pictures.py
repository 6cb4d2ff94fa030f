"""Pictures drawn from a number: something coloured on something plain, and no two alike."""

import base64
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw


def drawn(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    random = Random(seed)
    width, height = size
    image = Image.new("RGB", size, _colour(random, 160, 255))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        left, top = random.randint(0, width * 2 // 3), random.randint(0, height * 2 // 3)
        box = (left, top, left + width // 3, top + height // 3)
        random.choice([draw.ellipse, draw.rectangle])(box, fill=_colour(random, 0, 255))
    return image


def data_url(image: Image.Image) -> str:
    png = BytesIO()
    image.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _colour(random: Random, low: int, high: int) -> tuple[int, int, int]:
    return (random.randint(low, high), random.randint(low, high), random.randint(low, high))
