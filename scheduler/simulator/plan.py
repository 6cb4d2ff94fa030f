"""The cheapest cluster that holds an SLO: with elastic scheduling, and with a static split."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.metrics import Slo
from saccade.scheduler.simulator.policies.static_pools import candidates
from saccade.scheduler.simulator.runs import Interval, Progress, run_all
from saccade.scheduler.simulator.scenario import MODALITIES, Outcome, Scenario

ELASTIC = "elasticmm"
_SPLITS_TRIED = 6
_SAMPLE = 2000


@dataclass(frozen=True)
class Goal:
    """What the cluster has to hold."""

    ttft_s: float = 1.0
    image_ttft_s: float = 2.0
    tpot_s: float = 0.1
    attainment: float = 0.95
    """Share of the requests that meet both."""
    max_gpus: int = 32

    def __post_init__(self) -> None:
        """SimulatorError when no cluster could hold it."""
        if not 0 < self.attainment <= 1:
            raise SimulatorError(
                f"an attainment of {self.attainment:g} is not possible: give a share above 0, at "
                "most 1"
            )
        for name, limit_s in (("TTFT", self.ttft_s), ("image TTFT", self.image_ttft_s),
                              ("TPOT", self.tpot_s)):  # fmt: skip
            if not limit_s > 0:
                raise SimulatorError(
                    f"a limit of {limit_s * 1e3:g} ms for the {name} is not possible: it must be "
                    "above 0"
                )

    def slos(self) -> tuple[tuple[Any, Slo], ...]:
        limits = {"text": self.ttft_s, "image": self.image_ttft_s}
        return tuple((one, Slo(limits[one], self.tpot_s)) for one in MODALITIES)


@dataclass(frozen=True)
class Offer:
    """A number of GPUs of one kind, and how sure it is that they do."""

    gpu: str
    scheduling: str
    policy: str
    num_gpus: int
    cost_per_hour: float
    attainment: float
    half_width: float
    """Of the 95 % interval of the attainment over seeds."""
    confidence: float
    """Probability that the mean attainment reaches the goal (Student's t over seeds)."""

    def to_json(self) -> dict[str, Any]:
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


class Planner:
    """Searches the number of GPUs by doubling, then by halving the interval."""

    def __init__(
        self, base: Scenario, goal: Goal, seeds: Sequence[int], *, jobs: int = 1,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self._base = replace(base, slos=goal.slos())
        self._goal = goal
        self._seeds = seeds
        self._jobs = jobs
        self._say = progress or (lambda _title, _share: None)

    def offers(self, prices: dict[str, float]) -> Iterator[Offer]:
        """For each kind of GPU the smallest elastic and the smallest static cluster that do.

        Args:
            prices: per GPU and hour, by kind.
        """
        searches = [(gpu, elastic) for gpu in prices for elastic in (True, False)]
        for number, (gpu, elastic) in enumerate(searches):
            kind = "elastic" if elastic else "static"
            self._say(f"{kind} on {gpu}", number / len(searches))
            offer = self._smallest(gpu, prices[gpu], elastic)
            if offer is not None:
                yield offer
        self._say("", 1.0)

    def _smallest(self, gpu: str, price: float, elastic: bool) -> Offer | None:
        base = replace(self._base, gpu=gpu)
        work = _work(base)
        # A static split has three roles; elastic groups two instances.
        least, most = (2 if elastic else 3), self._goal.max_gpus
        low, high = least - 1, max(least, math.ceil(sum(work)))
        found: Offer | None = None
        while high <= most:
            offer = self._offer(base, price, high, elastic, work)
            if offer is not None:
                found = offer
                break
            low, high = high, (most if high < most < 2 * high else 2 * high)
        while found is not None and found.num_gpus - low > 1:
            offer = self._offer(base, price, (low + found.num_gpus) // 2, elastic, work)
            if offer is None:
                low = (low + found.num_gpus) // 2
            else:
                found = offer
        return found

    def _offer(
        self, base: Scenario, price: float, num_gpus: int, elastic: bool,
        work: tuple[float, float, float],
    ) -> Offer | None:  # fmt: skip
        """None when the goal is not reached with so many."""
        names = [ELASTIC] if elastic else candidates(num_gpus, work)[:_SPLITS_TRIED]
        best: Offer | None = None
        for name in self._promising(base, num_gpus, names):
            scenario = replace(base, policy=name, num_instances=num_gpus)
            runs = run_all([replace(scenario, seed=seed) for seed in self._seeds], jobs=self._jobs)
            offer = self._judge(base.gpu, price * num_gpus, elastic, runs)
            if best is None or offer.attainment > best.attainment:
                best = offer
        if best is None or best.attainment < self._goal.attainment:
            return None
        return best

    def _promising(self, base: Scenario, num_gpus: int, names: list[str]) -> list[str]:
        """The two best splits by one seed: the others are not worth all seeds."""
        if len(names) <= 2:
            return names
        scenarios = [
            replace(base, policy=name, num_instances=num_gpus, seed=self._seeds[0])
            for name in names
        ]
        runs = run_all(scenarios, jobs=self._jobs)
        order = sorted(range(len(names)), key=lambda number: -runs[number].attainment[1])
        return [names[number] for number in order[:2]]

    def _judge(
        self, gpu: str, cost_per_hour: float, elastic: bool, runs: Sequence[Outcome]
    ) -> Offer:
        shares = [one.attainment[1] for one in runs]
        interval = Interval.of(shares)
        return Offer(
            gpu,
            "elastic" if elastic else "static",
            runs[0].policy,
            runs[0].num_instances,
            cost_per_hour,
            interval.mean,
            interval.half_width,
            confidence(shares, self._goal.attainment),
        )


def confidence(values: Sequence[float], least: float) -> float:
    """Probability that the mean of what `values` are drawn from is at least `least`.

    By Student's t; 1 or 0 when they do not differ, NaN for a single one.
    """
    count = len(values)
    if count < 2:
        return math.nan
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    if variance == 0:
        return float(mean >= least)
    return student_t_cdf((mean - least) / math.sqrt(variance / count), count - 1)


def student_t_cdf(value: float, degrees: int) -> float:
    """By Simpson's rule over the density from 0; the error is below 1e-6 for |t| < 50."""
    if abs(value) > 50:
        return float(value > 0)
    scale = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))

    def density(point: float) -> float:
        return float(scale * (1 + point * point / degrees) ** (-(degrees + 1) / 2))

    num = 2000
    step = value / num
    inner = sum((4 if i % 2 else 2) * density(i * step) for i in range(1, num))
    return 0.5 + step / 3 * (density(0) + inner + density(value))


def _work(scenario: Scenario) -> tuple[float, float, float]:
    """Instances that encode, prefill and decode need on average, by the cost model."""
    model = scenario.cost_model
    encode_s = prefill_s = decode_s = last_s = 0.0
    count = 0
    for request in islice(scenario.workload.build().requests(0), _SAMPLE):
        count += 1
        last_s = request.arrival_s
        encode_s += sum(map(model.encode_s, request.image_tokens))
        prefill_s += model.prefill_s(request.input_tokens)
        decode_s += model.decode_s(
            request.input_tokens + request.output_tokens / 2, request.output_tokens
        )
    if not count:
        raise SimulatorError(f"the workload {scenario.workload.title} has no request")
    span_s = max(last_s, 1e-3)
    return encode_s / span_s, prefill_s / span_s, decode_s / span_s
