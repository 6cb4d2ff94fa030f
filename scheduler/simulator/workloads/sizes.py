"""How large requests are: distributions given by their quantiles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Quantiles:
    """A positive distribution through (probability, value) points, straight in log value.

    Published summaries of traces are quantiles; nothing finer is known, so nothing finer is
    assumed. Below the first and above the last point it is flat.
    """

    points: tuple[tuple[float, float], ...]

    @classmethod
    def always(cls, value: float) -> "Quantiles":
        return cls(((0.5, value),))

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """`count` whole numbers, at least 1."""
        return self.at(rng.random(count))

    def at(self, probability: NDArray[np.float64]) -> NDArray[np.int64]:
        probabilities, values = np.asarray(self.points, dtype=np.float64).T
        drawn = np.exp(np.interp(probability, probabilities, np.log(values)))
        whole: NDArray[np.int64] = np.maximum(1, np.rint(drawn)).astype(np.int64)
        return whole

    @property
    def mean(self) -> float:
        """By the midpoint rule over 10,000 quantiles."""
        return float(self.at((np.arange(10_000) + 0.5) / 10_000).mean())


@dataclass(frozen=True)
class Counts:
    """A distribution over a few whole numbers: (value, weight)."""

    weights: tuple[tuple[int, float], ...]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        values, weights = zip(*self.weights, strict=True)
        share = np.asarray(weights, dtype=np.float64)
        drawn: NDArray[np.int64] = rng.choice(
            np.asarray(values, dtype=np.int64), count, p=share / share.sum()
        )
        return drawn


@dataclass(frozen=True)
class Sizes:
    """One kind of request."""

    text_tokens: Quantiles
    output_tokens: Quantiles
    num_images: Counts | None = None
    image_tokens: Quantiles | None = None
    repeat_ratio: float = 0.0
    """Share of pictures that were sent before (the same picture, asked about again)."""
