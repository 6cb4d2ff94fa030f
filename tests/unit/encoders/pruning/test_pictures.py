"""Whole pictures and clips of all layouts through a pipeline."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saccade.encoders.base import VisualFeatures, VisualLayout, VisualTokens
from saccade.encoders.positions import grid_extent, grid_positions
from saccade.encoders.pruning.pictures import plan, prune, views
from saccade.encoders.pruning.pipeline import Pipeline
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS

WIDTH = 4
LAYOUTS = {
    name: ENCODERS.family_of(one.files, name).picture(640, 400) for name, one in published().items()
}
CLIPS = {
    name: ENCODERS.family_of(one.files, name).clip(320, 240, 6, 2.0)
    for name, one in published().items()
    if ENCODERS.family_of(one.files, name).support.video
}


def pipeline(*methods: dict[str, object]) -> Pipeline:
    return Pipeline.of(list(methods), PruningRegistry())


def features(layout: VisualLayout) -> VisualFeatures:
    """Tokens that are numbered in their first number."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn((layout.num_tokens, WIDTH), generator=generator)
    embeddings[:, 0] = torch.arange(layout.num_tokens)
    tokens = VisualTokens(embeddings, None, layout.num_tokens)
    if layout.grid is not None:
        tokens = VisualTokens(embeddings, grid_positions(layout), grid_extent(layout))
    return VisualFeatures(tokens, torch.rand(layout.num_tokens, generator=generator))


ALL = [*LAYOUTS.items(), *((f"{name}, a clip", layout) for name, layout in CLIPS.items())]
every_layout = pytest.mark.parametrize("layout", [one for _, one in ALL], ids=[n for n, _ in ALL])


@every_layout
@pytest.mark.parametrize("method", ["uniform", "random", "divprune", "visionzip", "llavolta"])
def test_what_is_left_is_what_was_planned(layout: VisualLayout, method: str) -> None:
    chain = pipeline({"method": method, "keep_ratio": 0.11})
    planned = plan(chain, layout)
    pruned = prune(chain, layout, features(layout), None)
    assert planned.is_exact
    assert len(pruned.tokens.embeddings) == planned.num_tokens < 0.2 * layout.num_tokens
    assert pruned.tokens.extent == features(layout).tokens.extent


@every_layout
def test_holitom_stays_within_its_bound(layout: VisualLayout) -> None:
    chain = pipeline({"method": "holitom", "keep_ratio": 0.25})
    planned = plan(chain, layout)
    pruned = prune(chain, layout, features(layout), None)
    assert not planned.is_exact
    assert 0 < len(pruned.tokens.embeddings) <= planned.num_tokens


@every_layout
def test_kept_tokens_keep_their_positions(layout: VisualLayout) -> None:
    whole = features(layout)
    pruned = prune(pipeline({"method": "random", "keep": 3}), layout, whole, None).tokens
    numbers = pruned.embeddings[:, 0].long()
    assert numbers.tolist() == sorted(set(numbers.tolist()))
    expected = whole.tokens.kept(numbers)
    assert torch.equal(pruned.embeddings, expected.embeddings)
    assert pruned.positions is not None
    assert expected.positions is not None
    assert torch.equal(pruned.positions, expected.positions)


@every_layout
def test_nothing_to_do_leaves_everything(layout: VisualLayout) -> None:
    whole = features(layout)
    assert plan(pipeline(), layout).num_tokens == layout.num_tokens
    assert prune(pipeline(), layout, whole, None).tokens is whole.tokens


@every_layout
def test_views_hold_each_patch_once(layout: VisualLayout) -> None:
    indices = torch.cat([view.indices for view in views(layout)]).tolist()
    newlines = sum(block.rows for block in layout.blocks if block.newlines)
    assert len(indices) == len(set(indices)) == layout.num_tokens - newlines


def test_keep_counts_for_each_tile_of_a_tiled_picture() -> None:
    """LLaVA-NeXT's 2880 tokens and five tiles: 32 of each are 160."""
    layout = VisualLayout.tiled(24, 48, 48)
    assert plan(pipeline({"method": "uniform", "keep": 32}), layout).num_tokens == 160


def test_fewer_patches_of_a_tile_keep_fewer_tokens() -> None:
    layout = VisualLayout.tiled(24, 48, 24)
    assert plan(pipeline({"method": "uniform", "keep": 32}), layout).num_tokens == 96


def test_a_summary_token_stays() -> None:
    layout = VisualLayout(577, blocks=LAYOUTS["llava-hf/llava-1.5-7b-hf"].blocks, num_leading=1)
    pruned = prune(pipeline({"method": "uniform", "keep": 2}), layout, features(layout), None)
    assert pruned.tokens.embeddings[0, 0] == 0
    assert len(pruned.tokens.embeddings) == 3


def test_the_newline_behind_a_clip_stays() -> None:
    layout = CLIPS["llava-hf/llava-onevision-qwen2-7b-ov-hf"]
    pruned = prune(pipeline({"method": "uniform", "keep": 2}), layout, features(layout), None)
    assert pruned.tokens.embeddings[-1, 0] == layout.num_tokens - 1
    assert len(pruned.tokens.embeddings) == 2 * 6 + 1


@given(share=st.floats(0.05, 1.0), keep=st.integers(1, 700))
def test_a_scaled_pipeline_keeps_no_more(share: float, keep: int) -> None:
    layout = LAYOUTS["llava-hf/llava-1.5-7b-hf"]
    chain = pipeline({"method": "uniform", "keep": keep})
    assert 1 <= plan(chain.scaled(share), layout).num_tokens <= plan(chain, layout).num_tokens


def test_a_pipeline_can_be_read_from_its_settings() -> None:
    import json

    chain = pipeline({"method": "llavolta", "keep": 72}, {"method": "uniform", "keep_ratio": 0.5})
    assert Pipeline.of(json.loads(chain.settings), PruningRegistry()).key(None) == chain.key(None)
