"""Recursive least squares: the cost model learns its constants from live step timings.

Each stage is a linear model of three features (`profiles.Coefficients`). The fit is of relative
errors: long steps would otherwise count for everything. A running mean of the relative error that
leaves its band is a drift alarm: the stage no longer costs what the model says, and does not
follow it either.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from saccade.scheduler.cost_model.model import CostModel
from saccade.scheduler.cost_model.profiles import Coefficients

Stage = Literal["encode", "prefill", "decode"]
STAGES: tuple[Stage, ...] = ("encode", "prefill", "decode")
Row = tuple[float, float, float]
_ORDERS: Row = (1e-3, 1e-5, 1e-9)
Matrix = tuple[Row, Row, Row]


@dataclass(frozen=True, slots=True)
class CalibrationPolicy:
    """How fast to learn, and when to raise the alarm."""

    forgetting: float = 0.998
    """Weight of an observation after the next one; 0.998 remembers about 500."""
    prior_variance: float = 100.0
    """Of the coefficients, relative to their start values: large follows the first data at once."""
    drift_window: int = 50
    """Observations over which relative errors are averaged."""
    drift_ratio: float = 0.3
    """Alarm when that average is further from zero."""

    def __post_init__(self) -> None:
        if not 0 < self.forgetting <= 1:
            raise ValueError(f"forgetting {self.forgetting} is not in (0, 1]")


@dataclass(frozen=True, slots=True)
class StageFit:
    """The state of one stage's fit; `theta` is in units of `scale`."""

    scale: Row
    """Start values, in seconds per unit of the feature; an order of magnitude for zeros."""
    theta: Row
    covariance: Matrix
    num_observations: int = 0
    surprise: float = 0.0
    """Running mean of (measured - predicted) / predicted: how far it is from what was learnt."""

    @property
    def coefficients(self) -> Coefficients:
        """As learnt; a coefficient below zero would be noise, and is zero."""
        return Coefficients(*(max(0.0, t * s) for t, s in zip(self.theta, self.scale, strict=True)))

    def predict_s(self, features: Row) -> float:
        return _dot(self.theta, _scaled(features, self.scale))


def observed(fit: StageFit, features: Row, seconds: float, policy: CalibrationPolicy) -> StageFit:
    """The fit after one more timing.

    Args:
        features: (1, x, y) of `Coefficients`; the first counts the constants, 1 for a step.
    """
    if seconds <= 0:
        return fit
    scaled = _scaled(features, fit.scale)
    predicted_s = max(1e-12, _dot(fit.theta, scaled))
    # Relative errors: both sides are divided by what was measured.
    row: Row = (scaled[0] / seconds, scaled[1] / seconds, scaled[2] / seconds)
    error = 1 - _dot(fit.theta, row)
    gained = _row(tuple(_dot(line, row) for line in fit.covariance))
    known = _dot(gained, row)
    theta = tuple(
        t + g * error / (policy.forgetting + known) for t, g in zip(fit.theta, gained, strict=True)
    )
    covariance = _forget(fit.covariance, gained, known, policy)
    keep = 1 - 1 / policy.drift_window
    return replace(
        fit,
        theta=(theta[0], theta[1], theta[2]),
        covariance=covariance,
        num_observations=fit.num_observations + 1,
        surprise=keep * fit.surprise + (1 - keep) * (seconds / predicted_s - 1),
    )


def _forget(covariance: Matrix, gained: Row, known: float, policy: CalibrationPolicy) -> Matrix:
    """The covariance P after an observation x, with `gained` = P x and `known` = x P x.

    Everything is forgotten a little, as long as no variance grows beyond its start value. What
    never varies, as in hours of equal steps, would grow without end: then forgetting is directional
    (Kulhavý), of what the observation tells anew.
    """
    keep = policy.forgetting
    after = _less(covariance, gained, 1 / (keep + known), keep)
    if max(after[i][i] for i in range(3)) <= policy.prior_variance:
        return after
    if known <= 0:
        return covariance
    return _less(covariance, gained, (keep - (1 - keep) / known) / (keep * (1 + known)))


def _less(covariance: Matrix, gained: Row, share: float, keep: float = 1.0) -> Matrix:
    """(P - share · gained gainedᵀ) / keep, symmetric to the last bit."""
    lines = [
        _row(tuple((covariance[i][j] - gained[i] * gained[j] * share) / keep for j in range(3)))
        for i in range(3)
    ]
    return (lines[0], lines[1], lines[2])


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """A stage costs something else than its model says."""

    stage: Stage
    surprise: float
    """Mean relative error of late."""
    num_observations: int

    @property
    def text(self) -> str:
        """One line for people."""
        more = "longer" if self.surprise > 0 else "less"
        return (
            f"{self.stage} takes {abs(self.surprise):.0%} {more} than predicted, on average over "
            f"the latest of {self.num_observations} observations"
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fits of all stages around one start model. Observing returns a new one."""

    start: CostModel
    policy: CalibrationPolicy = CalibrationPolicy()
    fits: dict[Stage, StageFit] = field(default_factory=dict)

    # Observing ----------------------------------------------------------------------------------

    def encoded(self, tokens: int, seconds: float) -> "Calibration":
        """One picture was encoded."""
        return self._observed("encode", (1.0, tokens, float(tokens) * tokens), seconds)

    def prefilled(self, sequences: Iterable[tuple[int, int]], seconds: float) -> "Calibration":
        """One step prefilled (tokens, cached tokens) sequences."""
        linear = square = 0.0
        for tokens, cached in sequences:
            linear += tokens - cached
            square += float(tokens) * tokens - float(cached) * cached
        return self._observed("prefill", (1.0, linear, square), seconds)

    def decoded(self, num_sequences: int, context_tokens: int, seconds: float) -> "Calibration":
        """One step gave each of the sequences a token."""
        return self._observed("decode", (1.0, num_sequences, context_tokens), seconds)

    def _observed(self, stage: Stage, features: Row, seconds: float) -> "Calibration":
        overhead_s = 0.0 if stage == "encode" else self.start.gpu.step_overhead_s
        fit = observed(self._fit(stage), features, seconds - overhead_s, self.policy)
        return replace(self, fits=self.fits | {stage: fit})

    def _fit(self, stage: Stage) -> StageFit:
        if stage in self.fits:
            return self.fits[stage]
        v = self.policy.prior_variance
        start = self._start(stage)
        scale = _row(tuple(one or order for one, order in zip(start, _ORDERS, strict=True)))
        theta = _row(tuple(1.0 if one else 0.0 for one in start))
        return StageFit(scale, theta, ((v, 0.0, 0.0), (0.0, v, 0.0), (0.0, 0.0, v)))

    def _start(self, stage: Stage) -> Row:
        """Start values, with the model's ratio."""
        model, gpu = self.start.model, self.start.gpu
        ratio = model.encode_ratio if stage == "encode" else model.compute_ratio
        found: Coefficients = getattr(gpu, stage)
        return (found.constant_s * ratio, found.a_s * ratio, found.b_s * ratio)

    # Results ------------------------------------------------------------------------------------

    @property
    def model(self) -> CostModel:
        """The cost model with what was learnt; stages without observations stay as they were."""
        gpu = self.start.gpu
        for stage, fit in self.fits.items():
            ratio = self.start.model.encode_ratio
            if stage != "encode":
                ratio = self.start.model.compute_ratio
            learnt = Coefficients(*(value / ratio for value in fit.coefficients))
            if stage == "encode":
                gpu = replace(gpu, encode=learnt)
            elif stage == "prefill":
                gpu = replace(gpu, prefill=learnt)
            else:
                gpu = replace(gpu, decode=learnt)
        return replace(self.start, gpu=gpu)

    @property
    def alarms(self) -> tuple[DriftAlarm, ...]:
        """Stages whose timings keep off what was learnt."""
        return tuple(
            DriftAlarm(stage, fit.surprise, fit.num_observations)
            for stage, fit in self.fits.items()
            if fit.num_observations >= self.policy.drift_window
            and abs(fit.surprise) > self.policy.drift_ratio
        )


def _scaled(features: Row, scale: Row) -> Row:
    return (features[0] * scale[0], features[1] * scale[1], features[2] * scale[2])


def _dot(a: Row, b: Row) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _row(values: tuple[float, ...]) -> Row:
    return (values[0], values[1], values[2])
