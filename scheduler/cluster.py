"""What a decision may look at: the instances, their roles and their load."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["encode", "prefill", "decode"]


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance at one moment."""

    name: str
    resident: frozenset[Role]
    """Roles whose weights it keeps in memory."""
    roles: frozenset[Role]
    """Roles that it serves now; a subset of `resident`."""
    load: Mapping[Role, int] = field(default_factory=dict)
    """Requests that it is working on, by stage."""

    def busy(self, role: Role) -> int:
        return self.load.get(role, 0)

    @property
    def total_load(self) -> int:
        return sum(self.load.values())
