"""What to simulate, as values that travel to other processes; and what comes back."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from saccade.scheduler.cost_model import CostModel, cost_model_of
from saccade.scheduler.simulator.changes import Failure, random_failures
from saccade.scheduler.simulator.engine import DEFAULT_NOISE_SIGMA, Options, Simulation
from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.metrics import SLO_FACTOR, Metrics, ModalityMetrics, Slo
from saccade.scheduler.simulator.policies import policy_named
from saccade.scheduler.simulator.workloads.base import (
    FixedWorkload,
    Modality,
    TraceRequest,
    Workload,
)
from saccade.scheduler.simulator.workloads.registry import preset, recorded

SIMULATED = "This is a simulation: no request was served. Times come from a cost model."
SLO_SCALES = (1, 2, 3, 4, 5)
MODALITIES: tuple[Modality, ...] = ("text", "image")
_LIGHT_REQUESTS = 150
_LIGHT_GAP_S = 60.0
_TIMELINE_BINS = 60


@dataclass(frozen=True)
class WorkloadSpec:
    """A preset at a rate, or a trace file at a speed."""

    name: str = "sharegpt4o"
    rate_per_s: float = 10.0
    duration_s: float = 300.0
    image_ratio: float | None = None
    trace: Path | None = None
    format_name: str | None = None
    speed: float = 1.0
    max_requests: int | None = None

    def __post_init__(self) -> None:
        """SimulatorError when an option is given that would be passed over."""
        if self.trace is None:
            options = {"--speed": self.speed != 1, "--format": self.format_name is not None,
                       "--max-requests": self.max_requests is not None}  # fmt: skip
            unused = [name for name, given in options.items() if given]
            if unused:
                raise SimulatorError(
                    f"{' and '.join(unused)}: only a trace has that; give one with --trace"
                )
        elif self.image_ratio is not None:
            raise SimulatorError(
                "--image-ratio is about a synthetic workload: a trace has its own share of pictures"
            )

    def build(self) -> Workload:
        if self.trace is None:
            return preset(self.name, self.rate_per_s, self.duration_s, self.image_ratio)
        return recorded(
            self.trace, self.format_name, speed=self.speed, limit_s=self.duration_s,
            limit_requests=self.max_requests,
        )  # fmt: skip

    @property
    def span_s(self) -> float:
        """Until the last arrival: a trace may end before the duration that was asked for."""
        return self.duration_s if self.trace is None else _trace_span_s(self)

    def at(self, rate: float) -> "WorkloadSpec":
        """With another rate per second; for a trace, another speed."""
        return replace(self, speed=rate) if self.trace else replace(self, rate_per_s=rate)

    @property
    def rate(self) -> float:
        return self.speed if self.trace else self.rate_per_s

    @property
    def title(self) -> str:
        return self.trace.name if self.trace else self.name


@cache
def _trace_span_s(spec: WorkloadSpec) -> float:
    """Read through once; runs of many policies and seeds ask for the same."""
    return max((request.arrival_s for request in spec.build().requests(0)), default=0.0)


@dataclass(frozen=True)
class Scenario:
    """One run."""

    policy: str
    workload: WorkloadSpec
    gpu: str = "a800"
    model: str = "qwen2.5-vl-7b"
    num_instances: int = 8
    seed: int = 0
    warm_up_ratio: float = 0.2
    """Of the arrivals' span; requests that arrive in it are not measured."""
    noise_sigma: float = DEFAULT_NOISE_SIGMA
    failure_every_s: float | None = None
    repair_s: float = 30.0
    slos: tuple[tuple[Modality, Slo], ...] = ()
    encode_ratio: float = 1.0
    """A slower vision tower than was measured, for questions of sensitivity."""

    def __post_init__(self) -> None:
        """SimulatorError when it cannot be run."""
        if not 0 < self.workload.duration_s < math.inf:
            raise SimulatorError(
                f"a duration of {self.workload.duration_s:g} s is not possible: it must be above 0 "
                "and finite"
            )
        if self.failure_every_s is not None and not self.failure_every_s > 0:
            raise SimulatorError(
                f"a failure every {self.failure_every_s:g} s is not possible: it must be above 0"
            )

    @property
    def cost_model(self) -> CostModel:
        try:
            found = cost_model_of(self.gpu, self.model)
        except ValueError as error:
            raise SimulatorError(str(error)) from None
        ratio = found.model.encode_ratio * self.encode_ratio
        return replace(found, model=replace(found.model, encode_ratio=ratio))


def grid(
    base: Scenario, policies: Iterable[str], rates: Sequence[float], seeds: Sequence[int]
) -> list[Scenario]:
    """All policies at all rates with all seeds, in this order."""
    specs = [base.workload.at(rate) for rate in rates]
    return [
        replace(base, policy=policy, workload=spec, seed=seed)
        for policy in policies
        for spec in specs
        for seed in seeds
    ]


@dataclass(frozen=True)
class Outcome:
    """What one run showed; plain values, the same bytes for the same scenario."""

    policy: str
    workload: str
    rate: float
    seed: int
    num_instances: int
    num_arrived: int
    num_finished: int
    num_rejected: int
    num_cancelled: int
    duration_s: float
    """From the end of the warm-up to the last arrival."""
    throughput_rps: float
    """Finished requests over the time until the last of them ended."""
    latencies: dict[str, dict[str, Any]]
    attainment: dict[int, float]
    """Share of requests within the SLO, by its scale."""
    goodput_rps: dict[int, float]
    flips_per_hour: float
    num_failures: int
    drain_s: float
    migrated_kv_tokens: int
    transferred_kv_tokens: int
    utilisation: dict[str, float]
    timeline: list[tuple[float, int, str, str]] = field(default_factory=list)
    burst_tolerance: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    ttft_p99_over_time: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Report = Callable[[float], None]
"""Gets the share of the time that is done, 0 to 1."""


def simulate(scenario: Scenario, report: Report | None = None) -> Outcome:
    """Run it to the end; the same scenario gives the same outcome, bit for bit."""
    metrics, simulation = run(scenario, report)
    return outcome_of(scenario, metrics, simulation)


def run(scenario: Scenario, report: Report | None = None) -> tuple[Metrics, Simulation]:
    spec = scenario.workload
    cost_model = scenario.cost_model
    metrics = Metrics(
        dict(scenario.slos),
        warm_up_s=scenario.warm_up_ratio * spec.span_s,
        bin_s=spec.span_s / _TIMELINE_BINS,
    )
    policy = policy_named(scenario.policy)
    failures: tuple[Failure, ...] = ()
    if scenario.failure_every_s is not None:
        failures = tuple(
            random_failures(scenario.num_instances, spec.duration_s, scenario.failure_every_s,
                            scenario.repair_s, scenario.seed)
        )  # fmt: skip
    options = Options(
        scenario.num_instances, scenario.seed, scenario.noise_sigma,
        cost_model.model.cross_attention,
    )  # fmt: skip
    try:
        simulation = Simulation(policy, cost_model, options, metrics=metrics, failures=failures)
    except ValueError as error:
        raise SimulatorError(f"{scenario.policy}: {error}") from None
    told = None
    if report is not None:
        say = report

        def told(now_s: float, _: int) -> None:
            say(min(1.0, now_s / max(spec.span_s, 1e-9)))

    simulation.run(spec.build().requests(scenario.seed), told)
    return metrics, simulation


def outcome_of(scenario: Scenario, metrics: Metrics, simulation: Simulation) -> Outcome:
    spec = scenario.workload
    # A trace may end before the duration that was asked for.
    last_s = min(spec.duration_s, metrics.last_arrival_s)
    span_s = max(0.0, last_s - metrics.warm_up_s)
    attainment = {scale: metrics.attainment(scale) for scale in SLO_SCALES}
    return Outcome(
        policy=scenario.policy,
        workload=spec.title,
        rate=spec.rate,
        seed=scenario.seed,
        num_instances=scenario.num_instances,
        num_arrived=metrics.num_arrived,
        num_finished=metrics.num_ended["finished"],
        num_rejected=metrics.num_ended["rejected"],
        num_cancelled=metrics.num_ended["cancelled"],
        duration_s=span_s,
        throughput_rps=metrics.num_ended["finished"] / max(metrics.last_end_s, 1e-9),
        latencies={modality: metrics.latencies(modality) for modality in MODALITIES},
        attainment=attainment,
        goodput_rps={
            # All at the same moment have no rate.
            scale: share * metrics.num_measured / span_s if span_s else math.nan
            for scale, share in attainment.items()
        },
        flips_per_hour=metrics.num_flips * 3600 / max(metrics.last_end_s, 1e-9),
        num_failures=metrics.num_failures,
        drain_s=metrics.drain_s,
        migrated_kv_tokens=metrics.migrated_kv_tokens,
        transferred_kv_tokens=metrics.transferred_kv_tokens,
        utilisation={str(role): share for role, share in simulation.utilisation().items()},
        timeline=metrics.timeline,
        burst_tolerance=metrics.burst_tolerance,
        ttft_p99_over_time={
            modality: [
                (bin_number * metrics.bin_s, histogram.quantile(0.99))
                for (bin_number, which), histogram in sorted(metrics.ttft_bins.items())
                if which == modality
            ]
            for modality in MODALITIES
        },
    )


def light_load_slos(scenario: Scenario) -> tuple[tuple[Modality, Slo], ...]:
    """The SLO of scale 1: ten times the mean latency of requests that meet an empty system.

    One reference for all policies: the coupled engine of the paper's time, with a minute between
    two requests of the workload.
    """
    sample = _sample(scenario.workload.build().requests(0))
    trace = tuple(
        request._replace(arrival_s=number * _LIGHT_GAP_S, prefix_keys=(), image_keys=())
        for number, request in enumerate(sample)
    )
    if not trace:
        raise SimulatorError(f"the workload {scenario.workload.title} has no request")
    cost_model = scenario.cost_model
    options = Options(1, 0, 0.0, cost_model.model.cross_attention)
    metrics = Metrics()
    simulation = Simulation(
        policy_named("coupled-vllm-0.6.6"), cost_model, options, metrics=metrics
    )
    simulation.run(FixedWorkload("light", trace).requests(0))
    return tuple(
        (modality, Slo(SLO_FACTOR * found.ttft_s.mean, _tpot_limit_s(found)))
        for modality, found in metrics.by_modality.items()
        if found.ttft_s.count
    )


def _tpot_limit_s(found: ModalityMetrics) -> float:
    """None, when every answer is a single token."""
    return SLO_FACTOR * found.tpot_s.mean if found.tpot_s.count else math.inf


def _sample(requests: Iterator[TraceRequest]) -> list[TraceRequest]:
    """The first of all, and the first of a modality that comes later: no kind goes unmeasured."""
    sample = list(islice(requests, _LIGHT_REQUESTS))
    known = {request.modality for request in sample}
    missing = (request for request in requests if request.modality not in known)
    if len(known) == len(MODALITIES):
        return sample
    return [*sample, *islice(missing, _LIGHT_REQUESTS)]
