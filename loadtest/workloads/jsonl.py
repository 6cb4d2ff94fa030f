"""Your own requests, a JSON object a line; docs/loadtest.md describes the fields."""

import base64
import mimetypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.workloads.session import MediaUrl, Session, Turn
from saccade.loadtest.workloads.spec import FileSpec

Kind = Literal["image", "video"]


class Line(BaseModel):
    """One request: a prompt with its media, or the messages of a chat completion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str | None = None
    system: str | None = None
    images: tuple[str, ...] = ()
    """Paths relative to the file, http(s) addresses, or data URLs."""
    videos: tuple[str, ...] = ()
    messages: tuple[dict[str, Any], ...] | None = None
    output_tokens: int | None = Field(default=None, ge=1)
    timestamp: float | None = Field(default=None, ge=0)
    """In s; any origin."""
    expected: str | None = None
    """The right answer."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Fields for the body of this request."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either a prompt or messages")
        if self.messages is not None and (self.images or self.videos or self.system):
            raise ValueError("with messages, pictures and the system message stand in them")
        return self


def file_sessions(spec: FileSpec) -> Iterator[Session]:
    """Sessions of one turn, in the order of the file.

    Raises:
        InputFileError: a line, or a picture that it names, cannot be read.
    """
    origin: float | None = None
    try:
        with spec.path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                line = _read(spec.path, number, text)
                if origin is None:
                    origin = line.timestamp
                at_s = None
                if line.timestamp is not None:
                    at_s = max(0.0, line.timestamp - (origin or 0.0))
                yield _session(spec, number, line, at_s)
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(spec.path, f"cannot be read ({error})") from None


def _read(path: Path, number: int, text: str) -> Line:
    try:
        return Line.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise InputFileError(path, f"{place}: {message}".removeprefix(": "), line=number) from None


def _session(spec: FileSpec, number: int, line: Line, at_s: float | None) -> Session:
    media = [_media(spec.path, number, name, "image") for name in line.images]
    media += [_media(spec.path, number, name, "video") for name in line.videos]
    messages = None
    if line.messages is not None:
        messages, media = _lifted(line.messages)
    turn = Turn(
        text=line.prompt or "",
        media=tuple(media),
        max_tokens=line.output_tokens or spec.output_tokens,
        expected=line.expected,
        messages=messages,
    )
    return Session(
        component=spec.path.stem,
        turns=(turn,),
        system=line.system,
        at_s=at_s,
        extra_body=line.extra_body,
    )


def _media(file: Path, number: int, name: str, kind: Kind) -> MediaUrl:
    if name.startswith(("http://", "https://", "data:")):
        return MediaUrl(name, kind)
    path = file.parent / name
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot read {path} ({error.strerror})"
        raise InputFileError(file, problem, line=number) from None
    mime = mimetypes.guess_type(name)[0] or f"{kind}/octet-stream"
    return MediaUrl(f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}", kind)


def _lifted(
    messages: tuple[dict[str, Any], ...],
) -> tuple[tuple[Mapping[str, Any], ...], list[MediaUrl]]:
    """Media are taken out of messages, so that each is kept once; a number stands for them."""
    media: list[MediaUrl] = []

    def lift(part: Any) -> Any:
        for kind in ("image", "video"):
            url = part.get(f"{kind}_url") if isinstance(part, dict) else None
            if isinstance(url, dict) and isinstance(url.get("url"), str):
                media.append(MediaUrl(url["url"], "video" if kind == "video" else "image"))
                return {"media": len(media) - 1}
        return part

    lifted = []
    for message in messages:
        content = message.get("content")
        parts = [lift(part) for part in content] if isinstance(content, list) else content
        lifted.append({**message, "content": parts})
    return tuple(lifted), media
