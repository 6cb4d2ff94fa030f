"""Which of a chat's texts is the question about a picture."""

from collections.abc import Sequence
from typing import Any, Literal

Policy = Literal["with_picture", "latest"]


def question_about(messages: Sequence[Any], message_index: int, policy: Policy) -> str | None:
    """The text of the message that brought the picture, or the next user message that has some;
    with `latest`, that of the last user message that has some. None if there is no text."""
    following = list(messages[message_index:])
    if policy == "latest":
        following.reverse()
    for message in following:
        if isinstance(message, dict) and message.get("role") == "user":
            text = _text(message.get("content"))
            if text:
                return text
    return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
