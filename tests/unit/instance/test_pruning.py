"""Stage prune, with real methods."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import torch

from saccade.encoders.base import Block, VisualFeatures, VisualLayout, VisualTokens
from saccade.encoders.pruning.pipeline import Pipeline
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.pruning.stage import Query
from saccade.serving.errors import InvalidRequestError
from saccade.serving.instance.pruning import PruneStage, PruningOrder

LAYOUT = VisualLayout(36, blocks=(Block(6, 6),))
REGISTRY = PruningRegistry()
ASKED: list[str] = []


def features(*, seen: bool = True) -> VisualFeatures:
    generator = torch.Generator().manual_seed(0)
    tokens = VisualTokens(torch.randn((36, 8), generator=generator), None, 36)
    return VisualFeatures(tokens, torch.rand(36, generator=generator) if seen else None)


def query(text: str) -> Query | None:
    ASKED.append(text)
    generator = torch.Generator().manual_seed(len(text))
    return Query(torch.randn((1, 8), generator=generator), "language")


def order(method: str, question: str | None = None) -> PruningOrder:
    settings = Pipeline.of({"method": method, "keep": 5}, REGISTRY).settings
    return PruningOrder(settings, question, LAYOUT)


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[PruneStage]:
    ASKED.clear()
    stage = PruneStage(REGISTRY, query)
    yield stage
    stage.close()


async def test_tokens_are_kept_and_reported(stage: PruneStage) -> None:
    pruned = await stage.prune(features(), order("visionzip"))
    assert len(pruned.tokens.embeddings) == 5
    [report] = pruned.reports
    assert (report.method, report.num_tokens_before, report.num_tokens_after) == (
        "visionzip", 36, 5,
    )  # fmt: skip
    assert pruned.ms > 0


async def test_another_question_may_keep_others_and_the_same_is_read_once(
    stage: PruneStage,
) -> None:
    questions = ["Which colour?", "How many are there?", "Which colour?"]
    kept = [
        (await stage.prune(features(), order("cdpruner", one))).tokens.embeddings
        for one in questions
    ]
    assert torch.equal(kept[0], kept[2])
    assert not torch.equal(kept[0], kept[1])
    assert questions[:2] == ASKED


async def test_what_is_kept_holds_no_more_memory_than_it_shows(stage: PruneStage) -> None:
    embeddings = (await stage.prune(features(), order("uniform"))).tokens.embeddings
    assert embeddings.untyped_storage().nbytes() == embeddings.nbytes


async def test_what_cannot_be_done_is_the_clients_error(stage: PruneStage) -> None:
    with pytest.raises(InvalidRequestError, match="needs the tower's attention") as found:
        await stage.prune(features(seen=False), order("visionzip"))
    assert (found.value.param, found.value.code) == ("saccade.pruning", "pruning_not_possible")
