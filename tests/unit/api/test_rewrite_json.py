import json
from typing import Any

import pytest

from saccade.serving.errors import InternalError, InvalidRequestError, OverloadedError
from saccade.serving.gateway.context import RequestContext
from tests.unit.api.exchange import checked_error
from tests.unit.api.rewriting import Sent, a_context, dump, start
from tests.unit.gateway.fakes import NUM_VISUAL_TOKENS

COMPLETION = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"content": "größer"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 81, "completion_tokens": 2, "total_tokens": 83},
}


async def rewritten(
    context: RequestContext, content: Any, status: int = 200, num_pieces: int = 1
) -> Sent:
    raw = content if isinstance(content, bytes) else dump(content)
    sent = Sent(context)
    length = (b"Content-Length", str(len(raw)).encode())
    await sent.rewriter(start("application/json", status, length))
    assert not sent.rewriter.started
    size = -(-len(raw) // num_pieces) or 1
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)] or [b""]
    for piece in pieces[:-1]:
        await sent.take(piece)
    await sent.take(pieces[-1], more=False)
    return sent


def json_of(sent: Sent) -> Any:
    first, second = sent.messages
    lengths = [value for name, value in first["headers"] if name.lower() == b"content-length"]
    assert lengths == [str(len(second["body"])).encode()]
    assert sent.rewriter.started
    assert sent.rewriter.finished
    return json.loads(second["body"])


@pytest.mark.parametrize("num_pieces", [1, 2, 7])
async def test_usage_counts_visual_tokens(num_pieces: int) -> None:
    sent = await rewritten(a_context(num_pictures=2), COMPLETION, num_pieces=num_pieces)
    content = json_of(sent)
    assert content.pop("usage") == {
        "prompt_tokens": 81,
        "completion_tokens": 2,
        "total_tokens": 83,
        "visual_tokens": 2 * NUM_VISUAL_TOKENS,
        "visual_tokens_kept": 2 * NUM_VISUAL_TOKENS,
    }
    assert content == {key: COMPLETION[key] for key in ("id", "choices")}


async def test_a_text_request_has_no_visual_tokens() -> None:
    content = json_of(await rewritten(a_context(num_pictures=0), COMPLETION))
    assert content["usage"]["visual_tokens"] == content["usage"]["visual_tokens_kept"] == 0


async def test_the_hand_over_stays_inside() -> None:
    secret = {"kv_transfer_params": {"remote_host": "10.0.0.1"}, "ec_transfer_params": {"a": 1}}
    sent = await rewritten(a_context(), COMPLETION | secret)
    assert json_of(sent).keys() == COMPLETION.keys()
    assert b"10.0.0.1" not in sent.body


async def test_an_explanation_is_there_when_it_was_asked_for() -> None:
    context = a_context(explain=True)
    content = json_of(await rewritten(context, COMPLETION))
    assert content["saccade"]["stages"] == [
        {"stage": "prefill", "instance": "llm-0", "ms": 1.0},
        {"stage": "decode", "instance": "llm-1", "ms": 2.0},
    ]
    assert content["saccade"]["request_key"] == context.key
    assert "saccade" not in json_of(await rewritten(a_context(), COMPLETION))


async def test_other_headers_and_the_status_pass() -> None:
    sent = await rewritten(a_context(), COMPLETION, status=201)
    assert sent.messages[0]["status"] == 201
    assert (b"x-of-vllm", b"1") in sent.messages[0]["headers"]


@pytest.mark.parametrize("raw", [b"", b"plain text", b"[1,2]", b'"text"', b"\xff\xfe"])
async def test_what_is_no_json_object_passes_as_it_is(raw: bytes) -> None:
    sent = await rewritten(a_context(explain=True), raw)
    assert sent.body == raw


async def test_an_error_gets_openais_shape() -> None:
    body = {"error": {"message": "bad n", "type": "BadRequestError", "param": "n", "code": 422}}
    sent = await rewritten(a_context(explain=True), body, status=422)
    assert sent.messages[0]["status"] == 400
    error = checked_error(json_of(sent))
    assert (error["message"], error["param"], error["code"]) == ("bad n", "n", "invalid_request")


async def test_an_error_page_that_is_no_json_gets_openais_shape_too() -> None:
    sent = await rewritten(a_context(), b"Internal Server Error", status=500)
    assert checked_error(json_of(sent))["code"] == "internal_error"


async def test_what_ended_the_request_is_told_instead_of_vllms_version_of_it() -> None:
    context = a_context()
    context.error = InvalidRequestError("broken picture", param="messages[0].content[0]")
    sent = await rewritten(context, {"error": {"message": "oops", "code": 500}}, status=500)
    assert sent.messages[0]["status"] == 400
    error = checked_error(json_of(sent))
    assert (error["message"], error["param"]) == ("broken picture", "messages[0].content[0]")


async def test_an_error_of_ours_is_not_told_with_a_success() -> None:
    context = a_context()
    context.error = InternalError("late")
    assert json_of(await rewritten(context, COMPLETION))["choices"] == COMPLETION["choices"]


async def test_overload_that_shows_late_tells_when_to_come_back_too() -> None:
    context = a_context()
    context.error = OverloadedError("No instance serves decode.", retry_after_s=3)
    sent = await rewritten(context, {"error": {"message": "oops", "code": 500}}, status=500)
    assert sent.messages[0]["status"] == 503
    assert (b"retry-after", b"3") in sent.messages[0]["headers"]
