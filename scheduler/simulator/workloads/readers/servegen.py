"""ServeGen: a folder of clients, each with windows of arrivals and distributions of sizes.

    chunk-<i>-trace.csv      start_s, rate per s, cv, Gamma|Weibull|"", shape, scale; no header
    chunk-<i>-dataset.json   {"<start_s>": {"text_tokens": "{136: 0.25, …}", …}, …}

Language and reasoning sets say input_tokens for text_tokens and have no pictures. Video and audio
are passed over. A client's gaps keep their shape and get the mean that its rate asks for.
"""

import ast
import csv
import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.scheduler.simulator.errors import TraceError
from saccade.scheduler.simulator.workloads.base import TraceRequest, merged
from saccade.scheduler.simulator.workloads.readers.files import Row, open_text

_TRACE = re.compile(r"chunk-(\d+)-trace\.csv(\.gz)?")
_WINDOW_S = 600.0


@dataclass(frozen=True)
class Window:
    """A stretch of time of one client."""

    start_s: float
    end_s: float
    rate_per_s: float
    pattern: str
    shape: float


@dataclass(frozen=True)
class Distribution:
    """Values with their probabilities."""

    values: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.choice(self.values, count, p=self.probabilities)


@dataclass(frozen=True)
class SizeSet:
    """What one client sends from `start_s` on."""

    start_s: float
    text_tokens: Distribution
    output_tokens: Distribution
    num_images: Distribution | None
    image_tokens: Distribution | None


@dataclass(frozen=True)
class Client:
    name: str
    windows: tuple[Window, ...]
    sizes: tuple[SizeSet, ...]

    def requests(self, rng: np.random.Generator) -> Iterator[TraceRequest]:
        starts = [one.start_s for one in self.sizes]
        for window in self.windows:
            times = _arrivals(window, rng)
            if times.size:
                which = max(0, bisect_right(starts, window.start_s) - 1)
                yield from self._draw(times, self.sizes[which], rng)

    def _draw(
        self, times: NDArray[np.float64], sizes: SizeSet, rng: np.random.Generator
    ) -> Iterator[TraceRequest]:
        count = times.size
        texts = np.maximum(1, sizes.text_tokens.draw(count, rng)).tolist()
        outputs = np.maximum(1, sizes.output_tokens.draw(count, rng)).tolist()
        numbers = [0] * count
        tokens: list[int] = []
        if sizes.num_images is not None and sizes.image_tokens is not None:
            numbers = sizes.num_images.draw(count, rng).tolist()
            tokens = sizes.image_tokens.draw(sum(numbers), rng).tolist()
        used = 0
        for arrival, text, output, number in zip(
            times.tolist(), texts, outputs, numbers, strict=True
        ):
            images = tuple(one for one in tokens[used : used + number] if one > 0)
            used += number
            yield TraceRequest(arrival, text, output, images, tenant=self.name)


@dataclass(frozen=True)
class ServeGenWorkload:
    name: str
    clients: tuple[Client, ...]

    @classmethod
    def load(cls, folder: Path) -> "ServeGenWorkload":
        if not folder.is_dir():
            raise TraceError(folder, None, "is no folder of chunk-<i>-trace.csv files")
        found = [(int(match[1]), path) for path in folder.iterdir()
                 if (match := _TRACE.fullmatch(path.name))]  # fmt: skip
        if not found:
            raise TraceError(folder, None, "holds no chunk-<i>-trace.csv")
        return cls(folder.name, tuple(_client(number, path) for number, path in sorted(found)))

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        return merged(
            client.requests(np.random.default_rng([seed, number]))
            for number, client in enumerate(self.clients)
        )


def _arrivals(window: Window, rng: np.random.Generator) -> NDArray[np.float64]:
    length_s = window.end_s - window.start_s
    expected = window.rate_per_s * length_s
    if expected <= 0:
        return np.empty(0)
    # A renewal process that has run for long: the first gap is cut at a random place.
    count = int(expected + 8 * math.sqrt(expected) * max(1, window.shape**-0.5) + 16)
    times = np.cumsum(_gaps(window, count, rng)) - rng.random() / window.rate_per_s
    inside: NDArray[np.float64] = window.start_s + times[(times >= 0) & (times < length_s)]
    return inside


def _gaps(window: Window, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaps of mean 1/rate: Gamma or Weibull of the given shape, else exponential."""
    if window.pattern == "weibull":
        return (
            rng.weibull(window.shape, count)
            / math.gamma(1 + 1 / window.shape)
            / (window.rate_per_s)
        )
    shape = window.shape if window.pattern == "gamma" else 1.0
    return rng.gamma(shape, 1 / (shape * window.rate_per_s), count)


def _client(number: int, path: Path) -> Client:
    dataset = path.with_name(f"chunk-{number}-dataset.json")
    return Client(f"client-{number}", tuple(_windows(path)), tuple(_size_sets(dataset)))


def _windows(path: Path) -> Iterator[Window]:
    names = ("start", "rate", "cv", "pattern", "shape", "scale")
    rows = []
    with open_text(path) as lines:
        reader = csv.reader(lines)
        for values in reader:
            if values and not (reader.line_num == 1 and values[0].strip().isalpha()):
                rows.append(Row(path, reader.line_num, dict(zip(names, values, strict=False))))
    starts = [row.number("start") for row in rows]
    ends = [*starts[1:], starts[-1] + _WINDOW_S] if starts else []
    for row, start_s, end_s in zip(rows, starts, ends, strict=True):
        if end_s <= start_s:
            raise row.error(f"the next window starts at {end_s:g} s, not after {start_s:g} s")
        yield _window(row, start_s, end_s)


def _window(row: Row, start_s: float, end_s: float) -> Window:
    pattern = str(row.get("pattern") or "").strip().lower()
    rate = row.number("rate", default=0.0)
    if rate < 0:
        raise row.error(f"a rate of {rate:g} is not possible")
    if pattern not in ("", "gamma", "weibull", "exponential", "poisson"):
        raise row.error(f"the pattern {pattern!r} is not known (Gamma, Weibull or Exponential)")
    shape = row.number("shape", default=1.0) if pattern in ("gamma", "weibull") else 1.0
    if shape <= 0:
        raise row.error(f"a shape of {shape:g} is not possible; it must be above 0")
    return Window(start_s, end_s, rate, pattern, shape)


def _size_sets(path: Path) -> list[SizeSet]:
    with open_text(path) as lines:
        try:
            content = json.loads(lines.read())
        except ValueError as error:
            raise TraceError(path, None, f"is not JSON ({error})") from None
    if not isinstance(content, dict) or not content:
        raise TraceError(path, None, "holds no object of windows")
    sets = []
    for start, values in content.items():
        row = Row(path, 1, values if isinstance(values, dict) else {})
        try:
            start_s = float(start)
        except ValueError:
            raise TraceError(path, None, f"the window {start!r} is no number of seconds") from None
        sets.append(_size_set(row, start_s))
    return sorted(sets, key=lambda one: one.start_s)


def _size_set(row: Row, start_s: float) -> SizeSet:
    text = _distribution(row, "text_tokens", "input_tokens")
    output = _distribution(row, "output_tokens")
    if text is None or output is None:
        lacking = "text_tokens" if text is None else "output_tokens"
        raise row.error(f"the window {start_s:g} lacks {lacking}")
    images = _distribution(row, "image_count")
    return SizeSet(start_s, text, output, images, _distribution(row, "image_tokens"))


def _distribution(row: Row, *names: str) -> Distribution | None:
    """A mapping of values to probabilities, as an object or as Python text; scaled to sum 1."""
    found: Any = row.get(*names)
    if found is None:
        return None
    try:
        mapping = ast.literal_eval(found) if isinstance(found, str) else found
        values = np.array([round(float(value)) for value in mapping], dtype=np.int64)
        weights = np.array([float(one) for one in mapping.values()], dtype=np.float64)
    except (ValueError, SyntaxError, AttributeError, TypeError):
        raise row.error(f"{names[0]} is no distribution such as {{136: 0.25, 372: 0.75}}") from None
    if not values.size:
        return None
    if (weights < 0).any() or not weights.sum() > 0 or (values < 0).any():
        raise row.error(f"{names[0]} has a negative value or no weight")
    return Distribution(values, weights / weights.sum())
