"""What requests may say, and what plug-ins may be."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from saccade.encoders.pruning.methods import SelectingStage
from saccade.encoders.pruning.names import BUILT_IN
from saccade.encoders.pruning.pipeline import Limits, Pipeline
from saccade.encoders.pruning.registry import GROUP, PruningRegistry
from saccade.encoders.pruning.stage import PluginError, PruningRequestError, Shape
from tests.unit.encoders.pruning.visuals import CONTRASTIVE, visual

REGISTRY = PruningRegistry()
SHAPE = Shape(576)


def plugin(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


class Tail(SelectingStage):
    """A stage as a plug-in may have it."""

    name = "tail"

    def choose(self, visual: Any, query: Any, keep: int) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_stage_is_found_by_its_name(name: str) -> None:
    assert REGISTRY.stage_type(name).name == name


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "method: name one of cdpruner, divprune,"),
        ({"method": 3}, "method: name one of"),
        ({"method": "magic", "keep": 3}, "there is no pruning method 'magic'; there are cdpruner,"),
        ({"method": "uniform"}, r"uniform: give one of keep \(tokens\) and keep_ratio"),
        ({"method": "uniform", "keep": 3, "keep_ratio": 0.5}, "uniform: give one of keep"),
        ({"method": "uniform", "keep": 0}, "keep: Input should be greater than or equal to 1"),
        ({"method": "uniform", "keep": 1.5}, "keep: Input should be a valid integer"),
        ({"method": "uniform", "keep": True}, "keep: Input should be a valid integer"),
        ({"method": "uniform", "keep": "3"}, "keep: Input should be a valid integer"),
        (
            {"method": "uniform", "keep_ratio": 1.5},
            "keep_ratio: Input should be less than or equal",
        ),
        ({"method": "uniform", "keep": 3, "seed": 1}, "seed: Extra inputs are not permitted"),
        ({"method": "random", "keep": 3, "seed": -1}, "seed: Input should be greater"),
        ({"method": "cdpruner", "keep": 3, "theta": 1.0}, "theta: Input should be less than 1"),
    ],
)
def test_what_a_request_may_not_say_is_refused_by_field(
    request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(PruningRequestError, match=f"^{message}"):
        REGISTRY.stage(request_)


def test_a_plugin_is_found_by_the_name_of_its_entry_point() -> None:
    registry = PruningRegistry([plugin("tail", f"{__name__}:Tail")])

    assert registry.stage({"method": "tail", "keep": 3}).plan(SHAPE).num_tokens == 3
    assert "tail" in registry.names


@pytest.mark.parametrize(
    ("plugins", "name", "message"),
    [
        ([plugin("tail", "no.such.module:Tail")], "tail", "cannot be loaded: No module named"),
        ([plugin("tail", f"{__name__}:SHAPE")], "tail", "is no subclass of PruningStage"),
        ([plugin("uniform", f"{__name__}:Tail")], "uniform", "uniform, which is built in"),
        (
            [plugin("tail", f"{__name__}:Tail"), plugin("tail", "other:Tail")],
            "tail",
            "both offer tail",
        ),
    ],
)
def test_a_broken_plugin_is_named(plugins: list[EntryPoint], name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        PruningRegistry(plugins).stage_type(name)


def test_stages_work_on_what_is_left_by_those_before() -> None:
    pipeline = Pipeline.of(
        [{"method": "uniform", "keep": 12}, {"method": "cdpruner", "keep_ratio": 0.5}], REGISTRY
    )
    given = visual(20, 2, 1)

    assert pipeline.plan(given.shape).num_tokens == 2 * 6 + 1
    outcome = pipeline.apply(given, CONTRASTIVE)

    assert [report.num_tokens_after for report in outcome.reports] == [25, 13]
    assert len(outcome.visual.tokens.embeddings) == 13


def test_a_pipeline_is_as_exact_as_its_stages_and_settles_later() -> None:
    pipeline = Pipeline.of(
        [{"method": "holitom", "keep": 5}, {"method": "divprune", "keep_ratio": 0.5}], REGISTRY
    )
    given = visual(20, 3)

    budget = pipeline.plan(given.shape)
    outcome = pipeline.apply(given, None)

    assert not budget.is_exact
    assert len(outcome.visual.tokens.embeddings) <= budget.num_tokens
    first, second = outcome.reports
    assert second.num_tokens_after == round(first.num_tokens_after / 2)


def test_no_stage_prunes_nothing() -> None:
    outcome = Pipeline.of([], REGISTRY).apply(visual(), None)

    assert outcome.reports == ()
    assert outcome.visual.shape == visual().shape


def test_a_stage_behind_one_that_destroys_what_it_needs_is_refused() -> None:
    with pytest.raises(
        PruningRequestError, match="which llavolta merges away; put visionzip first"
    ):
        Pipeline.of(
            [{"method": "llavolta", "keep": 5}, {"method": "visionzip", "keep": 2}], REGISTRY
        )


def test_too_many_stages_are_refused() -> None:
    with pytest.raises(PruningRequestError, match="5 stages; at most 4"):
        Pipeline.of([{"method": "uniform", "keep": 5}] * 5, REGISTRY)


def test_an_operator_bounds_methods_and_budgets() -> None:
    limits = Limits(methods=("uniform",), min_keep_ratio=0.1)
    pipeline = Pipeline.of({"method": "uniform", "keep": 57}, REGISTRY, limits)

    with pytest.raises(PruningRequestError, match="random is not allowed here; allowed: uniform"):
        Pipeline.of({"method": "random", "keep": 57}, REGISTRY, limits)
    with pytest.raises(
        PruningRequestError, match=r"57 of 576 visual tokens .* at least 10% must be"
    ):
        limits.check_share(pipeline.plan(SHAPE).num_tokens, SHAPE.num_tokens)
    limits.check_share(pipeline.plan(Shape(570)).num_tokens, 570)


def test_keys_tell_apart_plans_and_where_it_matters_questions() -> None:
    def key(question: str | None, **request: Any) -> str:
        return Pipeline.of(request, REGISTRY).key(question)

    uniform = key("why?", method="uniform", keep=5)
    assert uniform == key("what?", method="uniform", keep=5) == key(None, method="uniform", keep=5)
    assert uniform != key("why?", method="uniform", keep=6)
    assert uniform != key("why?", method="divprune", keep=5)
    assert key("why?", method="cdpruner", keep=5) != key("what?", method="cdpruner", keep=5)
    # A default that is spelt out is the same plan.
    spelt_out = key(None, method="holitom", keep=5, tau=0.8)
    assert spelt_out == key(None, method="holitom", keep=5)


def test_the_list_says_of_each_method_what_its_class_says() -> None:
    registry = PruningRegistry()
    for name, listed in BUILT_IN.items():
        stage_type = registry.stage_type(name)
        assert stage_type.name == name
        assert listed.needs_attention == ("attention" in stage_type.needs)
