"""The list of a provider's rerank models."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from calls import Calls, client_of
from cases import cases
from loopback import Reply, Server, ranks_all
from rerank_integrations import (
    NVIDIA,
    TEI,
    VLLM,
    AuthenticationError,
    AzureAI,
    Cohere,
    Compatible,
    ConfigurationError,
    Infinity,
    Jina,
    Local,
    ModelInfo,
    NotFoundError,
    OpenRouter,
    Pinecone,
    Portkey,
    Provider,
    RemoteProvider,
    RerankClient,
    RerankError,
    ResponseError,
    ServerError,
    SiliconFlow,
    Together,
    VercelGateway,
    Voyage,
    Xinference,
)

KEY = "the-key-of-the-list"
BEARER = ("authorization", f"Bearer {KEY}")
OPENROUTER = {
    "id": "cohere/rerank-v3.5",
    "context_length": 4096,
    "architecture": {"input_modalities": ["text"], "output_modalities": ["rerank"]},
    "pricing": {"prompt": "0.00000005", "completion": "0", "request": "0.001"},
}
TOGETHER = {
    "id": "ml_1",
    "name": "acme/rank",
    "capabilities": ["CAPABILITY_RERANKING"],
    "inputModalities": ["MODALITY_TEXT", "MODALITY_IMAGE"],
    "contextLength": "8192",
    "pricing": {"input": 0.1, "output": 0},
}
CHAT = {"id": "ml_2", "name": "acme/chat", "capabilities": ["CAPABILITY_CHAT"]}


def ids(*models: str) -> dict[str, Any]:
    """A page in the form of OpenAI's list."""
    return {"object": "list", "data": [{"id": model, "object": "model"} for model in models]}


def names(*models: str, **more: Any) -> dict[str, Any]:
    """A page of Cohere's."""
    return {"models": [{"name": model, "context_length": 4096.0} for model in models], **more}


def without_raw(models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """The models without the provider's own entries."""
    return [model._replace(raw={}) for model in models]


@cases(
    ("kind", "arguments", "key", "pages", "paths", "expected"),
    [
        (
            OpenRouter,
            {"title": "an app"},
            BEARER,
            [
                {
                    "data": [OPENROUTER],
                    "links": {"next": "https://evil.example/x?offset=1&q=a%26b"},
                },
                {
                    "data": [OPENROUTER, {"id": "b", "context_length": None}],
                    "links": {"next": None},
                },
            ],
            [
                "/api/v1/models?output_modalities=rerank",
                "/api/v1/models?output_modalities=rerank&offset=1&q=a%26b",
            ],
            [
                ModelInfo(
                    "cohere/rerank-v3.5",
                    4096,
                    takes_images=False,
                    prices={"million_tokens": 0.05, "request": 0.001},
                ),
                ModelInfo("b"),
            ],
        ),
        (
            Together,
            {},
            BEARER,
            [{"data": [CHAT, TOGETHER], "next_cursor": "c/2"}, {"data": [], "next_cursor": None}],
            ["/v2/supported-models", "/v2/supported-models?after=c%2F2"],
            [ModelInfo("acme/rank", 8192, takes_images=True, prices={"million_tokens": 0.1})],
        ),
        (
            Portkey,
            {"provider": "@host", "virtual_key": "stored"},
            ("x-portkey-api-key", KEY),
            [ids("@host/rank")],
            ["/v1/models"],
            [ModelInfo("@host/rank")],
        ),
        (
            Cohere,
            {},
            BEARER,
            [names("a", next_page_token="t"), names("b", next_page_token="")],
            ["/v1/models?endpoint=rerank", "/v1/models?endpoint=rerank&page_token=t"],
            [ModelInfo("a", 4096), ModelInfo("b", 4096)],
        ),
        (
            Pinecone,
            {},
            ("api-key", KEY),
            [{"models": [{"model": "bge-reranker-v2-m3", "max_sequence_length": 1024}]}],
            ["/models?type=rerank"],
            [ModelInfo("bge-reranker-v2-m3", 1024)],
        ),
        (SiliconFlow, {}, BEARER, [ids("r")], ["/v1/models?sub_type=reranker"], [ModelInfo("r")]),
        (
            VercelGateway,
            {},
            BEARER,
            [{"data": [{"id": "c", "type": "language"}, {"id": "r", "type": "reranking"}]}],
            ["/v1/models"],
            [ModelInfo("r")],
        ),
        (
            VLLM,
            {},
            BEARER,
            [{"data": [{"id": "r", "max_model_len": 512}]}],
            ["/v1/models"],
            [ModelInfo("r", 512)],
        ),
        (
            Xinference,
            {},
            BEARER,
            [{"data": [{"id": "c", "model_type": "LLM"}, {"id": "r", "model_type": "rerank"}]}],
            ["/v1/models"],
            [ModelInfo("r")],
        ),
        (
            Infinity,
            {},
            BEARER,
            [[{"id": "e", "capabilities": ["embed"]}, {"id": "r", "capabilities": ["rerank"]}]],
            ["/models"],
            [ModelInfo("r")],
        ),
        (
            TEI,
            {},
            BEARER,
            [{"model_id": "BAAI/bge-reranker-base", "max_input_length": 512}],
            ["/info"],
            [ModelInfo("BAAI/bge-reranker-base", 512)],
        ),
        (NVIDIA, {}, BEARER, [ids("nvidia/r")], ["/v1/models"], [ModelInfo("nvidia/r")]),
        (
            Compatible,
            {"path": "/v3/rerank", "extra_query": {"v": "9"}, "auth_header": "x-key"},
            ("x-key", f"Bearer {KEY}"),
            [ids("r", "r") | {"more": 1}],
            ["/v3/models?v=9"],
            [ModelInfo("r")],
        ),
    ],
)
def test_the_models_are_asked_for_and_read(
    server: Server,
    call: Calls,
    *,
    kind: type[RemoteProvider],
    arguments: Any,
    key: tuple[str, str],
    pages: Sequence[Any],
    paths: Sequence[str],
    expected: Sequence[ModelInfo],
) -> None:
    """Each provider's list is a GET with its key and headers, page by page, without a body."""
    server.plays(*(Reply(page) for page in pages))
    provider = kind(api_key=KEY, base_url=server.url, **arguments)
    client = RerankClient("m", provider=provider, extra_headers={"x-more": "1"})

    models = call.models(client)

    assert without_raw(models) == list(expected)
    assert all(model.raw for model in models)
    assert [received.path for received in server.received] == list(paths)
    for received in server.received:
        assert (received.method, received.content) == ("GET", b"")
        assert not {"content-type", "content-length", "transfer-encoding"} & set(received.headers)
        sent = {name.lower(): value for name, value in provider.headers().items()}
        assert (sent | {"x-more": "1", key[0]: key[1]}).items() <= received.headers.items()
    call.close(client)


@cases(
    ("replies", "error", "words", "requests"),
    [
        ([Reply({"error": f"no such key: {KEY}"}, 401)], AuthenticationError, "answered 401", 1),
        ([Reply({}, 404)], NotFoundError, "this server has no list of models", 1),
        ([Reply(b"<html>", headers={"content-type": "text/html"})], ResponseError, "not JSON", 1),
        ([Reply(None)], ResponseError, "its body is empty", 1),
        ([Reply({"results": []})], ResponseError, "it has no list of models", 1),
        ([Reply("models")], ResponseError, "it has no list of models", 1),
        ([Reply({"error": f"{KEY} is old"})], ResponseError, "error inside: [*]{3} is old", 1),
        ([Reply({"error": "busy"}, 503)], ServerError, "answered 503: busy", 3),
        ([Reply(ids("a")), Reply({}, 500)], ServerError, "answered 500", 4),
        ([Reply({"data": [], "next_cursor": "x"})], ResponseError, "does not end", 2),
    ],
)
def test_a_list_that_does_not_come_is_an_error(
    server: Server,
    call: Calls,
    pauses: Sequence[float],
    *,
    replies: Sequence[Reply],
    error: type[RerankError],
    words: str,
    requests: int,
) -> None:
    """Errors are typed and retried as those of a rerank call, and hold no key."""
    first = replies[0].body
    if len(replies) > 1:  # the first page is fine, the second is not
        replies = [Reply({**first, "next_cursor": "2"}), *replies[1:]]
    server.plays(*replies)
    client = RerankClient("m", provider=Together(api_key=KEY, base_url=server.url))

    with pytest.raises(error, match=words) as caught:
        call.models(client)

    assert KEY not in f"{caught.value!r} {vars(caught.value)}"
    assert len(server.received) == requests
    assert [attempt.provider for attempt in caught.value.attempts] == ["together"] * requests
    server.plays(Reply({"error": "busy"}, 429, {"retry-after": "7"}), Reply({"data": [TOGETHER]}))
    before = len(pauses)
    assert [model.id for model in call.models(client)] == ["acme/rank"]
    assert 7 <= sum(pauses[before:]) < 9
    call.close(client)


def test_the_list_is_kept(server: Server) -> None:
    """A client and its copies by `with_options` ask once; no rerank call asks."""
    server.plays(Reply(ids("a")))
    client = client_of(server, "portkey", requests_per_minute=100)
    first = client.models()
    first.clear()
    other = client.with_options(model="another", top_n=1)
    assert [model.id for model in other.models()] == ["a"]
    assert len(server.received) == 1

    server.plays(Reply(ids("a", "b")))
    assert [model.id for model in other.models(refresh=True)] == ["a", "b"]
    assert [model.id for model in client.models()] == ["a", "b"]
    assert len(server.received) == 2

    copy.copy(client).models()
    key = Portkey(api_key="another-key", base_url=server.url, provider="@host")
    client.with_options(provider=key).models()
    client.with_options(extra_headers={"authorization": "Bearer another"}).models()
    assert len(server.received) == 5

    server.plays(ranks_all)
    client.rerank("q", ["a"])
    assert [received.method for received in server.received[5:]] == ["POST"]
    client.close()
    with pytest.raises(ConfigurationError, match="closed"):
        client.models()


def test_the_requests_count_for_the_rate_limit(server: Server, pauses: Sequence[float]) -> None:
    """A request for the list takes a slot of `requests_per_minute`."""
    server.plays(Reply(ids("a")), ranks_all)
    with client_of(server, "portkey", requests_per_minute=1, deadline=100) as client:
        client.models()
        client.rerank("q", ["a"])
    assert 50 < sum(pauses) <= 60


@cases(
    ("make", "page"),
    [
        (lambda: Jina(api_key=KEY), "https://jina.ai/reranker/"),
        (lambda: Voyage(api_key=KEY), "https://docs.voyageai.com/reference/reranker-api"),
        (lambda: NVIDIA(api_key=KEY), "https://docs.nvidia.com/nim/nemo-retriever/text-reranking"),
        (
            lambda: AzureAI(api_key=KEY, base_url="https://a.example"),
            "https://learn.microsoft.com/azure/ai-foundry",
        ),
    ],
)
def test_a_provider_without_a_list_names_its_page(make: Callable[[], Provider], page: str) -> None:
    """Where no endpoint lists models, nothing is sent, and the error names the vendor's page."""
    client = RerankClient("m", provider=make())
    with pytest.raises(ConfigurationError, match="no endpoint that lists its rerank") as caught:
        client.models()
    assert str(caught.value).endswith(f"; its page is {page}")


class Scorer:
    """An object with a method that scores pairs."""

    def predict(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Score each pair by its place."""
        return [float(place) for place in range(len(pairs))]


@cases(
    "given",
    [
        (
            lambda: RerankClient("local:bm25"),
            ModelInfo("hybrid", takes_images=False),
            ModelInfo("bm25", takes_images=False),
        ),
        (
            lambda: RerankClient("m", provider=Local(scorer=Scorer(), sees_images=True)),
            ModelInfo("Scorer", takes_images=True),
        ),
        (
            lambda: RerankClient("m", provider=Local(scorer=Scorer().predict)),
            ModelInfo("Scorer", takes_images=False),
        ),
    ],
)
def test_a_local_scorer_is_the_model(given: tuple[Any, ...]) -> None:
    """`local:` lists its engines, or the scorer by name, without a request."""
    client, *expected = given
    assert client().models() == client().models(refresh=True) == expected


@cases(
    ("entry", "shown"),
    [
        (OPENROUTER | {"pricing": {"prompt": "-1", "request": "free", "image": 0.002}}, "prices"),
        (
            OPENROUTER | {"context_length": "4096", "pricing": None},
            "ModelInfo('cohere/rerank-v3.5'",
        ),
        (
            OPENROUTER | {"context_length": True, "architecture": {"input_modalities": "image"}},
            "0.05",
        ),
        (OPENROUTER | {"context_length": "9" * 999, "pricing": {"prompt": "1e999"}}, "=False)"),
        (OPENROUTER | {"context_length": float("nan"), "pricing": {"prompt": 10**999}}, "=False)"),
        (OPENROUTER | {"id": None}, None),
        (OPENROUTER | {"id": ""}, None),
        ("no object", None),
    ],
)
def test_odd_entries_are_read_as_far_as_they_can(entry: Any, shown: str | None) -> None:
    """An entry without an id is left out; a number that is none is unknown; `raw` is not shown."""
    page = OpenRouter(api_key=KEY).models_page({"data": [entry]})
    assert page is not None
    if shown is None:
        assert page.models == []
        return
    [model] = page.models
    assert shown in repr(model)
    assert "architecture" not in repr(model)
    assert model.raw == entry
    assert model.context_length in (4096, None)
    assert set(model.prices.values()) <= {0.002, 0.05, 0.001}


def test_a_client_of_the_users_sends_it(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """An own httpx client asks too, follows a redirect to the list, and a line is logged."""
    caplog.set_level(logging.INFO, "rerank_integrations")
    server.plays(
        Reply({}, 301, {"location": "/v1/models/"}), Reply(ids("a"), 200, {"x-request-id": "7"})
    )
    asked: list[httpx.Request] = []
    with httpx.Client(event_hooks={"request": [asked.append]}, params={"team": "x"}) as theirs:
        client = client_of(server, "portkey", http_client=theirs)
        assert [model.id for model in client.models()] == ["a"]

    assert [(request.method, request.url.path) for request in asked] == [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/"),
    ]
    assert [received.path for received in server.received] == [
        "/v1/models?team=x",
        "/v1/models/?team=x",
    ]
    [line] = caplog.messages
    assert line.startswith("portkey the list of models, 200, ")
    assert line.endswith("request id 7")
