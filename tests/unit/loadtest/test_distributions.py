"""Distributions of sizes and lengths."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from saccade.loadtest.errors import PlanError
from saccade.loadtest.workloads.distributions import Dist, choice, parse_distribution


def drawn(text: str, number: int = 100_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    distribution = parse_distribution(text)
    return np.array([distribution.draw(rng) for _ in range(number)])


def test_a_number_is_constant() -> None:
    assert set(drawn("336", 10)) == {336}


def test_uniform_covers_its_range_evenly() -> None:
    values = drawn("uniform(10,20)")
    assert (values.min(), values.max()) == (
        pytest.approx(10, abs=0.01),
        pytest.approx(20, abs=0.01),
    )
    assert values.mean() == pytest.approx(15, rel=0.01)


def test_whole_numbers_of_a_uniform_distribution_are_alike_at_its_ends() -> None:
    rng, distribution = np.random.default_rng(0), parse_distribution("uniform(2,4)")
    values = [distribution.draw_int(rng) for _ in range(30_000)]
    for value in (2, 3, 4):
        assert values.count(value) / 30_000 == pytest.approx(1 / 3, abs=0.02)


def test_a_log_normal_one_has_the_moments_or_the_percentiles_that_were_given() -> None:
    values = drawn("lognormal(mean=512,std=400)", 200_000)
    assert values.mean() == pytest.approx(512, rel=0.02)
    assert values.std() == pytest.approx(400, rel=0.05)
    values = drawn("lognormal(median=106,p90=1914)")
    assert np.quantile(values, 0.5) == pytest.approx(106, rel=0.05)
    assert np.quantile(values, 0.9) == pytest.approx(1914, rel=0.05)


def test_an_empirical_one_draws_values_as_often_as_their_weights_say(tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text("10 1\n20 3\n")
    values = drawn(f"empirical({path})")
    assert set(values) == {10, 20}
    assert (values == 20).mean() == pytest.approx(0.75, abs=0.01)
    path.write_text("1\n2\n2\n2\n")
    assert (drawn(f"empirical({path})") == 2).mean() == pytest.approx(0.75, abs=0.01)


@given(st.floats(0, 100), st.floats(0, 100))
def test_bounds_hold(one: float, other: float) -> None:
    low, high = sorted((one, other))
    text = f"lognormal(median=20,p90=90,min={low!r},max={high!r})"
    rng = np.random.default_rng(1)
    values = [parse_distribution(text).draw(rng) for _ in range(50)]
    assert all(low <= value <= high for value in values)


def test_a_choice_is_written_as_it_is_read() -> None:
    made = choice({1: 0.8, 2.5: 0.2})
    assert parse_distribution(str(made)) == made
    assert parse_distribution("choice(1:0.8,2.5:0.2)").values == made.values
    assert (drawn("choice(1:3,7:1)") == 7).mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "many",
        "-1",
        "nan",
        "uniform(1)",
        "uniform(5,1)",
        "uniform(1,2,3)",
        "normal(1,2)",
        "lognormal(mean=0,std=1)",
        "lognormal(median=9,p90=3)",
        "lognormal(median=9)",
        "uniform(1,2,min=5,max=3)",
        "empirical(no-such-file)",
        "uniform(1,two)",
    ],
)
def test_what_is_no_distribution_is_refused_and_told_how_to_write_one(text: str) -> None:
    with pytest.raises(PlanError, match=r"uniform\(LOW,HIGH\)"):
        parse_distribution(text)


def test_a_model_takes_numbers_and_texts_and_writes_texts() -> None:
    class Spec(BaseModel):
        size: Dist

    assert Spec.model_validate({"size": 5}).size == parse_distribution("5")
    spec = Spec.model_validate({"size": "uniform(1,2)"})
    assert spec.model_dump() == {"size": "uniform(1,2)"}
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(ValueError, match="is not a distribution"):
        Spec.model_validate({"size": "much"})
