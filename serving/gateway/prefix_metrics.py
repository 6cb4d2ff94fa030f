"""What the index of prefix caches counts, and how right it is."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from saccade.serving.caches.prefix_index import PrefixIndex

ERROR_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)


class PrefixMetrics(Collector):
    """Expected are the tokens that the index said the chosen instance holds; cached, those whose KV
    that instance did not compute."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._index: PrefixIndex | None = None
        self._expected = self._cached = self._too_many = self._too_few = 0
        self._saved_s = 0.0
        self.expected_tokens = Counter(
            "saccade_prefix_expected_tokens",
            "Prompt tokens that the index said the chosen instance has in its prefix cache.",
            registry=registry,
        )
        self.cached_tokens = Counter(
            "saccade_prefix_cached_tokens",
            "Prompt tokens that were in the prefix cache of the instance that prefilled them.",
            registry=registry,
        )
        self.misjudged_tokens = Counter(
            "saccade_prefix_misjudged_tokens",
            "Differences of the two, answer by answer: the index said too_many, or too_few.",
            ["direction"],
            registry=registry,
        )
        self.saved_seconds = Counter(
            "saccade_prefix_saved_seconds",
            "Prefill that cached tokens have spared, by the cost model.",
            registry=registry,
        )
        self.ahead_tokens = Counter(
            "saccade_prefix_ahead_tokens",
            "Text before a picture that was prefilled while the picture was being encoded.",
            registry=registry,
        )
        self.cost_model_error = Histogram(
            "saccade_cost_model_error_ratio",
            "By how much the cost model was wrong: |expected - measured| / measured.",
            ["stage"],
            buckets=ERROR_BUCKETS,
            registry=registry,
        )
        for direction in ("too_many", "too_few"):
            self.misjudged_tokens.labels(direction)
        registry.register(self)

    def watch(self, index: PrefixIndex) -> None:
        """Asked at every look at the metrics."""
        self._index = index

    def count(self, expected: int | None, cached: int, saved_s: float) -> None:
        """One answer; without an expectation when placement did not ask the index."""
        self._cached += cached
        self._saved_s += saved_s
        self.cached_tokens.inc(cached)
        self.saved_seconds.inc(max(0.0, saved_s))
        if expected is None:
            return
        self._expected += expected
        self.expected_tokens.inc(expected)
        if expected > cached:
            self._too_many += expected - cached
            self.misjudged_tokens.labels("too_many").inc(expected - cached)
        elif cached > expected:
            self._too_few += cached - expected
            self.misjudged_tokens.labels("too_few").inc(cached - expected)

    def count_cost(self, stage: str, expected_s: float, measured_s: float) -> None:
        """A stage that had its instance to itself, and what the cost model said before."""
        if measured_s > 0:
            error = abs(expected_s - measured_s) / measured_s
            self.cost_model_error.labels(stage).observe(error)

    def totals(self) -> dict[str, Any]:
        """As JSON has it, with a row for each instance that is followed."""
        rows = self._index.blocks() if self._index else {}
        return {
            "expected_tokens": self._expected,
            "cached_tokens": self._cached,
            "too_many_tokens": self._too_many,
            "too_few_tokens": self._too_few,
            "saved_ms": round(self._saved_s * 1e3, 3),
            "instances": [
                {
                    "instance": name,
                    "blocks": len(blocks),
                    "batches": blocks.num_batches,
                    "gaps": blocks.num_gaps,
                    "rebuilds": blocks.num_rebuilds,
                }
                for name, blocks in rows.items()
            ],
        }

    def collect(self) -> Iterator[Metric]:
        """Implements prometheus_client's `Collector`."""
        labels = ["instance"]
        blocks = GaugeMetricFamily(
            "saccade_prefix_index_blocks", "KV blocks that an instance holds.", labels=labels
        )
        counters = {
            "batches": "Batches of KV events that were taken in.",
            "gaps": "Times that batches were missing before one that arrived.",
            "rebuilds": "Times that all that was known of an instance had to be forgotten.",
        }
        families = {
            name: CounterMetricFamily(f"saccade_prefix_index_{name}", text, labels=labels)
            for name, text in counters.items()
        }
        for row in self.totals()["instances"]:
            blocks.add_metric([row["instance"]], row["blocks"])
            for name, family in families.items():
                family.add_metric([row["instance"]], row[name])
        yield blocks
        yield from families.values()
