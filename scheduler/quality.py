"""How much visual detail is affordable: fewer visual tokens while requests have to wait."""

STEPS = 8
"""Between all of it and none: caches would find nothing if every request kept another number."""


def kept_share(num_queued: int, num_running: int, floor: float) -> float:
    """Of the visual tokens that requests ask for, the share that is kept.

    1 while nobody waits; falls by an eighth for every quarter as many that wait as run, down to
    `floor`.
    """
    if num_queued <= 0:
        return 1.0
    steps = -(-4 * num_queued // max(num_running, 1))
    return max(floor, 1.0 - steps / STEPS)
