from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from saccade.serving.caches.stats import TierStats
from saccade.serving.gateway.loop_lag import INTERVAL_S, watching_lag
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.instance.actor import InstanceCheck
from tests.unit.loop_clock import LoopClock


def a_sample(metrics: GatewayMetrics) -> Callable[..., float | None]:
    def sample(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"saccade_{name}", labels)

    return sample


def test_what_an_instance_reports_of_its_cache_is_shown_until_it_has_gone() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    sample = a_sample(metrics)
    disk = {"instance": "encode-0", "tier": "disk"}
    stats = TierStats(1000, 900, 3, num_evictions=7, num_corrupted=1, num_errors=2)
    metrics.on_check("encode-0", InstanceCheck(0, {"disk": stats}))
    assert sample("instance_up", instance="encode-0") == 1
    assert sample("visual_cache_bytes", **disk) == 900
    assert sample("visual_cache_budget_bytes", **disk) == 1000
    assert sample("visual_cache_entries", **disk) == 3
    assert sample("visual_cache_evictions_total", **disk) == 7
    assert sample("visual_cache_corrupted_total", **disk) == 1
    assert sample("visual_cache_errors_total", **disk) == 2
    metrics.on_check("encode-0", None)
    assert sample("instance_up", instance="encode-0") == 0
    assert sample("visual_cache_bytes", **disk) is None


def test_every_tier_has_its_series_from_the_start() -> None:
    sample = a_sample(GatewayMetrics(CollectorRegistry()))
    for tier in ("shared", "memory", "disk"):
        assert sample("visual_cache_hits_total", tier=tier) == 0
        assert sample("visual_cache_saved_seconds_total", tier=tier) == 0


async def test_a_loop_that_is_held_up_is_seen() -> None:
    clock = LoopClock()
    metrics = GatewayMetrics(CollectorRegistry())
    sample = a_sample(metrics)
    async with watching_lag(metrics.loop_lag):
        await clock.advance(0)
        await clock.advance(INTERVAL_S)
        assert sample("event_loop_lag_seconds_sum") == pytest.approx(0, abs=1e-6)
        await clock.advance(INTERVAL_S + 0.5)
        assert sample("event_loop_lag_seconds_sum") == pytest.approx(0.5, abs=1e-6)
    assert sample("event_loop_lag_seconds_count") == 2
