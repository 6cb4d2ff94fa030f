"""How long requests take, in the field's terms; docs/metrics.md has the definitions."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Histogram

from saccade.serving.gateway.context import RequestContext
from saccade.serving.transport.instance_pb2 import GenerateChunk

# The bounds of an SLO are among them, or the share of requests that meet it could not be told.
LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
TOKEN_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
REQUEST_BUCKETS_S = (
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip

_LABELS = ["modality", "group"]


class LatencyMetrics:
    """Histograms by modality and by the group of instances that a request belongs to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ttft = Histogram(
            "saccade_time_to_first_token_seconds",
            "From a request's arrival to the first token that was sent for it.",
            _LABELS,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.itl = Histogram(
            "saccade_inter_token_latency_seconds",
            "Between two tokens of an answer, or two chunks where tokens come in several.",
            _LABELS,
            buckets=TOKEN_BUCKETS_S,
            registry=registry,
        )
        self.tpot = Histogram(
            "saccade_request_time_per_output_token_seconds",
            "From an answer's first token to its last, divided by the tokens behind the first.",
            _LABELS,
            buckets=TOKEN_BUCKETS_S,
            registry=registry,
        )
        self.e2e = Histogram(
            "saccade_e2e_request_latency_seconds",
            "From a request's arrival to the end of its response; of those that succeeded.",
            _LABELS,
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.queue_time = Histogram(
            "saccade_request_queue_time_seconds",
            "Wait for room (api.max_running), of requests that were admitted.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )


async def timed(
    chunks: AsyncGenerator[GenerateChunk, None],
    latency: LatencyMetrics,
    context: RequestContext,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[GenerateChunk, None]:
    """One answer's chunks, with the gaps between its tokens observed.

    TPOT is that of answers that came to their end: (last - first token) / (tokens - 1).
    """
    gaps_s = latency.itl.labels(context.modality, context.group)
    first_s = last_s = 0.0
    num_tokens = 0
    ended = False
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk.token_ids and context.pinned is None:
                now_s = clock()
                if num_tokens:
                    gaps_s.observe(now_s - last_s)
                else:
                    first_s = now_s
                last_s = now_s
                num_tokens += len(chunk.token_ids)
            ended = bool(chunk.finish_reason) and chunk.finish_reason != "error"
            yield chunk
    if ended and num_tokens > 1:
        tpot = latency.tpot.labels(context.modality, context.group)
        tpot.observe((last_s - first_s) / (num_tokens - 1))
