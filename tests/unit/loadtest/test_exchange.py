"""Reading streams and answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.loadtest.client.exchange import Exchange, FailedError
from saccade.loadtest.client.record import is_correct
from saccade.loadtest.client.sse import EventParser
from saccade.loadtest.records import ErrorKind


def events_of(stream: bytes) -> list[bytes]:
    """Slowly and plainly: blocks between empty lines, their data lines joined."""
    text = stream.replace(b"\r\n", b"\n")
    found = []
    for block in text.split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line[:5] == b"data:"]
        if lines:
            found.append(b"\n".join(lines))
    return found


line = st.sampled_from(
    [b'data: {"a": 1}', b"data:x", b": keep-alive", b"event: done", b"id: 7", b"data: ", b""]
)


@given(st.lists(line), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(1, 9)))
def test_events_are_the_same_however_the_bytes_are_cut(
    lines: list[bytes], ending: bytes, cuts: list[int]
) -> None:
    stream = ending.join([*lines, b"", b""])
    parser, found, rest = EventParser(), [], stream
    for cut in cuts:
        found += parser.feed(rest[:cut])
        rest = rest[cut:]
    found += parser.feed(rest)
    found += parser.finish()
    assert found == events_of(stream)


@given(st.lists(line), st.sampled_from([b"\n", b"\r\n", b"\r\n\n"]))
def test_events_are_the_same_where_the_server_writes_them_one_by_one(
    lines: list[bytes], ending: bytes
) -> None:
    parser, found = EventParser(), list[bytes]()
    writes = [one + ending + ending[-1:] for one in lines]
    for write in writes:
        found += parser.feed(write)
    found += parser.finish()
    assert found == events_of(b"".join(writes))


def test_an_event_that_the_stream_ends_in_is_not_lost() -> None:
    parser = EventParser()
    assert parser.feed(b"data: [DONE]") == []
    assert parser.finish() == [b"[DONE]"]


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, **more}]}).encode()


def exchange_of(*events: bytes) -> Exchange:
    """Event i comes at i."""
    exchange = Exchange()
    for time_ns, event in enumerate(events):
        exchange.on_event(event, time_ns)
    return exchange


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "red"},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"refusal": "no"},
        {"content": [{"type": "text", "text": "red"}]},
    ],
)
def test_what_a_user_would_see_is_content(delta: dict[str, Any]) -> None:
    assert exchange_of(chunk(delta)).content_ns == [0]


@pytest.mark.parametrize(
    "event",
    [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": None}),
        chunk({}, finish_reason="stop"),
        chunk({"tool_calls": []}),
        json.dumps({"choices": [], "usage": {"completion_tokens": 3}}).encode(),
        json.dumps({"choices": []}).encode(),
        b"[DONE]",
    ],
)
def test_everything_else_is_none(event: bytes) -> None:
    assert exchange_of(event).content_ns == []


def test_an_error_that_is_null_is_none() -> None:
    event = b'{"choices": [{"delta": {"content": "red"}}], "error": null}'
    assert exchange_of(event).answer == "red"


def test_a_whole_answer_is_one_arrival() -> None:
    exchange = Exchange()
    choice = {"message": {"content": "red"}, "finish_reason": "stop"}
    exchange.on_body(json.dumps({"choices": [choice]}).encode(), 7)
    assert (exchange.answer, exchange.content_ns, exchange.complete) == ("red", [7], True)
    assert exchange.finish_reason == "stop"


def test_numbers_that_json_does_not_have_do_no_harm() -> None:
    event = b'{"choices": [{"delta": {"content": "red"}, "logprobs": {"content": [NaN]}}]}'
    assert exchange_of(event).answer == "red"


def test_a_stream_is_put_together() -> None:
    exchange = exchange_of(
        chunk({"role": "assistant"}),
        chunk({"content": "a red"}),
        chunk({"content": " circle"}, finish_reason="stop"),
        json.dumps({"choices": [], "usage": {"prompt_tokens": 5}, "saccade": {"x": 1}}).encode(),
        b"[DONE]",
    )
    assert exchange.answer == "a red circle"
    assert exchange.content_ns == [1, 2]
    assert (exchange.finish_reason, exchange.complete) == ("stop", True)
    assert exchange.usage == {"prompt_tokens": 5}
    assert exchange.extension == {"x": 1}


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (b'{"error": {"message": "out of memory"}}', ErrorKind.STREAM_ERROR, "out of memory"),
        (b'{"error": "out of memory"}', ErrorKind.STREAM_ERROR, "out of memory"),
        (b"oops", ErrorKind.PROTOCOL, "oops"),
        (b"[1]", ErrorKind.PROTOCOL, "[1]"),
        (b"[NaN]", ErrorKind.PROTOCOL, "[NaN]"),
        (b'"\xff"', ErrorKind.PROTOCOL, "xff"),
        (b"[" * 100_000, ErrorKind.PROTOCOL, "[[["),
        (b'{"choices": "x"}', ErrorKind.PROTOCOL, "choices"),
        (b'{"choices": [null]}', ErrorKind.PROTOCOL, "choices"),
        (b'{"choices": [{"delta": "x"}]}', ErrorKind.PROTOCOL, "delta"),
        (b'{"choices": [{"finish_reason": 7}]}', ErrorKind.PROTOCOL, "finish_reason"),
        (b'{"usage": "many"}', ErrorKind.PROTOCOL, "usage"),
    ],
)
def test_an_error_in_a_stream_ends_it(event: bytes, kind: ErrorKind, text: str) -> None:
    with pytest.raises(FailedError) as caught:
        exchange_of(chunk({"content": "x"}), event)
    assert caught.value.kind is kind
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("answer", "expected", "correct"),
    [
        ("red", "red", True),
        (" Red.", "red", True),
        ("red circle", "red", True),
        ("redder", "red", False),
        ("a red", "red", False),
        ("", "red", False),
        ("3", "3", True),
        ("top left!", "Top Left", True),
    ],
)
def test_an_answer_is_right_if_it_begins_with_the_expected_words(
    answer: str, expected: str, correct: bool
) -> None:
    assert is_correct(answer, expected) is correct
