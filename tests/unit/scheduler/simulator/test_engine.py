"""Single requests whose times can be computed in the head."""

import pytest

from saccade.scheduler.cluster import Role
from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.engine import Options, Simulation
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.metrics import Metrics
from saccade.scheduler.simulator.policies.base import ALL, RoleMove
from saccade.scheduler.simulator.workloads.base import PIXELS_PER_TOKEN, TraceRequest
from tests.unit.scheduler.simulator.some_costs import SomeCosts, SomeLayout, of

MODEL = SomeCosts(preprocess_pixel_s=1e-6 / PIXELS_PER_TOKEN, transfer_s=0.02)
EPD = (of("encode"), of("prefill"), of("decode"))


def simulated(
    trace: list[TraceRequest], *roles: frozenset[Role], traits: EngineTraits | None = None,
    model: SomeCosts = MODEL,
) -> tuple[Simulation, Metrics]:  # fmt: skip
    policy = SomeLayout(*roles, traits=traits)
    simulation = Simulation(policy, model, Options(len(roles), noise_sigma=0.0))
    return simulation, simulation.run(iter(trace))


def ttft_s(metrics: Metrics, modality: str = "image") -> float:
    return metrics.by_modality["image" if modality == "image" else "text"].ttft_s.mean


def test_a_picture_goes_through_all_stages_and_transfers() -> None:
    # 0.5 ms of preprocessing, 0.5 s of encode, a transfer, 0.6 s of prefill, a transfer, 9 steps.
    _, metrics = simulated([TraceRequest(1.0, 100, 10, (500,))], *EPD)
    assert ttft_s(metrics) == pytest.approx(0.0005 + 0.5 + 0.02 + 0.6)
    assert metrics.by_modality["image"].e2e_s.mean == pytest.approx(1.1205 + 0.02 + 9 * 0.01)


def test_two_pictures_are_encoded_side_by_side_where_there_are_two_encoders() -> None:
    pair = [TraceRequest(0.0, 100, 1, (500, 500))]
    _, one = simulated(pair, *EPD)
    _, two = simulated(pair, of("encode"), *EPD)
    assert ttft_s(one) - ttft_s(two) == pytest.approx(0.5)


def test_a_picture_that_is_cached_is_neither_preprocessed_nor_encoded() -> None:
    traits = EngineTraits(visual_cache_tokens=1000)
    trace = [TraceRequest(t, 100, 1, (500,), (7,)) for t in (0.0, 10.0)]
    simulation, metrics = simulated(trace, *EPD, traits=traits)
    assert metrics.by_modality["image"].ttft_s.total == pytest.approx(2 * 0.62 + 0.5005)
    assert simulation.pipeline.visual_cache.hits == 1


def test_inline_encoding_halts_the_decoding_of_others() -> None:
    trace = [TraceRequest(0.0, 100, 100), TraceRequest(0.3, 100, 1, (500,))]
    inline = EngineTraits(inline_encode=True, blocking_preprocess=True)
    _, apart = simulated(trace, of("encode"), of("prefill", "decode"))
    _, coupled = simulated(trace, of("encode", "prefill", "decode"), traits=inline)
    text = [one.by_modality["text"].e2e_s.mean for one in (apart, coupled)]
    assert text[1] - text[0] == pytest.approx(0.5005)


def test_chunks_let_others_decode_between_them() -> None:
    trace = [TraceRequest(0.0, 100, 11), TraceRequest(0.105, 400, 1)]
    traits = EngineTraits(chunked_prefill=True, prefill_budget_tokens=101)
    _, whole = simulated(trace, of("prefill", "decode"))
    _, chunked = simulated(trace, of("prefill", "decode"), traits=traits)
    tpot = [one.by_modality["text"].tpot_s.mean for one in (whole, chunked)]
    # Four chunks of 100 tokens, each with one step of the other: 4 tokens instead of none.
    assert tpot[0] == pytest.approx((0.4 + 10 * 0.01) / 10)
    assert tpot[1] == pytest.approx((0.4 + 10 * 0.01) / 10, abs=0.005)
    assert chunked.by_modality["text"].ttft_s.mean > whole.by_modality["text"].ttft_s.mean


def test_a_shared_beginning_is_prefilled_once() -> None:
    traits = EngineTraits(prefix_cache=True)
    keys = {"prefix_keys": (1, 2), "prefix_block_tokens": 100}
    trace = [TraceRequest(t, 250, 1, **keys) for t in (0.0, 1.0)]  # type: ignore[arg-type]
    _, metrics = simulated(trace, of("prefill"), traits=traits)
    assert metrics.by_modality["text"].ttft_s.total == pytest.approx(0.25 + 0.05)


def test_a_request_waits_for_room_for_its_kv() -> None:
    model = SomeCosts(capacity_tokens=300)
    trace = [TraceRequest(0.0, 100, 101), TraceRequest(0.0, 100, 1)]
    _, metrics = simulated(trace, of("prefill", "decode"), model=model)
    assert metrics.by_modality["text"].ttft_s.total == pytest.approx(0.1 + 0.1 + 1.0 + 0.1)


def test_instances_that_wait_for_each_others_room_do_not_wait_for_ever() -> None:
    class Crossed(SomeLayout):
        """Decode on the other instance, always."""

        def choose_decode(self, job: Job, source: Instance) -> Instance | None:
            return self.instances[1 - source.index]

    both = of("prefill", "decode")
    model = SomeCosts(capacity_tokens=300, transfer_s=0.01)
    simulation = Simulation(Crossed(both, both), model, Options(2, noise_sigma=0.0))
    metrics = simulation.run(iter([TraceRequest(0.0, 100, 101), TraceRequest(0.0, 100, 101)]))
    assert metrics.num_ended["finished"] == 2


def test_what_can_never_fit_is_rejected_and_said() -> None:
    _, metrics = simulated([TraceRequest(0.0, 400, 1)], of("prefill"),
                           model=SomeCosts(capacity_tokens=300))  # fmt: skip
    assert metrics.num_ended == {"finished": 0, "cancelled": 0, "rejected": 1}


def test_a_client_that_goes_away_frees_its_place() -> None:
    trace = [TraceRequest(0.0, 1000, 1), TraceRequest(0.1, 1000, 1, patience_s=0.5),
             TraceRequest(0.2, 1000, 1)]  # fmt: skip
    _, metrics = simulated(trace, of("prefill"))
    assert metrics.num_ended == {"finished": 2, "cancelled": 1, "rejected": 0}
    assert metrics.last_end_s == pytest.approx(2.0)


def test_a_role_change_migrates_running_sequences_and_takes_the_time_of_a_flip() -> None:
    policy = SomeLayout(of("prefill"), of("decode"), of("decode"))
    simulation = Simulation(policy, MODEL, Options(3, noise_sigma=0.0))
    moving = simulation.instances[1]

    def move() -> None:
        simulation.changes.begin(RoleMove(moving, ALL, of("encode")))

    simulation.events.at(0.5, move)
    metrics = simulation.run(iter([TraceRequest(0.0, 100, 101)]))
    assert (metrics.num_flips, moving.roles) == (1, of("encode"))
    assert metrics.migrated_kv_tokens > 100
    # 100 steps, two transfers, and at most one step lost at the seam.
    e2e_s = metrics.by_modality["text"].e2e_s.mean
    assert 0.1 + 0.04 + 1.0 - 0.01 <= e2e_s <= 0.1 + 0.04 + 1.0 + 0.01
    states = [(round(time, 3), state) for time, index, _, state in metrics.timeline if index == 1]
    assert states == [(0.0, "decode"), (0.5, "moving"), (0.55, "encode")]
