"""Distributions of sizes and lengths, and how they are written on the command line."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from saccade.loadtest.errors import PlanError

HELP = (
    "a number, uniform(LOW,HIGH), lognormal(mean=M,std=S), lognormal(median=M,p90=P), "
    "choice(VALUE:WEIGHT,…), or empirical(FILE) with one value, or value and weight, a line; each "
    "may end in "
    "min=… or max=…, as in lognormal(median=100,p90=900,max=2000)"
)
_P90_Z = 1.2815515655446004


class Distribution(BaseModel):
    """Of a number that is not negative. `draw` gives floats; `draw_int` rounds them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["constant", "uniform", "lognormal", "empirical"]
    values: tuple[float, ...] = Field(min_length=1)
    """constant: value; uniform: low, high; lognormal: mu, sigma of the logarithm;
    empirical: the values."""
    weights: tuple[float, ...] = ()
    """Of empirical values; none means alike."""
    low: float = Field(default=0.0, ge=0)
    high: float = Field(default=math.inf)
    text: str
    """As it was written."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"{self.text}: min is above max")
        if self.kind == "uniform" and self.values[0] > self.values[1]:
            raise ValueError(f"{self.text}: the lower end is above the upper")
        if self.weights and (len(self.weights) != len(self.values) or sum(self.weights) <= 0):
            raise ValueError(f"{self.text}: one weight for each value is needed, not all zero")
        if any(not math.isfinite(v) for v in self.values) or any(w < 0 for w in self.weights):
            raise ValueError(f"{self.text}: values must be finite, weights not negative")
        return self

    def draw(self, rng: np.random.Generator) -> float:
        """One value, clipped to [low, high]."""
        match self.kind:
            case "constant":
                value = self.values[0]
            case "uniform":
                value = rng.uniform(self.values[0], self.values[1])
            case "lognormal":
                value = rng.lognormal(self.values[0], self.values[1])
            case "empirical":
                value = self._pick(rng)
        return min(max(float(value), self.low), self.high)

    def draw_int(self, rng: np.random.Generator, at_least: int = 0) -> int:
        """One value, rounded; a uniform one takes both its ends as often as what lies between."""
        if self.kind == "uniform":
            first, last = math.ceil(self.values[0]), math.floor(self.values[1])
            value = float(rng.integers(first, last + 1)) if first <= last else self.values[0]
            value = min(max(value, self.low), self.high)
        else:
            value = self.draw(rng)
        return max(at_least, round(value))

    def _pick(self, rng: np.random.Generator) -> float:
        if not self.weights:
            return self.values[rng.integers(len(self.values))]
        ratios = np.cumsum(self.weights) / math.fsum(self.weights)
        index = int(np.searchsorted(ratios, rng.random(), side="right"))
        return self.values[min(index, len(self.values) - 1)]

    def __str__(self) -> str:
        return self.text


def constant(value: float) -> Distribution:
    """Always the same."""
    return Distribution(kind="constant", values=(value,), text=f"{value:g}")


def choice(weights: Mapping[float, float]) -> Distribution:
    """The given values, as often as their weights say."""
    pairs = ",".join(f"{value!r}:{weight!r}" for value, weight in weights.items())
    return Distribution(
        kind="empirical",
        values=tuple(weights),
        weights=tuple(weights.values()),
        text=f"choice({pairs})",
    )


def parse_distribution(text: str) -> Distribution:
    """Read what `HELP` describes.

    Raises:
        PlanError: it is none of these.
    """
    stripped = text.strip()
    try:
        return constant(_not_negative(float(stripped)))
    except ValueError:
        pass
    found = re.fullmatch(r"(\w+)\((.*)\)", stripped)
    if not found:
        raise _wrong(text)
    plain, named = _arguments(found.group(2), text)
    bounds = {key: named.pop(key) for key in ("min", "max") if key in named}
    limits = {"min": "low", "max": "high"}
    fields: dict[str, Any] = {limits[k]: v for k, v in bounds.items()}
    fields |= _shape(found.group(1), plain, named, text)
    try:
        return Distribution(text=stripped, **fields)
    except ValueError as error:
        raise _wrong(text, str(error)) from None


def _shape(name: str, plain: list[str], named: dict[str, float], text: str) -> dict[str, Any]:
    match name, len(plain), sorted(named):
        case "constant", 1, []:
            return {"kind": "constant", "values": (_number(plain[0], text),)}
        case "uniform", 2, []:
            return {"kind": "uniform", "values": tuple(_number(p, text) for p in plain)}
        case "lognormal", 0, ["mean", "std"]:
            return {"kind": "lognormal", "values": _from_moments(named["mean"], named["std"], text)}
        case "lognormal", 0, ["median", "p90"]:
            return {
                "kind": "lognormal",
                "values": _from_quantiles(named["median"], named["p90"], text),
            }
        case "choice", number, [] if number:
            pairs = [part.partition(":") for part in plain]
            return {
                "kind": "empirical",
                "values": tuple(_number(value, text) for value, _, _ in pairs),
                "weights": tuple(_number(weight or "1", text) for _, _, weight in pairs),
            }
        case "empirical", 1, []:
            values, weights = _read_values(Path(plain[0]), text)
            return {"kind": "empirical", "values": values, "weights": weights}
    raise _wrong(text)


def _arguments(inside: str, text: str) -> tuple[list[str], dict[str, float]]:
    plain: list[str] = []
    named: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in inside.split(","))):
        key, equals, value = part.partition("=")
        if equals:
            named[key.strip()] = _number(value, text)
        else:
            plain.append(part)
    return plain, named


def _from_moments(mean: float, std: float, text: str) -> tuple[float, float]:
    if mean <= 0:
        raise _wrong(text, "the mean must be above 0")
    variance = math.log1p((std / mean) ** 2)
    return math.log(mean) - variance / 2, math.sqrt(variance)


def _from_quantiles(median: float, p90: float, text: str) -> tuple[float, float]:
    if not 0 < median <= p90:
        raise _wrong(text, "0 < median <= p90 must hold")
    return math.log(median), math.log(p90 / median) / _P90_Z


def _read_values(path: Path, text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        rows = [line.replace(",", " ").split() for line in path.read_text().splitlines()]
        pairs = [(float(row[0]), float(row[1]) if row[1:] else 1.0) for row in rows if row]
    except (OSError, ValueError) as error:
        raise _wrong(text, f"{path}: {error}") from None
    if not pairs:
        raise _wrong(text, f"{path} is empty")
    values, weights = zip(*pairs, strict=True)
    return values, weights


def _number(text: str, whole: str) -> float:
    try:
        return _not_negative(float(text))
    except ValueError:
        raise _wrong(whole, f"{text!r} is not a number that is 0 or more") from None


def _not_negative(value: float) -> float:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(value)
    return value


def _wrong(text: str, why: str | None = None) -> PlanError:
    reason = f" ({why})" if why else ""
    return PlanError(f"{text!r} is not a distribution{reason}; write {HELP}.")


def _validated(value: Any) -> Any:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            return parse_distribution(str(value))
        except PlanError as error:
            raise ValueError(str(error)) from None
    return value


Dist = Annotated[Distribution, BeforeValidator(_validated), PlainSerializer(str, return_type=str)]
"""Field of a model that takes a number or a text like the command line does."""
