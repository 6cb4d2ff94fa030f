import json
from typing import Any

import pytest

from saccade.encoders.base import UnsupportedSizeError, VisualLayout
from saccade.scheduler.placement import Placement
from saccade.serving.gateway.context import pinned_placement
from tests.unit.api.exchange import Exchange
from tests.unit.api.guarding import (
    CHAT,
    COMPLETIONS,
    STREAM_START,
    TOKENIZE,
    FakePlaceholders,
    Inner,
    Server,
    WithStamps,
    WithVideo,
    about,
    say,
    text,
)
from tests.unit.api.rewriting import DONE, chunk

KEYS = [{"key": "sk-12345678", "tenant": "one"}]


def error_of(exchange: Exchange) -> tuple[int, str, str | None]:
    assert exchange.complete
    return exchange.status, exchange.error["code"], exchange.error["param"]


async def test_a_request_reaches_the_app_and_its_answer_the_client() -> None:
    server = Server()
    exchange = await server.send(text())
    assert exchange.status == 200
    assert exchange.complete
    assert exchange.json["usage"]["visual_tokens"] == 0
    assert server.inner.bodies == [text()]
    assert server.admission.running == 0


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"nonsense", b"[1, 2", b"\xff\xfe\xfa", b'{"a": 1} b', b"[" * 100_000, b"1" * 5000],
    ids=["empty", "cut", "text", "list", "bytes", "rest", "deep", "long number"],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, TOKENIZE])
async def test_a_body_that_is_no_json_is_refused(raw: bytes, path: str) -> None:
    server = Server()
    assert error_of(await server.send(raw, path)) == (400, "invalid_json", None)
    assert server.inner.bodies == []


@pytest.mark.parametrize("body", [None, True, 1, "text", [], [{}]])
async def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    assert error_of(await Server().send(body)) == (400, "invalid_json", None)


async def test_text_with_half_a_character_is_refused_before_it_can_break_anything() -> None:
    server = Server()
    exchange = await server.send(b'{"model": "tiny", "messages": [{"content": "\\ud800"}]}')
    assert exchange.status == 400
    assert server.inner.bodies == []


async def test_a_field_with_half_a_character_does_not_break_its_own_refusal() -> None:
    exchange = await Server().send(b'{"saccade": {"\\ud800": 1}}')
    assert exchange.status == 400


async def test_characters_outside_the_basic_plane_pass_however_they_are_written() -> None:
    server = Server()
    await server.send(b'{"messages": [{"content": "\\ud83d\\ude00"}]}')
    assert server.inner.bodies[0]["messages"] == [{"content": "\U0001f600"}]


@pytest.mark.parametrize("num_chunks", [1, 3])
async def test_a_body_that_is_too_large_is_refused(num_chunks: int) -> None:
    server = Server(max_body_bytes=1024)
    chunks = [b" " * (1025 // num_chunks + 1)] * num_chunks
    assert error_of(await server.send(b"", chunks=chunks)) == (413, "request_too_large", None)


async def test_no_more_of_a_body_is_read_than_is_allowed() -> None:
    server = Server(max_body_bytes=1024)
    exchange = server.exchange(b"", chunks=[b" " * 1000] * 100)
    await exchange.run()
    assert exchange.status == 413
    assert exchange.num_received == 2


async def test_a_body_of_exactly_the_limit_is_taken_in_any_number_of_pieces() -> None:
    raw = json.dumps(text()).encode().ljust(1024)
    server = Server(max_body_bytes=1024)
    pieces = [raw[at : at + 10] for at in range(0, len(raw), 10)]
    assert (await server.send(b"", chunks=pieces)).status == 200
    assert server.inner.bodies == [text()]


async def test_a_large_body_arrives_whole() -> None:
    server, body = Server(), text("x" * 100_000)
    assert (await server.send(body)).status == 200
    assert server.inner.bodies == [body]


async def test_what_steers_the_engine_does_not_reach_it() -> None:
    server = Server()
    await server.send(
        text(
            kv_transfer_params={"remote_host": "10.0.0.1"},
            cache_salt="other tenant's",
            use_beam_search=True,
            vllm_xargs={"kv_transfer_params": {}},
            saccade={"explain": True},
            priority=-1,
        )
    )
    assert server.inner.bodies == [text()]


async def test_headers_that_steer_the_engine_do_not_reach_it() -> None:
    server = Server()
    headers = {
        "X-Request-Id": "client's",
        "X-Data-Parallel-Rank": "1",
        "X-Session-Id": "s",
        "X-Vllm-Priority": "1",
        "Content-Length": "99999",
        "Content-Type": "application/json",
        "Authorization": "Bearer x",
    }
    exchange = await server.send(text(), headers=headers)
    inner = dict(server.inner.scopes[0]["headers"])
    assert inner.keys() == {b"content-type", b"authorization", b"content-length", b"x-request-id"}
    assert inner[b"content-length"] == str(len(json.dumps(text()))).encode()
    assert inner[b"x-request-id"] == server.inner.contexts[0].key.encode()
    assert exchange.headers["x-request-id"] == "client's"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_the_body_is_json_whatever_the_client_calls_it(content_type: str) -> None:
    server = Server()
    await server.send(text(), headers={"content-type": content_type})
    types = [value for name, value in server.inner.scopes[0]["headers"] if name == b"content-type"]
    assert types == [b"application/json"]


async def test_two_requests_with_one_id_of_the_clients_have_keys_of_their_own() -> None:
    server = Server()
    for _ in range(2):
        await server.send(text(), headers={"x-request-id": "same"})
    assert len({context.key for context in server.inner.contexts}) == 2
    assert {context.request_id for context in server.inner.contexts} == {"same"}


async def test_an_explanation_comes_when_asked_for() -> None:
    exchange = await Server().send(text(saccade={"explain": True}))
    assert exchange.json["saccade"]["stages"] == []
    assert "saccade" not in (await Server().send(text())).json


async def test_an_unknown_extension_is_refused_by_name() -> None:
    exchange = await Server().send(text(saccade={"explian": True}))
    assert error_of(exchange) == (400, "invalid_request", "saccade.explian")


async def test_too_many_choices_are_refused() -> None:
    server = Server(max_choices=2)
    assert error_of(await server.send(text(n=3))) == (400, "too_many_choices", "n")
    assert server.inner.bodies == []


async def test_room_is_held_for_every_choice() -> None:
    held: list[int] = []
    server = Server()

    async def note(receive: Any, send: Any) -> None:
        held.append(server.admission.running)

    server.inner.behaviour = note
    await server.send(text(n=3))
    await server.send({"prompt": ["a", "b"], "n": 2}, COMPLETIONS)
    await server.send(text(n=3), TOKENIZE)
    assert held == [3, 4, 0]


async def test_without_a_key_nothing_of_the_body_is_read() -> None:
    server = Server(keys=KEYS)
    exchange = await server.send(text())
    assert error_of(exchange) == (401, "missing_api_key", None)
    assert exchange.num_received == 0


async def test_the_tenant_is_known_inside() -> None:
    server = Server(keys=KEYS)
    await server.send(text(), headers={"authorization": "Bearer sk-12345678"})
    assert [context.tenant for context in server.inner.contexts] == ["one"]


async def test_pictures_become_placeholders_of_their_size() -> None:
    server = Server()
    exchange = await server.send(about("http://a/12x8", "http://a/6x4"))
    parts = server.inner.bodies[0]["messages"][0]["content"]
    assert parts == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_embeds", "image_embeds": "96 visual tokens"},
        {"type": "image_embeds", "image_embeds": "24 visual tokens"},
    ]
    assert exchange.json["usage"]["visual_tokens"] == 96 + 24
    pictures = server.inner.contexts[0].pictures
    assert [pending.picture.param for pending in pictures] == [
        "messages[0].content[1]",
        "messages[0].content[2]",
    ]


async def test_pictures_count_in_tokenization_too() -> None:
    server = Server()
    assert (await server.send(about("http://a/12x8"), TOKENIZE)).status == 200
    assert "96 visual tokens" in str(server.inner.bodies)


async def test_a_prompt_that_says_when_frames_were_shown_is_told_it() -> None:
    server = Server(placeholders=WithStamps())
    clip = {"type": "video", "video": ["http://a/6x4"] * 3, "fps": 2}
    await server.send(text([clip]))
    assert server.inner.bodies[0]["messages"][0]["content"] == [
        {"type": "video_embeds", "video_embeds": "36 36 visual tokens after (0.0, 1.0)"}
    ]


async def test_frames_become_the_placeholder_of_a_clip() -> None:
    server = Server(placeholders=WithVideo())
    clip = {"type": "video", "video": ["http://a/6x4"] * 3, "fps": 2}
    picture = {"type": "image_url", "image_url": {"url": "http://a/12x8"}}
    exchange = await server.send(text([clip, picture]))
    assert server.inner.bodies[0]["messages"][0]["content"] == [
        {"type": "video_embeds", "video_embeds": "72 visual tokens"},
        {"type": "image_embeds", "image_embeds": "96 visual tokens"},
    ]
    assert exchange.json["usage"]["visual_tokens"] == 72 + 96
    assert [one.picture.kind for one in server.inner.contexts[0].pictures] == ["video", "image"]


async def test_frames_of_different_sizes_are_no_clip() -> None:
    server = Server(placeholders=WithVideo())
    clip = {"type": "video", "video": ["http://a/6x4", "http://a/12x8"]}
    assert error_of(await server.send(text([clip]))) == (
        400, "invalid_video", "messages[0].content[0]",
    )  # fmt: skip


async def test_a_size_that_the_model_cannot_take_is_the_clients_error() -> None:
    class Narrow(FakePlaceholders):
        def picture(self, width: int, height: int) -> VisualLayout:
            raise UnsupportedSizeError("too narrow")

    exchange = await Server(placeholders=Narrow()).send(about("http://a/12x8"))
    assert error_of(exchange) == (400, "unsupported_image_size", "messages[0].content[1]")


async def test_without_an_encode_instance_pictures_are_refused() -> None:
    server = Server(placeholders=None)
    exchange = await server.send(about("http://a/12x8"))
    assert error_of(exchange) == (400, "unsupported_content_part", "messages[0].content[1]")
    assert server.inner.bodies == []


async def test_a_client_cannot_send_embeddings_itself() -> None:
    server = Server()
    exchange = await server.send(text([{"type": "image_embeds", "image_embeds": "AAAA"}]))
    assert error_of(exchange) == (400, "unsupported_content_part", "messages[0].content[0]")
    assert server.inner.bodies == []


async def test_before_it_is_ready_the_server_says_when_to_come_back() -> None:
    server = Server(ready=False)
    exchange = await server.send(text())
    assert error_of(exchange) == (503, "server_overloaded", None)
    assert exchange.headers["retry-after"] == "5"
    assert server.inner.bodies == []


async def test_before_it_is_ready_no_picture_is_fetched() -> None:
    server = Server(ready=False)
    assert (await server.send(about("http://a/12x8"))).status == 503
    assert server.fetcher.urls == []


async def test_the_warm_up_gets_through_before_it_is_ready() -> None:
    server, placement = Server(ready=False), Placement("p", "d")
    token = pinned_placement.set(placement)
    try:
        assert (await server.send(text())).status == 200
    finally:
        pinned_placement.reset(token)
    assert server.inner.contexts[0].pinned == placement


async def test_tokenization_does_not_wait_for_the_instances() -> None:
    assert (await Server(ready=False).send(text(), TOKENIZE)).status == 200


async def test_no_room_means_503_with_a_time_to_come_back() -> None:
    server = Server(max_running=1, max_choices=1, max_queued=0)
    async with server.admission.slot(1):
        exchange = await server.send(text())
    assert error_of(exchange) == (503, "server_overloaded", None)
    assert exchange.headers["retry-after"] == "1"


async def test_a_server_that_is_stopping_takes_no_request() -> None:
    server = Server()
    server.admission.close()
    assert error_of(await server.send(text())) == (503, "server_overloaded", None)


async def test_what_breaks_in_the_app_is_an_error_that_tells_nothing() -> None:
    async def broken(_: Any, __: Any) -> None:
        raise RuntimeError("secret")

    server = Server(Inner(broken))
    exchange = await server.send(text())
    assert error_of(exchange) == (500, "internal_error", None)
    assert "secret" not in exchange.error["message"]
    assert server.admission.running == 0


def ttft(server: Server, modality: str) -> float | None:
    return server.metrics.registry.get_sample_value(
        "saccade_time_to_first_token_seconds_count", {"modality": modality}
    )


@pytest.mark.parametrize(
    ("body", "modality"),
    [(text(), "text"), (about("http://a/6x4"), "image")],
    ids=["text", "image"],
)
async def test_the_first_token_is_timed_by_modality(body: dict[str, Any], modality: str) -> None:
    async def stream(_: Any, send: Any) -> None:
        await send(STREAM_START)
        await say(send, chunk("one"), chunk("two", finish="stop"), DONE, end=True)

    server = Server(Inner(stream))
    await server.send(body | {"stream": True})
    assert ttft(server, modality) == 1


async def test_the_first_token_of_a_streamed_completion_is_timed() -> None:
    piece = b'data: {"choices":[{"index":0,"text":"one","finish_reason":null}]}\n\n'

    async def stream(_: Any, send: Any) -> None:
        await send(STREAM_START)
        await say(send, piece, DONE, end=True)

    server = Server(Inner(stream))
    await server.send({"prompt": "a", "stream": True}, COMPLETIONS)
    assert ttft(server, "text") == 1


async def test_an_answer_that_comes_in_one_piece_has_no_first_token() -> None:
    async def whole(_: Any, send: Any) -> None:
        await send(STREAM_START)
        await say(send, b'{"choices":[{"index":0,"text":"one"}]}', end=True)

    server = Server(Inner(whole))
    exchange = await server.send({"prompt": "a"}, COMPLETIONS)
    assert exchange.status == 200
    assert ttft(server, "text") in (None, 0)


EMBEDS = {"type": "image_embeds", "image_embeds": "AAAA"}


async def test_embeddings_of_the_client_pass_where_they_are_enabled() -> None:
    server = Server(media={"accept_image_embeds": True})
    picture = {"type": "image_url", "image_url": {"url": "http://a/12x8"}}
    exchange = await server.send(text([EMBEDS, picture]))
    assert exchange.status == 200
    content = server.inner.bodies[0]["messages"][0]["content"]
    assert [part["image_embeds"] for part in content] == ["3 visual tokens", "96 visual tokens"]
    [given, to_encode] = server.inner.contexts[0].pictures
    assert given.given is not None
    assert to_encode.given is None


async def test_without_an_encode_instance_embeddings_still_pass_and_pictures_do_not() -> None:
    server = Server(
        media={"accept_image_embeds": True}, instances={"llm": {"roles": ["prefill", "decode"]}}
    )
    assert (await server.send(text([EMBEDS]))).status == 200
    exchange = await server.send(text([EMBEDS, {"type": "image_url", "image_url": "http://a/6x4"}]))
    assert exchange.status == 400
    assert exchange.json["error"]["param"] == "messages[0].content[1]"
