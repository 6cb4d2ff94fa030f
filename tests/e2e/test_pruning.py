"""Pruning of visual tokens, through the real API."""

from typing import Any

import openai
import pytest

from tests.e2e.server import Server
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

ENCODES = 'saccade_stage_seconds_count{stage="encode"}'
KEPT = 'saccade_visual_tokens_total{stage="kept"}'
METHODS = ["cdpruner", "divprune", "llavolta", "random", "uniform", "visionzip"]


def ask(
    client: openai.OpenAI,
    seed: int,
    pruning: Any = None,
    question: str = "What is it?",
    **more: Any,
) -> Any:
    picture = {"type": "image_url", "image_url": {"url": data_url(drawn(seed))}}
    content: Any = [picture, {"type": "text", "text": question}]
    saccade = {"explain": True, **({} if pruning is None else {"pruning": pruning}), **more}
    return client.chat.completions.create(
        model="saccade-tiny",
        messages=[{"role": "user", "content": content}],
        temperature=0,
        max_tokens=8,
        extra_body={"saccade": saccade},
    )


def stage(response: Any, name: str) -> Any:
    return next((one for one in response.saccade["stages"] if one["stage"] == name), None)


@pytest.mark.parametrize("method", METHODS)
def test_the_prompt_shrinks_by_what_was_pruned(
    server: Server, client: openai.OpenAI, method: str
) -> None:
    whole = ask(client, 960)
    before = server.metric(KEPT)
    pruned = ask(client, 960, {"method": method, "keep": 16})
    num_tokens = whole.usage.visual_tokens
    assert whole.usage.visual_tokens_kept == pruned.usage.visual_tokens == num_tokens
    kept = pruned.usage.visual_tokens_kept
    assert kept <= 16
    assert whole.usage.prompt_tokens - pruned.usage.prompt_tokens == num_tokens - kept
    assert pruned.choices[0].message.content
    assert server.metric(KEPT) - before == kept
    [report] = pruned.saccade["pruning"]
    assert (report["method"], report["tokens_before"], report["tokens_after"]) == (
        method, num_tokens, kept,
    )  # fmt: skip


def test_all_tokens_kept_answer_as_unpruned(client: openai.OpenAI) -> None:
    whole = ask(client, 961)
    kept = ask(client, 961, {"method": "cdpruner", "keep_ratio": 1.0})
    assert kept.choices[0].message.content == whole.choices[0].message.content
    assert kept.usage.prompt_tokens == whole.usage.prompt_tokens


def test_a_number_that_depends_on_the_content_is_settled_after_encoding(
    client: openai.OpenAI,
) -> None:
    whole = ask(client, 962)
    pruned = ask(client, 962, {"method": "holitom", "keep_ratio": 0.25})
    usage = pruned.usage
    assert 0 < usage.visual_tokens_kept < usage.visual_tokens
    assert whole.usage.prompt_tokens - usage.prompt_tokens == (
        usage.visual_tokens - usage.visual_tokens_kept
    )


def test_a_new_question_prunes_again_without_encoding_again(
    server: Server, client: openai.OpenAI
) -> None:
    cdpruner = {"method": "cdpruner", "keep": 16}
    ask(client, 963, cdpruner, "Which colour?")
    before = server.metric(ENCODES)
    again = ask(client, 963, cdpruner, "How many are there?")
    assert server.metric(ENCODES) == before
    assert stage(again, "encode")["cache"] == "memory"
    assert stage(again, "prune") is not None
    same = ask(client, 963, cdpruner, "How many are there?")
    assert stage(same, "encode")["cache"] == "shared"
    assert stage(same, "prune") is None
    assert same.choices[0].message.content == again.choices[0].message.content


def test_pruned_tokens_are_streamed_as_they_are_answered(client: openai.OpenAI) -> None:
    pruning = {"method": "uniform", "keep": 9}
    whole = ask(client, 964, pruning)
    picture = {"type": "image_url", "image_url": {"url": data_url(drawn(964))}}
    content: Any = [picture, {"type": "text", "text": "What is it?"}]
    chunks = list(
        client.chat.completions.create(
            model="saccade-tiny",
            messages=[{"role": "user", "content": content}],
            temperature=0,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"saccade": {"pruning": pruning}},
        )
    )
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    usage: Any = chunks[-1].usage
    assert (usage.prompt_tokens, usage.visual_tokens_kept) == (
        whole.usage.prompt_tokens, whole.usage.visual_tokens_kept,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pruning", "param"),
    [
        ({"method": "best", "keep": 1}, "saccade.pruning"),
        ({"method": "uniform"}, "saccade.pruning.uniform"),
        ({"method": "uniform", "keep": -1}, "saccade.pruning.keep"),
        ("uniform", "saccade.pruning"),
        ([{"method": "uniform", "keep": 3}] * 5, "saccade.pruning"),
    ],
)
def test_wrong_settings_are_refused(client: openai.OpenAI, pruning: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, 965, pruning)
    assert str(found.value.param).startswith(param)


def test_a_method_for_questions_needs_one(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no text with the picture"):
        ask(client, 966, {"method": "cdpruner", "keep": 16}, question=" ")
