"""Tests of the providers against real servers: Infinity, the LiteLLM proxy, Portkey's gateway."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from loopback import Reply, Server
from rerank_integrations import (
    AuthenticationError,
    BadRequestError,
    Compatible,
    Infinity,
    InvalidRequestError,
    LiteLLM,
    NotFoundError,
    Portkey,
    RateLimitError,
    RemoteProvider,
    RerankClient,
    RerankDocument,
    RerankError,
    RerankResponse,
    ServerError,
)
from servers_support import INFINITY_KEY, LITELLM_KEY, Real

QUERY = "capital of france"
TEXTS = ["paris is the capital of france", "apple pie", "berlin", "a red bicycle", "madrid spain"]
WRONG = "wrong-key-0123456789"
CLOSED = "http://127.0.0.1:1"  # nobody listens there


def ranked(
    provider: RemoteProvider,
    documents: Sequence[Any] = TEXTS,
    *,
    model: str = "tiny-cross-encoder",
    query: str = QUERY,
    **options: Any,
) -> RerankResponse[Any]:
    """What a call gives, sync and async alike but for the ids and headers of the server."""
    given = {"max_retries": 0, "deadline": 30.0, **options}

    async def asynchronously() -> RerankResponse[Any] | RerankError:
        async with RerankClient(model, provider=provider, **given) as client:
            try:
                return await client.arerank(query, documents)
            except RerankError as error:
                return error

    with RerankClient(model, provider=provider, **given) as client:
        try:
            said: RerankResponse[Any] | RerankError = client.rerank(query, documents)
        except RerankError as error:
            said = error
    again = asyncio.run(asynchronously())
    if isinstance(said, RerankError):
        assert type(again) is type(said)
        assert str(again) == str(said)
        raise said
    assert isinstance(again, RerankResponse)
    assert dataclasses.replace(again, id=said.id, request_id=said.request_id) == said
    return said


def scores_of(infinity: Real, documents: Sequence[str], **more: Any) -> list[tuple[int, float]]:
    """Index and score of each text, as the server gives them without this package."""
    body = {"model": "tiny-cross-encoder", "query": QUERY, "documents": documents, **more}
    headers = {"Authorization": f"Bearer {INFINITY_KEY}"}
    said = httpx.post(f"{infinity.url}/v1/rerank", json=body, headers=headers, timeout=30)
    found = said.raise_for_status().json()["results"]
    return [(one["index"], one["relevance_score"]) for one in found]


def pairs(response: RerankResponse[Any]) -> list[tuple[int, float]]:
    """Index and score of each result."""
    return [(one.index, one.relevance_score) for one in response]


@pytest.fixture(name="real", params=["infinity", "compatible", "litellm", "portkey"])
def real_fixture(
    request: pytest.FixtureRequest, infinity: Real
) -> Callable[..., tuple[RemoteProvider, str]]:
    """A provider whose requests Infinity answers in the end, and the model's name there."""
    way = request.param
    before = infinity if way in ("infinity", "compatible") else request.getfixturevalue(way)

    def made(key: str | None = None) -> tuple[RemoteProvider, str]:
        url, model = before.url, "tiny-cross-encoder"
        given = key or INFINITY_KEY
        match way:
            case "infinity":
                return Infinity(base_url=f"{url}/v1", api_key=given), model
            case "compatible":
                return Compatible(base_url=url, path="/v1/rerank", api_key=given), model
            case "litellm":
                return LiteLLM(base_url=url, api_key=key or LITELLM_KEY), "real"
        host = f"{infinity.url}/v1"
        portkey = Portkey(base_url=url, provider="cohere", authorization=given, custom_host=host)
        return portkey, model

    return made


def test_scores_order_and_documents(real: Any, infinity: Real) -> None:
    """Scores are those of the server, best first, and each document is the caller's object."""
    provider, model = real()
    documents = [text + "" for text in TEXTS]
    response = ranked(provider, documents, model=model)

    wanted = scores_of(infinity, TEXTS)
    assert pairs(response) == sorted(wanted, key=lambda pair: -pair[1])
    assert sorted(index for index, _ in wanted) == list(range(len(TEXTS)))
    assert all(one.document is documents[one.index] for one in response)
    assert not response.skipped
    assert not response.warnings
    assert response.id


@pytest.mark.parametrize("top", [1, 3, 9])
def test_top_n(real: Any, infinity: Real, top: int) -> None:
    """The best of all come back, no more than `top_n`."""
    provider, model = real()
    response = ranked(provider, model=model, top_n=top)
    assert pairs(response) == scores_of(infinity, TEXTS)[:top]


def test_blank_documents(real: Any, infinity: Real) -> None:
    """A blank document is not sent, and an index is that of the caller's list."""
    provider, model = real()
    response = ranked(provider, ["", TEXTS[0], " \n", TEXTS[1]], model=model)
    wanted = [((1, 3)[index], score) for index, score in scores_of(infinity, TEXTS[:2])]
    assert pairs(response) == wanted
    assert response.skipped == (0, 2)
    whole = ranked(provider, TEXTS[:2], model=model)
    assert response.usage.total_tokens == whole.usage.total_tokens


def test_rank_fields(real: Any, infinity: Real) -> None:
    """Fields are ranked as one text: these servers take strings alone."""
    provider, model = real()
    documents = [
        {"title": "pie", "text": "apple", "id": 7},
        RerankDocument(text="paris", fields={"title": "capital"}),
        {"title": "a red bicycle"},
    ]
    response = ranked(provider, documents, model=model, rank_fields=["title", "text"])
    texts = ["title: pie\ntext: apple", "title: capital\ntext: paris", "a red bicycle"]
    assert pairs(response) == scores_of(infinity, texts)
    assert all(one.document is documents[one.index] for one in response)


def test_usage(real: Any) -> None:
    """Tokens are counted as the server counts them."""
    provider, model = real()
    few = ranked(provider, TEXTS[:1], model=model).usage
    many = ranked(provider, TEXTS, model=model).usage
    assert few.total_tokens is not None
    assert many.total_tokens is not None
    assert 0 < few.total_tokens < many.total_tokens
    assert few.prompt_tokens == few.total_tokens
    assert few.raw


def test_a_split_list_has_the_scores_of_one_request(real: Any) -> None:
    """Requests for parts of a list give the ranking of the whole list."""
    provider, model = real()
    documents = [f"{text} {number}" for number in range(9) for text in TEXTS]
    whole = ranked(provider, documents, model=model)
    # one at a time: the server scores requests that come together in one batch, where padding
    # changes the last digits
    limits: dict[str, Any] = {"max_documents_per_request": 20, "max_concurrency": 1}
    split = ranked(provider, documents, model=model, **limits)
    assert dict(pairs(split)) == pytest.approx(dict(pairs(whole)), abs=1e-5)
    scores = [one.relevance_score for one in split]
    assert scores == sorted(scores, reverse=True)
    assert (len(whole.attempts), len(split.attempts)) == (1, 3)
    assert split.usage.total_tokens == whole.usage.total_tokens


def test_a_threshold(real: Any, infinity: Real) -> None:
    """What is below `score_threshold` is left out."""
    provider, model = real()
    wanted = scores_of(infinity, TEXTS)
    response = ranked(provider, model=model, score_threshold=wanted[2][1])
    assert pairs(response) == wanted[:3]


def test_nothing_to_rank_is_not_sent(real: Any) -> None:
    """An empty list and blank documents give an empty response, an empty query is refused."""
    provider, model = real()
    assert len(ranked(provider, [], model=model)) == 0
    assert ranked(provider, ["", " "], model=model).attempts == ()
    with pytest.raises(InvalidRequestError, match="query is empty"):
        ranked(provider, model=model, query=" ")


def test_a_wrong_key(real: Any) -> None:
    """A refused key is named by its argument, and shown nowhere."""
    provider, model = real(WRONG)
    is_proxy = isinstance(provider, LiteLLM)  # it has no database to look a key up in
    with pytest.raises(BadRequestError if is_proxy else AuthenticationError) as caught:
        ranked(provider, model=model)
    hints: Mapping[type, str] = {
        Infinity: "check api_key= or the environment variable INFINITY_API_KEY",
        Compatible: "check api_key=",
        LiteLLM: "check api_key= or the environment variable LITELLM_PROXY_API_KEY",
        Portkey: "check authorization=, the key of the host behind Portkey",
    }
    assert hints[type(provider)] in str(caught.value)
    assert ("No connected db." if is_proxy else "Unauthorized") in caught.value.message
    assert WRONG not in f"{caught.value} {caught.value.body} {caught.value.headers}"
    assert not caught.value.is_retryable


@pytest.mark.parametrize("raw", [True, False])
def test_logits_of_infinity(infinity: Real, raw: bool) -> None:  # noqa: FBT001  # a case
    """`raw_scores` gives logits, from which "sigmoid" makes the probabilities."""
    provider = Infinity(base_url=f"{infinity.url}/v1", api_key=INFINITY_KEY, raw_scores=raw)
    response = ranked(provider)
    assert response.score_kind == ("logit" if raw else "probability")
    assert pairs(response) == scores_of(infinity, TEXTS, raw_scores=raw)
    if raw:
        turned = ranked(provider, score_transform="sigmoid")
        assert turned.score_kind == "probability"
        usual = dict(scores_of(infinity, TEXTS))
        assert dict(pairs(turned)) == pytest.approx(usual, abs=1e-6)


def test_the_same_with_compatible(infinity: Real) -> None:
    """What `Infinity` says by an argument, `Compatible` says by a key of the body."""
    provider = Compatible(
        base_url=f"{infinity.url}/v1",
        auth_header="Authorization",
        api_key=INFINITY_KEY,
        return_documents_key="return_documents",
        extra_body={"raw_scores": True},
    )
    assert pairs(ranked(provider)) == scores_of(infinity, TEXTS, raw_scores=True)


@pytest.mark.parametrize(
    ("more", "documents", "words"),
    [
        ({"top_n_key": None, "extra_body": {"top_n": 0}}, TEXTS, "greater than 0"),
        ({"document_as": "object"}, TEXTS, "valid string"),
        ({"documents_key": "texts"}, TEXTS, "Field required"),
        ({}, ["a"] * 2049, "set max_documents_per_request below 2049"),
    ],
)
def test_infinity_refuses(infinity: Real, more: Any, documents: Any, words: str) -> None:
    """What the server refuses, here for a wrong description of it, has its words and the fix."""
    provider = Compatible(base_url=f"{infinity.url}/v1", api_key=INFINITY_KEY, **more)
    with pytest.raises(BadRequestError, match=words) as caught:
        ranked(provider, documents, max_documents_per_request=None)
    assert caught.value.status_code == 422
    assert caught.value.provider == "compatible"
    assert not caught.value.is_retryable


def test_a_path_that_infinity_does_not_have(infinity: Real) -> None:
    """A wrong address is named: Infinity was started with `--url-prefix /v1`."""
    with pytest.raises(NotFoundError) as caught:
        ranked(Infinity(base_url=infinity.url, api_key=INFINITY_KEY))
    assert f"the request went to {infinity.url}/rerank" in str(caught.value)


def test_more_documents_than_infinity_takes(infinity: Real) -> None:
    """A list above the server's limit goes in two requests by itself."""
    provider = Infinity(base_url=f"{infinity.url}/v1", api_key=INFINITY_KEY)
    response = ranked(provider, ["a"] * 2049, top_n=1)
    assert len(response.attempts) == 2
    assert len(response) == 1


def test_errors_of_litellm(litellm: Real) -> None:
    """The proxy's errors have their class: its own, and those of the server behind it."""
    provider = LiteLLM(base_url=litellm.url, api_key=LITELLM_KEY)
    with pytest.raises(BadRequestError, match="Invalid model name"):
        ranked(provider, model="unknown")
    with pytest.raises(AuthenticationError, match="InfinityException") as caught:
        ranked(provider, model="locked")
    assert "; check the vendor's key in the proxy's configuration" in str(caught.value)
    with pytest.raises(ServerError, match="Internal Server Error"):
        ranked(LiteLLM(base_url=litellm.url))  # no key at all


def played(real: Real, *steps: Any) -> Server:
    """The server behind a real one, with a script."""
    assert real.upstream is not None
    real.upstream.reset()
    real.upstream.plays(*steps)
    return real.upstream


def cohere(request: Any) -> Reply:
    """Cohere's answer."""
    count = len(request.body["documents"])
    found = [{"index": i, "relevance_score": 1 - i / 8} for i in reversed(range(count))]
    return Reply({"id": "x", "results": found[::-1], "meta": {"billed_units": {"search_units": 1}}})


def test_what_litellm_sends_on(litellm: Real) -> None:
    """Before Cohere, the proxy sends what it was sent, and the cost comes back."""
    upstream = played(litellm, cohere)
    provider = LiteLLM(base_url=litellm.url, api_key=LITELLM_KEY)
    response = ranked(provider, TEXTS[:3], model="played", top_n=2)
    sent = upstream.received[0]
    assert sent.path == "/v2/rerank"
    assert sent.body["documents"] == TEXTS[:3]
    assert (sent.body["query"], sent.body["top_n"]) == (QUERY, 2)
    assert sent.headers["authorization"] == "Bearer upstream-key"
    assert pairs(response) == [(0, 1.0), (1, 0.875)]
    assert response.usage.search_units == 1

    played(litellm, Reply({"message": "slow down"}, 429, {"Retry-After": "7"}))
    with pytest.raises(RateLimitError, match="slow down") as caught:
        ranked(provider, model="played")
    assert caught.value.is_retryable


def test_what_portkey_sends_on(portkey: Real) -> None:
    """The gateway sends the body as it is, and the host's key, and keeps its own headers."""
    upstream = played(portkey, cohere)
    provider = Portkey(
        base_url=portkey.url,
        provider="cohere",
        authorization="host-key-0123456789",
        custom_host=f"{upstream.url}/base/v1",
        max_tokens_per_doc=512,
        trace_id="trace-7",
        metadata={"_user": "u"},
    )
    response = ranked(provider, TEXTS[:3], model="rerank-v3.5", top_n=2)
    sent = upstream.received[0]
    assert sent.path == "/base/v1/rerank"
    assert sent.body == {
        "model": "rerank-v3.5",
        "query": QUERY,
        "documents": TEXTS[:3],
        "top_n": 2,
        "max_tokens_per_doc": 512,
    }
    assert sent.headers["authorization"] == "Bearer host-key-0123456789"
    assert not [name for name in sent.headers if name.startswith("x-portkey")]
    assert pairs(response) == [(0, 1.0), (1, 0.875)]
    assert response.provider == "cohere"
    assert response.request_id == "trace-7"
    assert response.usage.search_units == 1


def test_errors_of_portkey(portkey: Real) -> None:
    """Errors of the host pass the gateway; what nobody serves is the gateway's own error."""
    upstream = played(portkey, Reply({"message": "slow down"}, 429, {"Retry-After": "7"}))
    given: dict[str, Any] = {
        "base_url": portkey.url,
        "provider": "cohere",
        "authorization": "the-host-key",
    }
    provider = Portkey(custom_host=f"{upstream.url}/v1", **given)
    with pytest.raises(RateLimitError, match="slow down") as caught:
        ranked(provider)
    assert caught.value.retry_after == 7
    played(portkey, Reply({"message": "no such model"}, 404))
    with pytest.raises(NotFoundError, match="no such model"):
        ranked(provider)
    with pytest.raises(ServerError) as failed:
        ranked(Portkey(custom_host=CLOSED, **given))
    assert failed.value.status_code == 500
    with pytest.raises(BadRequestError, match="nvalid custom host"):
        ranked(Portkey(custom_host="http://10.1.2.3/v1", **given))
    with pytest.raises(BadRequestError):
        ranked(Portkey(base_url=portkey.url, provider="@slug"))
