"""Tests of error answers: what only a gateway's documentation says about its own."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cases import cases
from rerank_integrations.errors import BadRequestError, ImageError, StatusError
from support import OVERLOADED, failed, openrouter, portkey


def openrouter_failed(status: int, error: dict[str, Any], **headers: str) -> StatusError:
    """The error for an error object of OpenRouter."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failed({"error": error}, status, named, openrouter())


@cases(
    ("status", "message", "name"),
    [
        (400, "Invalid request parameters", "BadRequestError"),
        (401, "Missing Authentication header", "AuthenticationError"),
        (402, "Insufficient credits. Add more using https://openrouter.ai/credits", "Payment"),
        (404, "Resource not found", "NotFoundError"),
        (429, "Rate limit exceeded", "RateLimitError"),
        (500, "Internal Server Error", "ServerError"),
        (502, "Provider returned error", "BadGatewayError"),
        (503, "Service temporarily unavailable", "ServiceUnavailableError"),
        (524, "Request timed out. Please try again later.", "ProviderTimeoutError"),
        (529, "Provider returned error", "OverloadedError"),
    ],
)
def test_openrouter_example(status: int, message: str, name: str) -> None:
    """Each error of OpenRouter's specification keeps its words and its code."""
    error = openrouter_failed(status, {"code": status, "message": message})
    assert type(error).__name__.startswith(name)
    assert (error.message, error.code) == (message, str(status))


@cases(
    ("status", "code", "retryable"),
    [
        (400, "model_not_found", False),
        (400, "wrong_endpoint", False),
        (404, "no_endpoints", False),
        (404, "model_deprecated", False),
        (404, "model_unavailable_upstream", False),
        (404, "model_unavailable_upstream", True),
        (429, "capacity_exhausted", True),
        (429, "capacity_exhausted", False),
        (503, "temporarily_unavailable", True),
        (503, "temporarily_unavailable", False),
        (403, "region_restricted", False),
        (404, "privacy_restricted", False),
        (404, "constraint_filtered", False),
        (404, "free_variant_ended", False),
    ],
)
def test_openrouter_availability(status: int, code: str, retryable: bool) -> None:  # noqa: FBT001
    """OpenRouter's `availability` says the code and whether another attempt may help."""
    availability = {"code": code, "retryable": retryable, "requested_models": ["a/b"]}
    error = openrouter_failed(status, {"message": "no", "availability": availability})
    assert (error.code, error.is_retryable) == (code, retryable)


def test_openrouter_availability_without_word() -> None:
    """Without `retryable` the status decides."""
    error = openrouter_failed(503, {"message": "no", "availability": {"retryable": None}})
    assert error.is_retryable is True


@cases(
    ("retry_after", "expected"),
    [(12, 12.0), (0.5, 0.5), (-1, 0.0), (None, None), ("12", None), (True, None)],
)
def test_openrouter_availability_retry_after(retry_after: object, expected: float | None) -> None:
    """The time to wait may stand in `availability`."""
    availability = {"code": "capacity_exhausted", "retryable": True, "retry_after": retry_after}
    error = openrouter_failed(429, {"message": "no", "availability": availability})
    assert error.retry_after == expected


def test_openrouter_absurd_retry_after() -> None:
    """A time to wait beyond all numbers is no reason for another exception."""
    content = b'{"error":{"message":"no","availability":{"retry_after":1%s}}}' % (b"0" * 400)
    error = failed(content, 429, provider=openrouter())
    assert error.status_code == 429


def test_header_wins_over_availability() -> None:
    """The header Retry-After wins over the body."""
    error = openrouter_failed(
        429, {"message": "no", "availability": {"retry_after": 12}}, retry_after="3"
    )
    assert error.retry_after == 3.0


@cases("place", ["metadata", "error"])
def test_openrouter_error_type(place: str) -> None:
    """OpenRouter's error type is the code, and wins over the number."""
    kind = {"error_type": "context_length_exceeded"}
    error = {"code": 400, "message": "no", **({"metadata": kind} if place == "metadata" else kind)}
    assert openrouter_failed(400, error).code == "context_length_exceeded"


@cases(
    ("status", "code"),
    [
        (400, "invalid_image"),
        (413, "image_too_large"),
        (400, "image_too_small"),
        (400, "unsupported_image_format"),
        (404, "image_not_found"),
        (400, "image_download_failed"),
    ],
)
def test_openrouter_image(status: int, code: str) -> None:
    """A refused image is an ImageError with OpenRouter's error type, whatever the status."""
    error = openrouter_failed(
        status, {"code": status, "message": "no", "metadata": {"error_type": code}}
    )
    assert (type(error), error.code, error.status_code) == (ImageError, code, status)


def test_image_code_of_another_gateway() -> None:
    """OpenRouter's image codes mean nothing at another gateway."""
    assert type(failed({"error": {"message": "no", "code": "invalid_image"}})) is BadRequestError


@cases("value", [None, "moderation", ["a"], 5])
@cases("key", ["metadata", "availability"])
def test_openrouter_odd_metadata(key: str, value: object) -> None:
    """Metadata of another shape is passed over."""
    assert openrouter_failed(403, {"code": 403, "message": "no", key: value}).code == "403"


@cases(
    ("source", "headers", "retryable"),
    [
        ("openrouter_in_flight_budget", {"retry_after": "2"}, True),
        ("openrouter_in_flight_budget", {}, False),
        ("openrouter_key_limit", {"retry_after": "2"}, False),
        (None, {"retry_after": "2"}, False),
    ],
)
def test_openrouter_budget(source: str | None, headers: dict[str, str], retryable: bool) -> None:  # noqa: FBT001
    """A 402 passes by itself only for the budget of calls in flight with a time to wait."""
    error = {"code": 402, "message": "no", "metadata": {"limit_source": source}}
    assert openrouter_failed(402, error, **headers).is_retryable is retryable


@cases("factor", [1, 1000])
def test_openrouter_rate_limit_reset(factor: int) -> None:
    """X-RateLimit-Reset is the time of the reset, in seconds or in milliseconds."""
    reset = str(round((time.time() + 30) * factor))
    error = openrouter_failed(429, {"code": 429, "message": "no"}, x_ratelimit_reset=reset)
    assert error.retry_after == pytest.approx(30, abs=5)


@cases(("reset", "expected"), [("1445412480", 0.0), ("soon", None), ("", None)])
def test_openrouter_odd_reset(reset: str, expected: float | None) -> None:
    """A reset that has passed means not to wait, and nonsense counts as none."""
    error = openrouter_failed(429, {"code": 429, "message": "no"}, x_ratelimit_reset=reset)
    assert error.retry_after == expected


def test_together_model_not_available() -> None:
    """Together's commonest refusal says what the model needs."""
    words = "Unable to access non-serverless model Salesforce/Llama-Rank-V1"
    body = {
        "id": "okk-1",
        "error": {
            "message": words,
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_available",
        },
    }
    error = failed(body)
    assert type(error) is BadRequestError
    assert (error.code, error.request_id) == ("model_not_available", "okk-1")
    assert error.message.startswith(f"{words}. Together serves this model on a dedicated endpoint")


@cases(
    ("status", "headers", "expected"),
    [
        (429, {"x-ratelimit-reset": "7"}, 7.0),
        (429, {"x-ratelimit-reset": "7", "retry-after": "3"}, 3.0),
        (429, {"x-ratelimit-reset": "-1"}, None),
        (429, {"x-ratelimit-reset": "soon"}, None),
        (429, {}, None),
        (503, {"x-ratelimit-reset": "7"}, None),
    ],
)
def test_together_rate_limit_reset(
    status: int, headers: dict[str, str], expected: float | None
) -> None:
    """Together's x-ratelimit-reset is the seconds to wait after a 429."""
    assert failed(OVERLOADED, status, headers).retry_after == expected


PORTKEY_401: dict[str, Any] = {
    "status": "failure",
    "message": "Invalid API Key",
    "error": {"message": "Invalid API Key. Error Code: 03", "code": "03"},
}
PORTKEY_446: dict[str, Any] = {
    "error": {
        "message": "The guardrail checks defined in the config failed.",
        "type": "hooks_failed",
        "param": None,
        "code": None,
    },
    "hook_results": {"before_request_hooks": [], "after_request_hooks": []},
}
PORTKEY_408: dict[str, Any] = {
    "error": {
        "message": "Request exceeded the timeout sent in the request: 300ms",
        "type": "timeout_error",
        "param": None,
        "code": None,
    }
}


PORTKEY_429 = {
    "error": {"message": "cohere error: slow down", "type": None, "param": None, "code": None},
    "provider": "cohere",
}
NOT_SUPPORTED = {"status": "failure", "message": "rerank is not supported by together-ai"}


@cases(
    ("status", "body", "message", "code"),
    [
        (429, PORTKEY_429, "cohere error: slow down", None),
        (400, {"status": "failure", "message": "Invalid config id"}, "Invalid config id", None),
        (401, PORTKEY_401, "Invalid API Key. Error Code: 03", "03"),
        (404, {"message": "Not Found", "ok": False}, "Not Found", None),
        (408, PORTKEY_408, PORTKEY_408["error"]["message"], "timeout_error"),
        (412, {"message": "budget exhausted"}, "budget exhausted", None),
        (446, PORTKEY_446, PORTKEY_446["error"]["message"], "hooks_failed"),
        (500, NOT_SUPPORTED, NOT_SUPPORTED["message"], None),
        (500, b"Message: fetch failed Cause: x", "Message: fetch failed Cause: x", None),
    ],
)
def test_portkey_example(status: int, body: object, message: str, code: str | None) -> None:
    """Each error shape of Portkey keeps its words and its code."""
    error = failed(body, status, provider=portkey())
    assert (error.message, error.code) == (message, code)


@cases(
    ("headers", "retryable"),
    [
        ({}, True),
        ({"x-portkey-gateway-exception": "true"}, False),
        ({"x-portkey-gateway-exception": "false"}, True),
        ({"x-portkey-retry-attempt-count": "-1"}, False),
        ({"x-portkey-retry-attempt-count": "2"}, True),
    ],
)
def test_portkey_permanent(headers: dict[str, str], retryable: bool) -> None:  # noqa: FBT001
    """What Portkey calls an exception, or has repeated itself, is not sent again."""
    assert failed(NOT_SUPPORTED, 500, headers, portkey()).is_retryable is retryable


def test_our_name_of_the_provider() -> None:
    """The error's provider is ours, not the host behind the gateway."""
    assert failed(PORTKEY_429, 429, provider=portkey()).provider == "portkey"
