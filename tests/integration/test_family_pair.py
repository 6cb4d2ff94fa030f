"""What an M-RoPE model's hand-over between two engines keeps: positions of pictures and clips."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.integration.family_vllm import Case, clip, encoded, picture, rendered, words
from tests.tiny_checkpoint import TinyFamily
from tests.tiny_families import QWEN2_5_VL, QWEN3_VL

if TYPE_CHECKING:
    from tests.integration.engine_pair import Pair

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

CASES: dict[str, Case] = {
    "a picture": [picture(1, 300, 200), words("what is this ?")],
    "pictures of two sizes": [picture(2, 90, 200), words("and"), picture(3, 120, 120)],
    "a clip": [clip(4, 120, 90, 4, 3.0), words("what is this clip ?")],
    "a pruned picture": [picture(5, 300, 200, keep_every=3), words("what is this ?")],
    "a pruned clip": [clip(6, 120, 90, 5, 2.0, keep_every=5), words("what is this ?")],
}


@pytest.fixture(scope="module", params=[QWEN2_5_VL, QWEN3_VL], ids=lambda one: str(one.name))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family: TinyFamily = request.param
    return family.build(tmp_path_factory.mktemp("pair") / family.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(checkpoint: Path) -> "AsyncIterator[Pair]":
    from tests.integration.engine_pair import load_pair

    pair = load_pair(checkpoint, lease_s=120)
    yield pair
    pair.shutdown()


@pytest.fixture(scope="module")
def prompts(checkpoint: Path) -> dict[str, Any]:
    """Prompt and visual tokens of each case, as gateway and encode instance make them."""
    from vllm.renderers import renderer_from_config

    from saccade.encoders.registry import ENCODERS
    from saccade.serving.engine.app import gateway_config
    from tests.unit.some_settings import some_settings

    settings = some_settings(model={"path": checkpoint, "dtype": "float32", "max_model_len": 2048})
    renderer = renderer_from_config(gateway_config(settings))
    encoder = ENCODERS.load_encoder(checkpoint)
    made = {}
    for name, case in CASES.items():
        visual_tokens = encoded(encoder, case)
        made[name] = (rendered(renderer, checkpoint, case, visual_tokens), visual_tokens)
    renderer.shutdown()
    return made


@pytest.mark.parametrize("name", CASES)
async def test_a_handed_over_prompt_gives_the_tokens_of_one_engine(
    name: str, pair: "Pair", prompts: dict[str, Any]
) -> None:
    from tests.integration.engine_pair import answer

    prompt, visual_tokens = prompts[name]
    alone = await answer(pair.first, f"alone-{name}", prompt, visual_tokens)
    handover, _ = await pair.first.prefill(f"split-{name}", prompt, visual_tokens)
    split = await answer(pair.second, f"split-{name}", prompt, visual_tokens, handover=handover)
    assert split == alone
    # Now from the prefix cache, where the picture is not looked at again.
    assert await answer(pair.first, f"again-{name}", prompt, visual_tokens) == alone
    assert len(set(alone[0])) > 2, "an answer of one word shows nothing"
