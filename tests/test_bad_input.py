"""What is refused before anything is sent, with a message that holds the cure."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from calls import KEYS, QUERY, TEXTS, Calls, client_of
from cases import cases
from loopback import Server
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    Local,
    OpenRouter,
    Portkey,
    RerankClient,
    RerankDocument,
    RerankError,
    Retry,
    Together,
    UnsupportedDocumentError,
)
from rerank_integrations.langchain import RerankCompressor

BREAK = "a\r\nX-Other: 1"
KINDS: dict[str, tuple[str, Callable[..., object]]] = {
    "openrouter": ("OpenRouter", OpenRouter),
    "together": ("Together", Together),
    "portkey": ("Portkey", Portkey),
}
PNG = b"\x89PNG\r\n\x1a\n0"


def key(url: str) -> dict[str, Any]:
    """The arguments of a provider that is played by the server."""
    return {"api_key": "the-key", "base_url": url}


def refused(action: Callable[[], object], kind: type[RerankError], *cure: str) -> None:
    """The action is refused with that error, and every word of the cure is in the message."""
    with pytest.raises(RerankError) as caught:
        action()
    assert type(caught.value) is kind
    assert isinstance(caught.value, ValueError)
    assert not caught.value.is_retryable
    assert not caught.value.attempts
    for word in cure:
        assert word in str(caught.value)


@cases("value", [None, "", "  "], ids=["unset", "empty", "blank"])
@cases(("gateway", "variable"), KEYS.items())
def test_a_missing_key_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, gateway: str, variable: str, value: str | None
) -> None:
    """Without a key the message names the environment variable and the argument."""
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    name, kind = KINDS[gateway]
    cure = (variable, "api_key=", name)
    refused(lambda: RerankClient(f"{gateway}:m"), ConfigurationError, *cure)
    refused(kind, ConfigurationError, *cure)
    refused(lambda: kind(api_key=value), ConfigurationError, *cure)


@cases(
    ("model", "cure"),
    [
        ("coher:rerank-v3.5", ("did you mean 'cohere'", "local, localai, mixedbread")),
        ("OpenRouter:m", ("did you mean 'openrouter'?", "local, localai, mixedbread")),
        ("VLLM:m", ("did you mean 'vllm'?",)),
        ("cohere/rerank-v3.5", ("did you mean 'cohere:rerank-v3.5'?",)),
        ("base:m", ("local, localai, mixedbread",)),
        ("_settings:m", ("local, localai, mixedbread",)),
        ("../local:m", ("local, localai, mixedbread",)),
        (":m", ("local, localai, mixedbread",)),
        ("cohere/rerank-v3.5", ("provider:model", "openrouter", "provider=")),
        ("", ("provider:model",)),
        ("local:", ("local:model",)),
        ("local:bm52", ("local:bm25", "Local(scorer=...)")),
        (None, ("provider:model",)),
        (5, ("provider:model",)),
    ],
)
def test_a_model_that_names_no_provider(model: Any, cure: tuple[str, ...]) -> None:
    """A model whose provider is unknown or missing is refused with the known names."""
    refused(lambda: RerankClient(model), ConfigurationError, *cure)


@cases("provider", ["openrouter", OpenRouter, {}, 5])
def test_a_provider_that_is_none(provider: Any) -> None:
    """Something else than a provider object is refused with an example of one."""
    refused(
        lambda: RerankClient("m", provider=provider), ConfigurationError, "OpenRouter(api_key=...)"
    )


@cases("query", ["", "  ", "\n\t", None, 5, b"q", ["q"], {"title": "q"}])
def test_a_query_without_text(call: Calls, server: Server, query: Any) -> None:
    """A query that is empty, or neither a text nor an image, is refused."""
    with client_of(server) as client:
        refused(lambda: call(client, query), InvalidRequestError, "query")
    assert not server.received


@cases("top_n", [0, -1, 2.0, "3", True, [1]])
def test_a_top_n_below_one(call: Calls, server: Server, top_n: Any) -> None:
    """A top_n that is no int of at least 1 is refused wherever it can be set."""
    cure = (InvalidRequestError, "top_n must be an int of at least 1, or None", repr(top_n))
    with client_of(server) as client:
        refused(lambda: call(client, top_n=top_n), *cure)
        refused(lambda: client.with_options(top_n=top_n), *cure)
        refused(lambda: client_of(server, top_n=top_n), *cure)
    assert not server.received


@cases(
    ("make", "wrong", "meant"),
    [
        (lambda **more: RerankClient("local:bm25", **more), "topn", "top_n"),
        (lambda **more: RerankClient("local:bm25", **more), "time_out", "timeout"),
        (lambda **more: RerankClient("local:bm25").with_options(**more), "topn", "top_n"),
        (lambda **more: RerankClient("local:bm25").with_options(**more), "providers", "provider"),
        (lambda **more: OpenRouter(api_key="k", **more), "x_open_router_title", "title"),
        (lambda **more: OpenRouter(api_key="k", **more), "apikey", "api_key"),
        (lambda **more: Together(api_key="k", **more), "return_document", "return_documents"),
        (lambda **more: Portkey(api_key="k", **more), "virtualkey", "virtual_key"),
        (Local, "score", "scorer"),
        (Retry, "retries", "max_retries"),
        (lambda **more: RerankClient("local:bm25", **more), "title", "OpenRouter(title=...)"),
        (lambda **more: RerankCompressor("local:bm25", **more), "scorer", "Local(scorer=...)"),
        (lambda **more: RerankClient("local:bm25", **more), "allow_http", "Together(allow_http"),
    ],
)
def test_an_unknown_argument(make: Callable[..., object], wrong: str, meant: str) -> None:
    """An unknown argument is refused with the known ones."""
    refused(lambda: make(**{wrong: "1"}), ConfigurationError, repr(wrong), meant)


@cases(
    ("model", "fix"),
    [("local:bm25", "'bm25'"), ("openrouter:m", "provider=None"), ("local:", "without 'local:'")],
)
def test_a_prefix_in_the_model_of_a_call(model: str, fix: str) -> None:
    """A model "provider:model" for one call is refused: a server would be sent all of it."""
    client = RerankClient("local:bm25")
    refused(lambda: client.rerank("q", ["a"], model=model), ConfigurationError, fix)
    refused(lambda: client.with_options(model=model), ConfigurationError, fix)
    with pytest.raises(ConfigurationError, match=re.escape(fix)):
        RerankCompressor(client=client).rerank(["a"], "q", model=model)


def test_an_unknown_argument_of_a_call(call: Calls, server: Server) -> None:
    """An unknown argument of a call is refused with the one that was meant."""
    with client_of(server) as client:
        refused(lambda: call(client, topn=1), ConfigurationError, "did you mean 'top_n'?")
        refused(lambda: call(client, http_client=1), ConfigurationError, "'http_client'", "client=")
    assert not server.received


@cases(
    "document",
    [
        RerankDocument(text="cat", image="https://example.com/cat.png"),
        RerankDocument(image=PNG),
        {"text": "cat", "image": "data:image/png;base64,AAAA"},
        {"title": "cat", "image": PNG},
    ],
    ids=["document with URL", "document with bytes", "mapping with data", "mapping with bytes"],
)
@cases("rank_fields", [None, ["text"]])
@cases("gateway", ["together", "portkey", "local"])
def test_an_image_for_a_gateway_without_images(
    call: Calls, server: Server, *, gateway: str, document: Any, rank_fields: list[str] | None
) -> None:
    """An image for an endpoint that ranks text only is refused with its document's position."""
    client = RerankClient("local:bm25") if gateway == "local" else client_of(server, gateway)
    documents = ["text", document]
    cure = ("document 1", f"{gateway} takes text only", "on_image='text'")
    with client:
        refused(
            lambda: call(client, QUERY, documents, rank_fields=rank_fields),
            UnsupportedDocumentError,
            *cure,
        )
    assert documents == ["text", document]
    assert not server.received


@cases("document", [None, 5, 1.5, b"bytes", ["text"], ("a", "b"), object(), str])
@cases("gateway", [*KEYS, "local"])
def test_what_is_no_document(call: Calls, server: Server, gateway: str, document: Any) -> None:
    """A document that is neither text, mapping nor RerankDocument is refused with its position."""
    client = RerankClient("local:bm25") if gateway == "local" else client_of(server, gateway)
    with client:
        refused(
            lambda: call(client, QUERY, ["text", {"text": "x"}, document]),
            UnsupportedDocumentError,
            "document 2",
            "a str, a mapping of fields or a RerankDocument",
            type(document).__name__,
        )
    assert not server.received


@cases(
    ("image", "cure"),
    [
        ("cat.png", "RerankDocument.from_file(path)"),
        ("/etc/hostname", "RerankDocument.from_file(path)"),
        ("file:///etc/hostname", "RerankDocument.from_file(path)"),
        ("data:text/plain;base64,AAAA", "data:image/"),
        ("data:image/png;base64,*", "base64"),
        (b"GIF", "PNG, JPEG, WebP, GIF"),
        (b"", "no bytes"),
        (5, "int"),
        ({"url": "https://example.com/cat.png"}, "URL"),
    ],
)
def test_an_image_that_cannot_be_sent(call: Calls, server: Server, image: Any, cure: str) -> None:
    """An image of another kind is refused, and no file is read by accident."""
    with client_of(server) as client:
        for document in ({"text": "cat", "image": image}, RerankDocument("cat", image)):
            refused(
                lambda document=document: call(client, QUERY, [document]),  # type: ignore[misc]
                UnsupportedDocumentError,
                "document 0",
                cure,
            )
    assert not server.received


HEADERS: dict[str, Callable[[str], object]] = {
    "extra_headers": lambda url: client_of(url, extra_headers={"X-A": BREAK}),
    "name": lambda url: client_of(url, extra_headers={BREAK: "1"}),
    "with_options": lambda url: client_of(url).with_options(extra_headers={"X-A": BREAK}),
    "call": lambda url: client_of(url).rerank(QUERY, TEXTS, extra_headers={"X-A": BREAK}),
    "OpenRouter key": lambda url: OpenRouter(api_key=BREAK, base_url=url),
    "OpenRouter title": lambda url: OpenRouter(title=BREAK, **key(url)),
    "OpenRouter referer": lambda url: OpenRouter(http_referer=BREAK, **key(url)),
    "Together key": lambda url: Together(api_key=BREAK, base_url=url),
    "Portkey key": lambda url: Portkey(api_key=BREAK, base_url=url),
    "Portkey virtual key": lambda url: Portkey(virtual_key=BREAK, **key(url)),
    "Portkey authorization": lambda url: Portkey(authorization=BREAK, **key(url)),
    "Portkey provider": lambda url: Portkey(provider=BREAK, **key(url)),
    "Portkey config": lambda url: Portkey(config=BREAK, **key(url)),
    "Portkey trace": lambda url: Portkey(trace_id=BREAK, **key(url)),
    "Portkey span": lambda url: Portkey(span_name=BREAK, **key(url)),
}


@cases("make", HEADERS.values(), ids=HEADERS)
def test_a_header_with_a_line_break(server: Server, make: Callable[[str], object]) -> None:
    """A header value or name with a line break is refused by its name."""
    refused(lambda: make(server.url), ConfigurationError, "line break", "remove it")
    assert not server.received


def test_a_header_with_a_control_character(server: Server) -> None:
    """A header value with a control character is refused by its name."""
    refused(
        lambda: client_of(server, extra_headers={"X-A": "a\0"}),
        ConfigurationError,
        "'X-A'",
        "control character",
    )


def test_a_header_of_a_call_with_a_line_break(call: Calls, server: Server) -> None:
    """A header that is passed to a call is checked like the client's."""
    with client_of(server) as client:
        refused(
            lambda: call(client, extra_headers={"X-A": BREAK}),
            ConfigurationError,
            "'X-A'",
            "line break",
        )
    assert not server.received


@cases("value", ["münchen", "日本", 5, None, b"a"])
def test_a_header_that_http_cannot_carry(server: Server, value: Any) -> None:
    """A header value that is no ASCII str is refused by its name."""
    refused(lambda: client_of(server, extra_headers={"X-A": value}), ConfigurationError, "'X-A'")


@cases(
    ("documents", "cure"),
    [
        ("text", "put it into a list"),
        (b"text", "put it into a list"),
        ({"text": "x"}, "put it into a list"),
        (RerankDocument("x"), "put it into a list"),
        (None, "list of documents"),
        (5, "list of documents"),
    ],
)
def test_documents_that_are_no_list(call: Calls, server: Server, documents: Any, cure: str) -> None:
    """One document where a list belongs is refused, and never taken apart."""
    with client_of(server) as client:
        refused(lambda: call(client, QUERY, documents), InvalidRequestError, "documents", cure)
    assert not server.received


@cases("rank_fields", ["title", b"title", [], [""], [5], {"title": 1}, 5])
def test_rank_fields_that_are_no_list(call: Calls, server: Server, rank_fields: Any) -> None:
    """rank_fields that are no list of names are refused wherever they can be set."""
    with client_of(server) as client:
        refused(lambda: call(client, rank_fields=rank_fields), InvalidRequestError, "rank_fields")
        refused(
            lambda: client_of(server, rank_fields=rank_fields), InvalidRequestError, "rank_fields"
        )
    assert not server.received


OUT_OF_RANGE: dict[str, tuple[Any, ...]] = {
    "timeout": (0, -1, "5", True, float("nan"), [1]),
    "deadline": (0, -1, "5", True, float("inf"), "default"),
    "max_retries": (-1, 1.0, "2", True, None),
    "extra_headers": ("X-A: 1", [("X-A", "1")], 5),
    "extra_body": ("a", [1], {"query": "q"}, {"documents": []}),
    "model": ("", " ", None, 5),
}


@cases(
    ("name", "value"),
    [(name, value) for name, values in OUT_OF_RANGE.items() for value in values],
)
def test_an_option_out_of_range(call: Calls, server: Server, name: str, value: Any) -> None:
    """An option of a wrong type or out of range is refused by its name."""
    with client_of(server) as client:
        refused(lambda: call(client, **{name: value}), ConfigurationError, name)
        refused(lambda: client.with_options(**{name: value}), ConfigurationError, name)
    assert not server.received


DOCUMENTS: dict[str, list[Any]] = {
    "good": ["text", {"title": "t", "text": "x", "tags": ["a", "b"]}, RerankDocument("x")],
    "nested": [{"meta": {"title": "t"}, "text": "x"}, RerankDocument(fields={"title": "t"})],
    "refused": ["text", {"title": "t"}, 5],
    "blank": ["", {"text": " "}, {"title": None}, {}],
}


@cases("documents", DOCUMENTS.values(), ids=DOCUMENTS)
@cases("rank_fields", [None, ["title", "text"], ["meta.title"]])
@cases("gateway", KEYS)
def test_the_callers_documents_stay_as_they_are(
    call: Calls,
    server: Server,
    *,
    gateway: str,
    rank_fields: list[str] | None,
    documents: list[Any],
) -> None:
    """No call changes the caller's list, its documents or what is in them."""
    own = list(documents)
    before = copy.deepcopy(own)
    with client_of(server, gateway) as client:
        try:
            call(client, QUERY, own, rank_fields=rank_fields)
        except UnsupportedDocumentError:
            assert not server.received
    assert own == before
    assert all(left is right for left, right in zip(own, documents, strict=True))


def test_half_a_character(call: Calls, server: Server) -> None:
    """Text that no encoding can carry costs no result: it is sent as U+FFFD, with a warning."""
    document = "x \ud83d"
    with client_of(server) as client:
        response = call(client, "\ud83d", [document])
    assert response[0].document is document
    assert server.received[0].body["documents"] == ["x \ufffd"]
    assert "U+FFFD" in response.warnings[0]
