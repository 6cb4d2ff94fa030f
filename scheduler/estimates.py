"""How long requests will take on so many instances: T(R, E) of Eq. 2 and 3, and what a change of E
does.

Everything is in request-seconds: seconds of latency, summed over the requests that feel them. Those
are the requests that are there, as in the paper, and those that will arrive within a horizon.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from saccade.scheduler.cluster import NO_LOAD, Role, StageLoad
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.monitor import NO_FLOW, Flow
from saccade.scheduler.policy import SloPolicy, StagePolicy

MAX_UTILISATION = 0.95
"""Queueing formulas end in a pole; beyond this the growth of the backlog tells the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What one stage of one group has to do, on however many instances. One is only itself."""

    role: Role
    load: StageLoad = NO_LOAD
    """R_p or B_d: on its instances, and waiting for one."""
    flow: Flow = NO_FLOW
    kv_tokens_per_instance: float = math.inf
    service_s: float = field(init=False)
    """Instance-seconds of a mean request in this stage."""

    def __post_init__(self) -> None:
        # Kept, since a tick at a thousand instances asks ten thousands of times.
        object.__setattr__(self, "service_s", getattr(self.flow, f"{self.role}_s"))


Stages = Sequence[tuple[Demand, float]]
"""What is to be done and |E|, in the order in which a request passes the stages."""


class _Stage(NamedTuple):
    """One stage in a line of queues."""

    demand: Demand
    num: float
    work_s: float
    coming_s: float
    """Its work in requests that still wait before an earlier stage."""
    growth: float
    """Of its backlog: instance-seconds a second."""

    @property
    def backlog_s(self) -> float:
        return self.work_s + self.coming_s


class Estimator:
    """T(R, E) with the cost model's constants. Keeps what it has reckoned: make one for a tick."""

    def __init__(self, cost_model: CostModel, policy: StagePolicy, slo: SloPolicy) -> None:
        self.cost_model = cost_model
        self.policy = policy
        self.slo = slo
        self._lines: dict[tuple[tuple[Demand, float], ...], tuple[float, float]] = {}
        self._decodes: dict[tuple[Demand, float, float], float] = {}

    def delay_s(self, demand: Demand, num_instances: float) -> float:
        """`total_delay_s` of one stage by itself."""
        return self.total_delay_s([(demand, num_instances)])

    def total_delay_s(self, stages: Stages) -> float:
        """Latency of a group with so many instances in each stage, summed over its requests.

        Request-seconds; with units "per_token" each request's share is divided by its length, as in
        Eq. 2 and 3. Infinite when work has nowhere to go.
        """
        for demand, num in stages:
            if num <= 0 and (
                demand.load.num_requests or demand.load.work_s or demand.service_s > 0
            ):
                return math.inf
        # Many changes touch one of the two alone.
        line = tuple([one for one in stages if one[1] > 0 and one[0].role != "decode"])
        if line not in self._lines:
            self._lines[line] = self._line(line)
        total_s, passing_per_s = self._lines[line]
        for demand, num in stages:
            if demand.role == "decode" and num > 0:
                key = (demand, num, min(demand.flow.rate_per_s, passing_per_s))
                if key not in self._decodes:
                    self._decodes[key] = self._decode_delay_s(*key)
                total_s += self._decodes[key]
        return total_s

    # Encode and prefill: queues in a line -------------------------------------------------------

    def _line(self, stages: Stages) -> tuple[float, float]:
        """(latency, requests a second that they let pass at most)."""
        line: list[_Stage] = []
        passing_per_s = math.inf
        for demand, num in stages:
            if demand.service_s > 0:
                passing_per_s = min(passing_per_s, num / demand.service_s)
            line.append(self._stage(demand, num, line))
        return self._line_delay_s(line) if line else 0.0, passing_per_s

    def _stage(self, demand: Demand, num: float, before: "list[_Stage]") -> "_Stage":
        """What waits before a stage counts for it too: it will come."""
        coming_s = sum(
            stage.demand.load.work_s * demand.service_s / stage.demand.service_s
            for stage in before
            if stage.demand.service_s
        )
        growth = demand.flow.rate_per_s * demand.service_s - num
        return _Stage(demand, num, demand.load.work_s, coming_s, growth)

    def _line_delay_s(self, line: "list[_Stage]") -> float:
        """A request is as late as the slowest of the stages that are left to it makes it.

        So an instance more in a stage that is not the bottleneck gains nothing. Without
        `joint_delay` each stage is reckoned by itself, as in Eq. 2 and 3.
        """
        if len(line) > 1 and not self.policy.joint_delay:
            return sum([self._line_delay_s([stage._replace(coming_s=0.0)]) for stage in line])
        present_s = 0.0
        for position, stage in enumerate(line):
            # T(R, E): data parallel, so the set is done when its work is shared out.
            slowest_s = stage.work_s / stage.num
            for later in line[position + 1 :]:
                slowest_s = max(slowest_s, (later.work_s + later.coming_s) / later.num)
            present_s += self._weigh(stage.demand.load, self._felt_s(slowest_s, self.slo.ttft_s))
        flow = line[0].demand.flow
        horizon_s = self.policy.horizon_s * flow.confidence
        if not flow.rate_per_s or not horizon_s:
            return present_s
        slack = self.slo.slack_weight
        waits = [(stage.backlog_s / stage.num, stage.growth / stage.num) for stage in line]
        late = [(start - self.slo.ttft_s, slope) for start, slope in waits]
        felt_s = slack * _backlog_s(waits, horizon_s) + (1 - slack) * _backlog_s(late, horizon_s)
        for stage in line:
            wait_s = _queueing_s(flow.rate_per_s, stage.demand.service_s, stage.num)
            felt_s += horizon_s * self._felt_s(wait_s, self.slo.ttft_s)
        return present_s + self._per_request(flow, flow.input_tokens) * flow.rate_per_s * felt_s

    def _felt_s(self, latency_s: float, promised_s: float) -> float:
        """Latency within what is promised counts less."""
        late_s = max(0.0, latency_s - promised_s)
        return self.slo.slack_weight * (latency_s - late_s) + late_s

    # Decode: all run at once, each slower the more they are --------------------------------------

    def _decode_delay_s(self, demand: Demand, num: float, rate_per_s: float) -> float:
        """Of those that are there, and of those that arrive: as many as earlier stages let pass."""
        load, flow = demand.load, demand.flow
        step_s = self.cost_model.decode_step_s(load.num_requests / num, load.tokens / num)
        per_token = self.policy.units == "per_token"
        # T(B_d, E_d): what each still has to generate, at the pace of the batch.
        felt_s = self._felt_s(step_s, self.slo.tpot_s)
        present_s = felt_s * (load.remaining_ratio if per_token else load.remaining_tokens)
        num_waiting = self._num_without_kv(demand, load.tokens, num)
        answer_s = flow.output_tokens * step_s
        present_s += num_waiting * answer_s / (flow.output_tokens if per_token else 1.0)
        return present_s + self._decode_future_s(demand, num, rate_per_s)

    def _decode_future_s(self, demand: Demand, num: float, rate_per_s: float) -> float:
        flow = demand.flow
        horizon_s = self.policy.horizon_s * flow.confidence
        if not flow.rate_per_s or not horizon_s:
            return 0.0
        tokens_per_s = rate_per_s * flow.output_tokens
        slope_s = self.cost_model.decode_slope_s(1, flow.context_tokens)
        utilisation = tokens_per_s * slope_s / num
        # Little's law: as many sequences run as arrive while one is answered.
        empty_s = self.cost_model.decode_step_s(0, 0)
        step_s = empty_s / (1 - min(utilisation, MAX_UTILISATION))
        num_running = tokens_per_s * step_s
        late_s = flow.output_tokens * self._felt_s(step_s, self.slo.tpot_s)
        if num_running:
            kv_tokens = num_running * flow.context_tokens
            waiting = self._num_without_kv(demand, kv_tokens, num) / num_running
            late_s += waiting * flow.output_tokens * step_s
        felt_s = horizon_s * late_s
        felt_s += max(0.0, utilisation - 1) * horizon_s * horizon_s / 2
        return self._per_request(flow, flow.output_tokens) * rate_per_s * felt_s

    def _num_without_kv(self, demand: Demand, kv_tokens: float, num: float) -> float:
        room_tokens = num * demand.kv_tokens_per_instance * self.policy.kv_limit_ratio
        return max(0.0, kv_tokens - room_tokens) / demand.flow.context_tokens

    # Units --------------------------------------------------------------------------------------

    def _weigh(self, load: StageLoad, each_s: float) -> float:
        """The same latency for every request of a load."""
        if self.policy.units == "per_token":
            return each_s * load.inverse_lengths
        return each_s * load.num_requests

    def _per_request(self, flow: Flow, length_tokens: float) -> float:
        return 1 / length_tokens if self.policy.units == "per_token" else 1.0

    def migration_cost_s(self, load: StageLoad, kv_tokens: int) -> float:
        """M(e) of Eq. 2 and 3 for an instance of a stage that has `load` in all.

        Once: a request stands still while its own KV moves, and these times add up to M(e). Per
        request, as printed: everybody stands still for all of it.
        """
        migration_s = self.cost_model.migration_s(kv_tokens) + self.cost_model.flip_s
        per_request_s = self._weigh(load, migration_s)
        if self.policy.migration == "per_request":
            cost_s = per_request_s
        elif self.policy.units == "per_token":
            cost_s = per_request_s / max(1, load.num_requests)
        else:
            cost_s = migration_s
        if self.policy.switch_back:
            # Nobody is left to be moved when it goes back, but the change itself is paid again.
            cost_s += self.cost_model.flip_s * (cost_s / migration_s if migration_s else 0.0)
        return cost_s


def _queueing_s(rate_per_s: float, service_s: float, num: float) -> float:
    """Mean wait of an arrival at rest (Sakasegawa's approximation of M/M/n)."""
    utilisation = min(rate_per_s * service_s / num, MAX_UTILISATION)
    exponent = math.sqrt(2 * (num + 1)) - 1
    return service_s / num * math.pow(utilisation, exponent) / (1 - utilisation)


def _backlog_s(lines: Sequence[tuple[float, float]], horizon_s: float) -> float:
    """Waiting behind backlogs, of one arrival a second until the horizon.

    An arrival at t waits for the longest backlog: the integral of max(0, start + slope t) over the
    (start, slope) pairs, exact since it is linear between crossings.
    """
    with_floor = [*lines, (0.0, 0.0)]
    times = [horizon_s]
    for position, (start, slope) in enumerate(with_floor):
        for other_start, other_slope in with_floor[position + 1 :]:
            if slope != other_slope:
                crossing_s = (other_start - start) / (slope - other_slope)
                if 0 < crossing_s < horizon_s:
                    times.append(crossing_s)
    times.sort()
    integral = before_s = 0.0
    before = max([start for start, _ in with_floor])
    for time_s in times:
        value = max([start + slope * time_s for start, slope in with_floor])
        integral += (time_s - before_s) * (before + value) / 2
        before_s, before = time_s, value
    return integral
