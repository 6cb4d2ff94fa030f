from prometheus_client import CollectorRegistry

from saccade.serving.caches.block_events import Batch, Stored
from saccade.serving.caches.prefix_index import PrefixIndex
from saccade.serving.gateway.prefix_metrics import PrefixMetrics


def test_each_instance_that_is_followed_has_its_numbers_until_it_is_dropped() -> None:
    registry = CollectorRegistry()
    metrics = PrefixMetrics(registry)
    index = PrefixIndex(10)
    metrics.watch(index)
    followed = index.add("llm-0")
    followed.on_batch(Batch(0, 1, (Stored((1, 2, 3)),)))
    followed.on_batch(Batch(5, 2, ()))
    followed.on_replay([Batch(5, 2, ())])

    def sample(name: str) -> float | None:
        return registry.get_sample_value(f"saccade_prefix_index_{name}", {"instance": "llm-0"})

    names = ("blocks", "batches_total", "gaps_total", "rebuilds_total")
    # The publisher did not have the batches before the last any more.
    assert [sample(name) for name in names] == [0, 1, 1, 1]
    followed.on_replay([Batch(5, 2, (Stored((1, 2, 3)),))])
    assert sample("blocks") == 3
    index.drop("llm-0")
    assert sample("blocks") is None


def test_totals_are_what_the_samples_are() -> None:
    registry = CollectorRegistry()
    metrics = PrefixMetrics(registry)
    metrics.count(96, 64, 0.5)
    metrics.count(None, 32, 0.25)
    totals = metrics.totals()
    assert (totals["expected_tokens"], totals["cached_tokens"]) == (96, 96)
    assert (totals["too_many_tokens"], totals["too_few_tokens"]) == (32, 0)
    assert totals["saved_ms"] == 750
    assert registry.get_sample_value("saccade_prefix_cached_tokens_total") == 96
    assert registry.get_sample_value("saccade_prefix_saved_seconds_total") == 0.75
