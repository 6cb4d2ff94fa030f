"""A pruned picture in vLLM computes what the whole one computes behind a mask.

The reference is transformers' language model on the unpruned prompt, with attention that cannot see
the dropped tokens, in float32.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from saccade.encoders.registry import ENCODERS
from tests.integration.family_vllm import Case, answers, clip, frames_of, picture, words
from tests.integration.pictures import drawn
from tests.tiny_checkpoint import TOKEN_ID, TinyFamily
from tests.tiny_families import LLAVA, QWEN2_5_VL, QWEN3_VL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOLERANCE = 2e-3
# The same checkpoint in an engine with `engine.keep_positions`.
LLAVA_KEPT = replace(LLAVA, name="llava-keep_positions")
OF_LLAVA: list[Case] = [
    [picture(1, 90, 60, keep_every=3), words("what is this ?")],
    [picture(2, 56, 80, keep_every=2), words("and"), picture(3, 60, 60), words("colour ?")],
]
CASES: dict[str, list[Case]] = {
    LLAVA.name: OF_LLAVA,
    LLAVA_KEPT.name: OF_LLAVA,
    QWEN2_5_VL.name: [
        [picture(1, 200, 300, keep_every=3), words("what is this ?")],
        [picture(2, 300, 84, keep_every=4), words("and"), picture(3, 120, 120), words("colour ?")],
        [clip(4, 120, 90, 6, 2.0, keep_every=5), words("what is this clip ?")],
    ],
    QWEN3_VL.name: [
        [picture(1, 200, 300, keep_every=3), words("what is this ?")],
        # The steps are of 4 x 6 and 12 tokens, so that some are left with none.
        [clip(4, 120, 90, 6, 2.0, keep_every=5), words("what is this clip ?")],
        [clip(5, 64, 64, 8, 2.0, keep_every=7), words("and"), picture(6, 90, 120), words("?")],
    ],
}
PRUNED = (LLAVA, LLAVA_KEPT, QWEN2_5_VL, QWEN3_VL)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pruned")
    return {family.name: family.build(folder / family.name) for family in PRUNED}


@pytest.fixture(scope="module")
def pruned(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("answers") / "answers.json"
    return answers("ours", list(checkpoints.values()), CASES, out)


class Unpruned:
    """The whole prompt of a case in transformers, the generated tokens behind it."""

    def __init__(self, checkpoint: Path, family: TinyFamily) -> None:
        self.model: Any = AutoModelForImageTextToText.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.processor: Any = AutoProcessor.from_pretrained(checkpoint)
        self.encoder = ENCODERS.load_encoder(checkpoint)
        self.family = family

    def log_probabilities(self, case: Case, answer: list[int], positions: "Positions") -> Any:
        """[len(answer), vocabulary], of each token of the answer, by the masked model."""
        ids, kinds, embeddings, kept, deeper = self._inputs(case, answer)
        hidden = torch.zeros(len(ids), len(ids)).masked_fill(~kept[None, :], float("-inf"))
        causal = torch.full_like(hidden, float("-inf")).triu(1)
        mask = (hidden + causal).fill_diagonal_(0.0)[None, None]
        with torch.inference_mode():
            output = self.model.model.language_model(
                inputs_embeds=embeddings[None],
                attention_mask=mask,
                position_ids=positions(self, ids, kinds, kept, case),
                **({"visual_pos_masks": kinds[None] > 0, **deeper} if deeper else {}),
            )
            logits = self.model.lm_head(output.last_hidden_state[0])
        return logits[-len(answer) - 1 : -1].log_softmax(-1)

    def _inputs(self, case: Case, answer: list[int]) -> tuple[Any, Any, Any, Any, Any]:
        """Token ids, kind of each (0 text, 1 picture, 2 clip), embeddings, which are kept, and what
        Qwen3-VL adds to visual tokens after the next layers."""
        ids: list[int] = []
        kinds: list[int] = []
        kept: list[bool] = []
        rows: list[torch.Tensor] = []
        prompt = self._words(case)
        visual = iter([part for part in case if part["type"] != "text"])
        for token in prompt:
            if token not in (TOKEN_ID["<image>"], *_PADS):
                ids.append(token)
                kinds.append(0)
                kept.append(True)
                continue
            part = next(visual)
            [tokens] = self.encoder.encode([self._prepared(part)])
            expanded = self._expanded(part, token, tokens)
            ids += expanded
            kind = 1 if part["type"] == "image" else 2
            kinds += [kind if one == token else 0 for one in expanded]
            index = count()
            every = part.get("keep_every", 1)
            kept += [one != token or next(index) % every == 0 for one in expanded]
            rows.append(tokens.embeddings)
        ids += answer
        kinds += [0] * len(answer)
        kept += [True] * len(answer)
        token_ids, kind_ids = torch.tensor(ids), torch.tensor(kinds)
        with torch.inference_mode():
            embeddings = self.model.get_input_embeddings()(token_ids).clone()
            first, *more = torch.cat(rows).split(embeddings.shape[1], dim=1)
            embeddings[kind_ids > 0] = first
        deeper = {"deepstack_visual_embeds": more} if more else {}
        return token_ids, kind_ids, embeddings, torch.tensor(kept), deeper

    def _expanded(self, part: dict[str, Any], token: int, tokens: Any) -> list[int]:
        """What stands in the prompt for one placeholder; Qwen3-VL says when a step was shown, in
        the middle between its two frames."""
        num_steps = tokens.steps_apart
        if not num_steps:
            return [token] * len(tokens.embeddings)
        ids: list[int] = []
        for step in range(num_steps):
            text = f"<{(2 * step + 0.5) / part['fps']:.1f} seconds>"
            ids += self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            pads = [token] * (len(tokens.embeddings) // num_steps)
            ids += [TOKEN_ID["<|vision_start|>"], *pads, TOKEN_ID["<|vision_end|>"]]
        return ids

    def _words(self, case: Case) -> list[int]:
        """The prompt with one placeholder for each picture."""
        message = {"role": "user", "content": case}
        tokenizer = self.processor.tokenizer
        text = tokenizer.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True,
            chat_template=self.processor.chat_template or tokenizer.chat_template,
        )  # fmt: skip
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def _prepared(self, part: dict[str, Any]) -> Any:
        if part["type"] == "image":
            return self.encoder.preprocess(drawn(part["seed"], tuple(part["size"])))
        return self.encoder.preprocess_clip(frames_of(part), part["fps"])


Positions = Callable[[Unpruned, Any, Any, Any, Case], torch.Tensor]
_PADS = (TOKEN_ID["<|image_pad|>"], TOKEN_ID["<|video_pad|>"])


def counted_over_kept(
    _: Unpruned, ids: Any, kinds: Any, kept: torch.Tensor, case: Case
) -> torch.Tensor:
    """One by one, and dropped tokens have none."""
    return (kept.long().cumsum(0) - 1).clamp(min=0)[None]


def one_by_one(_: Unpruned, ids: Any, kinds: Any, kept: Any, case: Case) -> torch.Tensor:
    """The original ones, dropped tokens included."""
    return torch.arange(len(ids))[None]


def of_the_grid(model: Unpruned, ids: Any, kinds: Any, kept: Any, case: Case) -> torch.Tensor:
    """transformers' own for the unpruned prompt, [3, 1, n]; behind a clip, vLLM's."""
    grids: dict[str, list[Any]] = {"image": [], "video": []}
    seconds = []
    for part in case:
        if part["type"] != "text":
            grids[part["type"]].append(model._prepared(part).tensors["grid"])
        if part["type"] == "video":
            seconds.append(2 / part["fps"])
    positions, _ = model.model.model.get_rope_index(
        ids[None],
        mm_token_type_ids=kinds[None],
        image_grid_thw=torch.cat(grids["image"]) if grids["image"] else None,
        video_grid_thw=torch.cat(grids["video"]) if grids["video"] else None,
        second_per_grid_ts=torch.tensor(seconds) if seconds else None,
    )
    return _behind_the_whole_grid(positions, kinds)


def _behind_the_whole_grid(positions: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """transformers 5.19 goes on behind the rows and columns of a clip and forgets its time; vLLM,
    and the paper, behind the largest of the three."""
    if not bool((kinds == 2).any()):
        return positions
    last = int((kinds == 2).nonzero().max())
    largest = int(positions[:, 0, : last + 1].max())
    shift = largest + 1 - int(positions[0, 0, last + 1])
    positions = positions.clone()
    positions[:, :, last + 1 :] += shift
    return positions


@pytest.mark.parametrize(
    ("family", "positions"),
    [
        (LLAVA, counted_over_kept),
        (LLAVA_KEPT, one_by_one),
        (QWEN2_5_VL, of_the_grid),
        (QWEN3_VL, of_the_grid),
    ],
    ids=lambda one: getattr(one, "name", getattr(one, "__name__", "")),
)
def test_a_kept_subset_computes_what_a_mask_over_the_rest_does(
    family: TinyFamily, positions: Positions, checkpoints: dict[str, Path], pruned: Any
) -> None:
    unpruned = Unpruned(checkpoints[family.name], family)
    for case, ours in zip(CASES[family.name], pruned[family.name], strict=True):
        expected = unpruned.log_probabilities(case, ours["token_ids"], positions)
        for step, entries in enumerate(ours["logprobs"]):
            for token, value in entries.items():
                assert value == pytest.approx(float(expected[step, int(token)]), abs=TOLERANCE)
