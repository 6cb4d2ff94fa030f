"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, code a string."""

import math
from typing import Any

from saccade.serving.api.asgi import Send, send_json
from saccade.serving.errors import MethodNotAllowedError, OverloadedError, SaccadeError

INTERNAL_MESSAGE = "The server had an error while processing your request."

# Status of vLLM's error to OpenAI's type and code.
_BY_STATUS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "invalid_request"),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "permission_denied"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("timeout_error", "request_timeout"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "unsupported_media_type"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    501: ("invalid_request_error", "not_supported"),
    503: ("server_error", "server_overloaded"),
    504: ("timeout_error", "deadline_exceeded"),
}


def error_body(error: SaccadeError) -> dict[str, Any]:
    return _body(error.message, error.type, error.param, error.code)


async def send_error(send: Send, error: SaccadeError) -> None:
    headers = []
    if isinstance(error, OverloadedError):
        retry_after_s = max(1, math.ceil(error.retry_after_s))
        headers = [(b"retry-after", str(retry_after_s).encode()), (b"x-should-retry", b"true")]
    if error.status == 401:
        headers = [(b"www-authenticate", b"Bearer")]
    if isinstance(error, MethodNotAllowedError):
        headers = [(b"allow", ", ".join(error.allowed).encode())]
    await send_json(send, error.status, error_body(error), headers)


def translate(status: int, body: Any) -> tuple[int, dict[str, Any]]:
    """vLLM's error response in OpenAI's shape: its `code` is a number, and it knows 422.

    Messages of 5xx stay inside: they may hold paths and internals.
    """
    error = body.get("error") if isinstance(body, dict) else None
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    if status == 422:
        status = 400
    detail = body.get("detail") if isinstance(body, dict) else None
    message = str(fields.get("message") or detail or "")
    kind, code = _BY_STATUS.get(
        status, ("server_error", "internal_error") if status >= 500 else _BY_STATUS[400]
    )
    if status >= 500 and status not in (501, 503, 504):
        message = INTERNAL_MESSAGE
    param = fields.get("param")
    # FastAPI counts from the request, OpenAI from its body.
    param = param.removeprefix("body.") if isinstance(param, str) else None
    if status == 404 and param == "model":
        code = "model_not_found"
    elif status == 400 and "maximum context length" in message:
        code = "context_length_exceeded"
    return status, _body(message or "The request was refused.", kind, param, code)


def _body(message: str, kind: str, param: Any, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
