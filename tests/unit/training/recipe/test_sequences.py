"""Sequences are those of the chat template, and a branch is a conversation of its own."""

from pathlib import Path

import pytest
import torch
from jinja2 import Environment

from saccade.training.architecture import SACCADE_TINY
from saccade.training.data import Question, Split, still
from saccade.training.recipe.initial import initialise
from saccade.training.recipe.language import LanguageBatch, LanguageTask, answer_weights
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.pictures import squeezed
from saccade.training.recipe.sequences import Composer
from saccade.training.recipe.settings import LanguageStage, load_stage
from saccade.training.tokenizer import build_tokenizer
from tests.unit.training.recipe.miniature import INSTRUCTION, MINIATURE, write_stage

QUESTIONS = (
    Question("colour", "What colour is the circle?", "red"),
    Question("count", "How many objects are there?", "3"),
    Question("description", "Describe the picture.", "a red circle and a blue ring"),
)


@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize("system", [None, "Answer with one word."])
@pytest.mark.parametrize("num_pictures", [0, 1, 8])
def test_a_conversation_is_what_the_chat_template_writes(
    num_pictures: int, system: str | None, text_first: bool
) -> None:
    tokenizer = build_tokenizer(SACCADE_TINY)
    pictures = [{"type": "image"}] * num_pictures
    messages: list[dict[str, object]] = []
    if system:
        messages.append({"role": "system", "content": system})
    for index, question in enumerate(QUESTIONS):
        text = [{"type": "text", "text": question.text}]
        shown = pictures if index == 0 else []
        content = [*text, *shown] if text_first else [*shown, *text]
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": question.answer})
    template = Path("training/chat_template.jinja").read_text()
    written = Environment().from_string(template).render(messages=messages, bos_token="<|bos|>")
    expected = tokenizer.encode(written.replace("<image>", "<image>" * 144)).ids[1:]

    row = Composer(SACCADE_TINY).conversation(
        num_pictures, QUESTIONS, system, text_first=text_first
    )
    assert row.ids == expected
    assert row.positions == list(range(len(expected)))


def test_only_answers_and_their_ends_are_to_be_said() -> None:
    composer, tokenizer = Composer(SACCADE_TINY), build_tokenizer(SACCADE_TINY)
    sequences = composer.sequences([composer.branches(1, QUESTIONS)])
    labels = [label for label in sequences.labels[0].tolist() if label >= 0]
    said = tokenizer.decode(labels, skip_special_tokens=False)
    assert said == "red<|end|>3<|end|>a red circle and a blue ring<|end|>"


def test_padding_changes_nothing_and_sees_nothing_of_others() -> None:
    composer = Composer(SACCADE_TINY)
    short, long = composer.branches(0, QUESTIONS[:1]), composer.branches(0, QUESTIONS)
    sequences = composer.sequences([short, long])
    mask, length = sequences.mask()[0, 0], len(short.ids)
    assert not mask[:length, length:].any()
    assert mask.any(dim=-1).all(), "a row that sees nothing gives NaN"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> LanguageTask:
    path = write_stage(tmp_path_factory.mktemp("stage") / "stage.yaml", INSTRUCTION)
    settings = load_stage(path)
    assert isinstance(settings, LanguageStage)
    torch.manual_seed(0)
    model = TinyModel(MINIATURE)
    initialise(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3)  # sharp attention, so that what is seen matters
    return LanguageTask(model.eval(), settings)


def test_a_branch_answers_as_if_it_were_the_only_question(task: LanguageTask) -> None:
    example = still(Split.TRAIN, 0, 4, num_questions=5)
    composer = Composer(MINIATURE)
    pictures = squeezed(example.pictures[0], MINIATURE.vision.image_size)[None]
    with torch.inference_mode():
        together, _ = task.answers(
            LanguageBatch(pictures, composer.sequences([composer.branches(1, example.questions)]))
        )
        alone = [
            task.answers(
                LanguageBatch(pictures, composer.sequences([composer.conversation(1, [question])]))
            )[0]
            for question in example.questions
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_questions_before_their_pictures_see_nothing_of_one_another(task: LanguageTask) -> None:
    example = still(Split.TRAIN, 0, 4, num_questions=3)
    composer = Composer(MINIATURE)
    picture = squeezed(example.pictures[0], MINIATURE.vision.image_size)[None]
    row = composer.pictures_last(1, example.questions, "Answer with one word.")
    with torch.inference_mode():
        together, _ = task.answers(
            LanguageBatch(picture.repeat(row.times_shown, 1, 1, 1), composer.sequences([row]))
        )
        alone = [
            task.answers(
                LanguageBatch(
                    picture,
                    composer.sequences(
                        [
                            composer.conversation(
                                1, [question], "Answer with one word.", text_first=True
                            )
                        ]
                    ),
                )
            )[0]
            for question in example.questions
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_turns_of_a_conversation_do_see_one_another(task: LanguageTask) -> None:
    composer = Composer(MINIATURE)
    pictures = torch.zeros((1, 3, 96, 96), dtype=torch.uint8)
    with torch.inference_mode():
        turns, _ = task.answers(
            LanguageBatch(pictures, composer.sequences([composer.conversation(1, QUESTIONS)]))
        )
        branches, _ = task.answers(
            LanguageBatch(pictures, composer.sequences([composer.branches(1, QUESTIONS)]))
        )
    assert torch.allclose(turns[:2], branches[:2], atol=1e-4)
    assert not torch.allclose(turns[2:], branches[2:], atol=1e-2)


def test_an_answer_weighs_the_root_of_its_length() -> None:
    composer = Composer(SACCADE_TINY)
    sequences = composer.sequences([composer.branches(1, QUESTIONS)] * 2)
    lengths = [2, 2, len(build_tokenizer(SACCADE_TINY).encode(QUESTIONS[2].answer).ids)]
    expected = [1 / n**0.5 for n in lengths for _ in range(n)] * 2
    assert answer_weights(sequences).tolist() == pytest.approx(expected)
