"""What keeps instances from flapping: dwell, a bound on moves, hysteresis.

The paper says nothing of it. Gain and cost are estimates from noisy loads; without a brake, two
stages that need about the same trade an instance back and forth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from saccade.scheduler.policy import StabilityPolicy

_HOUR_S = 3600.0
_AT_ONCE_RATIO = 0.25
_AT_ONCE_LEAST = 3.0
"""Moves that one change may take, with those who take over a role."""


@dataclass(frozen=True, slots=True)
class StabilityMemory:
    """Past moves, as far as they bind."""

    last_moved_s: Mapping[str, float] = field(default_factory=dict)
    """By instance, of those that exist."""
    spent: float = 0.0
    """Moves that were made and are not yet made up for by time."""
    at_s: float = 0.0
    received_s: Mapping[str, float] = field(default_factory=dict)
    """When a stage or group was last given an instance."""


NO_MOVES = StabilityMemory()


class Brake:
    """One tick's budget of moves."""

    def __init__(
        self,
        policy: StabilityPolicy,
        memory: StabilityMemory,
        num_instances: int,
        now_s: float,
        *,
        in_seconds: bool = True,
    ) -> None:
        """`in_seconds`: gain and cost are in request-seconds, so that `min_gain_s` applies."""
        self._policy = policy
        self._now_s = now_s
        self._min_gain = policy.min_gain_s if in_seconds else 0.0
        self._last_moved_s = dict(memory.last_moved_s)
        self._received_s = dict(memory.received_s)
        self._moved_now: dict[str, int] = {}
        # A bucket of tokens: what it holds and what flows in within an hour make up the bound.
        bound = policy.max_flips_per_instance_hour * num_instances
        self._at_once = min(bound, max(_AT_ONCE_RATIO * bound, _AT_ONCE_LEAST))
        made_up = (bound - self._at_once) * max(0.0, now_s - memory.at_s) / _HOUR_S
        self._spent = max(0.0, memory.spent - made_up)

    def has_dwelt(self, instance: str) -> bool:
        """It has been in its role and group for long enough."""
        last_s = self._last_moved_s.get(instance)
        return last_s is None or self._now_s - last_s >= self._policy.min_dwell_s

    def has_settled(self, receiver: str) -> bool:
        """A stage or group was given nothing for long enough, so that it may give."""
        last_s = self._received_s.get(receiver)
        return last_s is None or self._now_s - last_s >= self._policy.min_settle_s

    def received(self, receiver: str) -> None:
        """Note that a stage or group was given an instance."""
        self._received_s[receiver] = self._now_s

    def allows(self, group: str, group_size: int, num_moves: int = 1) -> bool:
        """The group may make so many more moves in this tick, and the cluster in this hour.

        One change a tick is allowed always.
        """
        most = max(num_moves, 1, int(group_size * self._policy.max_moves_per_tick_ratio))
        made = self._moved_now.get(group, 0)
        return made + num_moves <= most and self._spent + num_moves <= self._at_once

    def worth(self, gain: float, cost: float) -> bool:
        """Gain > Cost of Eq. 2 and 3, by the margins of the hysteresis."""
        margin = cost * self._policy.hysteresis_ratio + self._min_gain
        return gain > cost + margin

    def moved(self, instance: str, group: str) -> None:
        """Count a move, made on behalf of a group."""
        self._last_moved_s[instance] = self._now_s
        self._moved_now[group] = self._moved_now.get(group, 0) + 1
        self._spent += 1

    def memory(self, instances: Mapping[str, object]) -> StabilityMemory:
        """For the next tick; instances that are gone are forgotten."""
        last_moved_s = {name: at for name, at in self._last_moved_s.items() if name in instances}
        return StabilityMemory(last_moved_s, self._spent, self._now_s, self._received_s)
