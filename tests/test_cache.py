"""The cache of scores: what is sent, what is found, what decides a key, and what is never kept."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from haystack import Document as HaystackDocument
from haystack.core.errors import SerializationError
from langchain_core.documents import Document
from langchain_core.load import dumps
from llama_index.core.schema import NodeWithScore, TextNode

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from fakes import COOLDOWN, IN_A_ROW, Clock
from loopback import Fault, Received, Reply, Server, Step, ranking
from many_calls import WAYS, many
from rerank_integrations import (
    VLLM,
    AuthenticationError,
    BudgetExceededError,
    Compatible,
    ConfigurationError,
    DeepInfra,
    Jina,
    Local,
    OpenRouter,
    Price,
    RerankBatch,
    RerankCache,
    RerankClient,
    RerankDocument,
    RerankError,
    RerankResponse,
    ServiceUnavailableError,
)
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor
from support import PNG

MANY = [f"text {number}" for number in range(9)]
BUSY = Reply(status=503)


def score_of(query: str, document: Any) -> float:
    """A score that depends on the query and the document alone."""
    return sum(f"{query}{document}".encode()) % 997 / 1000


def by_pair(received: Received) -> Reply:
    """Scores each document by itself."""
    body = received.body
    query = body["queries"][0] if "queries" in body else body["query"]
    scores = [score_of(query, one) for one in body["documents"]]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    results = [{"index": index, "relevance_score": scores[index]} for index in order]
    return Reply({"results": results[: body.get("top_n")], "usage": {"total_tokens": 7}})


def ranked(response: RerankResponse) -> list[tuple[int, float, Any]]:
    """What a response says of the documents."""
    return [(one.index, one.relevance_score, one.document) for one in response]


def sent(server: Server) -> list[Any]:
    """The documents of each request."""
    return [request.body["documents"] for request in server.received]


@contextmanager
def cached(server: Server, cache: Any = "memory", **options: Any) -> Iterator[RerankClient]:
    """A client with a cache, and a server that scores each document by itself."""
    server.plays(by_pair)
    with client_of(server, cache=cache, max_retries=0, **options) as client:
        yield client


@cases("where", ["memory", "file"])
def test_what_is_cached_is_not_sent(
    call: Calls, server: Server, tmp_path: Path, where: str
) -> None:
    """A second call sends the new documents alone, and gives what a call without a cache gives.

    A call of which all is cached has no attempt, no usage and no headers, and is not logged as a
    request; the hits are counted in the response and in the cache.
    """
    cache = RerankCache(tmp_path / "folder" / "scores.db" if where == "file" else None)
    with cached(server, cache) as client:
        first = call(client, QUERY, MANY[:3])
        second = call(client, QUERY, MANY)
        again = call(client, QUERY, MANY[::-1])
        plain = call(client, QUERY, MANY[::-1], cache=None)
        call(client, "another query", MANY[:1])
    assert sent(server) == [MANY[:3], MANY[3:], MANY[::-1], MANY[:1]]
    assert ranked(again) == ranked(plain)
    assert sorted(ranked(second)) == sorted(
        (index, score_of(QUERY, text), text) for index, text in enumerate(MANY)
    )
    assert [one.cache_hits for one in (first, second, again, plain)] == [0, 3, 9, 0]
    assert (cache.hits, cache.misses) == (12, 10)
    assert (again.attempts, again.usage.counts(), again.headers, again.retries) == ((), {}, {}, 0)
    assert (again.model, again.provider) == ("m", "openrouter")
    assert second.usage.total_tokens == 7
    assert "cache_hits=<9>" in repr(again)
    assert again.to_dict()["cache_hits"] == 9


def templated(**given: Any) -> VLLM:
    """A server that takes an instruction around the query and each document."""
    return VLLM(**given, has_chat_template=False)


@cases(
    "options",
    [
        {"top_n": 2},
        {"score_threshold": 0.5},
        {"score_transform": "sigmoid", "score_threshold": 0.6},
        {"score_transform": lambda score: 10 * score, "top_n": 3},
        {"max_documents_per_request": 2, "top_n": 4},
        {"max_document_chars": 5},
        {"rank_fields": ["title", "text"]},
        {"on_invalid_document": "skip", "max_request_bytes": 150},
        {"keep_raw": True},
        {"of": ("m", DeepInfra), "top_n": 3},  # which takes the query once for each document
        {"of": ("Qwen/Qwen3-Reranker-8B", templated), "instruction": "find the colour"},
    ],
    str,
)
def test_results_are_those_of_a_call_without_a_cache(
    server: Server, options: dict[str, Any]
) -> None:
    """Whether none, some or all scores are cached, the results, and what was skipped, are the same.

    Scores are kept as the provider gave them, and every document gets one: `top_n` is not sent.
    """
    documents: list[Any] = [
        *("one", " ", "a text of some length", "four"),
        *({"title": "five", "text": "six"}, {"text": "seven"}, "\ud83d\ude00", "\ud800 eight"),
        "x" * (200 if "max_request_bytes" in options else 1),
    ]
    options = dict(options)
    model, kind = options.pop("of", ("m", OpenRouter))
    provider = kind(api_key="the-key", base_url=server.url)
    server.plays(by_pair)
    with RerankClient(model, provider=provider, cache="memory") as client:
        plain = client.rerank(QUERY, documents, cache=None, **options)
        server.reset()
        server.plays(by_pair)
        client.rerank(QUERY, documents[2:5], **options)
        half = client.rerank(QUERY, documents, **options)
        requests = len(server.received)
        whole = client.rerank(QUERY, documents, **options)
        assert len(server.received) == requests
        assert all("top_n" not in request.body for request in server.received)
        client.rerank(QUERY, documents, **{**options, "top_n": 1})
        assert len(server.received) == requests
    for response in (half, whole):
        assert ranked(response) == ranked(plain)
        assert response.skipped == plain.skipped
        assert response.warnings == plain.warnings
        assert response.score_kind == plain.score_kind
    assert half.cache_hits == 3
    assert whole.cache_hits == len(documents) - len(plain.skipped)


def gate(**given: Any) -> Compatible:
    """A server that takes its key in a header of an unusual name."""
    return Compatible(**given, auth_header="X-Gate")


HEADERS = {"X-Api-Version": "1", "X-Portkey-Provider": "@host"}
OTHER: dict[str, Any] = {
    "key": {"own": {"api_key": "another-key"}},
    "authorization": {"headers": {"Authorization": "Bearer another"}},
    "key in a header of any name": {"kind": gate, "own": {"api_key": "another-key"}},
    "address": {"path": "/another"},
    "host": {"headers": {"X-Portkey-Provider": "@another"}},
    "config": {"headers": {"X-Portkey-Config": "pc-1"}},
    "target": {"headers": {"Helicone-Target-Url": "https://example.org"}},
    "version": {"headers": {"X-Api-Version": "2"}},
    "preferences": {"own": {"provider_preferences": {"zdr": True}}},
    "model": {"model": "another"},
    "body": {"extra_body": {"max_tokens_per_doc": 9}},
    "query": {"query": "another"},
    "text": {"documents": ["another"]},
    "fields": {"documents": [{"text": "one", "title": "two"}]},
    "image": {"documents": [RerankDocument("one", PNG)]},
    "another image": {"documents": [RerankDocument("one", PNG + b"2")]},
    "URL of an image": {"documents": [RerankDocument("one", "https://example.org/a.png")]},
    "cut": {"max_document_chars": 2},
}
SAME: dict[str, Any] = {
    "trace": {
        "headers": {"Traceparent": "00-1", "X-Portkey-Trace-Id": "42", "Idempotency-Key": "7"}
    },
    "title": {"own": {"title": "another"}},
    "timeouts": {"timeout": 9, "deadline": 9, "max_retries": 1},
    "results": {"top_n": 1, "score_threshold": 0.0, "score_transform": "sigmoid"},
    "fields that are none": {"documents": [{"text": "one"}]},
    "another object": {"documents": [RerankDocument("one")]},
}


@cases(("changed", "hits"), [*((one, 0) for one in OTHER), *((one, 1) for one in SAME)])
def test_what_decides_a_score_is_part_of_the_key(server: Server, changed: str, hits: int) -> None:
    """Who asks, where, for which model, with which body, query and document: all must be the same.

    Names of headers that are for tracing, times, and what is done with a score do not count.
    """
    server.plays(by_pair)
    cache = RerankCache()

    def ask(
        *,
        query: str = "q",
        documents: Any = ("one",),
        kind: Any = OpenRouter,
        path: str = "",
        own: Any = MappingProxyType({}),
        headers: Any = MappingProxyType({}),
        **options: Any,
    ) -> int:
        provider = kind(**{"api_key": "the-key", "base_url": server.url + path, **own})
        with RerankClient("m", provider=provider, cache=cache) as client:
            options["extra_headers"] = {**HEADERS, **headers}
            return client.rerank(query, documents, **options).cache_hits

    change = {**OTHER, **SAME}[changed]
    same = {name: value for name, value in change.items() if name == "kind"}
    assert [ask(**same), ask(**same)] == [0, 1]
    assert ask(**change) == hits
    assert ask(**same) == 1


@cases(
    ("make", "texts"),
    [
        (lambda url: ("jina-reranker-v3", Jina(api_key="k", base_url=url)), 1),
        (lambda _: ("bm25", Local()), 0),
        (lambda _: ("hybrid", Local(retrieval_weight=1.0)), 0),
    ],
    ["jina-reranker-v3", "bm25", "hybrid"],
)
def test_a_list_that_is_ranked_as_a_whole_has_one_key(
    server: Server, monkeypatch: pytest.MonkeyPatch, make: Any, texts: int
) -> None:
    """For a listwise model a hit needs the same list in the same order, and gives all scores.

    The scores of a first stage belong to it, where they count. Engines have the scores of their
    version alone, and a cross-encoder in a folder those of that folder.
    """
    server.plays(by_pair)
    model, provider = make(server.url)
    documents = [RerankDocument(text, retrieval_score=float(len(text))) for text in TEXTS]
    other = [RerankDocument(text, retrieval_score=1.0 / len(text)) for text in TEXTS]
    with RerankClient(model, provider=provider, cache="memory") as client:
        plain = client.rerank(QUERY, documents, cache=None)
        first = client.rerank(QUERY, documents, top_n=1)
        whole = client.rerank(QUERY, documents)
        assert (first.cache_hits, whole.cache_hits) == (0, len(TEXTS))
        assert ranked(whole) == ranked(plain)
        assert ranked(first) == ranked(plain)[:1]
        assert client.rerank(QUERY, documents[::-1]).cache_hits == 0
        assert client.rerank(QUERY, documents[:2]).cache_hits == 0
        counts = provider.takes_retrieval_scores
        assert client.rerank(QUERY, other).cache_hits == (0 if counts else len(TEXTS))
        monkeypatch.setattr("rerank_integrations.providers.local.__version__", "another")
        assert client.rerank(QUERY, documents).cache_hits == (0 if texts == 0 else len(TEXTS))
    assert len(server.received) == 4 * texts
    scopes = set()
    for folder in ("/", "/tmp"):  # noqa: S108  # nothing is written
        monkeypatch.chdir(folder)
        scopes.add(Local().cache_scope("cross-encoder/./model"))
    assert len(scopes) == 2

    calls: list[Sequence[str]] = []

    def scorer(_: str, given: Sequence[str]) -> list[float]:
        calls.append(given)
        return [1.0 for _ in given]

    own = RerankClient("own", provider=Local(scorer=scorer), cache="memory")
    assert [own.rerank(QUERY, TEXTS).cache_hits for _ in range(2)] == [0, 0]
    assert len(calls) == 2


@cases(
    "step",
    [
        BUSY,
        Reply(status=400),
        Fault.DROP,
        ranking(0.9, 0.8),
        Reply({"results": []}),
        Reply({"error": {"message": "no"}}),
        Reply({"results": [{"index": 5, "relevance_score": 1.0}]}),
        ranking(0.9, 0.8, float("nan")),
        Reply(
            {
                "results": [
                    {"index": n, "relevance_score": 0.1, "relevant_spans": [{"start": 0, "end": 1}]}
                    for n in range(3)
                ]
            }
        ),
    ],
    str,
)
def test_what_failed_or_lacks_something_is_not_kept(server: Server, step: Step) -> None:
    """Nothing is kept of an error, of a response that cannot be used or lacks a document, of spans.

    The next call sends all documents again.
    """
    with cached(server) as client:
        server.plays(step)
        with suppress(RerankError):
            client.rerank(QUERY, TEXTS)
        server.plays(by_pair)
        response = client.rerank(QUERY, TEXTS)
    assert response.cache_hits == 0
    assert sent(server)[-1] == list(TEXTS)


def sync(client: RerankClient, **options: Any) -> RerankResponse:
    """Rank many, in this thread."""
    return client.rerank(QUERY, MANY, **options)


def on_loop(client: RerankClient, **options: Any) -> RerankResponse:
    """Rank many, on an event loop."""
    return asyncio.run(client.arerank(QUERY, MANY, **options))


@cases("rank", [sync, on_loop])
@cases("on_partial", ["raise", "keep"])
def test_parts_that_succeeded_are_kept(server: Server, rank: Any, on_partial: Any) -> None:
    """Of a list that is split, what came is kept although another request failed.

    Where no request succeeds the call fails, also if there are hits and partial results are wanted.
    """

    def fails(received: Received) -> Reply:
        return BUSY if MANY[-1] in received.body["documents"] else by_pair(received)

    split = {"max_documents_per_request": 3, "max_concurrency": 1, "on_partial": on_partial}
    with cached(server, **split) as client:
        server.plays(fails)
        if on_partial == "keep":
            assert rank(client).missing == (6, 7, 8)
        for _ in range(2):
            with pytest.raises(ServiceUnavailableError):
                rank(client)
        server.reset()
        server.plays(by_pair)
        response = rank(client)
    assert response.cache_hits == 6
    assert sent(server) == [MANY[6:]]


def test_fallbacks_and_circuit_breakers(clock: Clock, server: Server, second: Server) -> None:
    """A fallback shares the cache and has keys of its own; scores of two models are not mixed.

    Nobody is asked for what is cached, so a call succeeds although the provider is down, and says
    nothing to its circuit breaker.
    """
    second.plays(by_pair)
    with cached(server, fallbacks=["together:n"]) as client:
        client.rerank(QUERY, MANY[:3])
        server.plays(BUSY)
        second.plays(BUSY)
        for _ in range(IN_A_ROW):
            with pytest.raises(RerankError):
                client.rerank(QUERY, MANY)
            assert client.rerank(QUERY, MANY[:3]).cache_hits == 3
        whole = client.rerank(QUERY, MANY[:3])
        assert (whole.cache_hits, whole.attempts, whole.warnings) == (3, (), ())

        second.plays(by_pair)
        clock.now += COOLDOWN
        mixed = client.rerank(QUERY, MANY)
        assert (mixed.cache_hits, mixed.provider) == (0, "together")
        again = client.rerank(QUERY, MANY)
        assert (again.cache_hits, again.provider) == (9, "together")
        assert "together:n answered in place of openrouter:m" in again.warnings[0]
        assert client.rerank(QUERY, MANY[:3]).provider == "openrouter"
        assert client.rerank(QUERY, MANY, cache=None).cache_hits == 0

        server.plays(Reply(status=401))  # which opens no circuit breaker
        second.plays(BUSY)
        clock.now += COOLDOWN
        for _ in range(IN_A_ROW):
            with pytest.raises(AuthenticationError):
                client.rerank(QUERY, ["new"])
        again = client.rerank(QUERY, MANY)
        assert (again.cache_hits, again.provider) == (9, "together")
        with pytest.raises(AuthenticationError):  # its circuit breaker is still open
            client.rerank(QUERY, ["new"])
    assert len(second.received) == 2 * IN_A_ROW + 2


def unusable(folder: Path) -> Iterator[Path]:
    """Paths that no cache can have."""
    folder.joinpath("folder").mkdir()
    yield folder / "folder"
    text = folder / "text"
    text.write_text("no database, but a text that is longer than a header of one" * 9)
    yield text
    yield text / "below.db"


def overwrite(file: Path) -> None:
    """Write a text over a database and its log."""
    for one in file.parent.iterdir():
        one.write_bytes(b"no database" * 1000)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Write to a file for as long as the block runs."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def test_a_file_that_fails_fails_no_call(server: Server, tmp_path: Path) -> None:
    """A file that cannot be used is an error when the cache is made; later it is a warning.

    The file holds no key, query or document.
    """
    for path in unusable(tmp_path):
        with pytest.raises(ConfigurationError, match=r"cannot use the cache '.*'"):
            RerankCache(path)
        with pytest.raises(ConfigurationError, match="cannot use the cache"):
            client_of(server, cache=f"sqlite:///{path}")
    file = tmp_path / "own" / "scores.db"
    with cached(server, f"sqlite:///{file}") as client:
        client.rerank(QUERY, TEXTS)
        stored = b"".join(one.read_bytes() for one in file.parent.iterdir())
        secrets = ["the-key", "openrouter", server.url, QUERY, *TEXTS]
        assert len(stored) > 4096
        assert not [one for one in secrets if one.encode() in stored]
        with locked(file):
            kept = client.rerank(QUERY, [*TEXTS, "new"])
        assert kept.cache_hits == 3
        assert kept.warnings == ("the cache was not written: database is locked",)
        overwrite(file)
        response = client.rerank(QUERY, TEXTS)
        assert len(response) == 3
        assert any("the cache was not" in warning for warning in response.warnings)


def wrong_settings() -> Iterator[tuple[Callable[[], object], str]]:
    """Caches that cannot be made, and what is said of them."""
    yield lambda: RerankCache("memory"), "leave it out"
    yield lambda: RerankCache(":memory:"), "leave it out"
    yield lambda: RerankCache(7), "path must be"  # type: ignore[arg-type]
    yield lambda: RerankCache(max_age=0), "max_age must be"
    yield lambda: RerankCache(max_age="day"), "max_age must be"  # type: ignore[arg-type]
    yield lambda: RerankCache(max_entries=True), "max_entries must be"
    yield lambda: RerankCache(max_entries=0), "max_entries must be"
    yield lambda: RerankCache(max_size=1), "max_size"  # type: ignore[call-arg]
    given: Any
    for given in ("redis://x", "sqlite:///", "scores.db", 7, {}, RerankCache):
        yield partial(client_of, "http://127.0.0.1:9", cache=given), "cache must be"


@cases("path", [None, "scores.db"])
def test_limits_copies_and_pickles(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    """Scores are found until they are too old, too many, or cleared.

    Copies share a cache. A pickle shares the file; of a cache in memory it has the settings alone.
    """
    for make, said in wrong_settings():
        with pytest.raises(ConfigurationError, match=said):
            make()
    monkeypatch.chdir(tmp_path)
    in_file = path is not None
    # of a file the oldest is dropped, in memory the one that was not used for the longest time
    used, dropped = ("b", "a") if in_file else ("a", "b")
    cache = RerankCache(path, max_age=60, max_entries=4)
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    with cached(server, cache) as client:

        def hits(*texts: str, of: RerankClient = client) -> int:
            return of.rerank(QUERY, texts).cache_hits

        assert [hits("a", "b", "c"), hits("a"), hits("d", "e")] == [0, 1, 0]
        assert hits(used, "c", "d", "e") == 4
        assert [hits(dropped), hits(dropped)] == [0, 1]
        now += 59
        assert hits("e") == 1
        now += 2
        assert [hits("e"), hits("e")] == [0, 1]
        for other in (copy.copy(client), copy.deepcopy(client), client.with_options(top_n=1)):
            assert hits("e", of=other) == 1
        monkeypatch.chdir("/")
        loaded = pickle.loads(pickle.dumps(client))  # noqa: S301
        assert hits("e", of=loaded) == int(in_file)
        cache.close()
        assert hits("e") == 1
        cache.clear()
        assert hits("e") == 0
        loaded.close()
    assert repr(cache).startswith(
        f"RerankCache({str(tmp_path)!r}"[:-1] if in_file else "RerankCache(hits"
    )


def test_who_asks_is_looked_at_in_each_call(server: Server) -> None:
    """One client finds no score of another key, address or model, also where they change later."""
    server.plays(by_pair)
    tokens = ["one"]

    class Rotating(OpenRouter):
        def headers(self) -> dict[str, str]:
            return {"authorization": f"Bearer {tokens[-1]}"}

    provider = Rotating(api_key="the-key", base_url=server.url)
    with RerankClient("m", provider=provider, cache="memory") as client:
        for token, hits in (("one", 0), ("one", 3), ("two", 0), ("one", 3)):
            tokens.append(token)
            assert client.rerank(QUERY, TEXTS).cache_hits == hits
            assert client.rerank(QUERY, TEXTS, top_n=1).cache_hits == 3
        for changes in ({"model": "n"}, {"extra_headers": {"x-api-version": "2"}}):
            other = client.with_options(**changes)
            assert [other.rerank(QUERY, TEXTS).cache_hits for _ in range(2)] == [0, 3]


@cases("way", WAYS)
@cases("budget", [{"max_requests": 1}, {"max_requests": 9, "max_cost": 7e-6}])
def test_many_rows_and_batches(
    way: str, budget: Any, server: Server, tmp_path: Path, clock: Clock
) -> None:
    """A row that is cached costs no request, no money and no slot of a rate limit, and no usage.

    So it is served when the budget is used up; the first row that is not cached ends the run.
    """
    file = f"sqlite:///{tmp_path}/scores.db"
    cache = RerankCache(file)
    rows = [{"query": QUERY, "documents": list(TEXTS)} for _ in range(5)]
    with cached(server, cache, requests_per_minute=1) as client:
        given = [*rows, {"query": "another", "documents": list(TEXTS)}, *rows]
        came = many(way, client, given, price=Price(per_million_tokens=1), **budget)
        hits = [one.response.cache_hits for one in came.results if one.response]
        assert (hits, type(came.error)) == ([0, 3, 3, 3, 3], BudgetExceededError)
        assert came.run is not None
        assert (came.requests, came.run.usage.total_tokens) == (1, 7)
        assert cache.hits == 12
        assert not clock.slept
    batch = RerankBatch(client=client_of(server, cache=file))
    columns = {"query": [QUERY], "documents": [list(TEXTS)]}
    batch = pickle.loads(pickle.dumps(batch))  # noqa: S301
    assert batch(columns)["usage"][0]["total_tokens"] is None
    assert len(server.received) == 1


def test_a_cached_row_says_nothing_of_the_requests_of_a_row(server: Server) -> None:
    """The first row that is sent goes alone, also behind one from the cache: its requests count."""
    server.plays(by_pair)
    rows = [{"query": f"q{n}", "documents": list(TEXTS)} for n in range(20)]
    options: dict[str, Any] = {"max_documents_per_request": 1, "cache": RerankCache()}
    with client_of(server, **options) as client:
        client.rerank("q0", list(TEXTS))
        server.received.clear()
        with pytest.raises(BudgetExceededError):
            list(client.rerank_many(rows, max_requests=8))
    assert len(server.received) == 6


def test_a_text_makes_one_cache_for_a_run(server: Server, call: Calls) -> None:
    """A text given to `rerank_many` makes a cache for all rows; one of a single call has no use."""
    server.plays(by_pair)
    rows = [{"query": QUERY, "documents": TEXTS}] * 3
    with client_of(server) as client:
        found = list(client.rerank_many(rows, cache="memory", max_concurrency=1))
        with pytest.raises(ConfigurationError, match="set it on the client"):
            call(client, cache="memory")

    assert [one.response.cache_hits for one in found if one.response] == [0, 3, 3]
    assert len(server.received) == 1


@cases("cache", ["memory", "file", "settings"])
def test_adapters(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Any
) -> None:
    """An adapter makes one cache for its calls and copies, and writes it as text where it can."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "the-key")
    server.plays(by_pair)
    given = {
        "memory": "memory",
        "file": f"sqlite:///{tmp_path / 'scores.db'}",
        "settings": RerankCache(max_age=9),
    }[cache]
    settings: dict[str, Any] = {"base_url": server.url, "cache": given}
    compressor = RerankCompressor("openrouter:m", **settings)
    documents = [Document(text) for text in TEXTS]
    for one in (
        compressor,
        compressor,
        compressor.with_options(top_n=1),
        copy.deepcopy(compressor),
    ):
        one.compress_documents(documents, QUERY)
    assert len(server.received) == 1
    written = json.loads(dumps(compressor))
    if cache == "settings":
        assert written["type"] == "not_implemented"
    else:
        assert written["kwargs"]["cache"] == given

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    postprocessor = RerankPostprocessor("openrouter:m", **settings)
    ranker = RerankRanker("openrouter:m", **settings)
    for _ in range(2):
        postprocessor.postprocess_nodes(nodes, query_str=QUERY)
        found = ranker.run(QUERY, [HaystackDocument(content=text) for text in TEXTS])
    assert found["meta"]["rerank_cache_hits"] == len(TEXTS)
    assert len(server.received) == {"memory": 3, "file": 1, "settings": 1}[cache]
    assert postprocessor == RerankPostprocessor("openrouter:m", **settings)
    if cache == "settings":
        with pytest.raises(SerializationError, match="cache="):
            ranker.to_dict()
    else:
        assert ranker.to_dict()["init_parameters"]["cache"] == given
        assert RerankPostprocessor.from_dict(postprocessor.to_dict()) == postprocessor
