"""What the gateway counts. One registry, handed in; nothing global."""

from typing import TYPE_CHECKING, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

import saccade
from saccade.serving.errors import OverloadedError, RefusalReason
from saccade.serving.gateway.instance_metrics import InstanceMetrics
from saccade.serving.gateway.latency import LATENCY_BUCKETS_S, LatencyMetrics
from saccade.serving.gateway.prefix_metrics import PrefixMetrics
from saccade.serving.gateway.visual_metrics import VisualCacheMetrics

if TYPE_CHECKING:
    from saccade.serving.instance.actor import InstanceCheck

# A second series for each counter that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

STAGE_BUCKETS_S = LATENCY_BUCKETS_S

# The reasons of `OverloadedError`.
REFUSAL_REASONS = get_args(RefusalReason)

LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


class GatewayMetrics:
    """Prometheus metrics of one gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "saccade_requests",
            "Requests by route, modality (text, image) and HTTP status.",
            ["route", "modality", "status"],
            registry=registry,
        )
        self.running = Gauge(
            "saccade_requests_running", "Answers being worked on.", registry=registry
        )
        self.queued = Gauge(
            "saccade_requests_queued", "Requests waiting to be admitted.", registry=registry
        )
        self.bytes_in_flight = Gauge(
            "saccade_bytes_in_flight",
            "Bodies, pictures and clips of all requests that are not answered yet.",
            registry=registry,
        )
        self.loop_lag = Histogram(
            "saccade_event_loop_lag_seconds",
            "How much later than asked for the gateway's event loop woke up, a hundred times a "
            "second.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.latency = LatencyMetrics(registry)
        self.stage_seconds = Histogram(
            "saccade_stage_seconds",
            "Time in a stage, its queue on the instance included.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.kv_handovers = Counter(
            "saccade_kv_handovers",
            "Prefills that were held for another instance.",
            registry=registry,
        )
        self.kv_transfers = Counter(
            "saccade_kv_transfers",
            "KV caches handed from a prefill to a decode instance.",
            registry=registry,
        )
        self.kv_released = Counter(
            "saccade_kv_released",
            "Held prefills that were given up without a transfer.",
            registry=registry,
        )
        self.kv_retries = Counter(
            "saccade_kv_retries",
            "Prefills repeated because the hand-over failed or its lease ran out.",
            registry=registry,
        )
        self.visual_tokens = Counter(
            "saccade_visual_tokens",
            "Visual tokens of pictures, encoded or from a cache (in), and given to the LLM (kept).",
            ["stage"],
            registry=registry,
        )
        self.refusals = Counter(
            "saccade_admission_refusals",
            "Requests that were refused for want of room, by reason.",
            ["reason"],
            registry=registry,
        )
        self.visual_cache = VisualCacheMetrics(registry)
        self.prefixes = PrefixMetrics(registry)
        self.prompt_tokens = Counter(
            "saccade_prompt_tokens", "Tokens of prompts, as the LLM saw them.", registry=registry
        )
        self.generation_tokens = Counter(
            "saccade_generation_tokens", "Tokens generated.", registry=registry
        )
        self.instance_up = Gauge(
            "saccade_instance_up", "1 while the instance answers.", ["instance"], registry=registry
        )
        self.instance_unfinished = Gauge(
            "saccade_instance_unfinished_requests",
            "Requests that an instance's engine has not ended, at its latest check.",
            ["instance"],
            registry=registry,
        )
        self.instances = InstanceMetrics(registry)
        self.build_info = Gauge(
            "saccade_build_info", "1, with the version.", ["version"], registry=registry
        )
        self.build_info.labels(saccade.__version__).set(1)
        for reason in REFUSAL_REASONS:
            self.refusals.labels(reason)
        for stage in ("in", "kept"):
            self.visual_tokens.labels(stage)

    def on_refusal(self, error: OverloadedError) -> None:
        """A request got no room."""
        if error.reason is not None:
            self.refusals.labels(error.reason).inc()

    def on_check(self, instance: str, check: "InstanceCheck | None") -> None:
        """What the latest check of an instance has found; None: it does not answer."""
        self.instance_up.labels(instance).set(check is not None)
        num_unfinished = 0 if check is None else check.num_unfinished
        self.instance_unfinished.labels(instance).set(num_unfinished)
        self.visual_cache.report(instance, {} if check is None else check.visual_cache)
