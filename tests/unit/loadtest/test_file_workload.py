"""Requests from a file of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.records import Modality
from saccade.loadtest.workloads.jsonl import file_sessions
from saccade.loadtest.workloads.session import Session
from saccade.loadtest.workloads.spec import FileSpec


def read(tmp_path: Path, *lines: dict[str, Any] | str) -> list[Session]:
    path = tmp_path / "requests.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return list(file_sessions(FileSpec(path=path)))


def test_prompts_with_lengths_answers_and_times(tmp_path: Path) -> None:
    first, second = read(
        tmp_path,
        {"prompt": "hi", "output_tokens": 7, "timestamp": 100.5, "system": "be brief"},
        "",
        {"prompt": "ho", "expected": "x", "timestamp": 102, "extra_body": {"seed": 1}},
    )
    assert (first.turns[0].text, first.turns[0].max_tokens, first.at_s) == ("hi", 7, 0)
    assert first.system == "be brief"
    assert (second.at_s, second.turns[0].max_tokens) == (1.5, 128)
    assert second.turns[0].expected == "x"
    assert second.extra_body == {"seed": 1}


def test_pictures_are_read_from_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (session,) = read(
        tmp_path, {"prompt": "what?", "images": ["a.png", "http://h/b.jpg"], "videos": ["data:x"]}
    )
    urls = [media.url for media in session.turns[0].media]  # type: ignore[union-attr]
    assert urls == ["data:image/png;base64,iVBORw==", "http://h/b.jpg", "data:x"]
    assert session.modality(0) is Modality.VIDEO


def test_media_of_given_messages_are_found(tmp_path: Path) -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:p"}}, {"type": "text", "text": "x"}]
    (session,) = read(tmp_path, {"messages": [{"role": "user", "content": content}]})
    turn = session.turns[0]
    assert [media.url for media in turn.media] == ["data:p"]  # type: ignore[union-attr]
    assert turn.messages == ({"role": "user", "content": [{"media": 0}, content[1]]},)
    assert session.modality(0) is Modality.IMAGE


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 1"),
        ({}, "either a prompt or messages"),
        ({"prompt": "x", "messages": []}, "either a prompt or messages"),
        ({"messages": [], "images": ["a"]}, "stand in them"),
        ({"prompt": "x", "max_tokens": 3}, "max_tokens"),
        ({"prompt": "x", "output_tokens": 0}, "output_tokens"),
        ({"prompt": "x", "images": ["none.png"]}, r"line 1: cannot read .*none\.png"),
    ],
)
def test_a_line_that_cannot_be_sent_is_named(
    tmp_path: Path, line: dict[str, Any] | str, problem: str
) -> None:
    with pytest.raises(InputFileError, match=problem):
        read(tmp_path, line)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="cannot be read"):
        list(file_sessions(FileSpec(path=tmp_path / "none.jsonl")))
