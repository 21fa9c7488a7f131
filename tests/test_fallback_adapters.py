"""Adapters around a client with fallbacks or with split calls: what comes out, what is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import pytest
from langchain_core.documents import Document

import langchain_support
import llama_index_support
from fakes import chain
from langchain_support import Tracer, Way
from llama_index_support import Rerank
from loopback import Received, Reply, Server, ranking
from rerank_integrations import AuthenticationError, RerankClient
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

BUSY = Reply(status=503)
SECOND_BEST = ranking(0.1, 0.9, 0.5, request_id="r")


class Came(NamedTuple):
    """What an adapter made of three documents: their ids, their scores, what a trace says."""

    ids: Sequence[Any]
    scores: Sequence[Any]
    said: dict[str, Any]


Use: TypeAlias = Callable[..., Came]


@pytest.fixture(name="use", params=["langchain", "llama_index"])
def use_fixture(request: pytest.FixtureRequest, way: Way, rerank: Rerank, heard: list[Any]) -> Use:
    """Ranks three documents with an adapter around a client."""

    def compress(client: RerankClient, **settings: Any) -> Came:
        tracer = Tracer()
        compressor = RerankCompressor(client=client, **settings)
        documents = langchain_support.three()
        kept = way.compress(compressor, documents, callbacks=[tracer])
        assert all(isinstance(document, Document) for document in kept)
        scores = [document.metadata.get("relevance_score") for document in kept]
        said = {f"rerank_{name}": value for name, value in tracer.run().metadata["rerank"].items()}
        return Came([int(document.id or 0) for document in kept], scores, said)

    def postprocess(client: RerankClient, **settings: Any) -> Came:
        nodes = llama_index_support.three()
        found = rerank(RerankPostprocessor(client=client, **settings), nodes, "red bicycle")
        places = {id(each.node): place for place, each in enumerate(nodes, 1)}
        _, end = llama_index_support.both(heard)
        return Came([places[id(n.node)] for n in found], [n.score for n in found], end.tags)

    return compress if request.param == "langchain" else postprocess


# both ways of one adapter suffice; crossing them with those of the other adds nothing
pytestmark = pytest.mark.parametrize(
    ("way", "ask"), [("sync", "sync"), ("async", "async")], indirect=True
)


def test_a_fallback_ranks_their_documents(use: Use, server: Server, second: Server) -> None:
    """The documents that come out are those that a fallback found, with its scores."""
    server.plays(BUSY)
    second.plays(SECOND_BEST)
    with chain(server, "together:m") as client:
        came = use(client, top_n=2)
    assert came.ids == [2, 3]
    assert came.scores == [0.9, 0.5]
    assert second.received[0].body["top_n"] == 2


def test_a_threshold_is_not_for_a_fallback(use: Use, server: Server, second: Server) -> None:
    """An adapter's threshold is for the client's own model; a fallback's documents stay."""
    server.plays(BUSY)
    second.plays(SECOND_BEST)
    with chain(server, "together:m") as client:
        came = use(client, score_threshold=0.95)
    assert came.ids == [2, 3, 1]
    _, warning = came.said["rerank_warnings"]
    assert "score_threshold=0.95 was not applied" in warning


def test_a_trace_says_who_answered(use: Use, server: Server, second: Server) -> None:
    """The trace names the fallback that answered."""
    server.plays(BUSY)
    second.plays(SECOND_BEST)
    with chain(server, "together:m") as client:
        said = use(client).said
    assert said["rerank_served_by"] == "together"
    (warning,) = said["rerank_warnings"]
    assert warning.startswith("together:m answered in place of openrouter:m: ServiceUnavailable")


def test_a_fallback_is_no_retry(use: Use, server: Server, second: Server) -> None:
    """The trace counts requests that were repeated, and a fallback's first is none."""
    server.plays(BUSY)
    second.plays(SECOND_BEST)
    with chain(server, "together:m") as client:
        assert use(client).said["rerank_retries"] == 0


def test_a_split_is_no_retry(use: Use, server: Server) -> None:
    """The trace counts requests that were repeated, not those that a call is split into."""
    with chain(server, max_documents_per_request=1) as client:
        assert use(client).said["rerank_retries"] == 0


def test_all_fail(use: Use, server: Server, second: Server) -> None:
    """Where all fail, the provider's error is raised."""
    server.plays(Reply(status=401))
    second.plays(BUSY)
    with chain(server, "together:m") as client, pytest.raises(AuthenticationError):
        use(client)


def test_all_fail_and_the_documents_pass(use: Use, server: Server, second: Server) -> None:
    """Where all fail, passthrough keeps the first documents in their order."""
    server.plays(BUSY)
    second.plays(BUSY)
    with chain(server, "together:m") as client:
        assert use(client, on_error="passthrough", top_n=2).ids == [1, 2]


def fails_for(word: str) -> Callable[[Received], Reply]:
    """Ranks what it is sent, but fails where a document has the word."""

    def step(received: Received) -> Reply:
        documents = received.body["documents"]
        failing = any(word in document for document in documents)
        return BUSY if failing else ranking(*(len(document) / 100 for document in documents))

    return step


def test_missing_documents_are_left_out(use: Use, server: Server) -> None:
    """What a failed request held is left out, and nothing takes its place."""
    server.plays(fails_for("bicycle"))
    with chain(server, max_documents_per_request=1, on_partial="keep") as client:
        came = use(client)
    assert sorted(came.ids) == [1, 3]
    assert None not in came.scores


def test_a_trace_says_what_is_missing(use: Use, server: Server) -> None:
    """The trace warns of documents that are missing, and says why."""
    server.plays(fails_for("bicycle"))
    with chain(server, max_documents_per_request=1, on_partial="keep") as client:
        (warning,) = use(client).said["rerank_warnings"]
    assert "missing" in warning
    assert "503" in warning


def test_without_any_part_the_call_fails(use: Use, server: Server) -> None:
    """Where all requests of a split call fail, passthrough keeps the documents as they are."""
    server.plays(BUSY)
    with chain(server, max_documents_per_request=1, on_partial="keep") as client:
        assert use(client, on_error="passthrough").ids == [1, 2, 3]
