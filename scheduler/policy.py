"""The policies' settings, frozen. Every departure from the paper has a switch here,
but the price of decode, which is the cost model's (`CostModel.full_step_ratio`).

`docs/scheduling.md` gives the reason for each; `dataclasses.replace` makes an ablation.
"""

import math
from dataclasses import dataclass
from typing import Literal

from saccade.scheduler.cluster import ROLES, Role
from saccade.scheduler.requests import Priority


class UnknownModalityError(Exception):
    """No group serves a modality."""

    def __init__(self, modality: str, groups: tuple[str, ...]) -> None:
        super().__init__(
            f"no group serves the modality {modality!r} (groups: {', '.join(groups)}); "
            "name it in the `modalities` of one of them"
        )
        self.modality = modality


@dataclass(frozen=True, slots=True)
class SloPolicy:
    """What is promised, and what keeping it easily is worth."""

    ttft_s: float = 1.0
    """Time to the first token."""
    tpot_s: float = 0.05
    """Time between two tokens."""
    slack_weight: float = 0.1
    """What a second of latency within the promise counts; 1 as in the paper, without slack."""


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A modality group: which requests it takes and through which stages they go."""

    name: str
    modalities: frozenset[str]
    stages: tuple[Role, ...] = ROLES
    min_instances: int = 1
    """Never fewer, whatever the load."""

    def __post_init__(self) -> None:
        if not self.stages or self.min_instances < 1:
            raise ValueError(f"group {self.name!r} needs a stage and at least one instance")


TEXT_GROUP = GroupSpec("text", frozenset({"text"}), ("prefill", "decode"))
MULTIMODAL_GROUP = GroupSpec("multimodal", frozenset({"image", "video"}))
ONE_GROUP = GroupSpec("all", frozenset({"text", "image", "video", "generation"}))


@dataclass(frozen=True, slots=True)
class IsolationPolicy:
    """From fully shared (0) to hard groups (1)."""

    level: float = 1.0
    reference_s: float = 0.5
    """At level 0.5 a request leaves its group when that saves it this much waiting."""
    reserve_ratio: float = 1.25
    """A group keeps this many times what it needs (so it is busy for 80 % of the time), up to an
    equal share, whatever the others need; 0 as in the paper, where one group's overload is
    everybody's."""

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 1:
            raise ValueError(f"isolation level {self.level} is not between 0 and 1")

    @property
    def penalty_s(self) -> float:
        """What placement adds to the waiting time outside the request's own group."""
        if self.level >= 1:
            return math.inf
        return self.reference_s * self.level / (1 - self.level)


@dataclass(frozen=True, slots=True)
class ProactivePolicy:
    """Allocation by burst tolerance (Eq. 1)."""

    enabled: bool = True
    period_s: float = 60.0
    history_s: float = 600.0
    """Time constant of the averages that stand for N_avg."""
    min_gain_ratio: float = 0.1
    """The smallest burst tolerance has to rise by this part before anything moves."""


@dataclass(frozen=True, slots=True)
class ReactivePolicy:
    """Pre-emption between groups in a burst."""

    enabled: bool = True
    give_back: bool = True
    """Return what was pre-empted when the burst is over; otherwise the next proactive round
    does."""
    harmless_s: float = 1.0
    """Request-seconds that the group which returns an instance may lose more than its home
    gains."""
    window_s: float = 5.0
    """Time constant of the rates that show a burst."""
    num_sigmas: float = 3.0
    """A burst begins above the mean rate and this many standard deviations,"""
    min_excess_instances: float = 0.25
    """if what comes in excess would keep this part of an instance busy."""
    begin_wait_ratio: float = 0.5
    """A burst begins, too, when the head of the queue has waited for this part of the SLO."""
    end_wait_ratio: float = 0.1
    """It ends below this part of it, with the rate back at the mean."""


@dataclass(frozen=True, slots=True)
class StagePolicy:
    """Roles within a group (Eq. 2 and 3)."""

    enabled: bool = True
    encode_elasticity: bool = True
    """Gain and cost for encode instances too, which the paper leaves open."""
    units: Literal["seconds", "per_token"] = "seconds"
    """per_token: the paper's division by input_len and output_len."""
    migration: Literal["once", "per_request"] = "once"
    """per_request: M(e) inside the sum over requests, as the equations are printed."""
    penalty_weight: float = 1.0
    """w of the equations."""
    horizon_s: float = 20.0
    """Arrivals of this long count beside what is there; 0 as in the paper. Twice as long as a move
    has to last (`min_settle_s`): a stage that falls behind slowly costs nothing at first."""
    switch_back: bool = True
    """The cost holds the way back too."""
    joint_delay: bool = True
    """Encode and prefill are as late as the slower of them makes a request; False: each by itself,
    as in the paper."""
    window_s: float = 20.0
    """Time constant of the rates that stand for those arrivals outside a burst."""
    kv_limit_ratio: float = 0.9
    """Decode instances above this part of their KV capacity cannot take more."""


@dataclass(frozen=True, slots=True)
class StabilityPolicy:
    """What keeps instances from flapping."""

    min_dwell_s: float = 5.0
    """An instance stays at least this long in a role and group."""
    min_settle_s: float = 10.0
    """A stage or group that was given an instance gives none for this long. The gain was reckoned
    over the horizon; who gives sooner only moves the bottleneck around."""
    hysteresis_ratio: float = 0.25
    """Gain has to exceed the cost by this part."""
    min_gain_s: float = 1.0
    """And by so many request-seconds: less is lost in the noise of the estimates."""
    max_moves_per_tick_ratio: float = 0.125
    """Of a group's instances; one is always allowed."""
    max_flips_per_instance_hour: float = 20.0
    """Bound on moves of the cluster: this many times its instances in any hour. A quarter of them
    may be made at once, the others as the hour goes by, so that nobody has to stand still for an
    hour after a bad quarter."""


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """Where one request runs."""

    prefix_affinity: bool = True
    visual_affinity: bool = True
    share_visual_cache: bool = True
    """Visual tokens are fetched from whoever holds them; otherwise they help only where they
    lie."""
    max_holders: int = 16
    """Holders of a cache key are looked at one by one up to so many. What more hold, a system
    prompt say, is looked for from the head of the queue ordering."""
    max_walk: int = 16
    """But not further than so many instances: what is missed is worth less than that key saves."""


@dataclass(frozen=True, slots=True)
class FairnessPolicy:
    """The order of waiting requests within a group."""

    enabled: bool = True
    """Off: first come, first served."""
    ageing: float = 0.1
    """Seconds of service that a second of waiting is worth."""
    interactive_weight: float = 4.0
    standard_weight: float = 2.0
    batch_weight: float = 1.0

    def weight(self, priority: Priority) -> float:
        if priority == "interactive":
            return self.interactive_weight
        return self.standard_weight if priority == "standard" else self.batch_weight


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be in flight at once; None is no bound."""

    requests: int | None = None
    visual_tokens: int | None = None
    num_bytes: int | None = None
    pixels: int | None = None


NO_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """Who is let in."""

    modalities: tuple[tuple[str, Budget], ...] = ()
    tenants: tuple[tuple[str, Budget], ...] = ()
    any_tenant: Budget = NO_BUDGET
    """For every tenant that `tenants` does not name, each for itself."""
    max_wait_s: float = 30.0
    """Refuse what would wait longer for its first stage."""
    standard_share: float = 0.9
    """Part of each bound that standard requests may fill; interactive ones may fill all."""
    batch_share: float = 0.7
    shed_late: bool = True
    """Refuse what can no longer meet its deadline."""
    min_retry_after_s: float = 1.0
    max_retry_after_s: float = 120.0

    def share(self, priority: Priority) -> float:
        if priority == "interactive":
            return 1.0
        return self.standard_share if priority == "standard" else self.batch_share


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides, besides the cost model."""

    groups: tuple[GroupSpec, ...] = (TEXT_GROUP, MULTIMODAL_GROUP)
    slo: SloPolicy = SloPolicy()
    tick_s: float = 1.0
    isolation: IsolationPolicy = IsolationPolicy()
    proactive: ProactivePolicy = ProactivePolicy()
    reactive: ReactivePolicy = ReactivePolicy()
    stages: StagePolicy = StagePolicy()
    stability: StabilityPolicy = StabilityPolicy()
    placement: PlacementPolicy = PlacementPolicy()
    fairness: FairnessPolicy = FairnessPolicy()
    admission: AdmissionPolicy = AdmissionPolicy()

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"groups need names of their own, at least one: {names}")

    def group_of(self, modality: str) -> GroupSpec:
        """The first group that takes it; UnknownModalityError when none does."""
        for group in self.groups:
            if modality in group.modalities:
                return group
        raise UnknownModalityError(modality, tuple(group.name for group in self.groups))

    def group(self, name: str) -> GroupSpec:
        return next(group for group in self.groups if group.name == name)


ONE_POOL = Policy(groups=(ONE_GROUP,), isolation=IsolationPolicy(level=0.0))
"""No groups: every instance may take every request."""
