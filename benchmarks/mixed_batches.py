"""Whether a batch of pictures of mixed sizes is encoded as fast as one of equal sizes.

    python -m benchmarks.mixed_batches                        # small towers with random weights
    python -m benchmarks.mixed_batches --checkpoint FOLDER    # a checkpoint's own
    python -m benchmarks.mixed_batches --rounds 3 --scale 1   # in seconds, to see that it works

Both batches hold the same number of pictures and, but for rounding, of patches (tiles, in the LLaVA
families); the ratio is patches per second, mixed over equal. They take turns, and the median of the
ratios of neighbours is what counts. At least 0.9 is the goal.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from saccade.encoders.base import Prepared, VisionEncoder
from saccade.encoders.registry import ENCODERS
from tests.tiny_families import WITH_PICTURES

GOAL = 0.9
# Of six, one is three times as large as another; together they have the area of six squares.
SHAPES = ((1.0, 1.0), (2.0, 0.5), (0.5, 2.0), (1.5, 1.0), (0.5, 1.0), (3.0, 1 / 3))
SIDE = 224


def batches(encoder: VisionEncoder, num_pictures: int) -> tuple[list[Prepared], list[Prepared]]:
    """Of mixed and of equal sizes."""
    mixed = [
        encoder.preprocess(Image.new("RGB", (round(SIDE * wide), round(SIDE * tall)), "gray"))
        for wide, tall in (SHAPES[index % len(SHAPES)] for index in range(num_pictures))
    ]
    square = encoder.preprocess(Image.new("RGB", (SIDE, SIDE), "gray"))
    return mixed, [square] * num_pictures


def patches_per_s(encoder: VisionEncoder, batch: list[Prepared]) -> float:
    started = time.perf_counter()
    encoder.encode(batch)
    return sum(prepared.num_patches for prepared in batch) / (time.perf_counter() - started)


def measure(encoder: VisionEncoder, num_pictures: int, rounds: int) -> float:
    """The median over rounds of mixed over equal."""
    mixed, equal = batches(encoder, num_pictures)
    for batch in (mixed, equal):
        encoder.encode(batch)
    ratios = []
    for number in range(rounds):
        # Whoever comes first may find the machine in another state.
        order = (mixed, equal) if number % 2 else (equal, mixed)
        speeds = {id(batch): patches_per_s(encoder, batch) for batch in order}
        ratios.append(speeds[id(mixed)] / speeds[id(equal)])
    return statistics.median(ratios)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="Folder; small random towers if not given.")
    parser.add_argument("--pictures", type=int, default=12, help="In one batch.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--scale", type=int, default=8, help="Width of the small towers, times 32.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    worst = 1.0
    with tempfile.TemporaryDirectory() as folder:
        if arguments.checkpoint:
            checkpoints = [arguments.checkpoint]
        else:
            checkpoints = [
                family.with_wider_tower(arguments.scale).build(Path(folder, family.name))
                for family in WITH_PICTURES
            ]
        for checkpoint in checkpoints:
            encoder = ENCODERS.load_encoder(checkpoint)
            ratio = measure(encoder, arguments.pictures, arguments.rounds)
            worst = min(worst, ratio)
            print(f"{encoder.family.name:16} mixed / equal  {ratio:.3f}", flush=True)
    print(f"goal {GOAL}: {'reached' if worst >= GOAL else 'missed'}")
    return 0 if worst >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
