"""What a run shows: counted while it goes, in memory that does not grow with the requests."""

from dataclasses import dataclass, field
from typing import Any

from saccade.scheduler.simulator.histogram import Histogram
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.workloads.base import Modality

SLO_FACTOR = 10.0
"""ElasticMM's SLO at scale 1: ten times the latency under light load."""
_MAX_TIMELINE = 20_000


@dataclass(frozen=True)
class Slo:
    """The latencies, seconds, that an SLO of scale 1 allows one modality."""

    ttft_s: float
    tpot_s: float


@dataclass
class ModalityMetrics:
    """Of the requests of one modality that finished."""

    ttft_s: Histogram = field(default_factory=Histogram)
    tpot_s: Histogram = field(default_factory=Histogram)
    e2e_s: Histogram = field(default_factory=Histogram)
    input_s_per_token: Histogram = field(default_factory=Histogram)
    """Normalised input latency: TTFT over input tokens."""
    output_s_per_token: Histogram = field(default_factory=Histogram)
    """Normalised output latency: from the first token to the end, over output tokens."""
    slo_scale: Histogram = field(default_factory=Histogram)
    """The smallest scale of the SLO that a request meets."""

    def merge(self, other: "ModalityMetrics") -> None:
        for name in self.__dataclass_fields__:
            getattr(self, name).merge(getattr(other, name))


class Metrics:
    """Counts of one run. Requests that arrive before `warm_up_s` are conserved but not measured."""

    def __init__(
        self, slos: dict[Modality, Slo] | None = None, *, warm_up_s: float = 0.0,
        bin_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.slos = slos or {}
        self.warm_up_s = warm_up_s
        self.num_arrived = 0
        self.num_measured = 0
        self.num_ended: dict[str, int] = {"finished": 0, "cancelled": 0, "rejected": 0}
        self.num_first_tokens = 0
        self.output_tokens = 0
        self.num_flips = 0
        self.num_failures = 0
        self.drain_s = 0.0
        self.migrated_kv_tokens = 0
        self.transferred_kv_tokens = 0
        self.by_modality: dict[Modality, ModalityMetrics] = {
            "text": ModalityMetrics(), "image": ModalityMetrics(),
        }  # fmt: skip
        self.last_arrival_s = 0.0
        self.last_end_s = 0.0
        self.timeline: list[tuple[float, int, str, str]] = []
        """(time, instance, group, roles or state) whenever an instance changes."""
        self.burst_tolerance: list[tuple[float, dict[str, float]]] = []
        self.bin_s = bin_s
        self.ttft_bins: dict[tuple[int, Modality], Histogram] = {}
        """TTFT by time of arrival, in bins of `bin_s`."""

    def arrived(self, job: Job) -> None:
        self.num_arrived += 1
        self.last_arrival_s = job.request.arrival_s
        if job.request.arrival_s >= self.warm_up_s:
            self.num_measured += 1

    def first_token(self, job: Job, now_s: float) -> None:
        self.num_first_tokens += 1
        if self.bin_s:
            key = (int(job.request.arrival_s / self.bin_s), job.modality)
            found = self.ttft_bins.get(key)
            if found is None:
                found = self.ttft_bins[key] = Histogram()
            found.add(now_s - job.request.arrival_s)

    def ended(self, job: Job, now_s: float) -> None:
        self.num_ended[job.state] += 1
        self.last_end_s = now_s
        request, first_s = job.request, job.first_token_s
        if job.state != "finished" or first_s is None or request.arrival_s < self.warm_up_s:
            return
        found = self.by_modality[job.modality]
        ttft_s = first_s - request.arrival_s
        decode_s = now_s - first_s
        found.ttft_s.add(ttft_s)
        found.e2e_s.add(now_s - request.arrival_s)
        found.input_s_per_token.add(ttft_s / max(1, request.input_tokens))
        found.output_s_per_token.add(decode_s / request.output_tokens)
        tpot_s = 0.0
        if request.output_tokens > 1:
            tpot_s = decode_s / (request.output_tokens - 1)
            found.tpot_s.add(tpot_s)
        self.output_tokens += request.output_tokens
        slo = self.slos.get(job.modality)
        if slo is not None:
            found.slo_scale.add(max(ttft_s / slo.ttft_s, tpot_s / slo.tpot_s))

    def role_change(self, now_s: float, instance: Instance, state: str) -> None:
        if len(self.timeline) < _MAX_TIMELINE:
            self.timeline.append((now_s, instance.index, instance.group, state))

    def tolerance(self, now_s: float, by_group: dict[str, float]) -> None:
        if len(self.burst_tolerance) < _MAX_TIMELINE:
            self.burst_tolerance.append((now_s, by_group))

    def attainment(self, scale: float) -> float:
        """Share of the measured requests that finished within the SLO at `scale`; NaN for none."""
        if not self.num_measured:
            return float("nan")
        met = sum(
            found.slo_scale.share_up_to(scale) * found.slo_scale.count
            for found in self.by_modality.values()
            if found.slo_scale.count
        )
        return met / self.num_measured

    def latencies(self, modality: Modality) -> dict[str, Any]:
        """Means and quantiles, seconds, of one modality."""
        found = self.by_modality[modality]
        return {
            name: {
                "mean": histogram.mean,
                **{f"p{q}": histogram.quantile(q / 100) for q in (50, 90, 99)},
            }
            for name, histogram in (
                ("ttft_s", found.ttft_s),
                ("tpot_s", found.tpot_s),
                ("e2e_s", found.e2e_s),
                ("input_s_per_token", found.input_s_per_token),
                ("output_s_per_token", found.output_s_per_token),
            )
        } | {"num_requests": found.ttft_s.count}
