"""What selection costs: beside encoding, in batches, and, on a GPU, beside the hardware's limits.

    python -m benchmarks.pruning                       # on this machine's CPU, or GPU if it has one
    python -m benchmarks.pruning --rounds 3            # in seconds, to see that it works

On a CPU: 64 of 576 tokens of one picture chosen by CDPruner, as a share of the time in which a
tower of saccade-tiny's size encodes that picture (goal: below 5 %); and 16 pictures in one call
against the published algorithm, picture by picture (goal: at least 5 times as fast). On a GPU: the
kernels for the sizes of published models and batches of 1 to 64, against their references and
against the floor: the larger of the bytes over the memory's speed and the operations over the
arithmetic's.
Each number is a median; things that are compared take turns.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import normalize
from transformers import CLIPVisionConfig, CLIPVisionModel

from benchmarks.machine import describe
from saccade.encoders.pruning import cdpruner
from saccade.kernels import ops
from saccade.kernels.conditional_dpp import reference as dpp
from saccade.kernels.density_peaks import reference as peaks
from saccade.kernels.farthest_points import reference as farthest
from saccade.kernels.frame_similarity import reference as frames
from saccade.training.architecture import SACCADE_TINY

NUM_TOKENS, KEEP, PICTURES = 576, 64, 16
WIDTH = SACCADE_TINY.language.hidden_size
SHARE_GOAL, SPEEDUP_GOAL = 0.05, 5.0
BATCHES = (1, 4, 16, 64)

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Size:
    """Of a model as published: rows of a batch for one request, tokens of a row, tokens kept."""

    name: str
    rows: int
    tokens: int
    keep: int
    width: int = 4096


SIZES = (
    Size("LLaVA-1.5", 1, 576, 64),
    Size("LLaVA-NeXT", 5, 576, 32),
    Size("Qwen2.5-VL", 1, 1296, 128, 3584),
    Size("video", 64, 169, 16, 3584),
)
CLIP = Size("HoliTom", 32, 196, 49, 3584)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the machine, as measured here."""

    bytes_per_s: float
    flops_per_s: float

    def floor_s(self, num_bytes: float, flops: float) -> float:
        return max(num_bytes / self.bytes_per_s, flops / self.flops_per_s)


def in_turns(calls: Sequence[Call], rounds: int, wait: Call) -> list[float]:
    """The median seconds of each."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for call, own in zip(calls, times, strict=True):
            wait()
            started = time.perf_counter()
            call()
            wait()
            own.append(time.perf_counter() - started)
    return [statistics.median(own) for own in times]


def published(projected: torch.Tensor, relevance: torch.Tensor, keep: int) -> torch.Tensor:
    """The algorithm as its authors state it, for one picture: the kernel matrix, then the loop."""
    directions = normalize(projected, dim=-1)
    kernel = relevance[:, None] * (directions @ directions.T) * relevance[None, :]
    factor = torch.zeros(keep, len(projected))
    gains = kernel.diagonal().clone()
    chosen = torch.empty(keep, dtype=torch.int64)
    for step in range(keep):
        picked = gains.argmax()
        chosen[step] = picked
        row = kernel[picked] - factor[:step, picked] @ factor[:step]
        factor[step] = row / gains[picked].clamp_min(1e-12).sqrt()
        gains -= factor[step].square()
        gains[picked] = -torch.inf
    return chosen.sort().values


def small_tower() -> CLIPVisionModel:
    """As wide and deep as saccade-tiny's, with as many patches as LLaVA-1.5's."""
    sizes = SACCADE_TINY.vision
    config = CLIPVisionConfig(
        hidden_size=sizes.hidden_size,
        intermediate_size=sizes.mlp_size,
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=sizes.num_heads,
        image_size=round(NUM_TOKENS**0.5) * sizes.patch_size,
        patch_size=sizes.patch_size,
    )
    tower: CLIPVisionModel = CLIPVisionModel(config).eval()
    return tower


def on_cpu(rounds: int) -> bool:
    """Whether both goals are reached."""
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn((PICTURES, NUM_TOKENS, WIDTH), generator=generator)
    relevance = torch.rand((PICTURES, NUM_TOKENS), generator=generator) + 0.01
    tower = small_tower()
    side = round(NUM_TOKENS**0.5) * SACCADE_TINY.vision.patch_size
    pixels = torch.randn((1, 3, side, side))

    def one_by_one() -> None:
        for row, weights in zip(projected, relevance, strict=True):
            published(row, weights, KEEP)

    encode_s, one_s, batch_s, sequential_s = in_turns(
        [
            lambda: tower(pixels),
            lambda: cdpruner.select(projected[:1], relevance[:1], KEEP),
            lambda: cdpruner.select(projected, relevance, KEEP),
            one_by_one,
        ],
        rounds,
        lambda: None,
    )
    share, speedup = one_s / encode_s, sequential_s / batch_s
    print(f"encode one picture of {NUM_TOKENS} tokens   {encode_s * 1000:8.2f} ms")
    print(f"choose {KEEP} of them                    {one_s * 1000:8.2f} ms")
    print(f"choose from {PICTURES} pictures              {batch_s * 1000:8.2f} ms")
    print(f"the same as published, one by one    {sequential_s * 1000:8.2f} ms")
    print(
        f"share of encoding  {share:.1%}  {verdict(share < SHARE_GOAL, f'below {SHARE_GOAL:.0%}')}"
    )
    print(f"batch is faster    {speedup:.1f}x  {verdict(speedup >= SPEEDUP_GOAL, '5x')}")
    return share < SHARE_GOAL and speedup >= SPEEDUP_GOAL


def verdict(reached: bool, goal: str) -> str:
    return f"(goal {goal}: {'reached' if reached else 'missed'})"


def measured_limits(rounds: int) -> Limits:
    """Of a large copy, and of a large product in float32."""
    block = torch.empty(2**28, device="cuda")
    square = torch.randn((8192, 8192), device="cuda")
    copy_s, product_s = in_turns(
        [block.clone, lambda: square @ square], rounds, torch.cuda.synchronize
    )
    return Limits(2 * block.nbytes / copy_s, 2 * 8192**3 / product_s)


def gpu_line(name: str, batch: int, calls: Sequence[Call], floor_s: float, rounds: int) -> str:
    kernel_s, reference_s = in_turns(calls, rounds, torch.cuda.synchronize)
    return (
        f"| {name} | {batch} | {kernel_s * 1e3:.3f} | {reference_s * 1e3:.3f} | "
        f"{reference_s / kernel_s:.1f} | {floor_s * 1e3:.4f} | {kernel_s / floor_s:.1f} |"
    )


def on_gpu(rounds: int) -> None:
    """Print a table; times are in milliseconds."""
    limits = measured_limits(rounds)
    print(f"{torch.cuda.get_device_name()}, {limits.bytes_per_s / 1e9:.0f} GB/s copied, ", end="")
    print(f"{limits.flops_per_s / 1e12:.0f} TFLOP/s in float32\n")
    print("| kernel, size | requests | kernel ms | reference ms | ratio | floor ms | to floor |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        for batch in BATCHES:
            selections(size, batch, limits, rounds)
    for batch in BATCHES:
        shape = (CLIP.rows * batch, CLIP.tokens, CLIP.width)
        features = torch.randn(shape, device="cuda")
        floor_s = limits.floor_s(features.nbytes, 6 * features.numel())
        calls: list[Call] = [
            partial(ops.frame_similarity, features),
            partial(frames.frame_similarity, features),
        ]
        print(gpu_line("frame_similarity HoliTom", batch, calls, floor_s, rounds))
        still = features[:batch]
        floor_s = limits.floor_s(still.nbytes, 3 * still.numel() * CLIP.tokens)
        calls = [partial(ops.density_peaks, still, 7), partial(peaks.density_peaks, still, 7)]
        print(gpu_line("density_peaks HoliTom", batch, calls, floor_s, rounds))


def selections(size: Size, batch: int, limits: Limits, rounds: int) -> None:
    rows = size.rows * batch
    features = torch.randn((rows, size.tokens, size.width), device="cuda")
    relevance = torch.rand((rows, size.tokens), device="cuda") + 0.01
    steps = rows * size.keep * size.tokens
    # Each step needs one row of similarities and the factor so far; features are read once.
    floor_s = limits.floor_s(features.nbytes, steps * (2 * size.width + size.keep))
    calls: list[Call] = [
        partial(ops.conditional_dpp, features, relevance, size.keep),
        partial(dpp.conditional_dpp, features, relevance, size.keep),
    ]
    print(gpu_line(f"conditional_dpp {size.name}", batch, calls, floor_s, rounds), flush=True)
    floor_s = limits.floor_s(features.nbytes, 2 * rows * size.tokens**2 * size.width)
    calls = [
        partial(ops.farthest_points, features, size.keep),
        partial(farthest.farthest_points, features, size.keep),
    ]
    print(gpu_line(f"farthest_points {size.name}", batch, calls, floor_s, rounds), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1, help="Of PyTorch, on a CPU.")
    arguments = parser.parse_args()
    print(describe(None), "\n")
    with torch.inference_mode():
        if torch.cuda.is_available():
            on_gpu(arguments.rounds)
            return 0
        torch.set_num_threads(arguments.threads)
        return 0 if on_cpu(arguments.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
