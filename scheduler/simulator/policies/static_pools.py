"""Any static split of one pool, by name: `static:2,4,2` are 2 encode, 4 prefill and 2 decode."""

from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.policies.base import ALL, Policy
from saccade.scheduler.simulator.policies.layouts import Layout, of
from saccade.scheduler.simulator.policies.static_split import DISAGGREGATED

PREFIX = "static:"


class StaticPools(Policy):
    title = "static split of one pool"
    traits = DISAGGREGATED

    def __init__(self, num_encode: int, num_prefill: int, num_decode: int) -> None:
        super().__init__()
        self.name = f"{PREFIX}{num_encode},{num_prefill},{num_decode}"
        self._layout = (
            [(ALL, of("encode"))] * num_encode
            + [(ALL, of("prefill"))] * num_prefill
            + [(ALL, of("decode"))] * num_decode
        )

    @classmethod
    def parse(cls, name: str) -> "StaticPools":
        try:
            encode, prefill, decode = (int(one) for one in name.removeprefix(PREFIX).split(","))
        except ValueError:
            raise SimulatorError(
                f"{name!r} is no static split; write {PREFIX}ENCODE,PREFILL,DECODE, "
                f"such as {PREFIX}2,4,2"
            ) from None
        if min(encode, prefill, decode) < 1:
            raise SimulatorError(f"{name!r}: each stage needs an instance")
        return cls(encode, prefill, decode)

    def layout(self, num_instances: int) -> Layout:
        if num_instances != len(self._layout):
            raise ValueError(f"is for {len(self._layout)} instances, not {num_instances}")
        return self._layout


def candidates(num_instances: int, work: tuple[float, float, float]) -> list[str]:
    """Names of the splits near the proportions of the work in each stage, nearest first."""
    total = sum(work)
    ideal = [num_instances * one / total for one in work]
    found = []
    for encode in range(1, num_instances - 1):
        for prefill in range(1, num_instances - encode):
            split = (encode, prefill, num_instances - encode - prefill)
            distance = max(abs(a - b) for a, b in zip(split, ideal, strict=True))
            found.append((distance, f"{PREFIX}{','.join(map(str, split))}"))
    return [name for _, name in sorted(found)]
