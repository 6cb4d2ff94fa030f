"""Instances that change roles, fail and recover."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from saccade.scheduler.cluster import ROLES, Role
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.metrics import Metrics
from saccade.scheduler.simulator.pipeline import Pipeline
from saccade.scheduler.simulator.policies.base import Policy, RoleMove


@dataclass(frozen=True)
class Failure:
    """Instance `index` is lost at `at_s` and back, with empty memory, `repair_s` later."""

    at_s: float
    index: int
    repair_s: float


def random_failures(
    num_instances: int, duration_s: float, mean_between_s: float, repair_s: float, seed: int
) -> list[Failure]:
    """Poisson over the cluster: one every `mean_between_s`, on an instance drawn evenly."""
    rng = np.random.default_rng([seed, 0xFA11])
    times = np.cumsum(rng.exponential(mean_between_s, 16 + int(4 * duration_s / mean_between_s)))
    times = times[times < duration_s]
    which = rng.integers(0, num_instances, times.size)
    return [
        Failure(at_s, index, repair_s)
        for at_s, index in zip(times.tolist(), which.tolist(), strict=True)
    ]


class Changes:
    """Carries out moves of roles, losses and repairs."""

    def __init__(self, pipeline: Pipeline, policy: Policy, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._events = pipeline.events
        self._policy = policy
        self._metrics = metrics
        self._moves: dict[int, tuple[RoleMove, float]] = {}
        pipeline.on_between_steps = self.emptied

    # Moves ---------------------------------------------------------------------------------------

    def begin(self, move: RoleMove) -> bool:
        """Empty the instance for its new roles; False when it cannot move now."""
        instance = move.instance
        same = instance.roles == move.roles and instance.group == move.group
        if not instance.open or same:
            return False
        instance.moving = True
        self._moves[instance.index] = (move, self._events.now_s)
        self._policy.roles_changed(instance)
        lost = instance.roles if move.group != instance.group else instance.roles - move.roles
        self._metrics.migrated_kv_tokens += self._pipeline.evacuate(instance, lost)
        self._metrics.role_change(self._events.now_s, instance, "moving")
        self._pipeline.stepper.wake(instance)
        self.emptied(instance)
        return True

    def emptied(self, instance: Instance) -> None:
        """Flip it, if nothing that has to go is left on it."""
        entry = self._moves.get(instance.index)
        if entry is None or not instance.alive:
            return
        move, began_s = entry
        kept = frozenset[Role]() if move.group != instance.group else instance.roles & move.roles
        if _occupied(instance, kept):
            return
        del self._moves[instance.index]
        span_s = self._pipeline.costs.model.flip_s + move.reload_s
        self._metrics.drain_s += self._events.now_s - began_s
        self._events.after(span_s, self._flip, move, instance.epoch)

    def _flip(self, move: RoleMove, epoch: int) -> None:
        instance = move.instance
        if epoch != instance.epoch:
            return
        instance.roles, instance.group, instance.moving = move.roles, move.group, False
        self._metrics.num_flips += 1
        self._open(instance)

    def _open(self, instance: Instance) -> None:
        self._metrics.role_change(self._events.now_s, instance, "/".join(_sorted(instance.roles)))
        self._policy.roles_changed(instance)
        self._pipeline.retry_parked()
        self._pipeline.stepper.wake(instance)

    # Failures ------------------------------------------------------------------------------------

    def schedule(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._events.at(failure.at_s, self._fail, failure)

    def _fail(self, failure: Failure) -> None:
        instance = self._pipeline.instances[failure.index]
        if not instance.alive:
            return
        self._pipeline.stepper.halt_decode(instance)
        instance.alive = False
        instance.epoch += 1
        entry = self._moves.pop(instance.index, None)
        if entry is not None:
            instance.roles, instance.group = entry[0].roles, entry[0].group
        self._metrics.num_failures += 1
        self._metrics.role_change(self._events.now_s, instance, "failed")
        self._policy.roles_changed(instance)
        self._pipeline.lose(instance)
        _wipe(instance)
        self._policy.memory_lost(instance)
        self._events.after(failure.repair_s, self._repair, instance)

    def _repair(self, instance: Instance) -> None:
        instance.alive, instance.moving = True, False
        self._open(instance)


def _occupied(instance: Instance, kept: frozenset[Role]) -> bool:
    """Something runs, or a role that it gives up still has work."""
    if instance.stepping or instance.running or instance.partial is not None:
        return True
    if "decode" not in kept and (instance.num_decoding or instance.kv_waiting):
        return True
    return "prefill" not in kept and bool(instance.prefill_queue)


def _wipe(instance: Instance) -> None:
    """Nothing of it survives a failure."""
    instance.stepping = instance.segment = False
    instance.plan += 1
    instance.running = []
    instance.partial = None
    instance.encoding = None
    instance.prefill_queue.clear()
    instance.joining.clear()
    instance.kv_waiting.clear()
    instance.kv_used_tokens = 0
    instance.visual_cache.clear()
    instance.prefix_cache.clear()


def _sorted(roles: frozenset[Role]) -> list[Role]:
    return [role for role in ROLES if role in roles]
