"""Questions as vectors, with a text tower of a few parameters."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from saccade.encoders.base import UnsupportedCheckpointError
from saccade.encoders.questions import (
    ContrastiveQuestions,
    ContrastiveSpace,
    LanguageQuestions,
    question_encoder,
    text_tower_of,
)

WORDS = ("<bos>", "<eos>", "a", "red", "ring")


class Words:
    """A tokenizer that knows five words."""

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, **_: object
    ) -> dict[str, list[int]]:
        ids = [WORDS.index(word) for word in text.split()]
        if add_special_tokens:
            ids = [0, *ids, 1]
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}


def a_tower(length: int = 8) -> CLIPTextModelWithProjection:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(WORDS), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=length, projection_dim=6,
        bos_token_id=0, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    tower = CLIPTextModelWithProjection(config)
    tower.eval()
    return tower


def test_a_question_in_the_language_models_space_is_the_mean_of_its_words() -> None:
    embeddings = torch.randn(len(WORDS), 4)
    query = LanguageQuestions(Words(), embeddings).query("red ring")
    assert query is not None
    assert query.space == "language"
    torch.testing.assert_close(query.embeds, (embeddings[3] + embeddings[4])[None] / 2)


@pytest.mark.parametrize("text", ["", "  "])
def test_no_word_is_no_question(text: str) -> None:
    assert LanguageQuestions(Words(), torch.randn(5, 4)).query(text) is None
    assert ContrastiveQuestions(Words(), a_tower()).query(text) is None


def test_a_short_question_is_what_the_text_tower_makes_of_it() -> None:
    tower = a_tower()
    query = ContrastiveQuestions(Words(), tower).query("a red ring")
    assert query is not None
    assert query.space == "contrastive"
    expected = tower(input_ids=torch.tensor([[0, 2, 3, 4, 1]])).text_embeds
    torch.testing.assert_close(query.embeds, expected.detach())


def test_a_long_question_is_padded_and_cut_into_rows_of_the_towers_length() -> None:
    tower = a_tower(length=4)
    query = ContrastiveQuestions(Words(), tower).query("a red ring a red")
    assert query is not None
    ids = torch.tensor([[0, 2, 3, 4], [2, 3, 1, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    expected = tower(input_ids=ids, attention_mask=mask).text_embeds
    torch.testing.assert_close(query.embeds, expected.detach())


def save_projection(checkpoint: Path, width: int) -> None:
    projection = {"visual_projection.weight": torch.randn(3, width)}
    save_file(projection, checkpoint / "text_tower/visual_projection.safetensors")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The tensors that matter, with names as on the hub."""
    tensors = {
        "vision_tower.vision_model.post_layernorm.weight": torch.rand(6),
        "vision_tower.vision_model.post_layernorm.bias": torch.rand(6),
        "language_model.model.embed_tokens.weight": torch.randn(len(WORDS), 4),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "text_tower").mkdir()
    save_projection(tmp_path, width=6)
    return tmp_path


def test_patches_are_normed_and_projected(checkpoint: Path) -> None:
    from safetensors.torch import load_file

    states = torch.randn(5, 6)
    own = load_file(checkpoint / "model.safetensors")
    projection = load_file(checkpoint / "text_tower/visual_projection.safetensors")
    weight, bias = (
        own[f"vision_tower.vision_model.post_layernorm.{name}"] for name in ("weight", "bias")
    )
    deviation = states.var(-1, unbiased=False, keepdim=True).add(1e-5).sqrt()
    normed = (states - states.mean(-1, keepdim=True)) / deviation * weight + bias
    space = ContrastiveSpace.of(checkpoint, checkpoint / "text_tower")
    torch.testing.assert_close(
        space.image_embeds(states), normed @ projection["visual_projection.weight"].T
    )


def test_a_tower_of_another_width_is_refused(checkpoint: Path) -> None:
    save_projection(checkpoint, width=7)
    with pytest.raises(UnsupportedCheckpointError, match=r"of width 7, that of .* has 6"):
        ContrastiveSpace.of(checkpoint, checkpoint / "text_tower")


def test_the_revision_depends_on_the_projection(checkpoint: Path) -> None:
    tower = checkpoint / "text_tower"
    before = ContrastiveSpace.of(checkpoint, tower).revision
    assert ContrastiveSpace.of(checkpoint, tower).revision == before
    save_file(
        {"visual_projection.weight": torch.randn(3, 6)}, tower / "visual_projection.safetensors"
    )
    assert ContrastiveSpace.of(checkpoint, tower).revision != before


def test_the_text_tower_is_the_named_one_or_the_checkpoints_own(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    assert text_tower_of(checkpoint, None) == checkpoint / "text_tower"
    assert text_tower_of(checkpoint, other) == other
    assert text_tower_of(other, None) is None


def test_a_folder_that_is_no_text_tower_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedCheckpointError, match="is no text tower"):
        question_encoder(tmp_path, tmp_path)
