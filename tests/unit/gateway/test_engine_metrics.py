"""vLLM's metrics of all instances on one page."""

from prometheus_client.parser import text_string_to_metric_families

from saccade.serving.gateway.engine_metrics import EngineMetrics
from tests.unit.gateway.fakes import SPLIT, WHOLE, Cluster, Script

WAITING = "vllm:num_requests_waiting"


async def shown(engines: EngineMetrics) -> dict[str, float]:
    """Instance to its value."""
    text = (await engines.exposition()).decode()
    return {
        sample.labels["instance"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == WAITING and sample.labels["engine"] == "0"
    }


async def test_every_engine_is_asked_and_named() -> None:
    cluster = Cluster(SPLIT | WHOLE)
    assert await shown(EngineMetrics(cluster.instances)) == {
        "prefill-0": 1.0,
        "decode-0": 1.0,
        "llm-0": 1.0,
    }
    assert cluster.world.count("metrics", "encode-0") == 0


async def test_all_engines_share_one_family() -> None:
    text = (await EngineMetrics(Cluster(SPLIT).instances).exposition()).decode()
    assert text.count(f"# TYPE {WAITING} gauge") == 1


async def test_an_engine_that_is_too_busy_is_shown_as_it_was() -> None:
    cluster = Cluster(WHOLE, Script())
    engines = EngineMetrics(cluster.instances, timeout_s=0.01)
    assert await shown(engines) == {"llm-0": 1.0}
    cluster.world.script.hang = "asking for metrics"
    assert await shown(engines) == {"llm-0": 1.0}


async def test_an_engine_that_is_gone_is_not_shown() -> None:
    cluster = Cluster(SPLIT)
    engines = EngineMetrics(cluster.instances)
    await shown(engines)
    cluster.instances["decode-0"].alive = False
    assert await shown(engines) == {"prefill-0": 2.0}


def test_roles_and_what_is_worked_on_are_those_of_the_moment() -> None:
    cluster = Cluster(WHOLE)
    cluster.metrics.instances.watch(cluster.instances)
    llm = cluster.instances["llm-0"]
    llm.roles = frozenset({"decode"})
    with llm.working("decode"), llm.working("decode"):
        decode = {"instance": "llm-0", "role": "decode"}
        prefill = {"instance": "llm-0", "role": "prefill"}
        assert cluster.metric("instance_roles", **decode) == 1
        assert cluster.metric("instance_roles", **prefill) == 0
        assert cluster.metric("instance_stage_requests", **decode) == 2
        assert cluster.metric("instance_stage_requests", **prefill) == 0
    assert cluster.metric("instance_stage_requests", **decode) == 0
