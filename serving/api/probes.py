"""Health: alive, ready, and why not."""

from dataclasses import dataclass, field
from typing import Any

from saccade.serving.gateway.context import STAGES
from saccade.serving.gateway.instances import Instances

# What the server itself goes through while it starts and stops.
_STEPS = frozenset({"ray", "gateway", "warm-up", "drain"})
# Encode instances also prepare pictures, and prune what they made.
_ROLE_OF_STAGE = {"preprocess": "encode", "prune": "encode"}


@dataclass(slots=True, eq=False)
class Readiness:
    """What `/readyz` tells."""

    instances: Instances
    stages: tuple[str, ...] = STAGES
    starting: dict[str, str] = field(default_factory=dict)
    """Instance name to what it is doing, until it is ready."""
    warm: bool = False
    """A warm-up request has gone through every instance."""
    draining: bool = False

    def stage_ready(self, stage: str) -> bool:
        role = _ROLE_OF_STAGE.get(stage, stage)
        return any(role in state.roles for state in self.instances.states())

    def ready(self) -> bool:
        return (
            self.warm
            and not self.draining
            and all(self.stage_ready(stage) for stage in self.stages)
        )

    def report(self) -> dict[str, Any]:
        states = dict(self.starting)
        states |= {
            name: "ready" if instance.alive else "failed"
            for name, instance in self.instances.items()
        }
        return {
            "ready": self.ready(),
            "draining": self.draining,
            "warm": self.warm,
            "stages": {stage: self.stage_ready(stage) for stage in self.stages},
            "instances": {name: state for name, state in states.items() if name not in _STEPS},
        }
