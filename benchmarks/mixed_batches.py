"""Whether a batch of pictures of mixed sizes is encoded as fast as one of equal sizes.

    python -m benchmarks.mixed_batches                        # small towers with random weights
    python -m benchmarks.mixed_batches --checkpoint FOLDER    # a checkpoint's own
    python -m benchmarks.mixed_batches --rounds 3 --scale 1   # in seconds, to see that it works

Prints; with `--output docs/results/mixed-batches.md` it writes that page, for which nothing else
should run on the machine.

Both batches hold the same number of pictures and, but for rounding, of patches (tiles, in the LLaVA
families); the ratio is patches per second, mixed over equal. They take turns, and the median of the
ratios of neighbours is what counts. At least 0.9 is the goal.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.machine import describe
from saccade.encoders.base import Prepared, VisionEncoder
from saccade.encoders.registry import ENCODERS
from tests.tiny_families import WITH_PICTURES

GOAL = 0.9
# Of six, one is three times as large as another; together they have the area of six squares.
SHAPES = ((1.0, 1.0), (2.0, 0.5), (0.5, 2.0), (1.5, 1.0), (0.5, 1.0), (3.0, 1 / 3))
SIDE = 224

PAGE = """# Batches of mixed sizes

Made by `{command}`. {machine}
On one thread of the CPU, with {towers}. It is no statement about GPUs or full-size towers.

A batch of {pictures} pictures of six shapes and sizes, the largest three times as large as the
smallest, against as many equal squares that have the same area together. The ratio is patches
(tiles, in the LLaVA families) per second, mixed over equal: the median of {rounds} rounds, in which
the two took turns, and where the middle half of the rounds lay. At least {goal} is the goal.
LLaVA-1.5 sees every picture as one square of the same size, so its two batches are the same work:
how far its ratio is from 1 says how exact the others are.

| family | mixed / equal | middle half |
|---|---|---|"""


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


def measure(encoder: VisionEncoder, num_pictures: int, rounds: int) -> list[float]:
    """Of each round mixed over equal, in rising order."""
    mixed, equal = batches(encoder, num_pictures)
    for batch in (mixed, equal):
        encoder.encode(batch)
    ratios = []
    for number in range(rounds):
        # Whoever comes first may find the machine in another state.
        order = (mixed, equal) if number % 2 else (equal, mixed)
        speeds = {id(batch): patches_per_s(encoder, batch) for batch in order}
        ratios.append(speeds[id(mixed)] / speeds[id(equal)])
    return sorted(ratios)


def row(family: str, ratios: list[float]) -> str:
    """Of the page's table: the median, and the range of the middle half of the rounds."""
    quarter = len(ratios) // 4
    low, high = ratios[quarter], ratios[-1 - quarter]
    return f"| {family} | {statistics.median(ratios):.2f} | {low:.2f} to {high:.2f} |"


def page(rows: list[str], command: str, arguments: argparse.Namespace) -> str:
    towers = (
        f"the towers of `{arguments.checkpoint.name}`"
        if arguments.checkpoint
        else f"small towers of random weights ({32 * arguments.scale} wide)"
    )
    head = PAGE.format(
        command=command,
        machine=describe(None),
        towers=towers,
        pictures=arguments.pictures,
        rounds=arguments.rounds,
        goal=GOAL,
    )
    return "\n".join([head, *rows]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="Folder; small random towers if not given.")
    parser.add_argument("--pictures", type=int, default=12, help="In one batch.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--scale", type=int, default=8, help="Width of the small towers, times 32.")
    parser.add_argument("--output", type=Path, help="Page to write.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    worst, rows = 1.0, []
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
            ratios = measure(encoder, arguments.pictures, arguments.rounds)
            ratio = statistics.median(ratios)
            worst = min(worst, ratio)
            rows.append(row(encoder.family.name, ratios))
            print(f"{encoder.family.name:16} mixed / equal  {ratio:.3f}", flush=True)
    if arguments.output:
        command = shlex.join(["python", "-m", "benchmarks.mixed_batches", *sys.argv[1:]])
        arguments.output.write_text(page(rows, command, arguments), encoding="utf-8")
    print(f"goal {GOAL}: {'reached' if worst >= GOAL else 'missed'}")
    return 0 if worst >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
