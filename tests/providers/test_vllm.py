"""Tests of what a vLLM server is sent, and of what it answers."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cases import cases
from rerank_integrations import RerankClient
from rerank_integrations.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    StatusError,
)
from rerank_integrations.models import RerankDocument
from rerank_integrations.providers import provider_class
from rerank_integrations.providers.vllm import VLLM
from support import (
    DATA_URI,
    KEY,
    PNG,
    bodies_of,
    body_of,
    call,
    failed,
    http_response,
    parsed,
    part,
    request_of,
)

MODEL = "Qwen/Qwen3-VL-Reranker-2B"
URL = "https://example.org/bicycle.png?signature=A%2Fb"


def picture(url: str) -> dict[str, Any]:
    """A content part that shows an image."""
    return {"type": "image_url", "image_url": {"url": url}}


def sent(*documents: object, **options: Any) -> list[Any]:
    """The documents as they stand in the body."""
    found: list[Any] = body_of(call(*documents, provider=VLLM(), **options))["documents"]
    return found


def test_no_key_no_header() -> None:
    """A server that was started without a key is sent no Authorization at all."""
    assert VLLM().headers() == {}
    headers = request_of(call("a", provider=VLLM())).headers.get_secret_value()
    assert "content-type" in headers
    assert "authorization" not in headers


@cases("key", ["", " "])
def test_an_empty_key_is_none(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """An empty key of the environment counts as none."""
    monkeypatch.setenv("VLLM_API_KEY", key)
    assert VLLM().headers() == {}


def test_headers() -> None:
    """A key goes out as a bearer token."""
    assert VLLM(api_key=KEY).headers() == {"Authorization": f"Bearer {KEY}"}


@cases(
    ("base_url", "expected"),
    [
        (None, "http://localhost:8000/v1/rerank"),
        ("https://gpu.example:8000", "https://gpu.example:8000/v1/rerank"),
        ("https://gpu.example:8000/v1/", "https://gpu.example:8000/v1/rerank"),
        ("https://gpu.example:8000/v2/rerank", "https://gpu.example:8000/v2/rerank"),
        ("https://gpu.example:8000/rerank", "https://gpu.example:8000/rerank"),
    ],
)
def test_address(base_url: str | None, expected: str) -> None:
    """The server's address is taken with and without a path."""
    assert VLLM(base_url=base_url).url == expected


def test_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model "vllm:..." goes to the server with the environment's key, if there is one."""
    without = RerankClient(f"vllm:{MODEL}")
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    client = RerankClient(f"vllm:{MODEL}")
    assert provider_class("vllm") is VLLM
    assert (without.model, without.provider.headers()) == (MODEL, {})
    assert (client.model, client.provider) == (MODEL, VLLM(api_key=KEY))


@cases("form", [repr, str, "{}".format])
def test_key_is_never_shown(form: Any) -> None:
    """No form of the provider or its client as text shows the key."""
    provider = VLLM(api_key=KEY)
    shown = form(provider) + form(RerankClient(MODEL, provider=provider))
    assert "VLLM(" in shown
    assert KEY not in shown


def test_body() -> None:
    """Strings go out as strings, and what is not set is not sent."""
    assert body_of(call("a", "b", provider=VLLM(), model=MODEL)) == {
        "model": MODEL,
        "query": "a query",
        "documents": ["a", "b"],
    }


def test_all_arguments_in_the_body() -> None:
    """What only vLLM takes stands in the body, beside top_n.

    The client's instruction wins, also where it is written around the texts.
    """
    provider = VLLM(truncate_prompt_tokens=512, instruction="find the page")
    body = body_of(call("a", "b", provider=provider, top_n=1))
    assert {name: body[name] for name in body.keys() - {"model", "query", "documents"}} == {
        "top_n": 1,
        "truncate_prompt_tokens": 512,
        "instruction": "find the page",
    }
    without = VLLM(instruction="find the page", has_chat_template=False)
    body = body_of(
        call("a", provider=without, model="Qwen3-Reranker-4B", instruction="find tables")
    )
    assert "<Instruct>: find tables\n<Query>:" in body["query"]
    assert body.keys() == {"model", "query", "documents"}


def test_fields_are_written_as_text() -> None:
    """A server ranks texts: fields go out as one text, in the order of rank_fields."""
    document = {"title": "bicycle", "text": "a red one"}
    assert sent(document) == ["title: bicycle\ntext: a red one"]
    assert sent(document, rank_fields=["text", "title"]) == ["text: a red one\ntitle: bicycle"]
    assert "rank_fields" not in body_of(call(document, provider=VLLM(), rank_fields=["text"]))


@cases(
    ("image", "expected"),
    [
        (URL, URL),
        (DATA_URI, DATA_URI),
        (PNG, f"data:image/png;base64,{base64.b64encode(PNG).decode()}"),
    ],
    ids=["url", "data uri", "bytes"],
)
def test_an_image(image: object, expected: str) -> None:
    """An image goes out as a content part, and all but a URL as a data URI."""
    assert sent(RerankDocument(image=image)) == [{"content": [picture(expected)]}]


def test_text_with_an_image() -> None:
    """An image and its text are the content parts of one document, the image first."""
    document = RerankDocument(text='a "red" one', image=DATA_URI)
    assert sent(document) == [
        {"content": [picture(DATA_URI), {"type": "text", "text": 'a "red" one'}]}
    ]


def test_texts_and_images_in_one_list() -> None:
    """Texts and images go out in one list, in their order."""
    assert sent("a", {"image": URL}, {"text": "b"}) == ["a", {"content": [picture(URL)]}, "b"]


def test_sees_images() -> None:
    """Whether a model sees is for the server to say."""
    assert VLLM().takes_images("BAAI/bge-reranker-v2-m3") is True


@cases(("model", "expected"), [(MODEL, [1, 1]), ("jinaai/jina-reranker-v3", [2])])
def test_a_listwise_model_is_never_split(model: str, expected: list[int]) -> None:
    """A model that scores the list as a whole goes in one request here too."""
    prepared = call("a", "b", provider=VLLM(), model=model, max_documents_per_request=1)
    assert [len(body["documents"]) for body in bodies_of(prepared)] == expected


NOT_FOUND = "The model `x` does not exist."
TOO_LONG = "This model's maximum context length is 512 tokens."


@cases(
    ("status", "body", "kind", "message"),
    [
        (
            404,
            {"error": {"message": NOT_FOUND, "type": "NotFoundError", "param": "m", "code": 404}},
            NotFoundError,
            NOT_FOUND,
        ),
        (
            400,
            {"error": {"message": TOO_LONG, "type": "BadRequestError", "param": None, "code": 400}},
            BadRequestError,
            TOO_LONG,
        ),
        (
            400,
            {
                "object": "error",
                "message": TOO_LONG,
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
            BadRequestError,
            TOO_LONG,
        ),
        (401, {"error": "Unauthorized"}, AuthenticationError, "Unauthorized"),
    ],
    ids=["error", "error without a param", "older", "no key"],
)
def test_errors(status: int, body: object, kind: type[StatusError], message: str) -> None:
    """The message of an error is found in the shape of today's servers and in the older one."""
    error = failed(body, status, provider=VLLM())
    assert type(error) is kind
    assert error.message == message
    assert str(error).startswith(f"vllm answered {status}: {message}".rstrip("."))


def test_error_without_a_key() -> None:
    """A server that asks for a key is an error that names where the key comes from."""
    error = failed({"error": "Unauthorized"}, 401, provider=VLLM())
    assert "check api_key= or the environment variable VLLM_API_KEY" in str(error)


@cases(
    "echo",
    [
        {"text": "b", "multi_modal": None},
        {"text": None, "multi_modal": picture(DATA_URI)},
        {"text": None, "multi_modal": [picture(DATA_URI), {"type": "text", "text": "b"}]},
    ],
    ids=["text", "one part", "parts"],
)
def test_answer(echo: dict[str, Any]) -> None:
    """Results hold the caller's documents, not what the server sends back, with its usage."""
    ranked = part("a", "b", provider=VLLM(), model=MODEL)
    usage = {"prompt_tokens": 56, "total_tokens": 56}
    results = [
        {"index": 1, "document": echo, "relevance_score": 0.998},
        {"index": 0, "document": echo, "relevance_score": 0.001},
    ]
    body = {"id": "rerank-1", "model": MODEL, "usage": usage, "results": results}
    response = parsed(ranked, http_response(body))
    assert [(r.index, r.relevance_score, r.document) for r in response] == [
        (1, 0.998, "b"),
        (0, 0.001, "a"),
    ]
    assert (response.id, response.model, response.provider) == ("rerank-1", MODEL, "vllm")
    assert response.usage.counts() == usage
