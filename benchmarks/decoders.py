"""Which decoder is fastest, and whether its pixels are those of the models' own processors.

    python -m benchmarks.decoders                  # 12-megapixel pictures
    python -m benchmarks.decoders --rounds 3 --megapixels 1

Models are trained on what Pillow makes of a file, so a decoder has to give the same pixels, bit for
bit, to take its place. Libraries that are not installed are left out: `pip install simplejpeg
pyturbojpeg` adds two. Decoders take turns; the fastest of the rounds counts, on one core.
"""

import argparse
import importlib
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, Any]
Decoder = Callable[[bytes], Pixels]
KINDS: dict[str, dict[str, Any]] = {
    "JPEG 4:2:0": {"format": "JPEG", "quality": 90, "subsampling": "4:2:0"},
    "JPEG 4:4:4": {"format": "JPEG", "quality": 90, "subsampling": "4:4:4"},
    "JPEG progressive": {"format": "JPEG", "quality": 90, "progressive": True},
    "PNG": {"format": "PNG"},
    "WebP": {"format": "WEBP", "quality": 90},
}


def pillow(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def opencv(data: bytes) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise ValueError("not decoded")
    return np.asarray(decoded)


def simplejpeg(data: bytes) -> Pixels:
    module = importlib.import_module("simplejpeg")
    return np.asarray(module.decode_jpeg(data, "RGB"))


def turbojpeg(data: bytes) -> Pixels:
    module = importlib.import_module("turbojpeg")
    return np.asarray(module.TurboJPEG().decode(data, pixel_format=module.TJPF_RGB))


def torchvision(data: bytes) -> Pixels:
    torch = importlib.import_module("torch")
    io = importlib.import_module("torchvision.io")
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    decoded = io.decode_image(tensor, mode=io.ImageReadMode.RGB)
    return np.asarray(decoded.permute(1, 2, 0).numpy())


DECODERS: tuple[Decoder, ...] = (pillow, opencv, simplejpeg, turbojpeg, torchvision)


def picture(megapixels: float) -> Image.Image:
    """Edges, gradients and noise, 4:3."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5) // 16 * 16
    height = width * 3 // 4
    random = np.random.default_rng(0)
    smooth = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    noise = random.normal(0, 12, (height, width, 3))
    blocks = random.integers(0, 60, (height // 48 + 1, width // 48 + 1, 3))
    blocks = blocks.repeat(48, 0).repeat(48, 1)[:height, :width]
    return Image.fromarray(np.clip(smooth + noise + blocks, 0, 255).astype(np.uint8))


def best_ms(decoder: Decoder, data: bytes, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        decoder(data)
        times.append(time.perf_counter() - started)
    return min(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    original = picture(arguments.megapixels)
    print(f"{original.width} x {original.height}")
    print("| file | decoder | ms | pixels that differ from Pillow's | by at most |")
    print("|---|---|---|---|---|")
    for kind, options in KINDS.items():
        file = BytesIO()
        original.save(file, **options)
        data = file.getvalue()
        expected = pillow(data).astype(np.int16)
        for decoder in DECODERS:
            try:
                differences = np.abs(decoder(data).astype(np.int16) - expected)
            except Exception as error:  # each library has its own way to be absent, or to refuse
                print(f"| {kind} | {decoder.__name__} | not here: {type(error).__name__} | | |")
                continue
            time_ms = best_ms(decoder, data, arguments.rounds)
            differing = float(np.mean(differences.any(axis=2)))
            print(
                f"| {kind} | {decoder.__name__} | {time_ms:.1f} | {differing:.2%} "
                f"| {int(differences.max())} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
