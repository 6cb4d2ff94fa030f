"""Writes the body of a chat completion, with media put in as they lie in the spool."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from saccade.loadtest.spool import Place, Spool
from saccade.loadtest.workloads.session import Media, MediaUrl, Session, Turn, Video

_MARK = re.compile(rb"\\u0000media:(\d+):(\d+)\\u0000")


class BodyWriter:
    """Of one run: what all bodies have in common, and where media are."""

    def __init__(
        self,
        common: Mapping[str, Any],
        exact_output: bool,
        places: Mapping[Media, Place],
        spool: Spool,
    ) -> None:
        self._common = dict(common)
        self._exact_output = exact_output
        self._places = places
        self._spool = spool

    def write(self, session: Session, turn: int, answers: Sequence[str]) -> bytes:
        """The body of a session's turn, given what was answered in the turns before."""
        asked = session.turns[turn]
        fields: dict[str, Any] = {
            "messages": self._messages(session, turn, answers),
            "max_tokens": asked.max_tokens,
        }
        if self._exact_output and asked.expected is None:
            fields |= {"min_tokens": asked.max_tokens, "ignore_eos": True}
        fields |= {**self._common, **session.extra_body}
        return self._with_media(json.dumps(fields).encode("ascii"))

    def _messages(
        self, session: Session, turn: int, answers: Sequence[str]
    ) -> list[Mapping[str, Any]]:
        given = session.turns[turn].messages
        if given is not None:
            return [self._message(message, session.turns[turn]) for message in given]
        messages: list[Mapping[str, Any]] = []
        if session.system is not None:
            messages.append({"role": "system", "content": session.system})
        for index, asked in enumerate(session.turns[: turn + 1]):
            messages.append({"role": "user", "content": self._content(asked)})
            if index < turn:
                answer = asked.scripted_answer
                answer = answers[index] if answer is None else answer
                messages.append({"role": "assistant", "content": answer})
        return messages

    def _message(self, message: Mapping[str, Any], asked: Turn) -> Mapping[str, Any]:
        """A given message, whose media are named by their number: {"media": 0}."""
        content = message.get("content")
        if not isinstance(content, list):
            return message
        parts = [
            self._part(asked.media[part["media"]]) if "media" in part else part for part in content
        ]
        return {**message, "content": parts}

    def _content(self, asked: Turn) -> str | list[dict[str, Any]]:
        if not asked.media:
            return asked.text
        parts = [self._part(one) for one in asked.media]
        return [*parts, {"type": "text", "text": asked.text}]

    def _part(self, media: Media) -> dict[str, Any]:
        if media in self._places:
            offset, length = self._places[media]
            url = f"\0media:{offset}:{length}\0"
        else:
            assert isinstance(media, MediaUrl), "everything else is in the spool"
            url = media.url
        video = isinstance(media, Video) or (
            isinstance(media, MediaUrl) and media.modality == "video"
        )
        kind = "video_url" if video else "image_url"
        return {"type": kind, kind: {"url": url}}

    def _with_media(self, body: bytes) -> bytes:
        if b"media:" not in body:
            return body
        pieces, end = [], 0
        for found in _MARK.finditer(body):
            place = (int(found.group(1)), int(found.group(2)))
            pieces += [body[end : found.start()], self._spool.read(place)]
            end = found.end()
        return b"".join([*pieces, body[end:]])
