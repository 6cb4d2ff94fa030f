"""One request as a trace knows it, and what a workload is."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Modality = Literal["text", "image"]

# Qwen2.5-VL: one token for a cell of 28 x 28 pixels.
PIXELS_PER_TOKEN = 28 * 28


class TraceRequest(NamedTuple):
    """A request before anything was decided about it."""

    arrival_s: float
    text_tokens: int
    output_tokens: int
    image_tokens: tuple[int, ...] = ()
    """Visual tokens of each picture."""
    image_keys: tuple[int, ...] = ()
    """Content of each picture; equal keys are the same picture. Empty: all are different."""
    prefix_keys: tuple[int, ...] = ()
    """Content of each block of the prompt, from its start; equal leading keys share KV."""
    prefix_block_tokens: int = 0
    tenant: str = "default"
    patience_s: float = float("inf")
    """The client goes away when no token came for so long after the arrival."""

    @property
    def modality(self) -> Modality:
        return "image" if self.image_tokens else "text"

    @property
    def input_tokens(self) -> int:
        return self.text_tokens + sum(self.image_tokens)


class Workload(Protocol):
    """A named stream of requests, in the order of their arrival."""

    @property
    def name(self) -> str: ...

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        """The same seed gives the same requests; read lazily, so that memory stays flat."""
        ...


@dataclass(frozen=True)
class FixedWorkload:
    """Requests that are in memory: a small trace, or a test."""

    name: str
    trace: tuple[TraceRequest, ...]

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        return iter(sorted(self.trace, key=lambda request: request.arrival_s))


@dataclass(frozen=True)
class ScaledWorkload:
    """A recorded workload from its first arrival on, at `speed` times its rate, cut to size."""

    base: Workload
    speed: float = 1.0
    limit_s: float = float("inf")
    """Of the new time."""
    limit_requests: int | None = None

    @property
    def name(self) -> str:
        return self.base.name if self.speed == 1 else f"{self.base.name} x{self.speed:g}"

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        first_s = None
        for number, request in enumerate(self.base.requests(seed)):
            first_s = request.arrival_s if first_s is None else first_s
            arrival_s = (request.arrival_s - first_s) / self.speed
            if arrival_s > self.limit_s or number == self.limit_requests:
                return
            yield request._replace(arrival_s=arrival_s)


def merged(streams: Iterable[Iterator[TraceRequest]]) -> Iterator[TraceRequest]:
    """One stream out of several, by arrival."""
    return heapq.merge(*streams, key=lambda request: request.arrival_s)
