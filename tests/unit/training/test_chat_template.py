from importlib import resources
from typing import Any

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATE = resources.files("saccade.training").joinpath("chat_template.jinja").read_text()
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def rendered(*messages: dict[str, Any], **options: Any) -> str:
    texts: Any = render_jinja_template(
        [list(messages)], chat_template=TEMPLATE, bos_token="<|bos|>", **options
    )
    return str(texts[0][0])


def test_turns_follow_each_other() -> None:
    text = rendered(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?"},
        {"role": "assistant", "content": "a circle"},
        {"role": "user", "content": "Sure?"},
        add_generation_prompt=True,
    )

    assert text == (
        "<|bos|><|system|>Be brief.<|end|><|user|>What is this?<|end|>"
        "<|assistant|>a circle<|end|><|user|>Sure?<|end|><|assistant|>"
    )


def test_pictures_keep_their_place_among_the_words() -> None:
    parts = [
        {"type": "text", "text": "Is "},
        {"type": "image"},
        {"type": "text", "text": " like "},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "?"},
    ]

    assert rendered({"role": "user", "content": parts}) == (
        "<|bos|><|user|>Is <image> like <image>?<|end|>"
    )


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_a_list_of_one_text_is_that_text(role: str) -> None:
    text = "  as it is \n"

    assert rendered({"role": role, "content": [{"type": "text", "text": text}]}) == rendered(
        {"role": role, "content": text}
    )
    assert text in rendered({"role": role, "content": text})


def test_tools_are_listed_before_the_first_turn() -> None:
    question = {"role": "user", "content": "Rain?"}

    text = rendered(question, tools=[WEATHER])

    assert text.startswith("<|bos|><|system|>These are the functions")
    assert '<tools>\n{"type": "function", "function": {"name": "weather"' in text
    assert text.endswith("<|end|><|user|>Rain?<|end|>")


def test_tools_join_the_system_turn_that_is_there() -> None:
    text = rendered(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        tools=[WEATHER],
    )

    assert text.startswith("<|bos|><|system|>Be brief.\n\nThese are the functions")
    assert text.count("<|system|>") == 1
    assert text.count("Be brief.") == 1


@pytest.mark.parametrize("arguments", [{"city": "Zürich"}, '{"city": "Zürich"}'])
def test_a_call_and_its_result_are_in_the_hermes_format(arguments: object) -> None:
    call = {"id": "1", "function": {"name": "weather", "arguments": arguments}}

    text = rendered(
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "no", "tool_call_id": "1"},
        add_generation_prompt=True,
    )

    assert text == (
        "<|bos|><|user|>Rain?<|end|><|assistant|><tool_call>\n"
        '{"name": "weather", "arguments": {"city": "Zürich"}}\n</tool_call><|end|>'
        "<|tool|>no<|end|><|assistant|>"
    )


def test_several_calls_follow_the_words_each_on_a_new_line() -> None:
    call = {"function": {"name": "f", "arguments": {}}}

    text = rendered({"role": "assistant", "content": "Wait.", "tool_calls": [call, call]})

    one = '\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert text == f"<|bos|><|assistant|>Wait.{one}{one}<|end|>"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "critic", "content": "no"}, "role critic is not supported"),
        ({"role": "user", "content": [{"type": "smell"}]}, "type smell is not supported"),
    ],
)
def test_what_it_does_not_know_is_refused(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(jinja2.TemplateError, match=reason):
        rendered(message)
