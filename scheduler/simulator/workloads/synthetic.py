"""Mixtures of text and picture requests with a rate of each that may change over time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from saccade.scheduler.simulator.workloads.arrivals import RateProfile, arrival_times
from saccade.scheduler.simulator.workloads.base import TraceRequest, merged
from saccade.scheduler.simulator.workloads.sizes import Sizes

# Pictures that are sent again are drawn from so many earlier ones.
_REPEAT_WINDOW = 256


@dataclass(frozen=True)
class Stream:
    """Requests of one kind."""

    sizes: Sizes
    profile: RateProfile
    cv: float = 1.0
    tenant: str = "default"


@dataclass(frozen=True)
class SyntheticWorkload:
    """Independent streams, each with random numbers of its own."""

    name: str
    streams: tuple[Stream, ...]

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        return merged(
            _draw(stream, number, np.random.default_rng([seed, number]))
            for number, stream in enumerate(self.streams)
            if stream.profile.mean_per_s > 0
        )

    @property
    def duration_s(self) -> float:
        return max(stream.profile.duration_s for stream in self.streams)


def _draw(stream: Stream, number: int, rng: np.random.Generator) -> Iterator[TraceRequest]:
    sizes = stream.sizes
    drawn = _Pictures(sizes, number, rng)
    for times in arrival_times(stream.profile, stream.cv, rng):
        count = times.size
        texts = sizes.text_tokens.draw(count, rng).tolist()
        outputs = sizes.output_tokens.draw(count, rng).tolist()
        pictures = drawn.draw(count)
        for arrival, text, output, (tokens, keys) in zip(
            times.tolist(), texts, outputs, pictures, strict=True
        ):
            yield TraceRequest(arrival, text, output, tokens, keys, tenant=stream.tenant)


class _Pictures:
    """Draws the pictures of a stream; some have been sent before."""

    def __init__(self, sizes: Sizes, number: int, rng: np.random.Generator) -> None:
        self._sizes = sizes
        self._rng = rng
        self._next_key = number << 48  # streams never share pictures
        self._recent: list[tuple[int, int]] = []

    def draw(self, count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        if self._sizes.num_images is None or self._sizes.image_tokens is None:
            return [((), ())] * count
        numbers = self._sizes.num_images.draw(count, self._rng).tolist()
        total = sum(numbers)
        tokens = self._sizes.image_tokens.draw(total, self._rng).tolist()
        repeats = (self._rng.random(total) < self._sizes.repeat_ratio).tolist()
        which = self._rng.random(total).tolist()
        pictures = [
            self._one(size, again, where)
            for size, again, where in zip(tokens, repeats, which, strict=True)
        ]
        found = []
        for number in numbers:
            mine, pictures = pictures[:number], pictures[number:]
            found.append((tuple(one[0] for one in mine), tuple(one[1] for one in mine)))
        return found

    def _one(self, tokens: int, again: bool, where: float) -> tuple[int, int]:
        if again and self._recent:
            return self._recent[int(where * len(self._recent))]
        self._next_key += 1
        picture = (tokens, self._next_key)
        if self._sizes.repeat_ratio:
            if len(self._recent) == _REPEAT_WINDOW:
                self._recent[self._next_key % _REPEAT_WINDOW] = picture
            else:
                self._recent.append(picture)
        return picture
