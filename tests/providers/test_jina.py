"""Tests of what Jina is sent, and of what it answers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import SecretStr

from cases import cases
from rerank_integrations import RerankClient
from rerank_integrations.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    PaymentRequiredError,
    StatusError,
    UnsupportedDocumentError,
)
from rerank_integrations.models import RerankDocument
from rerank_integrations.providers import provider_class
from rerank_integrations.providers.jina import Jina
from support import (
    DATA_URI,
    KEY,
    PIXELS,
    PNG,
    bodies_of,
    body_of,
    call,
    failed,
    http_response,
    parsed,
    part,
)

M0 = "jina-reranker-m0"
V2 = "jina-reranker-v2-base-multilingual"
URL = "https://example.org/bicycle.png?signature=A%2Fb"


def jina(**arguments: Any) -> Jina:
    """A Jina with a key."""
    return Jina(**{"api_key": KEY, **arguments})


def sent(*documents: object, model: str = M0, **options: Any) -> list[Any]:
    """The documents as they stand in the body."""
    body = body_of(call(*documents, provider=jina(), model=model, **options))
    documents_sent: list[Any] = body["documents"]
    return documents_sent


def test_headers() -> None:
    """Jina is sent the key, and nothing else."""
    assert jina().headers() == {"Authorization": f"Bearer {KEY}"}


@cases(
    ("base_url", "expected"),
    [
        (None, "https://api.jina.ai/v1/rerank"),
        ("https://api.jina.ai", "https://api.jina.ai/v1/rerank"),
        ("https://eu-s-beta.jina.ai/v1/", "https://eu-s-beta.jina.ai/v1/rerank"),
        ("https://proxy.example/jina/v1/rerank", "https://proxy.example/jina/v1/rerank"),
    ],
)
def test_address(base_url: str | None, expected: str) -> None:
    """The address is Jina's, or another one with and without the version."""
    assert jina(base_url=base_url).url == expected


def test_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model "jina:..." goes to Jina with the key of the environment."""
    monkeypatch.setenv("JINA_API_KEY", KEY)
    client = RerankClient(f"jina:{M0}")
    assert provider_class("jina") is Jina
    assert (client.model, client.provider) == (M0, jina())
    assert jina().api_key == SecretStr(KEY)


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the message names the variable and the argument."""
    monkeypatch.delenv("JINA_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=r"JINA_API_KEY or pass .*Jina\(api_key=\.\.\.\)"):
        RerankClient(f"jina:{M0}")


@cases("form", [repr, str, "{}".format])
def test_key_is_never_shown(form: Any) -> None:
    """No form of the provider or its client as text shows the key."""
    shown = form(jina()) + form(RerankClient(M0, provider=jina()))
    assert "Jina(" in shown
    assert KEY not in shown


def test_body() -> None:
    """Strings go out as strings, and Jina is told not to send the documents back."""
    assert body_of(call("a", "b", provider=jina(), model=V2)) == {
        "model": V2,
        "query": "a query",
        "documents": ["a", "b"],
        "return_documents": False,
    }


def test_top_n_in_the_body() -> None:
    """top_n goes out where it is set, and not as null where it is not."""
    assert body_of(call("a", "b", provider=jina(), top_n=1))["top_n"] == 1
    assert "top_n" not in body_of(call("a", "b", provider=jina()))


@cases("echo", [True, False])
def test_return_documents(echo: bool) -> None:  # noqa: FBT001
    """Whether Jina is to echo is the caller's choice."""
    assert body_of(call("a", provider=jina(return_documents=echo)))["return_documents"] is echo


def test_fields_are_written_as_text() -> None:
    """Jina ranks texts: fields go out as one text, in the order of rank_fields."""
    document = {"title": "bicycle", "text": "a red one", "price": 5}
    assert sent(document) == ["title: bicycle\ntext: a red one\nprice: 5"]
    assert sent(document, rank_fields=["text", "title"]) == ["text: a red one\ntitle: bicycle"]
    assert "rank_fields" not in body_of(call(document, provider=jina(), rank_fields=["text"]))


@cases(
    ("image", "expected"),
    [
        (URL, URL),
        (DATA_URI, PIXELS),
        (f"data:image/png;name=a b;base64,{PIXELS}", PIXELS),
        (PNG, base64.b64encode(PNG).decode()),
    ],
    ids=["url", "data uri", "data uri with a parameter", "bytes"],
)
def test_an_image(image: object, expected: str) -> None:
    """A URL goes out as it stands, all else as bare base64."""
    assert sent(RerankDocument(image=image)) == [{"image": expected}]


def test_texts_and_images_in_one_list() -> None:
    """Texts and images go out in one list, in their order."""
    documents = ["a", RerankDocument(image=URL), {"text": "b"}, {"image": DATA_URI}]
    assert sent(*documents) == ["a", {"image": URL}, "b", {"image": PIXELS}]


def test_text_with_an_image() -> None:
    """Jina takes a text or an image, so the two together are refused with the cure."""
    with pytest.raises(UnsupportedDocumentError, match=r"document 1: .*not both.*on_image"):
        call("a", RerankDocument(text="b", image=URL), provider=jina(), model=M0)


def test_text_with_an_image_where_text_will_do() -> None:
    """With on_image="text" a text with an image loses the image, and an image alone does not."""
    documents = (RerankDocument(text="a", image=URL), RerankDocument(image=URL), "b")
    prepared = call(*documents, provider=jina(), model=M0, on_image="text")
    assert body_of(prepared)["documents"] == ["a", {"image": URL}, "b"]
    assert len(prepared.warnings) == 1
    assert "document 0 " in prepared.warnings[0]


@cases(
    ("model", "expected"),
    [
        (M0, True),
        ("jinaai/jina-reranker-m0", True),
        ("jina-reranker-m1", True),
        (V2, False),
        ("jina-reranker-v3", False),
        ("jina-colbert-v2", False),
    ],
)
@cases("said", [None, True, False])
def test_sees_images(model: str, expected: bool, said: bool | None) -> None:  # noqa: FBT001
    """The multimodal models see images, unless the caller says otherwise."""
    found = jina(sees_images=said).takes_images(model)
    assert found is (expected if said is None else said)


@cases("model", [V2, "jina-reranker-v3"])
def test_an_image_for_a_model_of_texts(model: str) -> None:
    """A model that does not see gets no image: it is refused before anything is sent."""
    with pytest.raises(UnsupportedDocumentError, match=f"takes text only.*{model}"):
        call(RerankDocument(image=URL), provider=jina(), model=model)


@cases(("model", "expected"), [(M0, [1, 1, 1]), (V2, [1, 1, 1]), ("jina-reranker-v3", [3])])
def test_a_listwise_model_is_never_split(model: str, expected: list[int]) -> None:
    """jina-reranker-v3 scores the list as a whole, so it goes in one request whatever its size."""
    limits = {"max_documents_per_request": 1, "max_request_bytes": 300}
    prepared = call("a", "b", "c" * 100, provider=jina(), model=model, **limits)
    assert [len(body["documents"]) for body in bodies_of(prepared)] == expected


@cases(
    ("status", "body", "kind", "message"),
    [
        (401, {"detail": "Unauthorized"}, AuthenticationError, "Unauthorized"),
        (402, {"detail": "Insufficient balance"}, PaymentRequiredError, "Insufficient balance"),
        (
            422,
            {"detail": [{"loc": ["body", "documents"], "msg": "field required", "type": "v"}]},
            BadRequestError,
            "body.documents: field required",
        ),
        (422, {"detail": "[model] unknown"}, BadRequestError, "[model] unknown"),
    ],
)
def test_errors(status: int, body: object, kind: type[StatusError], message: str) -> None:
    """Jina's `detail`, a text or a list of problems, is the message of the error."""
    error = failed(body, status, provider=jina())
    assert type(error) is kind
    assert error.message == message
    assert str(error).startswith(f"jina answered {status}: {message}")


def test_error_about_the_key() -> None:
    """A refused key is an error that names where the key comes from, and does not show it."""
    error = failed({"detail": f"no such key {KEY}"}, 401, provider=jina(), secrets=(KEY,))
    assert "check api_key= or the environment variable JINA_API_KEY" in str(error)
    assert KEY not in str(error)


@cases(
    "echo",
    [
        {},
        {"document": None},
        {"document": {"text": "b"}},
        {"document": {"image": PIXELS}},
        {"document": "b"},
    ],
    ids=["none", "null", "text", "image", "str"],
)
def test_answer(echo: dict[str, Any]) -> None:
    """Results hold the caller's documents whatever Jina sends back of them, with its usage."""
    ranked = part("a", "b", provider=jina(), model=M0)
    usage = {"total_tokens": 815}
    results = [
        {"index": 1, "relevance_score": 0.87, **echo},
        {"index": 0, "relevance_score": 0.12, **echo},
    ]
    response = parsed(ranked, http_response({"model": M0, "usage": usage, "results": results}))
    assert [(r.index, r.relevance_score, r.document) for r in response] == [
        (1, 0.87, "b"),
        (0, 0.12, "a"),
    ]
    assert (response.model, response.provider) == (M0, "jina")
    assert response.usage.counts() == usage
