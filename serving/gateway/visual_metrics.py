"""What the visual-token cache counts."""

from collections import Counter as Counted
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from saccade.serving.caches.stats import TIERS, Source, Tier, TierStats

GATEWAY = "gateway"
"""Stands for an instance's name where the gateway keeps the books: the tier `shared`."""

Report = Mapping[Tier, TierStats]


class VisualCacheMetrics(Collector):
    """Each picture of each request is a hit of one tier, a join, or a miss."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reports: dict[str, Report] = {}
        self._gateway: Callable[[], Report] = dict
        self._pictures: Counted[Source] = Counted()
        self._saved_ms: defaultdict[Source, float] = defaultdict(float)
        self.hits = Counter(
            "saccade_visual_cache_hits",
            "Pictures whose visual tokens were kept, by tier: shared (Ray's object store), memory "
            "and disk (of the encode instance).",
            ["tier"],
            registry=registry,
        )
        self.misses = Counter(
            "saccade_visual_cache_misses", "Pictures that were encoded.", registry=registry
        )
        self.joins = Counter(
            "saccade_visual_cache_joins",
            "Pictures that another request was having encoded at that moment.",
            registry=registry,
        )
        self.saved_seconds = Counter(
            "saccade_visual_cache_saved_seconds",
            "Preprocessing and encoding that hits have spared, as it was timed when it was done, "
            "without queues.",
            ["tier"],
            registry=registry,
        )
        for tier in TIERS:
            self.hits.labels(tier)
            self.saved_seconds.labels(tier)
        registry.register(self)

    def count(self, source: Source, saved_ms: float) -> None:
        """One picture of one request."""
        self._pictures[source] += 1
        self._saved_ms[source] += saved_ms
        if source == "encoded":
            self.misses.inc()
        elif source == "joined":
            self.joins.inc()
        else:
            self.hits.labels(source).inc()
            self.saved_seconds.labels(source).inc(saved_ms / 1e3)

    def report(self, instance: str, report: Report) -> None:
        """What an instance has said of its tiers."""
        self._reports[instance] = report

    def watch_gateway(self, report: Callable[[], Report]) -> None:
        """Asked at every look at the metrics."""
        self._gateway = report

    def rows(self) -> list[tuple[str, Tier, TierStats]]:
        """Instance, tier and its numbers, of all tiers that there are."""
        reports = {GATEWAY: self._gateway(), **self._reports}
        return [
            (instance, tier, stats)
            for instance, report in reports.items()
            for tier, stats in report.items()
        ]

    def totals(self) -> dict[str, Any]:
        """Pictures of all requests by where their visual tokens came from, as JSON has it."""
        return {
            "encoded": self._pictures["encoded"],
            "joined": self._pictures["joined"],
            "hits": {tier: self._pictures[tier] for tier in TIERS},
            "saved_ms": {tier: round(self._saved_ms[tier], 3) for tier in TIERS},
        }

    def collect(self) -> Iterator[Metric]:
        """Implements prometheus_client's `Collector`; numbers of instances are seconds old."""
        labels = ["instance", "tier"]
        gauges = {
            "bytes": "Bytes that a tier holds.",
            "entries": "Visual tokens of so many pictures are held.",
            "budget_bytes": "Bytes that a tier may hold.",
        }
        counters = {
            "evictions": "Entries that had to make room for others.",
            "corrupted": "Entries that were not whole any more, and were computed again.",
            "errors": "Reads and writes that the disk has refused.",
        }
        families = {
            name: GaugeMetricFamily(f"saccade_visual_cache_{name}", text, labels=labels)
            for name, text in gauges.items()
        } | {
            name: CounterMetricFamily(f"saccade_visual_cache_{name}", text, labels=labels)
            for name, text in counters.items()
        }
        for instance, tier, stats in self.rows():
            values = {
                "bytes": stats.num_bytes,
                "entries": stats.num_entries,
                "budget_bytes": stats.budget_bytes,
                "evictions": stats.num_evictions,
                "corrupted": stats.num_corrupted,
                "errors": stats.num_errors,
            }
            for name, value in values.items():
                families[name].add_metric([instance, tier], value)
        yield from families.values()
