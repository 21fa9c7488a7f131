"""Tests of the family of exceptions."""

from __future__ import annotations

import pickle

from cases import cases
from rerank_integrations import errors
from rerank_integrations.errors import Attempt, RerankError, StatusError, error_class

FAMILY = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
}


@cases(
    ("status", "name"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (402, "PaymentRequiredError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (408, "ProviderTimeoutError"),
        (409, "StatusError"),
        (412, "StatusError"),
        (413, "PayloadTooLargeError"),
        (422, "BadRequestError"),
        (429, "RateLimitError"),
        (446, "StatusError"),
        (500, "ServerError"),
        (501, "ServerError"),
        (502, "BadGatewayError"),
        (503, "ServiceUnavailableError"),
        (504, "ProviderTimeoutError"),
        (520, "ServerError"),
        (524, "ProviderTimeoutError"),
        (529, "OverloadedError"),
        (302, "StatusError"),
    ],
)
def test_class_of_a_status(status: int, name: str) -> None:
    """Every documented status has its own class, and an unknown one the class of its kind."""
    assert error_class(status).__name__ == name


@cases(
    ("name", "parents"),
    [
        ("ConfigurationError", {"RerankError", "ValueError"}),
        ("InvalidRequestError", {"RerankError", "ValueError"}),
        ("UnsupportedDocumentError", {"InvalidRequestError"}),
        ("TransportError", {"RerankError"}),
        ("RerankTimeoutError", {"TransportError", "TimeoutError"}),
        ("ResponseError", {"RerankError"}),
        ("StatusError", {"RerankError"}),
        ("BadRequestError", {"StatusError"}),
        ("ImageError", {"BadRequestError"}),
        ("AuthenticationError", {"StatusError"}),
        ("PaymentRequiredError", {"StatusError"}),
        ("PermissionDeniedError", {"StatusError"}),
        ("NotFoundError", {"StatusError"}),
        ("PayloadTooLargeError", {"StatusError"}),
        ("RateLimitError", {"StatusError"}),
        ("ServerError", {"StatusError"}),
        ("BadGatewayError", {"ServerError"}),
        ("ServiceUnavailableError", {"ServerError"}),
        ("ProviderTimeoutError", {"ServerError"}),
        ("OverloadedError", {"ServerError"}),
    ],
)
def test_parents(name: str, parents: set[str]) -> None:
    """Each exception stands where the module's drawing has it."""
    assert {parent.__name__ for parent in FAMILY[name].__bases__} == parents


def test_drawing_is_complete() -> None:
    """The drawing of the family names every exception."""
    assert {name for name in FAMILY if name not in (errors.__doc__ or "")} == set()


@cases("name", sorted(FAMILY))
def test_one_base(name: str) -> None:
    """Whatever goes wrong can be caught as RerankError."""
    assert issubclass(FAMILY[name], RerankError)


@cases(
    ("name", "expected"),
    [
        ("TransportError", True),
        ("RerankTimeoutError", True),
        ("ResponseError", False),
        ("ConfigurationError", False),
        ("InvalidRequestError", False),
    ],
)
def test_retryable_by_default(name: str, expected: bool) -> None:  # noqa: FBT001
    """Only a lost answer is worth another attempt where nothing more is known."""
    assert FAMILY[name]("why").is_retryable is expected  # type: ignore[attr-defined]


def test_lasting_transport_error() -> None:
    """A transport error can say that another attempt is useless."""
    assert errors.TransportError("why", is_retryable=False).is_retryable is False


@cases("name", sorted(FAMILY))
def test_message(name: str) -> None:
    """The text of an exception is its message."""
    assert str(FAMILY[name]("why")) == "why"


@cases("name", sorted(FAMILY))
def test_nothing_sent(name: str) -> None:
    """An exception has no attempts until a request was sent."""
    assert FAMILY[name]("why").attempts == ()  # type: ignore[attr-defined]


def test_pickle() -> None:
    """An exception comes out of a pickle with all that it knew."""
    error = errors.RateLimitError(
        "slow down",
        status_code=429,
        provider="together",
        message="words",
        code="rate",
        request_id="id",
        retry_after=2.0,
        is_retryable=True,
        type="rate_limit_error",
        param="model",
        body={"error": {"message": "words"}},
        headers={"x-id": "1"},
    )
    error.attempts = (Attempt("together", "m", "slow down"),)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), copy.args, vars(copy)) == (type(error), error.args, vars(error))


def test_status_error_alone() -> None:
    """An error can be made with a text alone, as a test double needs it."""
    assert vars(errors.ResponseError("why")) == {"body": None, "headers": {}}
    assert vars(StatusError("why")) == {
        "status_code": 0,
        "provider": "",
        "message": "",
        "code": None,
        "request_id": None,
        "retry_after": None,
        "is_retryable": False,
        "type": None,
        "param": None,
        "body": None,
        "headers": {},
    }
