"""Queries with an image: how they are sent, who takes them, and who does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.documents import Document

from calls import TEXTS, client_of
from cases import cases
from fakes import sleepless
from langchain_support import Tracer, content
from loopback import Reply, Server
from pages import data_uri, encoded, picture, scores
from rerank_integrations import (
    VLLM,
    Dialect,
    InvalidRequestError,
    Jina,
    Local,
    Provider,
    QueryInput,
    RemoteProvider,
    RerankBatch,
    RerankCache,
    RerankClient,
    RerankDocument,
    RerankError,
    SGLang,
    UnsupportedDocumentError,
)
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.providers import known_names, provider_class
from telemetry import telemetry

RED = data_uri("sales")
BARE = RED.partition(",")[2]
URL = "https://example.org/sales.png"
KEY = "the-key"


def vllm(server: Server, **options: Any) -> RerankClient:
    """A client of a server that takes an image, and a text beside it."""
    return RerankClient("Qwen3-VL", provider=VLLM(base_url=server.url), max_retries=0, **options)


def sglang(server: Server) -> RerankClient:
    """The same with another request form."""
    return RerankClient("m", provider=SGLang(base_url=server.url))


def jina(server: Server, **options: Any) -> RerankClient:
    """A client of a model that takes an image or a text."""
    provider = Jina(api_key=KEY, base_url=server.url, allow_http=True)
    return RerankClient("jina-reranker-m0", provider=provider, **options)


def part(url: str) -> Mapping[str, Any]:
    """An image as a content part."""
    return {"type": "image_url", "image_url": {"url": url}}


TEXT_PART = {"type": "text", "text": "red"}
HALF = {"type": "text", "text": "\ufffd"}


@cases(
    ("make", "query", "sent"),
    [
        (vllm, RerankDocument(image=URL), {"content": [part(URL)]}),
        (vllm, RerankDocument("red", image=encoded("sales")), {"content": [part(RED), TEXT_PART]}),
        (vllm, {"text": "red", "image": picture("sales")}, {"content": [part(RED), TEXT_PART]}),
        (vllm, {"text": "red", "image": None}, "red"),
        (vllm, {"text": "red", "image": float("nan"), "title": None}, "red"),
        (vllm, RerankDocument("\ud83d", image=URL), {"content": [part(URL), HALF]}),
        (sglang, RerankDocument("red", image=RED), [part(RED), TEXT_PART]),
        (jina, RerankDocument(image=RED), {"image": BARE}),
        (jina, {"image": URL}, {"image": URL}),
        (client_of, RerankDocument("red"), "red"),
    ],
)  # fmt: skip
def test_a_query_is_sent_as_a_document_is(
    server: Server, make: Callable[[Server], RerankClient], query: QueryInput, sent: Any
) -> None:
    """A query takes what a document takes: text, image or both; sync and async send the same."""
    with make(server) as client:
        client.rerank(query, TEXTS)
    asyncio.run(make(server).arerank(query, TEXTS))
    assert [one.body["query"] for one in server.received] == [sent, sent]
    assert server.received[0].body["documents"] == list(TEXTS)


@cases(
    ("query", "said"),
    [
        ({"image": URL}, "takes a query of text only"),
        (RerankDocument("red", image=URL), "on_image='text' ranks by the query's text alone"),
        ({}, "query is empty"),
        ({"text": " ", "image": None}, "query is empty"),
        ({"text": "red", "title": "x"}, "no other fields; this one has title"),
        (RerankDocument("red", fields={"title": "x"}), "no other fields; this one has title"),
        ({"text": b"red"}, "the query: field 'text' holds bytes"),
        (5, "query must be a str, or a mapping or RerankDocument with an image, not int"),
    ],
)
def test_a_query_that_no_provider_of_text_takes(server: Server, query: Any, said: str) -> None:
    """What cannot be a query is refused before anything is sent; it is no fault of a document."""
    with client_of(server) as client, pytest.raises(InvalidRequestError, match=said) as caught:
        client.rerank(query, TEXTS)
    assert not isinstance(caught.value, UnsupportedDocumentError)
    assert server.received == []


@cases(
    ("query", "options", "said"),
    [
        ({"image": "cat.png"}, {}, "the query: an image is an http"),
        ({"image": "http://10.0.0.1/a.png"}, {"image_urls": "public"}, "the query: .* private"),
        ({"image": URL}, {"image_urls": "none"}, "the query: the image is a URL"),
        ({"image": RED}, {"max_image_bytes": 10}, "the query: the image has .* bytes"),
        ({"image": RED, "text": "red"}, {"on_image": "text", "max_image_bytes": 10}, "the query"),
        ({"image": RED}, {"max_request_bytes": 100}, "a request without documents has"),
    ],
)
def test_the_limits_of_images_hold_for_the_query(
    server: Server, query: Any, options: Any, said: str
) -> None:
    """An image of the query is checked as one of a document is; a smaller one is made of it."""
    with vllm(server) as client:
        with pytest.raises(InvalidRequestError, match=said):
            client.rerank(query, TEXTS, **options)
        assert server.received == []
        client.rerank({"image": RED}, TEXTS, max_image_pixels=12)
    (sent,) = server.received[0].body["query"]["content"]
    assert sent["image_url"]["url"] not in ("", RED)


def test_the_error_names_who_takes_an_image() -> None:
    """A provider is asked whether it takes an image; the message names those of the package."""
    with pytest.raises(InvalidRequestError) as caught:
        RerankClient("local:bm25").rerank({"image": URL}, TEXTS)
    takes = {
        name
        for name in known_names()
        if provider_class(name).takes_image_query is not Provider.takes_image_query
    }
    assert takes == {"vllm", "sglang", "jina", "local"}
    assert all(name in str(caught.value).lower() for name in takes)
    assert not Jina(api_key=KEY).takes_image_query("jina-reranker-v3")


@cases(
    ("make", "said"),
    [
        (client_of, "openrouter takes a query of text only"),
        (jina, "jina takes a text or an image as the query, not the two together"),
    ],
)
def test_text_alone(server: Server, make: Any, said: str) -> None:
    """With `on_image="text"` a query that cannot be sent whole ranks by its text, and warns."""
    query = RerankDocument("red", image=RED)
    with make(server) as client:
        with pytest.raises(InvalidRequestError, match=said):
            client.rerank(query, TEXTS, on_invalid_document="text")
        response = client.rerank(query, TEXTS, on_image="text")
        with pytest.raises(InvalidRequestError, match="the query"):
            client.rerank({"image": "cat.png"}, TEXTS, on_image="text")
    assert [one.body["query"] for one in server.received] == ["red"]
    assert response.warnings == (f"the image of the query was left out: {said}",)


@dataclass(frozen=True, kw_only=True)
class Repeats(RemoteProvider):
    """A provider that repeats the query for each document.

    API documentation: https://example.org
    """

    name: ClassVar[str] = "repeats"
    default_base_url: ClassVar[str] = "https://example.org/v1"
    needs_key: ClassVar[bool] = False
    dialect: ClassVar[Dialect] = Dialect(query="queries", query_as="repeated")

    def takes_image_query(self, model: str) -> bool:
        """True."""
        return bool(model)


def test_each_part_of_a_split_call_has_the_image(server: Server) -> None:
    """Bodies are as large as their limit with the image in them, in any form of the query."""
    query = {"text": "red", "image": encoded("sales")}
    texts = [f"text {number} " * 9 for number in range(40)]
    largest = len(RED) + 1000
    with vllm(server, max_request_bytes=largest) as client:
        assert len(client.rerank(query, texts)) == len(texts)
    bodies = [one.body for one in server.received]
    assert len(bodies) > 3
    assert all(one["query"] == {"content": [part(RED), TEXT_PART]} for one in bodies)
    assert sorted(text for one in bodies for text in one["documents"]) == sorted(texts)
    sizes = sorted(len(one.content) for one in server.received)
    assert sizes[-1] <= largest < sizes[1] + len(texts[0]) + 20

    server.reset()
    server.plays(lambda received: Reply({"results": [
        {"index": index, "relevance_score": 0.5} for index in range(len(received.body["documents"]))
    ]}))  # fmt: skip
    repeats = Repeats(base_url=server.url, allow_http=True)
    largest = 3 * (len(RED) + 200)
    with RerankClient("m", provider=repeats, max_request_bytes=largest) as client:
        client.rerank(query, [RerankDocument(text) for text in texts[:7]])
    assert sorted(len(one.body["documents"]) for one in server.received) == [1, 3, 3]
    for one in server.received:
        assert one.body["queries"] == [{"text": "red", "image": RED}] * len(one.body["documents"])
        assert len(one.content) <= largest


def test_a_cache_tells_images_apart(server: Server) -> None:
    """The score of another image, or beside another text, is another one."""
    cache = RerankCache()
    asked: list[tuple[QueryInput, int]] = [
        ({"image": RED}, 0),
        (RerankDocument(image=encoded("sales")), 3),
        ({"image": data_uri("staff")}, 0),
        ({"image": RED, "text": "red"}, 0),
        ({"image": URL}, 0),
        ("red", 0),
        ({"text": "red"}, 3),
    ]
    with vllm(server, cache=cache) as client:
        for query, hits in asked:
            assert client.rerank(query, TEXTS).cache_hits == hits


def test_fallbacks(server: Server, second: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fallback for text is passed over, or ranks by the text with a warning if it may."""
    sleepless(monkeypatch)
    server.plays(Reply({"error": {"message": "busy"}}, 503))
    query = {"text": "a red bicycle", "image": RED}
    with vllm(server, fallbacks=["together:m", sglang(second)]) as client:
        response = client.rerank(query, TEXTS)
        assert second.received[0].body["query"] == [part(RED), {**TEXT_PART, "text": query["text"]}]
        assert [one.provider for one in response.attempts] == ["vllm", "together", "sglang"]
        assert "not asked: InvalidRequestError: the query has" in str(response.attempts[1].error)

        response = client.rerank(query, TEXTS, on_image="text")
        assert second.received[1].body["query"] == query["text"]
        assert [one for one in response.warnings if "image of the query was left out" in one]
    with vllm(server, fallbacks=["local:bm25"]) as client, pytest.raises(RerankError) as caught:
        client.rerank({"image": RED}, TEXTS)
    assert "takes a query of text only" in "".join(caught.value.__notes__)


def test_rows(server: Server, tmp_path: Path) -> None:
    """A row of a run has an object as its query, and the checkpoint knows its image."""
    file, kept = tmp_path / "rows.jsonl", tmp_path / "kept.jsonl"
    row = {"id": "a", "query": {"text": "red", "image": RED}, "documents": TEXTS}
    file.write_text(json.dumps(row))
    other = {**row, "query": RerankDocument("red", image=encoded("staff"))}
    with vllm(server) as client:
        for _ in range(2):
            (result,) = client.rerank_many(file, checkpoint=kept)
            assert result.error is None
        with pytest.raises(InvalidRequestError, match="with another query"):
            list(client.rerank_many([other], checkpoint=kept))
        batch = RerankBatch(client=client)
        (found,) = batch.rows(file)
        columns = batch({"query": [{"text": None, "image": RED}], "documents": [list(TEXTS)]})
    assert (found["error"], columns["error"]) == (None, [None])
    whole = {"content": [part(RED), TEXT_PART]}
    assert [one.body["query"] for one in server.received] == [
        whole,
        whole,
        {"content": [part(RED)]},
    ]
    assert "base64" not in kept.read_text()


def test_no_trace_holds_the_image(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Spans, LangChain's runs, logs and errors have a word in place of the query's image."""
    caplog.set_level("DEBUG")
    query = RerankDocument("red", image=encoded("sales"))
    tracer = Tracer()
    with telemetry() as told, vllm(server) as client:
        client.rerank(query, TEXTS)
        reranker = RerankCompressor(client=client)
        reranker.compress_documents([Document("a")], query, callbacks=[tracer])
        server.plays(Reply({"error": {"message": f"no {RED}"}}, 400))
        with pytest.raises(RerankError) as caught:
            client.rerank({"image": RED}, TEXTS)
        spans = told.named("rerank ")
    asked = [dict(span.attributes or {})["reranker.query"] for span in spans]
    assert asked == ["red [image]", "red [image]", "[image]"]
    shown = "".join([span.to_json() for span in spans]) + content(tracer.run())
    assert BARE not in shown + caplog.text + str(caught.value) + repr(query)
    assert tracer.run().inputs == {"query": "red [image]"}


def colour(query: Any, documents: list[Any]) -> list[float]:
    """Scores by the picture of the query: red ones for a red one."""
    assert query["image"] == RED
    return scores("red", documents)


def test_own_scorers_and_langchain() -> None:
    """A scorer that sees gets the mapping, from the client and from LangChain."""
    client = RerankClient("mine", provider=Local(scorer=colour, sees_images=True))
    query = {"image": RED}
    pages = [{"image": data_uri(name)} for name in ("staff", "margin")]
    assert client.rerank(query, pages)[0].index == 1
    documents = [Document("", metadata=page) for page in pages]
    reranker = RerankCompressor(client=client)
    assert reranker.rerank(documents, query)[0].index == 1
    (first, _) = reranker.as_runnable().invoke({"query": query, "documents": documents})
    assert first.metadata["image"] == pages[1]["image"]
    blind = RerankClient("mine", provider=Local(scorer=colour))
    with pytest.raises(InvalidRequestError, match="local takes a query of text only"):
        blind.rerank(query, TEXTS)
    passing = RerankCompressor(client=blind, on_error="passthrough")
    with pytest.raises(InvalidRequestError, match="local takes a query of text only"):
        passing.compress_documents(documents, query)
