"""ServeGen: clients with their own rate, burstiness and distributions, composed into one load.

For client i, `chunk-i-trace.csv` has a row for each window: its begin in s, requests per s, the
gaps' coefficient of variation, their family (Gamma or Weibull) and its two parameters, shape and
scale. `chunk-i-dataset.json` has distributions of token counts, by the begin of the spans in which
they hold.
"""

import ast
import csv
import heapq
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.workloads.distributions import Distribution, choice
from saccade.loadtest.workloads.traces.rows import Row

_FIELDS = ("text_tokens", "image_tokens", "image_count", "output_tokens")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a client's load."""

    begin_s: float
    end_s: float
    rate: float
    family: str
    shape: float


@dataclass(frozen=True, slots=True)
class Client:
    """One client."""

    windows: Sequence[Window]
    spans: Sequence[tuple[float, dict[str, Distribution]]]
    """Begin in s, and the distributions that hold from then on."""

    def distributions(self, at_s: float) -> dict[str, Distribution]:
        """Those that hold at a time."""
        found = self.spans[0][1]
        for begin_s, span in self.spans:
            if begin_s > at_s:
                break
            found = span
        return found


def read_servegen(folder: Path, seed: int, begin_s: float = 0.0) -> Iterator[Row]:
    """Requests of all clients by time, drawn from their distributions.

    Args:
        begin_s: windows that end before are skipped, not drawn.
    """
    files = sorted(folder.glob("chunk-*-trace.csv"), key=_number)
    if not files:
        raise InputFileError(folder, "no chunk-0-trace.csv in this folder; is it one of ServeGen?")
    streams = []
    for path in files:
        client = read_client(path)
        rng = np.random.default_rng((seed, 5, _number(path)))
        streams.append(_rows(client, rng, begin_s))
    yield from heapq.merge(*streams, key=lambda row: row.at_s)


def read_client(trace: Path) -> Client:
    """A client, from its two files.

    Raises:
        InputFileError: one is missing or malformed.
    """
    dataset = trace.with_name(trace.name.replace("-trace.csv", "-dataset.json"))
    return Client(_read_windows(trace), _read_spans(dataset))


def _read_windows(path: Path) -> list[Window]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        begins = [float(row[0]) for row in rows]
        ends = [*begins[1:], begins[-1] + (begins[-1] - begins[-2] if begins[1:] else 600.0)]
        return [
            Window(begin, end, float(row[1]), row[3], float(row[4]))
            for row, begin, end in zip(rows, begins, ends, strict=True)
        ]
    except (OSError, ValueError, IndexError) as error:
        raise InputFileError(path, f"not a ServeGen trace ({error})") from None


def _read_spans(path: Path) -> list[tuple[float, dict[str, Distribution]]]:
    try:
        spans: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = [
            (float(begin), {name: _distribution(fields[name]) for name in _FIELDS})
            for begin, fields in spans.items()
            if fields
        ]
    except (OSError, ValueError, KeyError, SyntaxError, TypeError) as error:
        raise InputFileError(path, f"not a ServeGen dataset ({error})") from None
    if not found:
        raise InputFileError(path, "holds no distributions")
    return sorted(found, key=lambda span: span[0])


def _distribution(text: str) -> Distribution:
    weights: dict[float, float] = ast.literal_eval(text)
    return choice({float(value): float(weight) for value, weight in weights.items()})


def _rows(client: Client, rng: np.random.Generator, begin_s: float) -> Iterator[Row]:
    for window in client.windows:
        if window.end_s <= begin_s:
            continue
        for at_s in _arrivals(window, rng):
            drawn = client.distributions(at_s)
            num_pictures = drawn["image_count"].draw_int(rng)
            yield Row(
                at_s=at_s,
                text_tokens=drawn["text_tokens"].draw_int(rng, 1),
                output_tokens=drawn["output_tokens"].draw_int(rng, 1),
                picture_tokens=tuple(
                    drawn["image_tokens"].draw_int(rng, 1) for _ in range(num_pictures)
                ),
            )


def _arrivals(window: Window, rng: np.random.Generator) -> Iterator[float]:
    """Times within a window: gaps of the family and shape, scaled to the recorded rate."""
    if window.rate <= 0:
        return
    mean_s = 1 / window.rate
    at_s = window.begin_s + mean_s * rng.random()
    while at_s < window.end_s:
        yield at_s
        at_s += mean_s * _unit_gap(window, rng)


def _unit_gap(window: Window, rng: np.random.Generator) -> float:
    """With mean 1."""
    if window.family == "Weibull":
        return float(rng.weibull(window.shape)) / math.gamma(1 + 1 / window.shape)
    if window.family == "Gamma":
        return float(rng.gamma(window.shape)) / window.shape
    return float(rng.exponential())


def _number(path: Path) -> int:
    found = re.search(r"chunk-(\d+)-", path.name)
    return int(found.group(1)) if found else 0
