import pytest

from saccade.serving.api.questions import Policy, question_about

PICTURE = {"type": "image_url", "image_url": {"url": "data:"}}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [PICTURE, {"type": "text", "text": " What is it? "}]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": "Which colour?"},
    {"role": "user", "content": [PICTURE]},
    {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "it?"}]},
]


@pytest.mark.parametrize(
    ("message_index", "policy", "expected"),
    [
        (1, "with_picture", "What is it?"),
        (4, "with_picture", "And\nit?"),
        (1, "latest", "And\nit?"),
        (4, "latest", "And\nit?"),
    ],
)
def test_the_question_is_the_text_with_the_picture_or_the_latest(
    message_index: int, policy: Policy, expected: str
) -> None:
    assert question_about(CHAT, message_index, policy) == expected


@pytest.mark.parametrize("policy", ["with_picture", "latest"])
@pytest.mark.parametrize(
    "content", [[PICTURE], None, [], 7, [{"type": "text", "text": "  "}], [{"text": 1}], ["x"]]
)
def test_where_there_is_no_text_there_is_no_question(content: object, policy: Policy) -> None:
    assert question_about([{"role": "user", "content": content}], 0, policy) is None


def test_messages_that_are_none_are_passed_over() -> None:
    assert question_about([3, {"content": "x"}, CHAT[1]], 0, "with_picture") == "What is it?"
