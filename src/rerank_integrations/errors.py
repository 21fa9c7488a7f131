"""The exceptions of the package; all derive from `RerankError`.

RerankError
├── ConfigurationError         a setting is wrong or missing; the message says the fix
├── InvalidRequestError        the call is invalid; nothing was sent
│   └── UnsupportedDocumentError   a document cannot be sent
├── BudgetExceededError        a run of many calls has used up its budget
├── CheckpointMismatchError    a checkpoint belongs to another run
├── TransportError             no complete response was received
│   └── RerankTimeoutError         a timeout or the deadline was exceeded
├── ResponseError              a 2xx response is invalid
├── ScorerError                the scorer of `Local` failed; `__cause__` is its own error
└── StatusError                the server returned an error status
    ├── BadRequestError            400, 422
    │   └── ImageError                 `code` is the vendor's image error type
    ├── AuthenticationError        401
    ├── PaymentRequiredError       402
    ├── PermissionDeniedError      403
    ├── NotFoundError              404
    ├── PayloadTooLargeError       413
    ├── RateLimitError             429
    └── ServerError                5xx
        ├── BadGatewayError            502
        ├── ServiceUnavailableError    503
        ├── ProviderTimeoutError       408, 504, 524
        └── OverloadedError            529
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Attempt(NamedTuple):
    """One request that was sent for a call, or a provider that was skipped.

    Attributes:
        provider: the name of the provider object, such as "openrouter".
        model: the model that was requested.
        error: why the request failed or the provider was skipped; None for success.
    """

    provider: str
    model: str
    error: str | None = None


class RerankError(Exception):
    """The base class of all exceptions of this package.

    Attributes:
        is_retryable: whether the same call may succeed later.
        attempts: the requests that were sent before the call failed, oldest first; empty if
            nothing was sent.
        retries: how many of these repeated a request that had failed.
        skipped: indexes of documents that are blank or were left out, as in a response.
    """

    is_retryable: bool = False
    attempts: tuple[Attempt, ...] = ()
    retries: int = 0
    skipped: tuple[int, ...] = ()


class ConfigurationError(RerankError, ValueError):
    """A setting of the client or provider is wrong or missing; the message says what to set."""


class InvalidRequestError(RerankError, ValueError):
    """The call is invalid; nothing was sent."""


class UnsupportedDocumentError(InvalidRequestError):
    """A document cannot be sent, or a value is not a document.

    Attributes:
        index: the document's position in the list; None if no single document is the reason, for
            example if no document has a field of `rank_fields`.
    """

    index: int | None = None


class BudgetExceededError(RerankError):
    """A run of many calls has used up its budget: the next call could exceed it.

    Attributes:
        current_cost: the cost so far in US dollars; None if it is unknown.
        max_cost: the budget in US dollars; None for no limit.
        requests: how many requests were sent.
        max_requests: the budget in requests; None for no limit.
    """

    def __init__(
        self,
        message: str,
        *,
        current_cost: float | None = None,
        max_cost: float | None = None,
        requests: int = 0,
        max_requests: int | None = None,
    ) -> None:
        super().__init__(message)
        self.current_cost, self.max_cost = current_cost, max_cost
        self.requests, self.max_requests = requests, max_requests


class CheckpointMismatchError(RerankError, ValueError):
    """A checkpoint belongs to another run; the message says what differs."""


class TransportError(RerankError):
    """No complete response was received, for example because the connection was refused or dropped.

    `__cause__` is the error of the HTTP library.
    """

    def __init__(self, message: str = "", *, is_retryable: bool = True) -> None:
        super().__init__(message)
        self.is_retryable = is_retryable


class RerankTimeoutError(TransportError, TimeoutError):
    """No complete response was received within `timeout` or `deadline`.

    Attributes:
        phase: the limit that was exceeded: "connect", "write", "read" or "pool" of the timeout;
            "deadline"; "wait" if your own rate limit has no slot in time to send the request;
            "other" for a limit of the operating system or of your own code.
    """

    def __init__(
        self, message: str = "", *, is_retryable: bool = True, phase: str = "deadline"
    ) -> None:
        super().__init__(message, is_retryable=is_retryable)
        self.phase = phase


class ResponseError(RerankError):
    """A 2xx response is invalid: not JSON, an error message, an invalid index or score.

    Attributes:
        body: the body of the response, as in `StatusError`; None if none could be read.
        headers: the headers of the response, as in `StatusError`.
    """

    def __init__(
        self, message: str = "", *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.body = body
        self.headers = headers or {}


class ScorerError(RerankError):
    """The scorer of `Local` failed, or did not return one finite number for each text.

    `__cause__` is the scorer's own exception with its traceback, if it raised one.
    """


class StatusError(RerankError):
    """The server returned an error status.

    Attributes:
        status_code: the HTTP status.
        provider: the name of the provider object, such as "openrouter".
        message: the server's error message, redacted and truncated.
        code: the vendor's error code as text; None if the response has none.
        type: the error type in the body, such as `invalid_request_error`; None if it has none.
        param: the part of the request that is wrong according to the body; None if it names none.
        body: the body of the response, parsed if it is JSON, else its text. Keys and image data
            are removed, and long values are truncated. None if no body could be read.
        headers: the headers of the response, with lower-case names and without cookies and keys.
        request_id: the request ID, for provider support; None if the response has none.
        retry_after: the seconds to wait, from Retry-After or a similar header; None if the server
            sent none. If `attempts` is empty, an earlier response had the header, nothing was sent
            for this call, and this is the time that remains.
        is_retryable: whether the same request may succeed later.
    """

    def __init__(
        self,
        text: str = "",
        *,
        status_code: int = 0,
        provider: str = "",
        message: str = "",
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        is_retryable: bool = False,
        type: str | None = None,  # noqa: A002  # the name that servers use
        param: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.provider = provider
        self.message = message
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.is_retryable = is_retryable
        self.type = type
        self.param = param
        self.body = body
        self.headers = headers or {}


class BadRequestError(StatusError):
    """400 or 422: the server rejected the request."""


class ImageError(BadRequestError):
    """The server could not use an image; `code` is the reason, such as `image_too_large`."""


class AuthenticationError(StatusError):
    """401: the key is missing or wrong."""


class PaymentRequiredError(StatusError):
    """402: no credit is left, or a budget is used up."""


class PermissionDeniedError(StatusError):
    """403: the key lacks a permission, or a guardrail refused the request."""


class NotFoundError(StatusError):
    """404: no such model, endpoint or path."""


class PayloadTooLargeError(StatusError):
    """413: the request is larger than the server accepts."""


class RateLimitError(StatusError):
    """429: too many requests."""


class ServerError(StatusError):
    """5xx: the server failed."""


class BadGatewayError(ServerError):
    """502: the gateway got no valid response from the model's host."""


class ServiceUnavailableError(ServerError):
    """503: the server is overloaded or temporarily down."""


class ProviderTimeoutError(ServerError):
    """408, 504 or 524: the server timed out."""


class OverloadedError(ServerError):
    """529: the model's host is overloaded."""


_BY_STATUS: dict[int, type[StatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ProviderTimeoutError,
    413: PayloadTooLargeError,
    422: BadRequestError,
    429: RateLimitError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    504: ProviderTimeoutError,
    524: ProviderTimeoutError,
    498: AuthenticationError,  # Cohere: an invalid token
    529: OverloadedError,
}


def error_class(status_code: int) -> type[StatusError]:
    """Return the exception class for a status; `StatusError` for an undocumented one below 500."""
    return _BY_STATUS.get(status_code) or (ServerError if status_code >= 500 else StatusError)
