import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saccade.serving.api.envelope import INTERNAL_MESSAGE, error_body
from saccade.serving.errors import DeadlineError, OverloadedError
from tests.unit.api.exchange import checked_error, events_of
from tests.unit.api.rewriting import (
    DONE,
    KEEP_ALIVE,
    Sent,
    a_context,
    chunk,
    event,
    start,
    streamed,
    usage_chunk,
)
from tests.unit.gateway.fakes import NUM_VISUAL_TOKENS

ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})
LAST = chunk(" end", finish="stop")

STREAMS = {
    "plain": [ROLE, chunk("one"), LAST],
    "usage": [ROLE, chunk("one"), LAST, usage_chunk()],
    "two choices": [
        *(ROLE, chunk("a"), chunk("b", index=1)),
        *(chunk(finish="length"), chunk("c", index=1), chunk(finish="stop", index=1)),
    ],
    "two choices and usage": [
        *(chunk("a"), chunk("b", index=1), chunk(finish="stop", index=1)),
        *(chunk(finish="stop"), usage_chunk()),
    ],
    "usage all the time": [
        chunk("one", usage={"prompt_tokens": 81}),
        chunk(finish="stop", usage={"prompt_tokens": 81}),
        usage_chunk(),
    ],
    "keep-alive": [KEEP_ALIVE, ROLE, KEEP_ALIVE, chunk("one"), LAST, KEEP_ALIVE],
    "tool call": [
        event({"choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]}),
        chunk(finish="tool_calls"),
    ],
    "text completion": [
        event({"choices": [{"index": 0, "text": "one", "finish_reason": None}]}),
        event({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}),
    ],
    "tricky text": [
        chunk('data: [DONE]\n\ndata: {"error": 1}\n\n"usage":{ "finish_reason":"x'),
        chunk("größer 世界 \u2028", kv_transfer_params=None),
        LAST,
    ],
    "nothing at the end": [chunk("one"), LAST, event({"id": "chatcmpl-1", "choices": []})],
    "error": [ROLE, event({"error": {"message": "secret", "code": 500}})],
    "error after an end": [chunk(finish="stop"), event({"error": {"message": "m", "code": 400}})],
}
streams = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())


def without_additions(content: Any) -> Any:
    if isinstance(content, dict):
        content.pop("saccade", None)
        for field in ("visual_tokens", "visual_tokens_kept"):
            (content.get("usage") or {}).pop(field, None)
        content.pop("kv_transfer_params", None)
    return content


@streams
@pytest.mark.parametrize("explain", [False, True])
async def test_nothing_is_lost_doubled_or_moved(stream: list[bytes], explain: bool) -> None:
    sent = await streamed(a_context(explain=explain), [*stream, DONE])
    got = [without_additions(content) for content in events_of(sent.body)]
    expected = [without_additions(content) for content in events_of(b"".join([*stream, DONE]))]
    if "error" in str(stream[-1]):
        assert len(got) == len(expected)
        got, expected = got[:-2], expected[:-2]
    assert got == expected
    assert sent.body.count(KEEP_ALIVE) == stream.count(KEEP_ALIVE)
    assert sent.body.endswith(DONE)


@streams
async def test_the_explanation_is_in_the_last_event_and_nowhere_else(stream: list[bytes]) -> None:
    sent = await streamed(a_context(explain=True), [*stream, DONE])
    *events, done = events_of(sent.body)
    assert done == "[DONE]"
    if "error" in events[-1]:
        events.pop()
        assert not any("saccade" in content for content in events)
        return
    assert [stage["stage"] for stage in events[-1]["saccade"]["stages"]] == ["prefill", "decode"]
    assert not any("saccade" in content for content in events[:-1])


@streams
async def test_nothing_is_explained_unasked(stream: list[bytes]) -> None:
    sent = await streamed(a_context(), [*stream, DONE])
    assert b'"saccade"' not in sent.body


@example(kind="two choices and usage", cuts=[1], explain=True)
@given(
    kind=st.sampled_from(sorted(STREAMS)),
    cuts=st.lists(st.integers(0, 900), max_size=12),
    explain=st.booleans(),
)
def test_where_the_stream_is_cut_into_pieces_makes_no_difference(
    kind: str, cuts: list[int], explain: bool
) -> None:
    whole = b"".join([*STREAMS[kind], DONE])
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(places)]

    async def bodies() -> tuple[bytes, bytes]:
        context = a_context(explain=explain)
        return (await streamed(context, pieces)).body, (await streamed(context, [whole])).body

    cut, uncut = asyncio.run(bodies())
    assert cut == uncut


@given(st.text(max_size=30), st.booleans())
def test_no_text_of_an_answer_is_mistaken_for_anything_else(text: str, explain: bool) -> None:
    stream = [chunk(text), chunk(text, finish="stop"), DONE]
    sent = asyncio.run(streamed(a_context(explain=explain), stream))
    first, second, done = events_of(sent.body)
    texts = [content["choices"][0]["delta"]["content"] for content in (first, second)]
    assert (texts, done) == ([text, text], "[DONE]")


@pytest.mark.parametrize("passing", [ROLE, chunk("one"), KEEP_ALIVE], ids=["role", "text", "ping"])
async def test_what_does_not_end_a_choice_passes_at_once_and_unchanged(passing: bytes) -> None:
    sent = Sent(a_context(explain=True))
    await sent.rewriter(start("text/event-stream"))
    assert await sent.take(passing) == passing


async def test_a_keep_alive_comment_passes_an_event_that_is_held_back() -> None:
    sent = Sent(a_context(explain=True))
    await sent.rewriter(start("text/event-stream"))
    assert await sent.take(LAST) == b""
    assert await sent.take(KEEP_ALIVE) == KEEP_ALIVE


async def test_the_status_is_sent_before_the_first_event() -> None:
    sent = Sent(a_context())
    await sent.rewriter(start("text/event-stream"))
    assert [message["type"] for message in sent.messages] == ["http.response.start"]
    assert sent.rewriter.started
    assert not sent.rewriter.finished


async def test_the_usage_at_the_end_counts_visual_tokens() -> None:
    sent = await streamed(a_context(num_pictures=2), [LAST, usage_chunk(prompt_tokens=140), DONE])
    usage = events_of(sent.body)[-2]["usage"]
    assert usage["prompt_tokens"] == 140
    assert usage["visual_tokens"] == usage["visual_tokens_kept"] == 2 * NUM_VISUAL_TOKENS


async def test_the_hand_over_stays_inside() -> None:
    leak = chunk("one", kv_transfer_params={"remote_host": "10.0.0.1"})
    sent = await streamed(a_context(), [leak, DONE])
    first = events_of(sent.body)[0]
    assert "kv_transfer_params" not in first
    assert first["choices"][0]["delta"]["content"] == "one"


async def test_an_error_in_the_stream_gets_openais_shape() -> None:
    refused = event({"error": {"message": "too long", "type": "x", "param": "n", "code": 400}})
    sent = await streamed(a_context(), [ROLE, refused, DONE])
    error = checked_error(events_of(sent.body)[1])
    assert error == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_request",
    }


@pytest.mark.parametrize("error", [{"message": "secret", "code": 500}, "secret", None])
async def test_an_error_from_inside_is_not_told(error: Any) -> None:
    sent = await streamed(a_context(), [ROLE, event({"error": error}), DONE])
    assert checked_error(events_of(sent.body)[1])["message"] == INTERNAL_MESSAGE
    assert b"secret" not in sent.body


async def test_what_ended_the_request_is_told_in_the_stream() -> None:
    context = a_context()
    context.error = OverloadedError("No instance serves decode.")
    sent = await streamed(context, [ROLE, event({"error": {"message": "x", "code": 500}}), DONE])
    assert events_of(sent.body)[1] == error_body(context.error)


async def test_a_stream_that_is_ended_from_outside_ends_with_an_error_event() -> None:
    sent = Sent(a_context(explain=True))
    await sent.rewriter(start("text/event-stream"))
    await sent.take(chunk("one") + LAST + b'data: {"choices":[{"del')
    error = error_body(DeadlineError("late"))
    await sent.rewriter.fail_stream(error)
    assert sent.rewriter.finished
    assert sent.messages[-1]["more_body"] is False
    *_, last, told, done = events_of(sent.body)
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (told, done) == (error, "[DONE]")


async def test_a_stream_without_the_usual_end_still_ends() -> None:
    sent = await streamed(a_context(explain=True), [chunk("one"), LAST])
    assert [message.get("more_body") for message in sent.messages[1:]][-1] is False
    assert "saccade" in events_of(sent.body)[-1]


async def test_numbers_keep_their_digits() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -1.2345678901234567e-05}]}
    final = event({"choices": [{"logprobs": logprobs, "finish_reason": "stop"}]})
    sent = await streamed(a_context(), [final, DONE])
    assert events_of(sent.body)[0] == json.loads(final[6:])
