import pytest

from saccade.serving.api.probes import Readiness
from tests.unit.gateway.fakes import SPLIT, WHOLE, Cluster

TEXT_STAGES = ("prefill", "decode")


def ready(cluster: Cluster | None = None) -> Readiness:
    return Readiness((cluster or Cluster()).instances, warm=True)


def test_all_stages_and_a_warm_up_make_it_ready() -> None:
    assert ready().ready()
    assert ready().report() == {
        "ready": True,
        "draining": False,
        "warm": True,
        "stages": {
            "preprocess": True,
            "encode": True,
            "prune": True,
            "prefill": True,
            "decode": True,
        },
        "instances": {"encode-0": "ready", "prefill-0": "ready", "decode-0": "ready"},
    }


def test_it_is_not_ready_before_the_warm_up() -> None:
    readiness = Readiness(Cluster().instances)
    assert not readiness.ready()
    assert readiness.report()["warm"] is False


def test_it_is_not_ready_while_it_drains() -> None:
    readiness = ready()
    readiness.draining = True
    assert not readiness.ready()
    assert readiness.report()["draining"] is True


@pytest.mark.parametrize(
    ("dead", "stages"),
    [
        ("encode-0", {"preprocess", "encode", "prune"}),
        ("prefill-0", {"prefill"}),
        ("decode-0", {"decode"}),
    ],
)
def test_it_is_not_ready_without_an_instance_for_each_stage(dead: str, stages: set[str]) -> None:
    cluster = Cluster()
    cluster.instances[dead].alive = False
    report = ready(cluster).report()
    assert report["ready"] is False
    assert {stage for stage, served in report["stages"].items() if not served} == stages
    assert report["instances"][dead] == "failed"


def test_one_of_several_instances_may_be_dead() -> None:
    cluster = Cluster(SPLIT | {"decode-1": frozenset({"decode"})})
    cluster.instances["decode-0"].alive = False
    assert ready(cluster).ready()


def test_a_server_for_text_needs_no_encode_instance() -> None:
    cluster = Cluster({"llm-0": WHOLE["llm-0"]})
    assert not ready(cluster).ready()
    assert Readiness(cluster.instances, TEXT_STAGES, warm=True).ready()


def test_who_is_still_starting_is_shown_with_what_it_does() -> None:
    cluster = Cluster()
    del cluster.instances["decode-0"]
    starting = {"ray": "ready", "decode-0": "loading LLM", "encode-0": "importing libraries"}
    report = Readiness(cluster.instances, starting=starting).report()
    assert report["instances"] == {
        "decode-0": "loading LLM",
        "encode-0": "ready",
        "prefill-0": "ready",
    }


def test_only_instances_are_shown_as_instances() -> None:
    # The server reports its own steps at the same place.
    starting = {"ray": "starting", "gateway": "importing vLLM", "warm-up": "one request"}
    report = Readiness(Cluster().instances, starting=starting).report()
    assert report["instances"].keys() == SPLIT.keys()
