"""The cost model against the measured tables that its constants were fitted to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cost_model import GPUS, MODELS, UNIT, cost_model_of
from saccade.scheduler.requests import RequestShape, VisualItem

# Milliseconds, summed over the measured operators of Qwen2.5-VL-7B.
ENCODE_TOKENS = (64, 256, 529, 1024, 2691, 4096, 10549)
ENCODE_MS = {
    "h200": (2.1, 3.8, 6.5, 12.0, 31.1, 51.0, 172),
    "h100": (2.3, 4.2, 7.0, 12.8, 33.5, 54.6, 182),
    "a100": (4.0, 10.1, 18.1, 35.0, 92.8, 151, 512),
}
PREFILL_TOKENS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
PREFILL_MS = {
    "h200": (10.6, 20.1, 40.9, 86.8, 180, 395, 960),
    "h100": (11.4, 21.1, 40.9, 85.8, 184, 394, 958),
    "a100": (31.4, 59.9, 113, 231, 490, 1122, 2848),
}
BATCHES = (1, 8, 32, 64, 128, 256)
DECODE_MS = {
    ("h200", 512): (4.5, 4.7, 5.0, 5.7, 6.3, 9.1),
    ("h200", 8192): (4.7, 5.6, 8.3, 11.9, 18.9, 34.6),
    ("h100", 2048): (5.8, 6.2, 7.5, 8.8, 11.6, 17.8),
    ("a100", 2048): (10.5, 11.3, 13.3, 17.1, 23.2, 38.0),
    ("a100", 8192): (10.8, 13.1, 19.9, 32.7, 58.6, 102.7),
}


@pytest.mark.parametrize("gpu", ENCODE_MS)
def test_encoding_takes_what_was_measured(gpu: str) -> None:
    cost = cost_model_of(gpu)
    for tokens, measured_ms in zip(ENCODE_TOKENS, ENCODE_MS[gpu], strict=True):
        # The tables are rounded to a tenth of a millisecond.
        assert cost.encode_s(tokens) * 1e3 == pytest.approx(measured_ms, rel=0.03, abs=0.06)


@pytest.mark.parametrize("gpu", PREFILL_MS)
def test_prefill_takes_what_was_measured_and_the_engines_overhead(gpu: str) -> None:
    cost = cost_model_of(gpu)
    for tokens, measured_ms in zip(PREFILL_TOKENS, PREFILL_MS[gpu], strict=True):
        kernel_ms = (cost.prefill_s(tokens) - cost.gpu.step_overhead_s) * 1e3
        assert kernel_ms == pytest.approx(measured_ms, rel=0.12)


@pytest.mark.parametrize(("gpu", "context"), DECODE_MS)
def test_a_decode_step_takes_what_was_measured_and_the_engines_overhead(
    gpu: str, context: int
) -> None:
    cost = cost_model_of(gpu)
    for batch, measured_ms in zip(BATCHES, DECODE_MS[gpu, context], strict=True):
        step_ms = (cost.decode_step_s(batch, batch * context) - cost.gpu.step_overhead_s) * 1e3
        assert step_ms == pytest.approx(measured_ms, rel=0.12)


def test_kv_capacity_is_what_weights_and_activations_leave() -> None:
    assert cost_model_of("a100").kv_capacity_tokens() == pytest.approx(900_000, rel=0.01)
    assert cost_model_of("h200").kv_capacity_tokens() == pytest.approx(1_900_000, rel=0.03)


def test_moving_kv_takes_its_bytes_over_the_link_and_a_latency() -> None:
    # 3375 tokens of 56 KiB are 194 MB: 0.65 ms at 300 GB/s, 0.43 ms at 450.
    assert (cost_model_of("a100").kv_transfer_s(3375) - 0.5e-3) * 1e3 == pytest.approx(
        0.65, abs=0.01
    )
    assert (cost_model_of("h100").kv_transfer_s(3375) - 0.5e-3) * 1e3 == pytest.approx(
        0.43, abs=0.01
    )
    # 1080p: 2691 visual tokens, 19 MB.
    assert cost_model_of("h200").visual_transfer_s(2691) == pytest.approx(
        0.5e-3 + 19.3e6 / 450e9, rel=0.01
    )


def test_preprocessing_takes_three_milliseconds_and_25_a_megapixel() -> None:
    assert cost_model_of().preprocess_s(2_000_000) == pytest.approx(0.053)


sequences = st.lists(
    st.integers(1, 8000).flatmap(lambda t: st.tuples(st.just(t), st.integers(0, t))),
    min_size=1,
    max_size=5,
)


@given(st.sampled_from(sorted(GPUS)), sequences)
def test_a_batch_pays_the_constant_once(gpu: str, batch: list[tuple[int, int]]) -> None:
    cost = cost_model_of(gpu)
    constant_s = cost.gpu.prefill.constant_s + cost.gpu.step_overhead_s
    alone_s = sum(cost.prefill_s(tokens, cached) for tokens, cached in batch)
    assert cost.prefill_batch_s(batch) == pytest.approx(alone_s - (len(batch) - 1) * constant_s)


@given(st.sampled_from(sorted(GPUS)), st.integers(0, 4000), st.integers(0, 4000))
def test_prefilling_in_two_parts_takes_as_long_as_at_once_but_for_the_constant(
    gpu: str, first: int, second: int
) -> None:
    cost = cost_model_of(gpu)
    parts_s = cost.prefill_marginal_s(first) + cost.prefill_marginal_s(first + second, first)
    assert parts_s == pytest.approx(cost.prefill_marginal_s(first + second), abs=1e-12)


@given(
    st.sampled_from(sorted(GPUS)),
    st.sampled_from(sorted(MODELS)),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
)
def test_more_tokens_never_take_less(gpu: str, model: str, a: int, b: int) -> None:
    cost = cost_model_of(gpu, model)
    few, many = sorted((a, b))
    assert cost.encode_s(few) <= cost.encode_s(many)
    assert cost.prefill_s(few) <= cost.prefill_s(many)
    assert cost.decode_step_s(1, few) <= cost.decode_step_s(1, many)
    assert cost.migration_s(few) <= cost.migration_s(many)


def test_tensor_parallelism_helps_prefill_more_than_decode_and_encode_not_at_all() -> None:
    cost = cost_model_of()
    assert cost.encode_s(1000, 4) == cost.encode_s(1000)
    assert cost.prefill_s(1000, 0, 2) == pytest.approx(cost.prefill_s(1000) / 1.8)
    assert cost.decode_step_s(8, 8000, 4) == pytest.approx(cost.decode_step_s(8, 8000) / 1.5**2)
    assert cost.kv_capacity_tokens(2) > 2 * cost.kv_capacity_tokens()


def test_the_need_of_a_typical_request_is_of_the_order_of_the_published_one() -> None:
    # 1.6 pictures of 650 tokens, 572 of text, 130 out: about 57 GPU-ms on H200, 158 on A100,
    # where decode was priced at a batch of 64.
    shape = RequestShape(
        "r", "image", 572, (VisualItem("a", 650), VisualItem("b", 390)), output_tokens=130
    )
    assert cost_model_of("h200").work(shape).total * 1e3 == pytest.approx(57.6, rel=0.2)
    assert cost_model_of("a100").work(shape).total * 1e3 == pytest.approx(158, rel=0.2)


def test_traffic_is_the_sum_of_the_work() -> None:
    cost = cost_model_of()
    shapes = [RequestShape("a", text_tokens=100, output_tokens=5), RequestShape("b", text_tokens=9)]
    traffic = cost.traffic(shapes)
    assert traffic[:3] == (2, 109, 6)
    assert traffic.prefill_s == pytest.approx(cost.prefill_s(100) + cost.prefill_s(9))
    assert cost.traffic([]) == (0, 0, 0, 0, 0, 0)


def test_cached_pictures_and_prefixes_need_no_work() -> None:
    cost = cost_model_of()
    shape = RequestShape("r", "image", 100, (VisualItem("a", 900),))
    assert cost.work(shape, cached_visual={"a"}).encode == 0
    assert cost.work(shape, cached_tokens=900).prefill == cost.prefill_s(1000, 900)


def test_in_units_a_stage_of_a_request_is_a_second() -> None:
    assert UNIT.encode_s(500) == UNIT.prefill_s(70) == 1
    assert UNIT.decode_slope_s(3, 12_345) == 3


@pytest.mark.parametrize(("gpu", "model"), [("h20", "qwen2.5-vl-7b"), ("h200", "gpt")])
def test_an_unknown_name_is_refused_with_the_known_ones(gpu: str, model: str) -> None:
    with pytest.raises(ValueError, match=r"known: (h200, h100|qwen2\.5-vl-7b)"):
        cost_model_of(gpu, model)
