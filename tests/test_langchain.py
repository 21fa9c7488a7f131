"""RerankCompressor with LangChain's documents: order, scores, copies, and what is kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from langchain_core.documents import BaseDocumentCompressor, Document

from cases import cases
from langchain_support import KEY, QUERY, Way, ids, local, openrouter, scoring, three
from loopback import Reply, Server, ranking
from rerank_integrations import Local, RerankClient
from rerank_integrations.langchain import RerankCompressor


class Page(Document):
    """A document of a user's own kind."""

    number: int = 0


class Opaque:
    """An object that no copy can be made of, and that equals nothing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Opaque:
        raise TypeError

    __copy__ = __reduce__ = __deepcopy__  # type: ignore[assignment]


def test_it_is_a_compressor_of_langchains() -> None:
    """The class is a real BaseDocumentCompressor, which retrievers insist on."""
    assert issubclass(RerankCompressor, BaseDocumentCompressor)


def test_the_best_come_first_with_their_score(way: Way) -> None:
    """The result is best first, at most top_n, each with its score."""
    kept = way.compress(RerankCompressor(client=scoring(0.1, 0.9, 0.5), top_n=2), three())

    assert [(document.id, document.metadata["relevance_score"]) for document in kept] == [
        ("2", 0.9),
        ("3", 0.5),
    ]


def test_a_score_is_a_plain_float(way: Way, server: Server) -> None:
    """A score that came as an integer is a float all the same."""
    server.plays(ranking(0, 2, 1))

    kept = way.compress(openrouter(server), three())

    scores = [document.metadata["relevance_score"] for document in kept]
    assert scores == [2.0, 1.0, 0.0]
    assert {type(score) for score in scores} == {float}


def test_a_negative_score_is_kept(way: Way) -> None:
    """Scores are never rescaled, whatever their scale is."""
    kept = way.compress(RerankCompressor(client=scoring(-11.5, 40, -2)), three())

    assert [document.metadata["relevance_score"] for document in kept] == [40.0, -2.0, -11.5]


def test_the_score_goes_where_it_is_wanted(way: Way) -> None:
    """score_key names the metadata key, and no other key is added."""
    compressor = RerankCompressor(client=scoring(0.1, 0.9, 0.5), score_key="rerank")

    kept = way.compress(compressor, three())

    assert kept[0].metadata == {"title": "bicycle", "rerank": 0.9}


def test_an_older_score_is_replaced_in_the_copy_only(way: Way) -> None:
    """A score of an earlier stage gives way to the new one, and stays in the input."""
    document = Document("red", metadata={"relevance_score": "old"})

    (kept,) = way.compress(RerankCompressor(client=scoring(0.5)), [document])

    assert kept.metadata["relevance_score"] == 0.5
    assert document.metadata["relevance_score"] == "old"


@cases(("scores", "order"), [((1, 1, 1), "123"), ((1, 2, 1), "213")])
def test_ties_stay_in_order(way: Way, scores: Sequence[float], order: str) -> None:
    """Documents with the same score keep the order in which they were given."""
    assert ids(way.compress(RerankCompressor(client=scoring(*scores)), three())) == list(order)


def test_the_providers_order_is_kept(way: Way, server: Server) -> None:
    """Where the answer's scores descend, its order stands, ties included."""
    found = [{"index": index, "relevance_score": 0.5} for index in (2, 0, 1)]
    server.plays(Reply({"results": found}))

    assert ids(way.compress(openrouter(server), three())) == ["3", "1", "2"]


def test_the_callers_documents_are_never_touched(way: Way) -> None:
    """The input list, its documents and their metadata stay as they were."""
    documents = three()
    metadata = [document.metadata for document in documents]

    way.compress(local(), documents)

    assert documents == three()
    assert all(d.metadata is m for d, m in zip(documents, metadata, strict=True))


def test_a_result_is_a_copy(way: Way) -> None:
    """A result shares no metadata dict with its input, so a second query leaves the first alone."""
    documents = three()
    compressor = RerankCompressor(client=scoring(0.1, 0.9, 0.5))
    first = way.compress(compressor, documents)
    second = way.compress(compressor, documents)

    first[0].metadata["relevance_score"] = None

    assert second[0].metadata["relevance_score"] == 0.9
    assert "relevance_score" not in documents[1].metadata


def test_a_document_is_kept_whole(way: Way) -> None:
    """A document keeps its class, id, own fields and metadata objects that cannot be copied."""
    odd = {"lock": threading.Lock(), "opaque": Opaque(), "view": MappingProxyType({"a": 1})}
    page = Page(page_content="red", id="p", number=7, metadata=odd)

    (kept,) = way.compress(local(), [page])

    assert type(kept) is Page
    assert (kept.page_content, kept.id, kept.number) == ("red", "p", 7)
    assert all(kept.metadata[name] is value for name, value in odd.items())


def test_metadata_that_holds_itself_is_kept(way: Way) -> None:
    """Metadata with a cycle comes back as it is."""
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata
    document = Document("red")
    document.metadata = metadata

    (kept,) = way.compress(local(), [document])

    assert kept.metadata["self"] is metadata


def test_duplicates_are_told_apart(way: Way) -> None:
    """Equal documents, and one given twice, are ranked and returned once for each place."""
    twin = Document("red", id="same")
    documents = [twin, twin, Document("red", id="same")]

    kept = way.compress(RerankCompressor(client=scoring(0.1, 0.2, 0.3)), documents)

    assert [document.metadata["relevance_score"] for document in kept] == [0.3, 0.2, 0.1]
    assert len({id(document) for document in kept}) == 3


def test_no_documents_no_request(way: Way, server: Server) -> None:
    """An empty list comes back empty, whatever the query, and nothing is sent."""
    assert list(way.compress(openrouter(server), [])) == []
    assert list(way.compress(openrouter(server), [], "")) == []
    assert not server.received


def test_any_sequence_will_do(way: Way) -> None:
    """Documents may come in a tuple."""
    assert ids(way.compress(local(top_n=1), tuple(three()))) == ["2"]


def test_more_than_there_are_is_all(way: Way, server: Server) -> None:
    """A top_n above the number of documents asks for all of them."""
    assert len(way.compress(openrouter(server, top_n=50), three())) == 3
    assert server.received[0].body["top_n"] == 3


@cases(("arguments", "expected"), [({}, 1), ({"top_n": None}, 3), ({"top_n": 2}, 2)])
def test_options_of_the_client_hold_until_they_are_given(
    way: Way, arguments: dict[str, Any], expected: int
) -> None:
    """An option that the adapter was not given stays as the client has it; None is given."""
    client = RerankClient("local:bm25", top_n=1)

    assert len(way.compress(RerankCompressor(client=client, **arguments), three())) == expected


def test_a_copy_with_another_top_n(way: Way, server: Server) -> None:
    """model_copy(update={"top_n": 1}) is a cheap override that shares the connections."""
    compressor = openrouter(server)
    copy = compressor.model_copy(update={"top_n": 1})

    assert [len(way.compress(each, three())) for each in (copy, compressor, copy)] == [1, 3, 1]
    assert server.connections == 1


def test_a_copy_with_another_model(way: Way, server: Server) -> None:
    """A copy with another model asks that one, also after use, and the original does not."""
    compressor = openrouter(server)
    way.compress(compressor, three())
    copy = compressor.model_copy(update={"model": "openrouter:other"})

    way.compress(copy, three())
    way.compress(compressor, three())

    assert [received.body["model"] for received in server.received] == ["m", "other", "m"]
    keys = {received.headers["authorization"] for received in server.received}
    assert keys == {f"Bearer {KEY}"}


def test_a_copy_with_another_score_key(way: Way) -> None:
    """A copy with another score_key writes there alone."""
    copy = local(top_n=1).model_copy(update={"score_key": "score"})

    (kept,) = way.compress(copy, three())

    assert kept.metadata.keys() == {"title", "score"}


def test_a_copy_with_another_client(way: Way) -> None:
    """A copy with another client asks that one, also after use."""
    compressor = RerankCompressor(client=scoring(1, 2, 3), top_n=1)
    way.compress(compressor, three())
    copy = compressor.model_copy(update={"client": scoring(3, 2, 1)})

    assert ids([*way.compress(copy, three()), *way.compress(compressor, three())]) == ["1", "3"]


def test_async_is_not_the_thread_pool() -> None:
    """The async method is its own, not the one that LangChain runs in threads."""
    own = RerankCompressor.acompress_documents
    assert own is not BaseDocumentCompressor.acompress_documents


def test_the_query_reaches_the_scorer_as_it_is(way: Way) -> None:
    """The query is handed on unchanged."""
    asked: list[str] = []

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        asked.append(query)
        return [0.0] * len(texts)

    client = RerankClient("mine", provider=Local(scorer=scorer))
    way.compress(RerankCompressor(client=client), three(), f"  {QUERY}?\n")

    assert asked == [f"  {QUERY}?\n"]
