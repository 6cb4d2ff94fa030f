"""Find pictures and clips in the `messages` of a chat request, and put other parts in their place.

This is the guard in front of the engine's own parser, so it is an allow-list: text parts pass,
parts with pictures and clips are found, any other kind of part is refused. What is not about media
(a message that is a number, a part without a type) is left to the engine's validation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from saccade.serving.config.media import MediaKind
from saccade.serving.errors import InvalidRequestError
from saccade.serving.media.sampling import Sampling

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
# Frames a second that a request may ask for.
MIN_FPS: Final = 0.01
MAX_FPS: Final = 60.0
_OPENAI_FIELDS: Final = frozenset({"image_url", "input_audio", "file"})


@dataclass(frozen=True, slots=True)
class PicturePart:
    """One picture: `param` is its place as errors name it, such as `messages[0].content[1]`."""

    param: str
    url: str
    message_index: int
    part_index: int


@dataclass(frozen=True, slots=True)
class ClipPart:
    """One clip: a video file by its one URL, or frames that are pictures by theirs."""

    param: str
    urls: tuple[str, ...]
    is_file: bool
    sampling: Sampling
    message_index: int
    part_index: int


@dataclass(frozen=True, slots=True)
class EmbedsPart:
    """Visual tokens that a client has computed for one picture: files in base64, by name.

    Of `image_embeds`, and where they come apart from each other, `image_grid_thw`.
    """

    param: str
    encoded: Mapping[str, str]
    message_index: int
    part_index: int


MediaPart = PicturePart | ClipPart | EmbedsPart


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """How many parts of each kind a request may have; with no clips allowed none is served."""

    max_images: int
    max_videos: int = 0
    max_frames: int = 1
    """In a clip that is sent as pictures."""
    embeds: bool = False
    """Whether `image_embeds` are served."""


def find_media(messages: object, limits: MediaLimits) -> list[MediaPart]:
    """The parts with pictures and clips, in order.

    Raises InvalidRequestError for media that is not served, malformed parts, and too many of them.
    """
    found: list[MediaPart] = []
    for message_index, part_index, part in _parts(messages):
        param = f"messages[{message_index}].content[{part_index}]"
        key = _media_key(part, param, limits)
        if key is None:
            continue
        place = (message_index, part_index)
        if key == "image_url":
            url = _url_of(part, param, "image")
            found.append(PicturePart(param, url, *place))
        elif key == "image_embeds":
            found.append(EmbedsPart(param, _embeds(part.get("image_embeds"), param), *place))
        else:
            found.append(_clip(key, part, param, place, limits))
        _refuse_too_many(found, limits, param)
    return found


def _refuse_too_many(found: list[MediaPart], limits: MediaLimits, param: str) -> None:
    num_videos = sum(isinstance(part, ClipPart) for part in found)
    for kind, count, most in (
        ("image", len(found) - num_videos, limits.max_images),
        ("video", num_videos, limits.max_videos),
    ):
        if count > most:
            raise InvalidRequestError(
                f"A request may have at most {most} {kind}s.",
                param=param,
                code=f"too_many_{kind}s",
            )


def replace_parts(
    messages: list[Any], replacements: Iterable[tuple[MediaPart, Mapping[str, Any]]]
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


def _media_key(part: dict[str, Any], param: str, limits: MediaLimits) -> str | None:
    """The key that holds the picture or clip; None for a part without media."""
    kind = part.get("type")
    media = _MEDIA_KEYS.intersection(part)
    video = limits.max_videos > 0
    served = ["image_url", *(("video_url", "video") if video else ())]
    served += ["image_embeds"] if limits.embeds else []
    unserved: set[str] = set()
    wanted = kind if kind is not None else next((key for key in served if key in media), None)
    if wanted in served:
        unserved = {key for key in media - {wanted} if part[key] is not None}
        if not unserved:
            return str(wanted)
    elif not isinstance(kind, str) or kind in _TEXT_TYPES:
        unserved = {key for key in media if not _is_empty_field(key, part)}
    else:
        unserved = {kind}
    if unserved:
        also = ", or clips as 'video_url' or 'video'" if video else ""
        if "image_embeds" in unserved and not limits.embeds:
            also += " (media.accept_image_embeds is off)"
        raise InvalidRequestError(
            f"Content of the kind {min(unserved)[:64]!r} is not served here; "
            f"send text, or images as 'image_url'{also}.",
            param=param,
            code="unsupported_content_part",
        )
    return None


def _is_empty_field(key: str, part: dict[str, Any]) -> bool:
    """Whether this is one of OpenAI's optional fields, dumped as null by a client.

    With a `uuid` beside it, the engine takes even that for media: for what was sent earlier.
    """
    return key in _OPENAI_FIELDS and part[key] is None and part.get("uuid") is None


def _url_of(part: dict[str, Any], param: str, kind: MediaKind) -> str:
    key = f"{kind}_url"
    url, where = part.get(key), f"{param}.{key}"
    if isinstance(url, dict):
        url, where = url.get("url"), f"{where}.url"
    return _checked_url(url, where, kind)


def _checked_url(url: Any, where: str, kind: MediaKind) -> str:
    if not isinstance(url, str) or not url.strip():
        article = "An image" if kind == "image" else "A video"
        raise InvalidRequestError(
            f"{article} needs a URL: http, https, or data with base64.", param=where
        )
    return url


def _embeds(value: Any, param: str) -> dict[str, str]:
    """As vLLM takes them: base64, or an object of base64."""
    files = value if isinstance(value, dict) else {"image_embeds": value}
    known = "image_embeds" in files and files.keys() <= {"image_embeds", "image_grid_thw"}
    if not known or not all(isinstance(data, str) for data in files.values()):
        raise InvalidRequestError(
            "image_embeds has to be base64, or an object with base64 under 'image_embeds' and, "
            "for models with a grid, 'image_grid_thw'.",
            param=f"{param}.image_embeds",
            code="invalid_image_embeds",
        )
    return files


def _clip(
    key: str, part: dict[str, Any], param: str, place: tuple[int, int], limits: MediaLimits
) -> ClipPart:
    if key == "video_url":
        inner = part["video_url"] if isinstance(part.get("video_url"), dict) else {}
        sampling = _sampling({**part, **inner}, f"{param}.video_url")
        return ClipPart(param, (_url_of(part, param, "video"),), True, sampling, *place)
    frames = part.get("video")
    if not isinstance(frames, list) or not 1 <= len(frames) <= limits.max_frames:
        raise InvalidRequestError(
            f"A video is a list of 1 to {limits.max_frames} frames, each the URL of an image.",
            param=f"{param}.video",
        )
    urls = [
        _checked_url(url, f"{param}.video[{index}]", "image") for index, url in enumerate(frames)
    ]
    return ClipPart(param, tuple(urls), False, _sampling(part, param), *place)


def _sampling(source: dict[str, Any], where: str) -> Sampling:
    fps, max_frames = source.get("fps"), source.get("max_frames")
    if fps is not None and not _is_number(fps, MIN_FPS, MAX_FPS):
        raise InvalidRequestError(
            f"fps has to be a number from {MIN_FPS:g} to {MAX_FPS:g}.", param=f"{where}.fps"
        )
    if max_frames is not None and not (_is_number(max_frames, 1, 2**31) and max_frames % 1 == 0):
        raise InvalidRequestError(
            "max_frames has to be a whole number, at least 1.", param=f"{where}.max_frames"
        )
    return Sampling(
        None if fps is None else float(fps), None if max_frames is None else int(max_frames)
    )


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
