"""Every error that a client may see, as one tree.

    SaccadeError
    ├── ClientError              4xx, the request must change
    │   ├── InvalidRequestError  400
    │   ├── AuthenticationError  401
    │   ├── PermissionDeniedError 403
    │   ├── NotFoundError        404
    │   └── TooLargeError        413
    └── ServerError              5xx, the same request may work later
        ├── InternalError        500
        ├── OverloadedError      503, with Retry-After
        │   ├── TooMuchInFlightError  429, with Retry-After
        │   └── TenantBusyError  429, with Retry-After
        └── DeadlineError        504

Each carries what the OpenAI error object needs; `serving.api.envelope` turns it into a response.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

RefusalReason = Literal[
    "queue_full",
    "queue_timeout",
    "shutting_down",
    "not_ready",
    "no_instance",
    "bytes_in_flight",
    "tenant_limit",
]
"""Why there is no room, as metrics have it."""


class SaccadeError(Exception):
    """An error with the fields of the OpenAI error object.

    `param` names the part of the request that is at fault, for example
    `messages[0].content[1].image_url.url`.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code


class ClientError(SaccadeError):
    status = 400
    type = "invalid_request_error"
    default_code = "invalid_request"


class InvalidRequestError(ClientError):
    """The request is malformed, or asks for what is not served."""


class AuthenticationError(ClientError):
    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"


class PermissionDeniedError(ClientError):
    status = 403
    type = "permission_error"
    default_code = "permission_denied"


class NotFoundError(ClientError):
    status = 404
    default_code = "not_found"


class MethodNotAllowedError(ClientError):
    """The path exists, the method does not."""

    status = 405
    default_code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class TooLargeError(ClientError):
    status = 413
    default_code = "request_too_large"


class ServerError(SaccadeError):
    """The request was fine; trying it again later may work."""


class InternalError(ServerError):
    """Something of ours broke; the message says no more than that."""


class OverloadedError(ServerError):
    """There is no room now."""

    status = 503
    default_code = "server_overloaded"

    def __init__(
        self,
        message: str,
        *,
        reason: RefusalReason | None = None,
        retry_after_s: float = 1.0,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class TooMuchInFlightError(OverloadedError):
    """All requests together hold as many bytes as they may."""

    status = 429
    type = "rate_limit_error"
    default_code = "too_many_bytes_in_flight"


class TenantBusyError(OverloadedError):
    """One tenant has as many answers in the making as it may."""

    status = 429
    type = "rate_limit_error"
    default_code = "too_many_running"

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="tenant_limit")


class DeadlineError(ServerError):
    status = 504
    type = "timeout_error"
    default_code = "deadline_exceeded"
