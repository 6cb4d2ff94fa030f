"""What vLLM counts in this process."""

from prometheus_client import REGISTRY, disable_created_metrics
from prometheus_client.metrics_core import Metric

# A second series for each counter and histogram that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


def engine_metrics() -> list[Metric]:
    """vLLM registers its metrics where everybody does; Ray's and Python's are left out."""
    return [metric for metric in REGISTRY.collect() if metric.name.startswith("vllm:")]
