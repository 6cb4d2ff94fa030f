"""The API around the main job: parameters, refusals, probes, cancelling."""

import base64
import json
import re
import zlib
from collections.abc import Iterator
from struct import pack
from typing import Any

import httpx2
import openai
import psutil
import pytest

from tests.e2e.server import Server, until
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

MODEL = "saccade-tiny"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
PICTURE = {"type": "image_url", "image_url": {"url": data_url(drawn(1))}}


def not_seen_before(seed: int) -> dict[str, Any]:
    """A picture that no other test sends: it has to be encoded."""
    return {"type": "image_url", "image_url": {"url": data_url(drawn(seed))}}


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=120) as client:
        yield client


def post(http: httpx2.Client, **body: Any) -> httpx2.Response:
    return http.post(
        "/v1/chat/completions", json={"model": MODEL, "max_tokens": 4, "temperature": 0, **body}
    )


def with_image(url: Any) -> list[Any]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]


# What a client may ask -------------------------------------------------------------------------


def test_n_answers_differ_when_sampled(client: openai.OpenAI) -> None:
    response = client.chat.completions.create(
        model=MODEL, messages=HELLO, n=3, temperature=1.5, seed=4, max_tokens=12
    )
    assert [choice.index for choice in response.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in response.choices}) > 1
    assert response.usage is not None
    assert response.usage.completion_tokens > response.usage.prompt_tokens


def test_the_same_seed_gives_the_same_answers(client: openai.OpenAI) -> None:
    def ask() -> list[str | None]:
        response = client.chat.completions.create(
            model=MODEL, messages=HELLO, n=2, temperature=1.5, seed=11, max_tokens=12
        )
        return [choice.message.content for choice in response.choices]

    assert ask() == ask()


def test_n_streams_are_told_apart_by_index(client: openai.OpenAI) -> None:
    texts = ["", ""]
    for chunk in client.chat.completions.create(
        model=MODEL, messages=HELLO, n=2, temperature=1.0, seed=3, max_tokens=6, stream=True
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts)
    assert texts[0] != texts[1]


def test_stop_strings_end_the_answer(client: openai.OpenAI) -> None:
    def ask(**extra: Any) -> Any:
        return client.chat.completions.create(
            model=MODEL, messages=HELLO, temperature=0, max_tokens=16, **extra
        ).choices[0]

    whole = ask().message.content
    stop = whole[8:11]
    stopped = ask(stop=stop)
    assert stopped.finish_reason == "stop"
    assert stopped.message.content == whole[: whole.index(stop)]


def test_logprobs_come_with_each_token(client: openai.OpenAI) -> None:
    logprobs = (
        client.chat.completions.create(
            model=MODEL, messages=HELLO, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
        )
        .choices[0]
        .logprobs
    )
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(entry.top_logprobs) for entry in logprobs.content] == [3] * 5
    for entry in logprobs.content:
        assert entry.logprob == max(top.logprob for top in entry.top_logprobs)


def test_prompt_logprobs_stay_on_one_instance(http: httpx2.Client) -> None:
    response = post(http, messages=HELLO, prompt_logprobs=1, saccade={"explain": True}).json()
    assert len(response["prompt_logprobs"]) == response["usage"]["prompt_tokens"]
    assert len({stage["instance"] for stage in response["saccade"]["stages"]}) == 1


def test_a_json_schema_is_kept(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"red": {"type": "boolean"}},
        "required": ["red"],
        "additionalProperties": False,
    }
    messages: list[Any] = [{"role": "user", "content": [PICTURE, {"type": "text", "text": "Red?"}]}]
    response = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        temperature=0,
        max_tokens=64,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )
    assert isinstance(json.loads(response.choices[0].message.content or "")["red"], bool)


def test_a_named_tool_is_called(client: openai.OpenAI) -> None:
    tool: Any = {
        "type": "function",
        "function": {
            "name": "paint",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"colour": {"enum": ["red", "blue"]}},
                "required": ["colour"],
                "additionalProperties": False,
            },
        },
    }
    message = (
        client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            tools=[tool],
            tool_choice={"type": "function", "function": {"name": "paint"}},
            temperature=0,
            max_tokens=64,
        )
        .choices[0]
        .message
    )
    assert message.tool_calls
    call: Any = message.tool_calls[0]
    assert call.function.name == "paint"
    assert json.loads(call.function.arguments)["colour"] in {"red", "blue"}


def test_completions_answer_several_prompts(client: openai.OpenAI) -> None:
    response = client.completions.create(
        model=MODEL, prompt=["one", "two"], temperature=0, max_tokens=5, echo=True, logprobs=1
    )
    assert [choice.text[:3] for choice in response.choices] == ["one", "two"]


def test_tokenize_counts_visual_tokens_and_detokenize_inverts(http: httpx2.Client) -> None:
    text = http.post("/tokenize", json={"model": MODEL, "prompt": "a red circle"}).json()
    back = http.post("/detokenize", json={"model": MODEL, "tokens": text["tokens"]}).json()
    assert "a red circle" in back["prompt"]
    with_picture = http.post(
        "/tokenize",
        json={"model": MODEL, "messages": [{"role": "user", "content": [PICTURE]}]},
    ).json()
    assert with_picture["count"] > 144


# Models and probes -----------------------------------------------------------------------------


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("another")
    assert refused.value.code == "model_not_found"


def test_probes(http: httpx2.Client) -> None:
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["stages"] == dict.fromkeys(
        ("preprocess", "encode", "prune", "prefill", "decode"), True
    )
    assert set(ready.json()["instances"].values()) == {"ready"}
    assert http.get("/livez").status_code == 200
    health = http.get("/health")
    assert (health.status_code, health.content) == (200, b"")
    assert set(http.get("/version").json()) == {"version", "vllm"}
    assert "saccade_kv_transfers_total" in http.get("/metrics").text


def test_ready_only_after_a_warm_up_through_every_instance(server: Server) -> None:
    output = server.output()
    states = re.findall(r"(\S+): (ready|one request through every instance)", output)
    assert states[-2:] == [("warm-up", "one request through every instance"), ("warm-up", "ready")]
    assert {"encode-0", "llm-0", "llm-1"} <= {name for name, _ in states[:-2]}
    assert output.index("warm-up: ready") < output.index("Ready after")


def test_request_ids_are_echoed(http: httpx2.Client) -> None:
    response = http.get("/v1/models", headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert http.get("/v1/models").headers["x-request-id"]


# What is refused -------------------------------------------------------------------------------


def png_claiming(width: int, height: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    header = pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    png += chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def encoded(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


TRUNCATED = base64.b64decode(data_url(drawn(1)).partition(",")[2])[:-40]
IMAGE = "messages[0].content[1]"
REFUSED_PICTURES: dict[str, tuple[Any, int, str]] = {
    "bomb": (png_claiming(60_000, 60_000), 400, "image_too_many_pixels"),
    "too many bytes": (encoded(bytes(1_100_000)), 413, "image_too_large"),
    "not base64": ("data:image/png;base64,@@@", 400, "invalid_base64"),
    "not a picture": (encoded(b"hello"), 400, "unsupported_image_format"),
    "empty": (encoded(b""), 400, "invalid_base64"),
    "svg": (encoded(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 400, "unsupported_image_format"),
    "truncated": (encoded(TRUNCATED), 400, "invalid_image"),
    "file url": ("file:///etc/passwd", 400, "unsupported_url_scheme"),
    "metadata address": ("http://169.254.169.254/latest/", 400, "image_url_forbidden"),
    "private address": ("http://10.0.0.1/a.png", 400, "image_url_forbidden"),
    "loopback not by the allowed name": ("http://[::1]/a.png", 400, "image_url_forbidden"),
    "not a string": (7, 400, "invalid_request"),
    "nobody listens": ("http://127.0.0.1:1/a.png", 400, "image_fetch_failed"),
}


@pytest.mark.parametrize("name", REFUSED_PICTURES)
@pytest.mark.parametrize("stream", [False, True])
def test_pictures_that_are_refused(
    name: str, stream: bool, http: httpx2.Client, server: Server
) -> None:
    url, status, code = REFUSED_PICTURES[name]
    encoded_before = server.metric('saccade_stage_seconds_count{stage="encode"}')
    response = post(http, messages=with_image(url), stream=stream)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(IMAGE)
    assert error["message"]
    assert server.metric('saccade_stage_seconds_count{stage="encode"}') == encoded_before


def test_more_pictures_than_allowed(http: httpx2.Client) -> None:
    response = post(http, messages=[{"role": "user", "content": [PICTURE] * 5}])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "too_many_images"
    assert response.json()["error"]["param"] == "messages[0].content[4]"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_embeds", "image_embeds": "AAAA"},
        {"type": "video_url", "video_url": {"url": "http://127.0.0.1/v.mp4"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "text", "text": "x", "uuid": "1", "image_url": "http://127.0.0.1/a.png"},
    ],
)
def test_other_media_is_refused(part: dict[str, Any], http: httpx2.Client) -> None:
    response = post(http, messages=[{"role": "user", "content": [part]}])
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("messages[0].content[0]")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"messages": "hello"}, 400, "messages"),
        ({"messages": HELLO, "n": 5}, 400, "n"),
        ({"messages": HELLO, "n": 0}, 400, "n"),
        ({"messages": HELLO, "temperature": -1}, 400, "temperature"),
        ({"messages": HELLO, "temperature": -1, "stream": True}, 400, "temperature"),
        ({"messages": HELLO, "max_tokens": 100_000}, 400, "max_tokens"),
        ({"messages": HELLO, "model": "another"}, 404, "model"),
        ({"messages": HELLO, "saccade": {"explan": True}}, 400, "saccade.explan"),
        ({"messages": HELLO, "logprobs": True, "top_logprobs": 100}, 400, None),
        ({"messages": [7]}, 400, None),
        ({"messages": [{"role": "user", "content": [7]}]}, 400, None),
        ({}, 400, None),
    ],
)
def test_bad_parameters(
    body: dict[str, Any], status: int, param: str | None, http: httpx2.Client
) -> None:
    response = post(http, **body)
    error = response.json()["error"]
    assert response.status_code == status, error
    assert isinstance(error["code"], str)
    if param is not None:
        assert error["param"] == param


def test_a_grammar_that_does_not_compile_is_a_400_also_when_streaming(http: httpx2.Client) -> None:
    schema = {"name": "a", "schema": {"type": "no such type"}}
    for stream in (False, True):
        response = post(
            http,
            messages=HELLO,
            stream=stream,
            response_format={"type": "json_schema", "json_schema": schema},
        )
        assert response.status_code == 400


def test_a_prompt_that_is_too_long(http: httpx2.Client) -> None:
    response = post(http, messages=[{"role": "user", "content": "red " * 5000}])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_bodies_that_are_not_json(http: httpx2.Client) -> None:
    for content, status in ((b"{", 400), (b"[]", 400), (b"\xff", 400), (b" " * 9_000_000, 413)):
        response = http.post("/v1/chat/completions", content=content)
        assert response.status_code == status
        assert isinstance(response.json()["error"]["code"], str)


@pytest.mark.parametrize(
    "path",
    ["/v1/responses", "/v1/messages", "/inference/v1/generate", "/scale_elastic_ep", "/invocations",
     "/v1/chat/completions/batch", "/v1/chat/completions/render", "/openapi.json", "/docs",
     "/load", "/ping", "/server_info", "/v1/models/a/b", "/v1/embeddings"],
)  # fmt: skip
def test_routes_that_are_not_served(path: str, http: httpx2.Client) -> None:
    for response in (http.get(path), http.post(path, json={})):
        assert response.status_code in {404, 405}
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_steering_fields_change_nothing(http: httpx2.Client) -> None:
    """A client cannot name a host to pull KV blocks from, nor choose its cache."""
    plain = post(http, messages=HELLO).json()
    steered = post(
        http,
        messages=HELLO,
        kv_transfer_params={
            "do_remote_prefill": True,
            "remote_host": "10.0.0.1",
            "remote_port": 1,
            "remote_engine_id": "x",
            "remote_request_id": "y",
            "remote_block_ids": [[1]],
            "tp_size": 1,
        },
        vllm_xargs={"kv_transfer_params": "x"},
        cache_salt="another tenant",
        use_beam_search=True,
        request_id="mine",
        priority=-5,
    )
    assert steered.status_code == 200
    body = steered.json()
    assert body["choices"][0]["message"] == plain["choices"][0]["message"]
    assert "kv_transfer_params" not in body
    assert body["id"] != "chatcmpl-mine"


# While a picture is being encoded --------------------------------------------------------------


def test_keep_alive_comments_flow_while_a_picture_is_being_encoded(
    server: Server, http: httpx2.Client
) -> None:
    encoder = psutil.Process(server.instance_pid("encode-0"))
    encoder.suspend()
    try:
        messages = [{"role": "user", "content": [not_seen_before(901)]}]
        body = {"model": MODEL, "messages": messages, "stream": True, "max_tokens": 3}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            first = [next(line for line in lines if line) for _ in range(3)]
            assert first == [": keep-alive"] * 3
            encoder.resume()
            data = [line for line in lines if line.startswith("data: ")]
    finally:
        encoder.resume()
    assert data[-1] == "data: [DONE]"
    assert len(data) > 3


def test_a_client_that_leaves_while_its_picture_is_encoded_is_forgotten(
    server: Server, http: httpx2.Client
) -> None:
    encoder = psutil.Process(server.instance_pid("encode-0"))
    encoder.suspend()
    try:
        messages = [{"role": "user", "content": [not_seen_before(902)]}]
        body = {"model": MODEL, "messages": messages, "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()  # closes the response when it is collected
            assert next(lines) == ": keep-alive"
            assert server.metric("saccade_requests_running") == 1
        until(lambda: server.metric("saccade_requests_running") == 0, 10, lambda: "still running")
    finally:
        encoder.resume()
    assert post(http, messages=messages).status_code == 200


def test_a_client_that_leaves_in_mid_stream_ends_its_request(
    server: Server, http: httpx2.Client
) -> None:
    body = {"model": MODEL, "messages": HELLO, "stream": True, "max_tokens": 1900, "n": 4,
            "ignore_eos": True, "temperature": 1}  # fmt: skip
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if '"content":"' in line:
                break
    until(lambda: server.metric("saccade_requests_running") == 0, 10, lambda: "still running")
    for name in ("llm-0", "llm-1"):
        sample = f'saccade_instance_unfinished_requests{{instance="{name}"}}'
        until(lambda s=sample: server.metric(s) == 0, 10, lambda s=sample: server.metric(s))  # type: ignore[misc]


def test_no_more_is_pulled_or_given_up_than_was_handed_over(server: Server) -> None:
    """What a client has left during its pull is in neither count."""
    transfers = server.metric("saccade_kv_transfers_total")
    released = server.metric("saccade_kv_released_total")
    assert 0 < transfers + released <= server.metric("saccade_kv_handovers_total")
    assert server.metric("saccade_kv_retries_total") == 0


def test_idle_instances_leave_the_cores_alone(server: Server) -> None:
    """NIXL's progress thread or vLLM's spinning reader would burn a core each."""
    names = {process: process.name() for process in server.family()}
    instances = [process for process, name in names.items() if "ray::Inst" in name]
    # Their children are the engines, one of which now and then goes without its name.
    processes = {*instances, *(child for one in instances for child in one.children())}
    assert len(instances) == 3, sorted(names.values())
    assert len(processes) >= 5, sorted(names.values())

    def busy_s() -> dict[int, float]:
        before = {process: sum(process.cpu_times()[:2]) for process in processes}
        psutil.cpu_percent(interval=2.0)
        return {p.pid: sum(p.cpu_times()[:2]) - used_s for p, used_s in before.items()}

    # What earlier tests have asked for may still be under way.
    until(lambda: max(busy_s().values()) < 0.5, 30, busy_s)
