"""A prefill that another instance is to take over.

The prefilling instance holds the KV blocks under a lease. Pulling them twice, or after the lease,
gives wrong tokens with a normal finish reason, so a hand-over can be taken exactly once, and only
while enough of its lease is left. The instances check the same on their side
(`serving.engine.nixl`), since a request may lie in a socket for longer than its lease.
"""

from dataclasses import dataclass, field


class HandoverSpentError(RuntimeError):
    """A hand-over was used a second time: an error of ours, never of a client."""


@dataclass(slots=True, eq=False)
class Handover:
    """vLLM's parameters for one pull."""

    instance: str
    params: bytes
    expires_at_s: float
    """Monotonic clock of this process."""
    lease_s: float
    pulled: bool = False
    """The pull is known to be complete; until then it has to be released in the end."""
    _taken: bool = field(default=False, init=False)

    def fresh(self, now_s: float) -> bool:
        """Whether a third of the lease is left, enough for a pull that starts now."""
        return self.expires_at_s - now_s >= self.lease_s / 3

    def take(self) -> bytes:
        """The parameters, for the one pull.

        Raises:
            HandoverSpentError: on the second call.
        """
        if self._taken:
            raise HandoverSpentError(f"the prefill held by {self.instance} was taken before")
        self._taken = True
        return self.params
