"""Everything that can go wrong, as one family of exceptions.

RerankError
├── ConfigurationError         the client was set up wrongly; the message says the fix
├── InvalidRequestError        refused here, before anything was sent
│   └── UnsupportedDocumentError   a document that this endpoint cannot take
├── BudgetExceededError        a run of many calls has used up its budget
├── CheckpointMismatchError    a checkpoint is of another run
├── TransportError             no complete response
│   └── RerankTimeoutError         in time
├── ResponseError              a 2xx response that cannot be trusted
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
    """One request that was sent for a call: to whom, and why it failed (None: it did not)."""

    provider: str
    model: str
    error: str | None = None


class RerankError(Exception):
    """The base of every error of this package.

    `is_retryable` says whether the same call may succeed later. `attempts` lists the requests
    that were sent before the call failed, oldest first; empty when nothing was sent. `retries`
    counts those that were sent again. `skipped` lists the indexes of documents that are blank or
    were left out, as in a response.
    """

    is_retryable: bool = False
    attempts: tuple[Attempt, ...] = ()
    retries: int = 0
    skipped: tuple[int, ...] = ()


class ConfigurationError(RerankError, ValueError):
    """The client or provider was set up wrongly; the message says what to set."""


class InvalidRequestError(RerankError, ValueError):
    """The call was refused here; nothing was sent."""


class UnsupportedDocumentError(InvalidRequestError):
    """A document that cannot be sent, or that is none; `index` is its place in the list.

    `index` is None where no single document is wrong, such as when none has a field of
    `rank_fields`.
    """

    index: int | None = None


class BudgetExceededError(RerankError):
    """A run of many calls has used up its budget: the next call could exceed it.

    Attributes:
        current_cost: US dollars so far; None where no response said it.
        max_cost: the most that the run may cost; None for no limit.
        requests: how many were sent.
        max_requests: the most that may be sent; None for no limit.
        results: those that are finished and were not given out; none where you iterate, for all
            are given out before the error.
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
        self.results: list[Any] = []


class CheckpointMismatchError(RerankError, ValueError):
    """A checkpoint is of another run; the message says what differs."""


class TransportError(RerankError):
    """No complete response: refused, dropped, unreachable; `__cause__` says more."""

    def __init__(self, message: str = "", *, is_retryable: bool = True) -> None:
        super().__init__(message)
        self.is_retryable = is_retryable


class RerankTimeoutError(TransportError, TimeoutError):
    """No complete response came within `timeout` or `deadline`.

    `phase` says which limit passed: "connect", "write", "read" or "pool" of the timeout,
    "deadline", "wait" for your own rate limit, whose next slot is too late for the request, or
    "other" for one of the system or of your own code.
    """

    def __init__(
        self, message: str = "", *, is_retryable: bool = True, phase: str = "deadline"
    ) -> None:
        super().__init__(message, is_retryable=is_retryable)
        self.phase = phase


class ResponseError(RerankError):
    """A 2xx response that cannot be trusted: not JSON, an error inside, a wrong index or score.

    Attributes:
        body: the body of the response, as in `StatusError`; None where none could be read.
        headers: the headers of the response, as in `StatusError`.
    """

    def __init__(
        self, message: str = "", *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.body = body
        self.headers = headers or {}


class ScorerError(RerankError):
    """The scorer of `Local` failed, or what it returned is not one finite number for each text.

    `__cause__` is the scorer's own exception, with its traceback, where it raised one.
    """


class StatusError(RerankError):
    """The server returned an error status.

    Attributes:
        status_code: the HTTP status.
        provider: the name of our provider, such as "openrouter".
        message: the server's error message, redacted and truncated.
        code: the vendor's own error code, as text, where there is one.
        type: the kind of error that the body names beside the code, such as
            `invalid_request_error`, where there is one.
        param: the part of the request that the body names as wrong, where there is one.
        body: the body of the response, parsed if it is JSON, else its text. Keys and image data
            are removed, and long values shortened. None where none could be read.
        headers: the headers of the response, with lower-case names and without cookies and keys.
        request_id: the vendor's id of this request, where there is one.
        retry_after: seconds to wait, from Retry-After or the like, if the server sent it. Without
            `attempts` nothing was sent, since an earlier request was told so: what remains of it.
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
    """The server could not use an image; `code` is its error type, such as `image_too_large`."""


class AuthenticationError(StatusError):
    """401: the key is missing or wrong."""


class PaymentRequiredError(StatusError):
    """402: no credit left, or a budget is used up."""


class PermissionDeniedError(StatusError):
    """403: the key may not do this, or a guardrail refused it."""


class NotFoundError(StatusError):
    """404: no such model, endpoint or path."""


class PayloadTooLargeError(StatusError):
    """413: the request is larger than the server takes."""


class RateLimitError(StatusError):
    """429: too many requests."""


class ServerError(StatusError):
    """5xx: the server failed."""


class BadGatewayError(ServerError):
    """502: the gateway got no valid response from the model's host."""


class ServiceUnavailableError(ServerError):
    """503: overloaded or down for now."""


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
    """The class for a status; `StatusError` itself for one that nobody documents."""
    return _BY_STATUS.get(status_code) or (ServerError if status_code >= 500 else StatusError)
