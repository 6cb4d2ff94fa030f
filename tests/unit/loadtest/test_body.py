"""Bodies of requests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from saccade.loadtest.client.body import BodyWriter
from saccade.loadtest.spool import Spool, write_spool
from saccade.loadtest.workloads.pictures import data_url
from saccade.loadtest.workloads.session import MediaUrl, Picture, Session, Turn, Video

PICTURE = Picture(1, 32, 32)
FRAMES = Video(1, 32, 32, 2, format="jpeg-frames")
ADDRESS = MediaUrl("http://127.0.0.1/a.png")


def body_of(
    tmp_path: Path,
    session: Session,
    turn: int = 0,
    answers: tuple[str, ...] = (),
    *,
    exact: bool = True,
    common: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    path = tmp_path / "media"
    places = write_spool(path, (m for t in session.turns for m in t.media), lambda _: None)
    writer = BodyWriter(common or {"model": "m"}, exact, places, Spool(path))
    found: dict[str, Any] = json.loads(writer.write(session, turn, answers))
    return found


def session_of(*turns: Turn, **more: Any) -> Session:
    return Session(component="c", turns=turns, **more)


def test_a_text_is_a_plain_message(tmp_path: Path) -> None:
    session = session_of(Turn(text="hé \0 ☃", max_tokens=5), system="be brief")
    assert body_of(tmp_path, session) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hé \0 ☃"},
        ],
        "max_tokens": 5,
        "min_tokens": 5,
        "ignore_eos": True,
    }


def test_media_stand_before_the_text(tmp_path: Path) -> None:
    session = session_of(Turn(text="what?", media=(PICTURE, ADDRESS, FRAMES), max_tokens=5))
    (message,) = body_of(tmp_path, session)["messages"]
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": data_url(PICTURE)}},
        {"type": "image_url", "image_url": {"url": ADDRESS.url}},
        {"type": "video_url", "video_url": {"url": data_url(FRAMES)}},
        {"type": "text", "text": "what?"},
    ]


@pytest.mark.parametrize("scripted", [None, "made up"])
def test_a_later_turn_quotes_what_was_said(tmp_path: Path, scripted: str | None) -> None:
    first = Turn(text="what?", media=(PICTURE,), max_tokens=5, scripted_answer=scripted)
    session = session_of(first, Turn(text="sure?", max_tokens=6))
    body = body_of(tmp_path, session, 1, ("a circle",))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"][0]["image_url"]["url"] == data_url(PICTURE)
    assert body["messages"][1]["content"] == (scripted or "a circle")
    assert body["messages"][2]["content"] == "sure?"
    assert body["max_tokens"] == 6


def test_given_messages_are_sent_as_they_are_with_their_media(tmp_path: Path) -> None:
    messages = (
        {"role": "developer", "content": "hi"},
        {"role": "user", "content": [{"media": 0}, {"type": "text", "text": "x"}]},
    )
    session = session_of(Turn(text="", media=(PICTURE,), max_tokens=5, messages=messages))
    sent = body_of(tmp_path, session)["messages"]
    assert sent[0] == messages[0]
    assert sent[1]["content"][0] == {"type": "image_url", "image_url": {"url": data_url(PICTURE)}}


def test_answers_that_are_scored_may_end_by_themselves(tmp_path: Path) -> None:
    scored = session_of(Turn(text="what?", max_tokens=5, expected="red"))
    assert "ignore_eos" not in body_of(tmp_path, scored)
    assert "min_tokens" not in body_of(tmp_path, session_of(scored.turns[0]), exact=False)


def test_fields_of_a_request_win_over_those_of_all(tmp_path: Path) -> None:
    session = session_of(Turn(text="x", max_tokens=5), extra_body={"seed": 2})
    body = body_of(tmp_path, session, common={"seed": 1, "max_tokens": 9, "model": "m"})
    assert (body["seed"], body["max_tokens"]) == (2, 9)
