import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cost_model import UNIT, CostModel, cost_model_of
from saccade.scheduler.cost_model.calibration import Calibration, CalibrationPolicy
from saccade.scheduler.cost_model.profiles import Coefficients

START = cost_model_of("a800")


def slowed(model: CostModel, factor: float) -> CostModel:
    def scaled(one: Coefficients) -> Coefficients:
        return Coefficients(*(value * factor for value in one))

    gpu = model.gpu
    return dataclasses.replace(
        model,
        gpu=dataclasses.replace(
            gpu, encode=scaled(gpu.encode), prefill=scaled(gpu.prefill), decode=scaled(gpu.decode)
        ),
    )


def feed(
    calibration: Calibration, truth: CostModel, num: int, seed: int, noise: float = 0.0
) -> Calibration:
    rng = random.Random(seed)
    for _ in range(num):
        tokens = rng.randrange(50, 10_000)
        prompts = [(rng.randrange(200, 4000), 100) for _ in range(rng.randrange(1, 4))]
        batch, context = rng.randrange(1, 250), rng.randrange(100, 4000)

        def measured(seconds: float) -> float:
            return seconds * rng.lognormvariate(0, noise) if noise else seconds

        calibration = calibration.encoded(tokens, measured(truth.encode_s(tokens)))
        calibration = calibration.prefilled(prompts, measured(truth.prefill_batch_s(prompts)))
        step_s = truth.decode_step_s(batch, batch * context)
        calibration = calibration.decoded(batch, batch * context, measured(step_s))
    return calibration


def errors(model: CostModel, truth: CostModel) -> list[float]:
    """Relative errors over the range that was observed."""
    pairs = [(model.encode_s(n), truth.encode_s(n)) for n in (1000, 8000)]
    pairs += [(model.prefill_s(n), truth.prefill_s(n)) for n in (1000, 4000)]
    pairs += [
        (model.decode_step_s(n, n * 1000), truth.decode_step_s(n, n * 1000)) for n in (50, 200)
    ]
    return [abs(found / true - 1) for found, true in pairs]


@given(st.floats(0.3, 5), st.integers(0, 2**32))
def test_exact_timings_of_another_gpu_are_learnt(factor: float, seed: int) -> None:
    truth = slowed(START, factor)
    learnt = feed(Calibration(START), truth, 150, seed).model
    assert max(errors(learnt, truth)) < 0.05


def test_noisy_timings_are_learnt_too() -> None:
    truth = cost_model_of("h100")
    learnt = feed(Calibration(START), truth, 800, 1, noise=0.1).model
    assert max(errors(learnt, truth)) < 0.08


def test_timings_as_expected_change_nothing() -> None:
    learnt = feed(Calibration(START), START, 50, 2).model
    assert max(errors(learnt, START)) < 1e-9


def test_a_stage_that_was_not_observed_stays_as_it_was() -> None:
    calibration = Calibration(START).encoded(1000, 1.0)
    assert calibration.model.gpu.prefill == START.gpu.prefill
    assert calibration.model.gpu.encode != START.gpu.encode


def test_it_follows_a_change_after_the_alarm() -> None:
    calibration = feed(Calibration(START), START, 300, 3, noise=0.05)
    assert calibration.alarms == ()
    slow = slowed(START, 2.0)
    soon = feed(calibration, slow, 30, 4, noise=0.05)
    assert {alarm.stage for alarm in soon.alarms} == {"encode", "prefill", "decode"}
    assert "longer than predicted" in soon.alarms[0].text
    later = feed(soon, slow, 1500, 5, noise=0.05)
    assert later.alarms == ()
    assert max(errors(later.model, slow)) < 0.1


def test_noise_alone_raises_no_alarm() -> None:
    calibration = Calibration(START)
    for seed in range(10):
        calibration = feed(calibration, START, 60, seed, noise=0.2)
        assert calibration.alarms == ()


def test_a_start_without_constants_learns_all_of_them() -> None:
    learnt = feed(Calibration(UNIT), START, 400, 6).model
    pairs = [(learnt.encode_s(n), START.encode_s(n)) for n in (100, 1000, 8000)]
    assert max(abs(found / true - 1) for found, true in pairs) < 0.05


def test_it_never_believes_in_negative_times() -> None:
    calibration = Calibration(START, CalibrationPolicy(prior_variance=1e6))
    for tokens, seconds in [(1000, 0.01), (1001, 5.0), (1002, 1e-6)] * 20:
        calibration = calibration.encoded(tokens, seconds)
        assert min(calibration.model.gpu.encode) >= 0
    assert calibration.encoded(1000, 0.0) == dataclasses.replace(calibration)


def test_forgetting_is_a_part_of_one() -> None:
    with pytest.raises(ValueError, match=r"1\.5"):
        CalibrationPolicy(forgetting=1.5)


def test_after_hours_of_equal_steps_the_fit_is_as_sound_as_before_and_follows_a_change() -> None:
    calibration, rng = Calibration(START), random.Random(0)
    for number in range(30_000):
        factor = rng.uniform(0.97, 1.03) * (1.0 if number < 27_000 else 1.5)
        calibration = calibration.decoded(64, 108_800, START.decode_step_s(64, 108_800) * factor)
    (a, b, c), (_, e, f), (_, _, i) = calibration.fits["decode"].covariance
    # Positive definite, by Sylvester's criterion.
    assert a > 0
    assert a * e - b * b > 0
    assert a * (e * i - f * f) - b * (b * i - c * f) + c * (b * f - c * e) > 0
    assert max(a, e, i) <= calibration.policy.prior_variance * (1 + 1e-9)
    learnt_s = calibration.model.decode_step_s(64, 108_800)
    assert learnt_s == pytest.approx(1.5 * START.decode_step_s(64, 108_800), rel=0.02)
