from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saccade.serving.api.envelope import INTERNAL_MESSAGE, error_body, send_error, translate
from saccade.serving.errors import (
    AuthenticationError,
    DeadlineError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    SaccadeError,
    TooLargeError,
)
from tests.unit.api.exchange import Exchange, checked_error, send

ERRORS = [
    (InvalidRequestError, 400, "invalid_request_error", "invalid_request"),
    (AuthenticationError, 401, "authentication_error", "invalid_api_key"),
    (PermissionDeniedError, 403, "permission_error", "permission_denied"),
    (NotFoundError, 404, "invalid_request_error", "not_found"),
    (TooLargeError, 413, "invalid_request_error", "request_too_large"),
    (InternalError, 500, "server_error", "internal_error"),
    (OverloadedError, 503, "server_error", "server_overloaded"),
    (DeadlineError, 504, "timeout_error", "deadline_exceeded"),
]


def vllm_error(code: int, message: str = "the reason", **more: Any) -> dict[str, Any]:
    fields = {"message": message, "type": "BadRequestError", "param": None, "code": code}
    return {"error": fields | more}


async def sent(error: SaccadeError) -> Exchange:
    return await send(lambda _, __, send_: send_error(send_, error))


@pytest.mark.parametrize(("kind", "status", "type_", "code"), ERRORS)
async def test_every_error_has_its_status_type_and_code(
    kind: type[SaccadeError], status: int, type_: str, code: str
) -> None:
    exchange = await sent(kind("the reason"))
    assert exchange.status == status
    assert exchange.error == {"message": "the reason", "type": type_, "param": None, "code": code}


def test_an_error_may_name_the_part_and_a_finer_code() -> None:
    error = InvalidRequestError("no", param="messages[0]", code="too_many_images")
    assert error_body(error)["error"]["param"] == "messages[0]"
    assert error_body(error)["error"]["code"] == "too_many_images"


@pytest.mark.parametrize(("retry_after_s", "header"), [(0.2, "1"), (1.0, "1"), (4.1, "5")])
async def test_who_is_refused_for_lack_of_room_is_told_when_to_come_back(
    retry_after_s: float, header: str
) -> None:
    exchange = await sent(OverloadedError("full", retry_after_s=retry_after_s))
    assert exchange.headers["retry-after"] == header


async def test_who_has_no_key_is_told_how_to_send_one() -> None:
    assert (await sent(AuthenticationError("no key"))).headers["www-authenticate"] == "Bearer"


async def test_messages_may_have_any_characters() -> None:
    assert (await sent(InvalidRequestError("größer als 世界"))).error[
        "message"
    ] == "größer als 世界"


async def test_a_message_that_quotes_half_a_character_can_still_be_sent() -> None:
    # JSON can spell a lone surrogate, so a client's own words may come back with one.
    exchange = await sent(InvalidRequestError("unknown key '\ud800'", param="saccade.\ud800"))
    assert exchange.status == 400
    assert exchange.error["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("status", "body", "expected_status", "type_", "code"),
    [
        (400, vllm_error(400), 400, "invalid_request_error", "invalid_request"),
        (404, vllm_error(404), 404, "invalid_request_error", "not_found"),
        (404, vllm_error(404, param="model"), 404, "invalid_request_error", "model_not_found"),
        (422, vllm_error(422), 400, "invalid_request_error", "invalid_request"),
        (501, vllm_error(501), 501, "invalid_request_error", "not_supported"),
        (503, vllm_error(503), 503, "server_error", "server_overloaded"),
        (418, vllm_error(418), 418, "invalid_request_error", "invalid_request"),
        (
            *(400, vllm_error(400, "This model's maximum context length is 2048 tokens.")),
            *(400, "invalid_request_error", "context_length_exceeded"),
        ),
    ],
)
def test_vllms_errors_get_openais_shape(
    status: int, body: Any, expected_status: int, type_: str, code: str
) -> None:
    got_status, content = translate(status, body)
    error = checked_error(content)
    assert (got_status, error["type"], error["code"]) == (expected_status, type_, code)
    assert error["message"] == body["error"]["message"]
    assert error["param"] == body["error"]["param"]


def test_the_part_at_fault_is_named_from_the_body_on() -> None:
    _, content = translate(400, vllm_error(400, param="body.messages"))
    assert content["error"]["param"] == "messages"


def test_what_broke_inside_is_not_told() -> None:
    status, content = translate(500, vllm_error(500, "/srv/secret.py: CUDA error"))
    assert status == 500
    assert content["error"]["message"] == INTERNAL_MESSAGE


def test_fastapis_own_errors_are_understood() -> None:
    assert translate(405, {"detail": "Method Not Allowed"})[1]["error"] == {
        "message": "Method Not Allowed",
        "type": "invalid_request_error",
        "param": None,
        "code": "method_not_allowed",
    }


@pytest.mark.parametrize(
    "body",
    [None, {}, [], "text", 3, {"error": None}, {"error": "text"}, {"error": {}}, {"detail": None},
     {"error": {"message": ""}}, {"error": {"message": None}}],
)  # fmt: skip
def test_an_error_without_a_message_gets_one(body: Any) -> None:
    message = checked_error(translate(400, body)[1])["message"]
    assert message == "The request was refused."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["error", "message", "param", "code", "detail"]), inner)
    ),
    max_leaves=6,
)


@example(400, {"error": {"message": "m", "param": 3}})
@example(400, {"error": {"message": ["a"], "param": ["body", "n"]}})
@given(st.integers(400, 599), json_values)
def test_whatever_comes_from_inside_has_openais_shape_outside(status: int, body: Any) -> None:
    got_status, content = translate(status, body)
    checked_error(content)
    assert got_status != 422
    assert 400 <= got_status <= 599
