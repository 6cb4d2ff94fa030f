import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.workloads.arrivals import RateProfile, arrival_times, unit_gaps
from saccade.scheduler.simulator.workloads.registry import PRESETS, preset
from saccade.scheduler.simulator.workloads.sizes import Quantiles


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_arrives_in_order_and_the_same_way_again(name: str) -> None:
    first, again, other = (list(preset(name, 20, 300).requests(seed)) for seed in (1, 1, 2))
    assert first == again != other
    times = [one.arrival_s for one in first]
    assert times == sorted(times)
    assert all(0 <= time <= 300 for time in times)
    assert {one.modality for one in first} == {"text", "image"}
    assert all(one.output_tokens >= 1 and one.text_tokens >= 1 for one in first)


@pytest.mark.parametrize("name", ["sharegpt4o", "visualwebinstruct", "antiphase"])
def test_the_rate_and_the_share_of_pictures_are_what_was_asked_for(name: str) -> None:
    requests = list(preset(name, 50, 400, 0.3).requests(0))
    assert len(requests) / 400 == pytest.approx(50, rel=0.03)
    share = sum(one.modality == "image" for one in requests) / len(requests)
    assert share == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("name", "modality", "factor"), [("image-burst", "image", 8),
                                                          ("text-burst", "text", 6)])  # fmt: skip
def test_a_burst_is_a_step_of_one_modality(name: str, modality: str, factor: float) -> None:
    requests = list(preset(name, 60, 500).requests(3))
    rates = {}
    for which in ("text", "image"):
        times = [one.arrival_s for one in requests if one.modality == which]
        inside = sum(200 <= time < 300 for time in times) / 100
        rates[which] = inside / ((len(times) - 100 * inside) / 400)
    assert rates.pop(modality) == pytest.approx(factor, rel=0.1)
    assert rates.popitem()[1] == pytest.approx(1, rel=0.1)


def test_antiphase_moves_the_modalities_against_each_other() -> None:
    requests = list(preset("antiphase", 100, 400).requests(0))
    counts = {
        which: np.histogram(
            [one.arrival_s for one in requests if one.modality == which], 20, (0, 400)
        )[0]
        for which in ("text", "image")
    }
    assert np.corrcoef(counts["text"], counts["image"])[0, 1] < -0.9


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 3.0])
def test_gaps_have_mean_one_and_the_variation_asked_for(cv: float) -> None:
    gaps = unit_gaps(cv, 200_000, np.random.default_rng(0))
    assert gaps.mean() == pytest.approx(1, rel=0.03)
    assert gaps.std() == pytest.approx(cv, rel=0.05, abs=1e-9)


@given(st.lists(st.tuples(st.floats(1, 50), st.sampled_from([0.0, 1.0, 40.0])), min_size=1)
       .filter(lambda segments: any(rate for _, rate in segments)))  # fmt: skip
def test_nothing_arrives_while_the_rate_is_zero(segments: list[tuple[float, float]]) -> None:
    profile = RateProfile(tuple(segments))
    chunks = arrival_times(profile, 1.0, np.random.default_rng(0))
    times = np.fromiter(itertools.chain.from_iterable(chunks), float)
    assert (np.diff(times) >= 0).all()
    start_s = 0.0
    for duration_s, rate in segments:
        inside = ((times > start_s + 1e-9) & (times < start_s + duration_s - 1e-9)).sum()
        expected = duration_s * rate
        assert abs(inside - expected) <= 6 * expected**0.5 + 6 * (rate > 0)
        start_s += duration_s


def test_quantiles_come_back_out() -> None:
    sizes = Quantiles(((0.1, 10), (0.5, 100), (0.9, 1000)))
    drawn = sizes.draw(200_000, np.random.default_rng(0))
    for probability, value in sizes.points[1:]:
        assert np.quantile(drawn, probability - 0.001) == pytest.approx(value, rel=0.03)
    assert drawn.min() == 10
    assert sizes.mean == pytest.approx(drawn.mean(), rel=0.01)


def test_pictures_come_again_as_often_as_said() -> None:
    requests = list(preset("sharegpt4o", 50, 200, 1.0).requests(0))
    keys = [one.image_keys[0] for one in requests]
    assert 1 - len(set(keys)) / len(keys) == pytest.approx(0.2, abs=0.02)
    sizes = {one.image_keys[0]: one.image_tokens[0] for one in requests}
    assert all(sizes[one.image_keys[0]] == one.image_tokens[0] for one in requests)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("chat", 1.0, 10.0), "sharegpt4o, visualwebinstruct"),
        (("sharegpt4o", 0.0, 10.0), "must be above 0"),
        (("sharegpt4o", 1.0, 10.0, 1.5), "give 0 to 1"),
    ],
)
def test_what_cannot_be_made_is_told(arguments: tuple[str, float, float], message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        preset(*arguments)
