"""What is recorded of a run: raw times and counts. Everything else is computed from these.

Times are integers in nanoseconds after the run's start, all on one clock: the operating system's
monotonic one, which its processes share. `None` means that it did not happen.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

NS_PER_S = 1_000_000_000


class Modality(StrEnum):
    """What a request shows the model; with pictures and a video in one it is `video`."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"


class Status(StrEnum):
    """How a request ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    """By us: the run was interrupted while it was in flight."""


class ErrorKind(StrEnum):
    """Why a request failed."""

    CONNECT = "connect"
    """No connection."""
    REJECTED = "rejected"
    """Status 429 or 503: the server would not take it now."""
    HTTP_CLIENT = "http_4xx"
    HTTP_SERVER = "http_5xx"
    STREAM_ERROR = "stream_error"
    """An error event in a stream that had begun."""
    DISCONNECT = "disconnect"
    """The connection closed before the answer was complete."""
    TIMEOUT = "timeout"
    """Not complete within the plan's `timeout_s`."""
    PROTOCOL = "protocol"
    """What came is not what the API says."""
    EMPTY = "empty"
    """Ended properly, but without any content."""


class Phase(StrEnum):
    """Part of the run, by the time at which a request was scheduled."""

    WARMUP = "warmup"
    MEASURED = "measured"
    COOLDOWN = "cooldown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request that was sent, or was due and could not be."""

    id: str
    """Unique in the run; also sent as the header x-request-id."""
    session: int
    turn: int = 0
    component: str
    """Part of the workload that made it, such as `single-picture`."""
    modality: Modality
    phase: Phase = Phase.MEASURED

    scheduled_ns: int
    """When it should have been sent."""
    sent_ns: int | None = None
    """When the HTTP client was given it. Opening a connection counts as the server's time."""
    headers_ns: int | None = None
    """When the response's status line and headers were there."""
    content_ns: tuple[int, ...] = ()
    """Arrival of every chunk that carried content: text, reasoning or a tool call. Empty chunks,
    role-only chunks and the usage chunk are no content. One entry when not streamed."""
    end_ns: int | None = None
    """When the response had ended, or failed."""

    streamed: bool = True
    status: Status
    error_kind: ErrorKind | None = None
    error_message: str | None = None
    http_status: int | None = None
    finish_reason: str | None = None

    num_images: int = 0
    num_pixels: int = 0
    """Of all pictures and video frames."""
    body_bytes: int = 0
    wanted_input_tokens: int | None = None
    """Text tokens that the workload asked for."""
    wanted_output_tokens: int | None = None
    input_tokens: int | None = None
    """From the server's usage: what the LLM saw, visual tokens included."""
    visual_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    """From the server's usage; counted with the tokenizer, or else by chunks, if it gives none."""
    output_tokens_from: str | None = None
    """`usage`, `tokenizer` or `chunks`."""

    stages_s: Mapping[str, float] = field(default_factory=dict)
    """Server's own times by stage (preprocess, encode, prefill, decode), where it gives them."""
    answer: str | None = None
    expected: str | None = None
    correct: bool | None = None
    """Whether the answer was the expected one; None where nothing is expected."""

    @property
    def send_lag_s(self) -> float | None:
        """Actual minus scheduled send time: the client's own error, or want of connections."""
        return _seconds(self.scheduled_ns, self.sent_ns)

    @property
    def ttft_s(self) -> float | None:
        """First content chunk minus send. Undefined when not streamed."""
        return _seconds(self.sent_ns, self._first_ns)

    @property
    def scheduled_ttft_s(self) -> float | None:
        """First content chunk minus *scheduled* time: what a user who clicked then has waited."""
        return _seconds(self.scheduled_ns, self._first_ns)

    @property
    def e2e_s(self) -> float | None:
        """Last content chunk minus send; only of requests that succeeded."""
        return _seconds(self.sent_ns, self._last_ns) if self.status is Status.OK else None

    @property
    def scheduled_e2e_s(self) -> float | None:
        """Last content chunk minus *scheduled* time; only of requests that succeeded."""
        return _seconds(self.scheduled_ns, self._last_ns) if self.status is Status.OK else None

    @property
    def tpot_s(self) -> float | None:
        """(E2E - TTFT) / (N - 1), N the output tokens; undefined for N < 2."""
        e2e, ttft, n = self.e2e_s, self.ttft_s, self.output_tokens
        if e2e is None or ttft is None or n is None or n < 2:
            return None
        return (e2e - ttft) / (n - 1)

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Between successive content chunks: the ITL where each chunk is one token."""
        if not self.streamed:
            return ()
        return tuple((b - a) / NS_PER_S for a, b in itertools.pairwise(self.content_ns))

    @property
    def tokens_per_chunk(self) -> float | None:
        """Output tokens by content chunk; above 1 the gaps are inter-*chunk* latencies."""
        if not self.streamed or not self.content_ns or self.output_tokens is None:
            return None
        return self.output_tokens / len(self.content_ns)

    @property
    def normalised_input_s(self) -> float | None:
        """TTFT / input tokens (ElasticMM's normalised input latency)."""
        return _ratio(self.ttft_s, self.input_tokens)

    @property
    def normalised_output_s(self) -> float | None:
        """(E2E - TTFT) / output tokens (ElasticMM's normalised output latency)."""
        e2e, ttft = self.e2e_s, self.ttft_s
        return None if e2e is None or ttft is None else _ratio(e2e - ttft, self.output_tokens)

    @property
    def normalised_e2e_s(self) -> float | None:
        """E2E / output tokens (normalised latency of Orca and vLLM)."""
        return _ratio(self.e2e_s, self.output_tokens)

    @property
    def _first_ns(self) -> int | None:
        return self.content_ns[0] if self.content_ns and self.streamed else None

    @property
    def _last_ns(self) -> int | None:
        return self.content_ns[-1] if self.content_ns else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStage:
    """Mean over the run of one of the server's own duration histograms, from its /metrics."""

    metric: str
    labels: Mapping[str, str]
    count: int
    mean_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHealth:
    """How well the client itself kept up."""

    num_processes: int
    cpu_ratio: float
    """CPU time by elapsed time, of the busiest sending process; near 1 it is the bottleneck."""
    loop_lag_p99_s: float
    """By how much the event loop woke late, p99 over the run, of the worst process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run: what was asked for, and what happened."""

    label: str
    url: str
    model: str
    workload: str
    """In words, for titles: `single-picture`."""
    arrivals: str
    """In words, for titles: `Poisson, 5 requests/s`."""
    offered_rate: float | None = None
    """Mean arrivals per second that were asked for; None in a closed loop."""
    concurrency: int | None = None
    """Of a closed loop."""
    seed: int
    started_at: datetime
    origin_ns: int
    """The monotonic clock at the start, to lay the records beside other logs of this machine."""
    warmup_s: float
    cooldown_s: float
    schedule_s: float
    """Length of the schedule: what happened to be sent after it belongs to the last sessions."""
    end_ns: int
    """When the last response had ended."""
    interrupted: bool = False
    max_send_lag_s: float
    """The run's timing is not to be trusted if the p99 send lag is above this."""
    client: ClientHealth
    server_stages: tuple[ServerStage, ...] = ()
    requests: tuple[RequestRecord, ...]
    """By scheduled time."""

    @property
    def measured(self) -> tuple[RequestRecord, ...]:
        """Without warm-up, cool-down, and what an interruption cut off."""
        return tuple(
            r
            for r in self.requests
            if r.phase is Phase.MEASURED and r.status is not Status.CANCELLED
        )

    @property
    def window_s(self) -> tuple[float, float]:
        """Begin and end of the measured part of the schedule."""
        end = self.schedule_s - self.cooldown_s
        if self.interrupted:
            end = min(end, self.end_ns / NS_PER_S)
        return self.warmup_s, max(self.warmup_s, end)


def _seconds(begin_ns: int | None, end_ns: int | None) -> float | None:
    return None if begin_ns is None or end_ns is None else (end_ns - begin_ns) / NS_PER_S


def _ratio(value: float | None, by: int | None) -> float | None:
    return None if value is None or not by else value / by
