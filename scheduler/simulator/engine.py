"""One run: a workload, a policy, instances, and the clock that moves them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from saccade.scheduler.cluster import ROLES, Role
from saccade.scheduler.simulator.changes import Changes, Failure
from saccade.scheduler.simulator.costs import CostModel, Costs
from saccade.scheduler.simulator.events import EventQueue
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.metrics import Metrics
from saccade.scheduler.simulator.pipeline import Pipeline
from saccade.scheduler.simulator.policies.base import Policy
from saccade.scheduler.simulator.workloads.base import TraceRequest

_EVENTS_BETWEEN_REPORTS = 20_000
DEFAULT_NOISE_SIGMA = 0.05


@dataclass(frozen=True)
class Options:
    """What does not depend on the policy."""

    num_instances: int = 8
    seed: int = 0
    noise_sigma: float = DEFAULT_NOISE_SIGMA
    cross_attention: bool = False
    stop_s: float = float("inf")
    """End here, whatever is under way; without it a run ends when its last request does."""


class Simulation:
    """A cluster under a policy. `run` may be called once."""

    def __init__(
        self,
        policy: Policy,
        cost_model: CostModel,
        options: Options,
        *,
        metrics: Metrics | None = None,
        failures: Iterable[Failure] = (),
    ) -> None:
        self.policy = policy
        self.cost_model = cost_model
        self.options = options
        self.metrics = metrics or Metrics()
        self.events = EventQueue()
        self.costs = Costs(
            cost_model, policy.traits, noise_sigma=options.noise_sigma, seed=options.seed,
            cross_attention=options.cross_attention,
        )  # fmt: skip
        self.instances = [Instance(index, self.costs) for index in range(options.num_instances)]
        layout = policy.layout(options.num_instances)
        for instance, (group, roles) in zip(self.instances, layout, strict=True):
            instance.group, instance.roles = group, roles
        self.pipeline = Pipeline(self.events, self.costs, self.instances, policy, self.metrics)
        self.changes = Changes(self.pipeline, policy, self.metrics)
        policy.start(self)
        for instance in self.instances:
            policy.roles_changed(instance)
            self.metrics.role_change(0.0, instance, "/".join(sorted(instance.roles)))
        self.changes.schedule(failures)

    def run(
        self,
        requests: Iterator[TraceRequest],
        report: Callable[[float, int], None] | None = None,
    ) -> Metrics:
        """Until the last request has ended; `report` gets the time and the arrivals so far."""
        self.pipeline.feed(requests)
        if self.policy.tick_s is not None:
            self.events.at(self.policy.tick_s, self._tick)
        while not self.events.run(self.options.stop_s, _EVENTS_BETWEEN_REPORTS):
            if report is not None:
                report(self.events.now_s, self.metrics.num_arrived)
            if self._over():
                break
        return self.metrics

    def _over(self) -> bool:
        if self.events.now_s >= self.options.stop_s or self.events.next_s > self.options.stop_s:
            return True
        return self.pipeline.exhausted and not self.pipeline.in_system

    def _tick(self) -> None:
        now_s = self.events.now_s
        for move in self.policy.tick(now_s):
            self.changes.begin(move)
        if not self.pipeline.exhausted or self.pipeline.in_system:
            self.events.after(self.policy.tick_s or 1.0, self._tick)

    def utilisation(self) -> dict[Role, float]:
        """Share of all GPU time, up to the last end of a request, that each stage was busy."""
        span_s = max(self.metrics.last_end_s, 1e-9) * len(self.instances)
        return {
            stage: sum(one.total_busy_s[stage] for one in self.instances) / span_s
            for stage in ROLES
        }
