"""How long requests will take on so many instances: T(R, E) of Eq. 2 and 3, and what a change of E
does.

Everything is in request-seconds: seconds of latency, summed over the requests that feel them. Those
are the requests that are there, as in the paper, and those that will arrive within a horizon.
"""

import math
from dataclasses import dataclass

from saccade.scheduler.cluster import NO_LOAD, Role, StageLoad
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.monitor import NO_FLOW, Flow
from saccade.scheduler.policy import StagePolicy

MAX_UTILISATION = 0.95
"""Queueing formulas end in a pole; beyond this the growth of the backlog tells the rest."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one stage of one group has to do, on however many instances."""

    role: Role
    load: StageLoad = NO_LOAD
    """R_p or B_d: on its instances, and waiting for one."""
    flow: Flow = NO_FLOW
    kv_tokens_per_instance: float = math.inf


class Estimator:
    """T(R, E) with the cost model's constants."""

    def __init__(self, cost_model: CostModel, policy: StagePolicy) -> None:
        self.cost_model = cost_model
        self.policy = policy

    def delay_s(self, demand: Demand, num_instances: float) -> float:
        """Latency of the stage on so many instances, summed over its requests.

        Request-seconds; with units "per_token" each request's share is divided by its length, as in
        Eq. 2 and 3. Infinite when work has nowhere to go.
        """
        if num_instances <= 0:
            idle = not demand.load.num_requests and not demand.flow.rate_per_s
            return 0.0 if idle else math.inf
        if demand.role == "decode":
            return self._decode_delay_s(demand, num_instances)
        return self._queue_delay_s(demand, num_instances)

    # Encode and prefill: a queue is worked off --------------------------------------------------

    def _queue_delay_s(self, demand: Demand, num: float) -> float:
        load, flow = demand.load, demand.flow
        service_s = flow.encode_s if demand.role == "encode" else flow.prefill_s
        # T(R_p, E_p): data parallel, so the set is done when its work is shared out.
        present_s = self._weigh(load, load.work_s / num)
        horizon_s = self.policy.horizon_s
        waits_s = horizon_s * _queueing_s(flow.rate_per_s, service_s, num)
        waits_s += _backlog_s(load.work_s, flow.rate_per_s * service_s, num, horizon_s)
        return present_s + self._per_request(flow, flow.input_tokens) * flow.rate_per_s * waits_s

    # Decode: all run at once, each slower the more they are --------------------------------------

    def _decode_delay_s(self, demand: Demand, num: float) -> float:
        load, flow = demand.load, demand.flow
        step_s = self.cost_model.decode_step_s(load.num_requests / num, load.tokens / num)
        per_token = self.policy.units == "per_token"
        # T(B_d, E_d): what each still has to generate, at the pace of the batch.
        present_s = step_s * (load.remaining_ratio if per_token else load.remaining_tokens)
        num_waiting = self._num_without_kv(demand, load.tokens, num)
        answer_s = flow.output_tokens * step_s
        present_s += num_waiting * answer_s / (flow.output_tokens if per_token else 1.0)
        return present_s + self._decode_future_s(demand, num)

    def _decode_future_s(self, demand: Demand, num: float) -> float:
        flow, horizon_s = demand.flow, self.policy.horizon_s
        if not flow.rate_per_s or not horizon_s:
            return 0.0
        tokens_per_s = flow.rate_per_s * flow.output_tokens
        slope_s = self.cost_model.decode_slope_s(1, flow.context_tokens)
        utilisation = tokens_per_s * slope_s / num
        # Little's law: as many sequences run as arrive while one is answered.
        empty_s = self.cost_model.decode_step_s(0, 0)
        step_s = empty_s / (1 - min(utilisation, MAX_UTILISATION))
        num_running = tokens_per_s * step_s
        answer_s = flow.output_tokens * step_s
        waiting_ratio = 0.0
        if num_running:
            kv_tokens = num_running * flow.context_tokens
            waiting_ratio = self._num_without_kv(demand, kv_tokens, num) / num_running
        future_s = horizon_s * answer_s * (1 + waiting_ratio)
        future_s += max(0.0, utilisation - 1) * horizon_s * horizon_s / 2
        return self._per_request(flow, flow.output_tokens) * flow.rate_per_s * future_s

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


def _backlog_s(work_s: float, work_per_s: float, num: float, horizon_s: float) -> float:
    """Waiting behind the backlog W(t) = W + (a - n) t, of one arrival a second until the horizon.

    The integral of W(t) / n; the backlog may be gone before.
    """
    growth = work_per_s - num
    until_s = horizon_s if growth >= 0 else min(horizon_s, work_s / -growth)
    return (work_s * until_s + growth * until_s * until_s / 2) / num
