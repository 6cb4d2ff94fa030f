"""Find the pictures in the `messages` of a chat request, and put other parts in their place.

This is the guard in front of the engine's own parser, so it is an allow-list: text parts pass,
picture parts are found, any other kind of part is refused. What is not about media (a message
that is a number, a part without a type) is left to the engine's validation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from saccade.serving.errors import InvalidRequestError

_TEXT_TYPES: Final = frozenset(
    {"text", "input_text", "output_text", "refusal", "thinking", "tool_reference"}
)
# The engine reads media from these keys, in some cases whatever the part's `type` says.
_MEDIA_KEYS: Final = frozenset(
    {
        *("image_url", "image_pil", "image_embeds", "input_image", "image"),
        *("audio_url", "audio_embeds", "input_audio", "audio"),
        *("video_url", "video_embeds", "input_video", "video"),
        *("prompt_embeds", "file", "input_file", "document"),
    }
)
_OPENAI_FIELDS: Final = frozenset({"image_url", "input_audio", "file"})


@dataclass(frozen=True, slots=True)
class PicturePart:
    """One picture: `param` is its place as errors name it, such as `messages[0].content[1]`."""

    param: str
    url: str
    message_index: int
    part_index: int


def find_pictures(messages: object, max_images: int) -> list[PicturePart]:
    """The picture parts, in order.

    Raises InvalidRequestError for media that is not served, malformed picture parts, and more
    than `max_images` of them.
    """
    pictures: list[PicturePart] = []
    for message_index, part_index, part in _parts(messages):
        param = f"messages[{message_index}].content[{part_index}]"
        if not _is_picture(part, param):
            continue
        if len(pictures) == max_images:
            raise InvalidRequestError(
                f"A request may have at most {max_images} images.",
                param=param,
                code="too_many_images",
            )
        pictures.append(PicturePart(param, _url_of(part, param), message_index, part_index))
    return pictures


def replace_parts(
    messages: list[Any], replacements: Iterable[tuple[PicturePart, Mapping[str, Any]]]
) -> list[Any]:
    """`messages` with parts replaced as a whole, so that nothing of the client's part is left.

    The input is not changed; what is not on the way to a replaced part is shared with it.
    """
    result = list(messages)
    copied: set[int] = set()
    for picture, part in replacements:
        index = picture.message_index
        if index not in copied:
            copied.add(index)
            result[index] = {**messages[index], "content": list(messages[index]["content"])}
        result[index]["content"][picture.part_index] = dict(part)
    return result


def _parts(messages: object) -> Iterable[tuple[int, int, dict[str, Any]]]:
    if not isinstance(messages, list):
        return
    for message_index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            continue
        for part_index, part in enumerate(content):
            if isinstance(part, dict):
                yield message_index, part_index, part


def _is_picture(part: dict[str, Any], param: str) -> bool:
    kind = part.get("type")
    media = _MEDIA_KEYS.intersection(part)
    unserved: set[str] = set()
    if kind == "image_url" or (kind is None and "image_url" in media):
        unserved = {key for key in media - {"image_url"} if part[key] is not None}
        if not unserved:
            return True
    elif not isinstance(kind, str) or kind in _TEXT_TYPES:
        unserved = {key for key in media if not _is_empty_field(key, part)}
    else:
        unserved = {kind}
    if unserved:
        raise InvalidRequestError(
            f"Content of the kind {min(unserved)[:64]!r} is not served here; "
            "send text, or images as 'image_url'.",
            param=param,
            code="unsupported_content_part",
        )
    return False


def _is_empty_field(key: str, part: dict[str, Any]) -> bool:
    """Whether this is one of OpenAI's optional fields, dumped as null by a client.

    With a `uuid` beside it, the engine takes even that for media: for what was sent earlier.
    """
    return key in _OPENAI_FIELDS and part[key] is None and part.get("uuid") is None


def _url_of(part: dict[str, Any], param: str) -> str:
    url, where = part.get("image_url"), f"{param}.image_url"
    if isinstance(url, dict):
        url, where = url.get("url"), f"{where}.url"
    if not isinstance(url, str) or not url.strip():
        raise InvalidRequestError(
            "An image needs a URL: http, https, or data with base64.", param=where
        )
    return url
