"""ElasticMM with one of its settings changed: what each addition to the paper is worth.

Each switch undoes one row of the tables of departures in `docs/scheduling.md`, which give the
reasons. A policy is made of each by its name, `elasticmm-` and the switch's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from saccade.scheduler.policy import GroupSpec, Policy

_UNBOUNDED_FLIPS = 3600.0
_BATCH_64_STEP_RATIO = 1.5


@dataclass(frozen=True)
class Switch:
    """Settings that differ from the scheduler's own."""

    title: str
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """By part of the policy: the fields that are changed, and to what."""
    full_step_ratio: float | None = None
    """The price of decode, which is the cost model's."""
    one_for_each_stage: bool = False
    """A group has an instance for each of its stages, however small it is."""

    def applied_to(self, policy: Policy) -> Policy:
        parts = {
            name: replace(getattr(policy, name), **changes)
            for name, changes in self.settings.items()
        }
        if self.one_for_each_stage:
            parts["groups"] = tuple(map(_one_for_each_stage, policy.groups))
        return replace(policy, **parts)


def _one_for_each_stage(spec: GroupSpec) -> GroupSpec:
    return replace(spec, min_instances=len(spec.stages))


_EQUATIONS = {
    "units": "per_token", "migration": "per_request", "horizon_s": 0.0, "switch_back": False,
    "joint_delay": False,
}  # fmt: skip
_NO_BRAKE = {
    "min_dwell_s": 0.0, "min_settle_s": 0.0, "hysteresis_ratio": 0.0, "min_gain_s": 0.0,
    "max_moves_per_tick_ratio": 1.0, "max_flips_per_instance_hour": _UNBOUNDED_FLIPS,
}  # fmt: skip

SWITCHES: Mapping[str, Switch] = {
    # All at once.
    "literal": Switch(
        "the equations as printed, without any addition",
        {
            "stages": _EQUATIONS,
            "slo": {"slack_weight": 1.0},
            "isolation": {"reserve_ratio": 0.0},
            "stability": _NO_BRAKE,
        },
    ),
    # Groups.
    "fully-shared": Switch(
        "one pool: no isolation of text from pictures", {"isolation": {"level": 0.0}}
    ),
    "hard-groups": Switch(
        "hard groups: no instance crosses over in a burst", {"reactive": {"enabled": False}}
    ),
    "no-proactive": Switch("no allocation by Eq. 1", {"proactive": {"enabled": False}}),
    "no-give-back": Switch(
        "what is lent comes back by Eq. 1 alone", {"reactive": {"give_back": False}}
    ),
    "no-reserve": Switch(
        "a group in need takes what another needs too", {"isolation": {"reserve_ratio": 0.0}}
    ),
    "no-burst-floor": Switch(
        "a burst by its rate alone, however small", {"reactive": {"min_excess_instances": 0.0}}
    ),
    "one-for-each-stage": Switch(
        "no instance serves two stages, however small its group", one_for_each_stage=True
    ),
    # Eq. 2 and 3.
    "per-token": Switch(
        "gain and cost in seconds per token, not seconds", {"stages": {"units": "per_token"}}
    ),
    "migration-per-request": Switch(
        "migration charged to each request", {"stages": {"migration": "per_request"}}
    ),
    "no-horizon": Switch("gains without future arrivals", {"stages": {"horizon_s": 0.0}}),
    "short-horizon": Switch(
        "future arrivals of 10 s: as long as a move has to last", {"stages": {"horizon_s": 10.0}}
    ),
    "no-window": Switch(
        "rates of the last second, trusted from the first on", {"stages": {"window_s": 1.0}}
    ),
    "no-switch-back": Switch("costs without the way back", {"stages": {"switch_back": False}}),
    "no-slack": Switch(
        "every second counts, within the SLO or beyond it", {"slo": {"slack_weight": 1.0}}
    ),
    "separate-delays": Switch(
        "encode and prefill weighed each by itself", {"stages": {"joint_delay": False}}
    ),
    "fixed-encoders": Switch(
        "encode instances stay what they are", {"stages": {"encode_elasticity": False}}
    ),
    "decode-at-64": Switch(
        "decode priced at a batch of 64, not on a full instance",
        full_step_ratio=_BATCH_64_STEP_RATIO,
    ),
    # The order of those that wait.
    "no-fairness": Switch("first come, first served", {"fairness": {"enabled": False}}),
    "no-ageing": Switch("waiting counts for nothing", {"fairness": {"ageing": 0.0}}),
    # The brake.
    "no-stability": Switch("without any of the brakes below", {"stability": _NO_BRAKE}),
    "no-dwell": Switch("without the minimum dwell", {"stability": {"min_dwell_s": 0.0}}),
    "no-settle": Switch(
        "a stage gives as soon as it was given", {"stability": {"min_settle_s": 0.0}}
    ),
    "no-hysteresis": Switch(
        "any gain above its cost will do", {"stability": {"hysteresis_ratio": 0.0}}
    ),
    "no-min-gain": Switch("however small the gain", {"stability": {"min_gain_s": 0.0}}),
    "no-tick-bound": Switch(
        "any number of moves in a tick", {"stability": {"max_moves_per_tick_ratio": 1.0}}
    ),
    "no-flip-bound": Switch(
        "any number of moves in an hour",
        {"stability": {"max_flips_per_instance_hour": _UNBOUNDED_FLIPS}},
    ),
}
