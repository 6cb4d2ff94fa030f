"""The methods' definitions, as slowly and plainly as they read; float64."""

import math
from collections.abc import Iterator, Sequence

import torch


def cosines(features: torch.Tensor) -> torch.Tensor:
    """[N, N] of [N, D]."""
    directions = features.double() / features.double().norm(dim=-1, keepdim=True)
    similarity: torch.Tensor = directions @ directions.T
    return similarity.fill_diagonal_(1)


def log_det(features: torch.Tensor, relevance: torch.Tensor, chosen: Sequence[int]) -> float:
    """log det of the conditional kernel, restricted to the chosen tokens."""
    kernel = relevance.double()[:, None] * cosines(features) * relevance.double()[None, :]
    return float(torch.linalg.slogdet(kernel[list(chosen)][:, list(chosen)]).logabsdet)


def best_next(features: torch.Tensor, relevance: torch.Tensor, chosen: Sequence[int]) -> float:
    """The largest determinant's logarithm that one more token makes."""
    others = set(range(len(features))) - set(chosen)
    return max(log_det(features, relevance, [*chosen, other]) for other in others)


def smallest_distance(features: torch.Tensor, chosen: Sequence[int]) -> float:
    """1 - cos of the nearest two."""
    similarity = cosines(features)[list(chosen)][:, list(chosen)].fill_diagonal_(-1)
    return 1 - float(similarity.max())


def partitions(num_frames: int, max_window: int) -> Iterator[list[tuple[int, int]]]:
    """All ways to cut frames 0 to num_frames - 1 into segments of at most `max_window`."""
    if num_frames == 0:
        yield []
    for width in range(1, min(num_frames, max_window) + 1):
        for before in partitions(num_frames - width, max_window):
            yield [*before, (num_frames - width, num_frames - 1)]


def saving(similarity: torch.Tensor, tau: float, segments: Sequence[tuple[int, int]]) -> int:
    """Tokens that keeping the still places of each segment once saves."""
    return sum(
        (last - first) * int((similarity[first:last] > tau).all(0).sum())
        for first, last in segments
        if last > first
    )


def merged_clusters(
    x: torch.Tensor, centres: Sequence[int], k: int, beta: float
) -> tuple[torch.Tensor, list[float]]:
    """Tokens [c, C] merged into `centres`, and every token's score as a centre; of `x` [N, C]."""
    scale = math.sqrt(x.shape[1])
    distance = [[float((a - b).norm()) / scale for b in x.double()] for a in x.double()]
    density = [math.exp(-sum(d * d for d in sorted(row)[:k]) / k) for row in distance]
    far = max(map(max, distance))
    score = []
    for i, row in enumerate(distance):
        denser = [row[j] for j in range(len(x)) if (density[j], -j) > (density[i], -i)]
        score.append(density[i] * min(denser, default=far))
    members: dict[int, list[int]] = {centre: [] for centre in centres}
    for i, row in enumerate(distance):
        if i not in members:
            members[min(centres, key=lambda centre: row[centre])].append(i)
    merged = [
        beta * x[centre] + (1 - beta) * x[own].mean(0) if own else x[centre]
        for centre, own in members.items()
    ]
    return torch.stack(merged), score
