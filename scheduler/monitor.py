"""What each group is asked for: fast and slow averages of its traffic, and whether it bursts."""

import math
from dataclasses import dataclass, replace

from saccade.scheduler.cluster import GroupState, Traffic
from saccade.scheduler.policy import Policy


@dataclass(frozen=True, slots=True)
class Flow:
    """The mean request of a group, and how many of them arrive."""

    rate_per_s: float = 0.0
    input_tokens: float = 1.0
    output_tokens: float = 1.0
    encode_s: float = 0.0
    """Instance-seconds of one request; likewise the other two."""
    prefill_s: float = 0.0
    decode_s: float = 0.0
    confidence: float = 1.0
    """0 to 1: for how long this has been seen, against the time constant of the average."""

    @property
    def context_tokens(self) -> float:
        """Of a sequence in the middle of its answer."""
        return self.input_tokens + self.output_tokens / 2

    @property
    def work_s(self) -> float:
        """Instance-seconds of one request, in all stages."""
        return self.encode_s + self.prefill_s + self.decode_s

    @property
    def need(self) -> float:
        """Instance-seconds asked for in a second: the instances that it needs on average."""
        return self.rate_per_s * self.work_s


NO_FLOW = Flow()


@dataclass(frozen=True, slots=True)
class Average:
    """Exponentially weighted mean of traffic per second; exact from the first tick on."""

    sums: tuple[float, ...] = (0.0,) * 6
    weight: float = 0.0
    """How much of the past the sums hold; 1 in the long run."""

    def after(self, traffic: Traffic, elapsed_s: float, time_constant_s: float) -> "Average":
        keep = math.exp(-elapsed_s / time_constant_s)
        new = (1 - keep) / elapsed_s
        sums = tuple(keep * a + new * b for a, b in zip(self.sums, traffic, strict=True))
        return Average(sums, keep * self.weight + 1 - keep)

    def flow(self) -> Flow:
        if not self.weight or not self.sums[0]:
            return NO_FLOW
        num, *rest = self.sums
        input_tokens, output_tokens, encode_s, prefill_s, decode_s = (one / num for one in rest)
        return Flow(
            num / self.weight,
            max(1.0, input_tokens),
            max(1.0, output_tokens),
            encode_s,
            prefill_s,
            decode_s,
            self.weight,
        )


_NOTHING_YET = Average()


@dataclass(frozen=True, slots=True)
class GroupMonitor:
    """The memory of one group's load."""

    slow: Average = _NOTHING_YET
    present: Average = _NOTHING_YET
    fast: Average = _NOTHING_YET
    variance: float = 0.0
    """Of the fast rate around the slow one."""
    bursting: bool = False

    def after(
        self,
        state: GroupState,
        elapsed_s: float,
        policy: Policy,
    ) -> "GroupMonitor":
        """The monitor one tick later."""
        slow = self.slow.after(state.traffic, elapsed_s, policy.proactive.history_s)
        fast = self.fast.after(state.traffic, elapsed_s, policy.reactive.window_s)
        present = self.present.after(state.traffic, elapsed_s, policy.stages.window_s)
        off = fast.flow().rate_per_s - slow.flow().rate_per_s
        keep = math.exp(-elapsed_s / policy.proactive.history_s)
        moved = replace(
            self,
            slow=slow,
            present=present,
            fast=fast,
            # A burst does not make itself look normal.
            variance=self.variance
            if self.bursting
            else keep * self.variance + (1 - keep) * off * off,
        )
        return replace(moved, bursting=moved._bursts(state, policy))

    @property
    def flow(self) -> Flow:
        """What the near future brings: the present requests, at the rate of a burst if there is
        one."""
        present = self.present.flow()
        if not self.bursting:
            return present
        fast_per_s = self.fast.flow().rate_per_s
        return replace(present, rate_per_s=max(fast_per_s, present.rate_per_s))

    def _bursts(self, state: GroupState, whole: Policy) -> bool:
        policy = whole.reactive
        wait_ratio = state.oldest_wait_s / whole.slo.ttft_s
        mean = self.slow.flow().rate_per_s
        # Poisson arrivals deviate by this much at least, seen through an average of window_s.
        sigma = math.sqrt(max(self.variance, mean / (2 * policy.window_s)))
        excess = self.fast.flow().rate_per_s - mean
        if self.bursting:
            return wait_ratio > policy.end_wait_ratio or excess > sigma
        each_s = self.present.flow().work_s
        surge = excess > policy.num_sigmas * sigma
        surge = surge and excess * each_s > policy.min_excess_instances
        return wait_ratio > policy.begin_wait_ratio or surge
