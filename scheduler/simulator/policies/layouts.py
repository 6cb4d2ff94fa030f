"""How instances are divided among groups and stages."""

from collections.abc import Sequence

from saccade.scheduler.cluster import Role

Layout = list[tuple[str, frozenset[Role]]]
Share = tuple[str, frozenset[Role], float]
"""Group, roles, weight."""


def of(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


def divided(total: int, weights: Sequence[float]) -> list[int]:
    """Whole parts of `total` in proportion to `weights`, each at least 1 where `total` allows.

    Largest remainders; ValueError when there are more weights than `total`.
    """
    if total < len(weights):
        raise ValueError(f"{total} instances cannot take {len(weights)} different roles")
    spare = total - len(weights)
    exact = [max(0.0, total * weight / sum(weights) - 1) for weight in weights]
    scale = spare / sum(exact) if sum(exact) else 0.0
    parts = [int(one * scale) for one in exact]
    order = sorted(range(len(weights)), key=lambda i: (parts[i] - exact[i] * scale, i))
    for index in order[: spare - sum(parts)]:
        parts[index] += 1
    return [1 + part for part in parts]


def layout_of(num_instances: int, shares: Sequence[Share]) -> Layout:
    """The roles of each instance in the order of `shares`."""
    counts = divided(num_instances, [weight for _, _, weight in shares])
    return [
        (group, roles)
        for (group, roles, _), count in zip(shares, counts, strict=True)
        for _ in range(count)
    ]
