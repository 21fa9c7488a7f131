"""Tests of error answers: in whatever shape they come, they become one exception."""

from __future__ import annotations

from typing import Any

import pytest

from cases import cases
from rerank_integrations import StatusError
from rerank_integrations.images import wire_image
from support import (
    KEY,
    OVERLOADED,
    PIXELS,
    PNG,
    failed,
    http_response,
    openrouter,
    parsed,
    part,
    portkey,
    together,
)

HTML = b"<!DOCTYPE html><html><title> 502: Bad gateway </title><body>...</body></html>"


@cases(
    ("status", "name", "retryable"),
    [
        (400, "BadRequestError", False),
        (401, "AuthenticationError", False),
        (402, "PaymentRequiredError", False),
        (403, "PermissionDeniedError", False),
        (404, "NotFoundError", False),
        (408, "ProviderTimeoutError", True),
        (409, "StatusError", True),
        (412, "StatusError", False),
        (413, "PayloadTooLargeError", False),
        (422, "BadRequestError", False),
        (429, "RateLimitError", True),
        (446, "StatusError", False),
        (500, "ServerError", True),
        (502, "BadGatewayError", True),
        (503, "ServiceUnavailableError", True),
        (504, "ProviderTimeoutError", True),
        (520, "ServerError", True),
        (523, "ServerError", True),
        (525, "ServerError", False),
        (524, "ProviderTimeoutError", True),
        (529, "OverloadedError", True),
    ],
)
@cases("provider", [openrouter, together, portkey])
def test_status(provider: Any, status: int, name: str, retryable: bool) -> None:  # noqa: FBT001
    """A status decides the class, and whether another attempt may help, at every gateway."""
    error = failed({"error": {"message": "words"}}, status, provider=provider())
    assert (type(error).__name__, error.is_retryable, error.status_code) == (
        name,
        retryable,
        status,
    )


@cases(
    ("body", "message", "code"),
    [
        ({"error": {"message": "words", "code": 400}}, "words", "400"),
        ({"error": {"message": "words", "code": "500"}}, "words", "500"),
        (
            {"error": {"message": "words", "type": "overloaded", "code": None}},
            "words",
            "overloaded",
        ),
        ({"error": {"message": "words", "code": {"a": 1}}}, "words", None),
        ({"error": {"detail": "words"}}, "words", None),
        ({"error": "words", "error_type": "Validation"}, "words", None),
        ({"error": None, "message": "words"}, "words", None),
        ({"message": "words"}, "words", None),
        ({"message": ["one", "two"]}, "one; two", None),
        ({"detail": "words"}, "words", None),
        ({"detail": ["one", "two"]}, "one; two", None),
        (
            {
                "detail": [
                    {"loc": ["body", "top_n"], "msg": "must be > 0", "input": "private"},
                    {"loc": [], "msg": "bad"},
                    {"msg": "worse"},
                ]
            },
            "body.top_n: must be > 0; bad; worse",
            None,
        ),
        ({"type": "about:blank", "title": "Busy", "detail": "wait"}, "wait", None),
        ({"type": "about:blank", "title": "Busy", "status": 429}, "Busy", None),
        ({"code": "x"}, '{"code": "x"}', "x"),
        ({"code": 20012, "message": "words", "data": None}, "words", "20012"),
        ({"code": "why", "error": {"message": "words"}}, "words", None),
        (["words"], '["words"]', None),
        ("words", '"words"', None),
        (HTML, "an HTML page, '502: Bad gateway'", None),
        (b" <html><body>words</body></html>", "an HTML page", None),
        (b"  upstream connect error \n", "upstream connect error", None),
        (b"\xff words", "\ufffd words", None),
        (b"", "no message", None),
        (b" \n", "no message", None),
    ],
)
def test_message_and_code(body: object, message: str, code: str | None) -> None:
    """The far side's words and code are found in whatever shape they come."""
    error = failed(body)
    assert (error.message, error.code) == (message, code)


def test_text() -> None:
    """The text says who answered what, with the code and the id to quote to support."""
    body = {"error": {"message": "words", "code": "why"}}
    error = failed(body, 400, {"x-request-id": "r-1"})
    assert str(error) == "together answered 400: words (why) [request r-1]"


@cases(
    ("provider", "name"),
    [
        (openrouter, "OPENROUTER_API_KEY"),
        (together, "TOGETHER_API_KEY"),
        (portkey, "PORTKEY_API_KEY"),
    ],
)
def test_refused_key(provider: Any, name: str) -> None:
    """The text about a refused key says where the key comes from."""
    assert f"check api_key= or the environment variable {name}" in str(
        failed({"message": "no"}, 401, provider=provider())
    )


@cases("status", [301, 302, 307, 308])
def test_redirect(status: int) -> None:
    """A redirect is an error that says which setting to change."""
    error = failed(b"", status, {"location": "https://elsewhere.example"})
    assert "set base_url to the final address" in str(error)


@cases(
    ("provider", "headers", "expected"),
    [
        (openrouter, {"x-generation-id": "g-1", "x-request-id": "r-1"}, "g-1"),
        (openrouter, {"x-request-id": "r-1"}, "r-1"),
        (together, {"x-request-id": "r-1"}, "r-1"),
        (portkey, {"x-portkey-trace-id": "t-1", "x-request-id": "r-1"}, "t-1"),
        (portkey, {}, "body-1"),
        (together, {"x-request-id": ""}, "body-1"),
    ],
)
def test_request_id(provider: Any, headers: dict[str, str], expected: str) -> None:
    """The id for support is the provider's own header, else the id of the body."""
    body = {"id": "body-1", "message": "no"}
    assert failed(body, 400, headers, provider()).request_id == expected


@cases("body", [{"id": 5}, {"message": "no"}, b""])
def test_no_request_id(body: object) -> None:
    """Where nobody gives an id there is none."""
    assert failed(body).request_id is None


@cases(
    ("headers", "expected"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 2 "}, 2.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "1_0"}, None),
        ({"retry-after-ms": "-1", "retry-after": "1"}, 1.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 09:28:00 +0200"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:26:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({}, None),
    ],
)
def test_retry_after(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], expected: float | None
) -> None:
    """The time to wait comes in ms, in seconds or as a date, and nonsense counts as none."""
    monkeypatch.setattr("time.time", lambda: 1445412420.0)  # 07:27:00 of that day
    assert failed({}, 429, headers).retry_after == expected


def test_retry_after_reaches_the_error() -> None:
    """The time to wait is an attribute of the error, and in its message."""
    error = failed(OVERLOADED, 503, {"retry-after": "7"})
    assert error.retry_after == 7.0
    assert "; Retry-After: 7 s" in str(error)


def test_retry_after_in_the_past() -> None:
    """A date that has passed means not to wait."""
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert failed(OVERLOADED, 503, headers).retry_after == 0.0


def test_secrets_are_cut_out() -> None:
    """A secret that the far side repeats is in neither the message nor the text."""
    error = failed({"message": f"bad key {KEY}, yes {KEY}"}, 401, secrets=(KEY, ""))
    assert error.message == "bad key ***, yes ***"
    assert KEY not in str(error)


@cases(
    "uri",
    [
        f"data:image/png;base64,{PIXELS}",
        f"data:image/svg+xml;base64,{PIXELS[:-2]}==",
        f"DATA:image/png;base64,{PIXELS}",
        f"data:image/png;name=cat.png;base64,{PIXELS}",
        f"data:image/svg+xml;charset=utf-8;base64,{PIXELS}",
        wire_image(PNG * 1000).uri(),
    ],
)
def test_images_are_cut_out(uri: str) -> None:
    """Every data URI that may be sent as an image is cut out of a message."""
    wire_image(uri)
    data = uri.partition(";base64,")[2][:12]
    assert data not in str(failed({"message": f"cannot load {uri}, sorry"}))


def test_image_is_cut_out_of_plain_text() -> None:
    """An image is cut out of a body that is no JSON, even where the body is read in part."""
    text = f"cannot load data:image/png;base64,{PIXELS * 500}"
    assert failed(text.encode()).message == "cannot load <image data>"


def test_long_message() -> None:
    """A message is shortened to 500 characters."""
    assert failed({"message": "x" * 501}).message == "x" * 499 + "…"


def test_message_of_the_longest_length() -> None:
    """A message of 500 characters is kept whole."""
    assert failed({"message": "x" * 500}).message == "x" * 500


def test_nested_words() -> None:
    """A message that is itself an object is told as text."""
    assert failed({"message": {"top_n": "too small"}}).message == "{'top_n': 'too small'}"


def test_a_date_without_a_zone_is_universal_time() -> None:
    """A Retry-After date with zone -0000 counts as UTC, whatever the machine's own zone is."""
    error = failed({}, 429, {"retry-after": "Fri, 01 Jan 2100 00:00:00 -0000"})
    same = failed({}, 429, {"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"})
    assert error.retry_after == pytest.approx(same.retry_after, abs=60)


@cases("status", [404, 405])
def test_a_wrong_path_is_named(status: int) -> None:
    """Where nothing was found, the error names the address that was asked."""
    assert "https://api.together.ai/v1/rerank" in str(failed({}, status))


LONG = "max_document_chars"
MANY = "max_documents_per_request below 9"
LARGE = "max_request_bytes"


@cases(
    ("status", "message", "setting"),
    [
        # text-embeddings-inference
        (413, "`inputs` must have less than 512 tokens. Given: 700", LONG),
        (422, "batch size 64 > maximum allowed batch size 32", MANY),
        (413, "Failed to buffer the request body: length limit exceeded", LARGE),
        # vLLM, SGLang
        (400, "This model's maximum context length is 8192 tokens. However, you requested", LONG),
        (400, "The input (9000 tokens) is longer than the model's context length (8192)", LONG),
        # Cohere
        (400, "too many documents: got 1200", MANY),
        (400, "invalid request: list of documents must not contain more than 1000 elements", MANY),
        (400, "too many tokens: size limit exceeded by 11326 tokens", LONG),
        # Jina
        (400, "Single text cannot exceed 8194 tokens. 8832 tokens given.", LONG),
        # Voyage
        (400, "The max allowed tokens per submitted batch is 600000. Your batch has 700000", MANY),
        (400, "The batch size limit is 1000. Your batch size is 1500.", MANY),
        (
            400,
            "The example at index 0 in your batch has too many tokens and does not fit into the",
            LONG,
        ),
        # Pinecone
        (400, "Request contains 101 documents, exceeding the limit of 100", MANY),
        (400, "a pair with 1100 tokens, which exceeds the maximum token limit of 1024", LONG),
        # Infinity, NIM, Bedrock, Baidu, DashScope
        (422, "List should have at most 2048 items after validation, not 3000", MANY),
        (422, "String should have at most 122880 characters", LONG),
        (422, "Input length 5000 exceeds maximum allowed token size 4096", LONG),
        (400, "#/documents: expected maximum item count: 1000, found: 1001", MANY),
        (400, "max number of documents is 64", MANY),
        (400, "document index:0 is invalid, it should not be larger than 300000", LONG),
        # proxies
        (413, "413 Request Entity Too Large", LARGE),
        (413, "Payload Too Large", LARGE),
        (413, "no", LARGE),
        (400, "request too large", LARGE),
        # a status 500 that lasts: llama.cpp, llama-box, Xinference, torch
        (500, "input is too large to process. increase the physical batch size", LONG),
        (500, "input (9000 tokens) is too large to process. increase the physical batch", LONG),
        (500, "input prompt is too big compared to KV size, please increase KV size", LONG),
        (
            500,
            "[address=0.0.0.0:1, pid=2] The expanded size of the tensor (913) must match the exist",
            LONG,
        ),
        (500, "The size of tensor a (812) must match the size of tensor b (512)", LONG),
        (500, "index out of range in self", LONG),
        # all else
        (400, "top_n must be at least 1", None),
        (400, "top_n (50) must be at most the number of documents", None),
        (422, "the query is too long", None),
        (400, "unknown model", None),
        (500, "out of memory", None),
        (500, "Internal Server Error", None),
        (429, "too many tokens per minute", None),
        (503, "batch size 64 > maximum allowed batch size 32", None),
    ],
)
def test_what_makes_a_request_smaller(status: int, message: str, setting: str | None) -> None:
    """An error that says a request is too large names the setting, and is not retried."""
    error = failed({"error": {"message": message, "code": None}}, status, documents=9)
    assert [name for name in (LONG, MANY, LARGE) if name in str(error)] == (
        [] if setting is None else [setting]
    )
    alone = failed({"error": {"message": message}}, status)
    assert (LONG in str(alone)) is (setting is not None)
    assert not {"max_documents_per_request", LARGE} & set(str(alone).replace(",", "").split())
    assert error.is_retryable is (status >= 429 and setting is None)


def test_an_image_that_is_too_large() -> None:
    """The size of an image is another setting than that of a text."""
    error = failed(b"Request Entity Too Large", 413, has_images=True)
    assert str(error).endswith("set max_image_pixels")


@cases(
    ("code", "setting"),
    [
        ("context_length_exceeded", LONG),
        ("string_too_long", LONG),
        ("max_tokens_exceeded", LONG),
        ("token_limit_exceeded", LONG),
        ("payload_too_large", LARGE),
        ("invalid_image", None),
    ],
)
def test_what_openrouter_calls_too_large(code: str, setting: str | None) -> None:
    """The same for the error types of OpenRouter; an image is no matter of these settings."""
    body = {"error": {"message": "no", "code": 400, "metadata": {"error_type": code}}}
    text = str(failed(body, provider=openrouter(), documents=9))
    assert [name for name in (LONG, MANY, LARGE) if name in text] == [setting] * bool(setting)


@cases(
    ("message", "code", "expected"),
    [
        ("words", 400, "together answered 400: words"),
        ("words", "why", "together answered 400: words (why)"),
        ("why: words", "why", "together answered 400: why: words"),
        ("whyever", "why", "together answered 400: whyever (why)"),
        ("error 40013", 4001, "together answered 400: error 40013 (4001)"),
    ],
)
def test_no_code_twice(message: str, code: object, expected: str) -> None:
    """The text of an error has its code once: not after a message that has it, or the status."""
    assert str(failed({"error": {"message": message, "code": code}})) == expected


def test_a_key_is_cut_out_before_a_text_is_cut() -> None:
    """No part of a key is left where a text ends, or where one key is a part of another."""
    for place in (460, 490, 3975, 5000):
        for text in (" " * place + KEY, "x" * place + KEY):
            error = failed(text.encode(), secrets=(KEY[:12], KEY))
            assert KEY[:4] not in f"{error} {error.body}"
    chunk = part("a", extra_headers={"x-a": KEY[:12], "x-b": "no", "x-c": "400"})
    with pytest.raises(StatusError) as caught:
        parsed(chunk, http_response({"message": f"no {KEY}"}, 400))
    assert str(caught.value) == "openrouter answered 400: no ***"
