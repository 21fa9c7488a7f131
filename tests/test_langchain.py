"""RerankCompressor inside the real LangChain."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ValidationError

from rerank_integrations import Local, RerankClient
from rerank_integrations.langchain import RerankCompressor

Compress = Callable[[RerankCompressor, Sequence[Document], str], Sequence[Document]]


class Candidates(BaseRetriever):
    """A first stage that always finds the same documents."""

    found: list[Document]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return self.found


class Page(Document):
    """A document of a user's own kind."""

    number: int = 0


@pytest.fixture(params=["sync", "async"])
def compress(request: pytest.FixtureRequest) -> Compress:
    """Calls a compressor, synchronously or on an event loop."""
    if request.param == "sync":
        return lambda compressor, documents, query: compressor.compress_documents(documents, query)
    return lambda compressor, documents, query: asyncio.run(_awaited(compressor, documents, query))


async def _awaited(
    compressor: RerankCompressor, documents: Sequence[Document], query: str
) -> Sequence[Document]:
    return await compressor.acompress_documents(documents, query)


@pytest.fixture
def documents() -> list[Document]:
    """Three documents, one of which fits the question."""
    return [
        Document("a blue car", id="1", metadata={"title": "car"}),
        Document("a red bicycle", id="2", metadata={"title": "bicycle"}),
        Document("a red car", id="3", metadata={"title": "car"}),
    ]


def test_the_best_come_first_with_their_score(
    compress: Compress, documents: list[Document]
) -> None:
    """The result is best first, at most top_n, each with a float under relevance_score."""
    kept = compress(RerankCompressor(model="local:bm25", top_n=2), documents, "red bicycle")

    assert [document.id for document in kept] == ["2", "3"]
    assert all(type(document.metadata["relevance_score"]) is float for document in kept)


def test_the_callers_documents_are_never_touched(
    compress: Compress, documents: list[Document]
) -> None:
    """The input documents and their metadata stay as they were."""
    before = [document.model_copy(deep=True) for document in documents]

    compress(RerankCompressor(model="local:bm25"), documents, "red")

    assert before == documents


def test_subclass_id_and_odd_metadata_are_kept(compress: Compress) -> None:
    """A document keeps its class, id, fields and metadata objects that cannot be copied."""
    lock = threading.Lock()
    page = Page(page_content="red", id="p", number=7, metadata={"lock": lock})

    [kept] = compress(RerankCompressor(model="local:bm25"), [page], "red")

    assert isinstance(kept, Page)
    assert (kept.id, kept.number) == ("p", 7)
    assert kept.metadata["lock"] is lock


def test_no_documents_no_request(compress: Compress) -> None:
    """An empty list comes back empty, and the scorer is not called."""

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        raise AssertionError("called")

    client = RerankClient("mine", provider=Local(scorer=scorer))

    assert list(compress(RerankCompressor(client=client), [], "red")) == []


def test_fields_are_ranked_in_the_order_that_was_named(
    compress: Compress, documents: list[Document]
) -> None:
    """rank_fields maps page_content, called text, and metadata to what is ranked."""
    seen: list[str] = []

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        seen.extend(texts)
        return [0.0] * len(texts)

    client = RerankClient("mine", provider=Local(scorer=scorer))
    compress(RerankCompressor(client=client, rank_fields=["title", "text"]), documents, "red")

    assert seen[0] == "title: car\ntext: a blue car"


def test_only_the_text_is_ranked_without_fields(
    compress: Compress, documents: list[Document]
) -> None:
    """Without rank_fields page_content is sent alone, and no metadata leaves the process."""
    seen: list[str] = []

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        seen.extend(texts)
        return [0.0] * len(texts)

    compress(
        RerankCompressor(client=RerankClient("mine", provider=Local(scorer=scorer))),
        documents,
        "red",
    )

    assert seen == [document.page_content for document in documents]


def test_duplicates_are_told_apart(compress: Compress) -> None:
    """Equal documents are ranked and returned once each."""
    twin = Document("red", id="same")

    assert len(compress(RerankCompressor(model="local:bm25"), [twin, twin], "red")) == 2


def test_it_drops_into_a_retriever(documents: list[Document]) -> None:
    """ContextualCompressionRetriever accepts it and returns the reranked documents."""
    retriever = ContextualCompressionRetriever(
        base_retriever=Candidates(found=documents),
        base_compressor=RerankCompressor(model="local:bm25", top_n=1),
    )

    assert [document.id for document in retriever.invoke("red bicycle")] == ["2"]
    assert [document.id for document in asyncio.run(retriever.ainvoke("red bicycle"))] == ["2"]


def test_top_n_of_the_client_holds_where_the_adapter_has_none(documents: list[Document]) -> None:
    """An option that the adapter was not given stays as the client has it."""
    client = RerankClient("local:bm25", top_n=1)

    assert len(RerankCompressor(client=client).compress_documents(documents, "red")) == 1
    assert (
        len(RerankCompressor(client=client, top_n=None).compress_documents(documents, "red")) == 3
    )


def test_a_copy_with_another_top_n_works(documents: list[Document]) -> None:
    """model_copy(update={"top_n": 1}) is a cheap override."""
    compressor = RerankCompressor(model="local:bm25")

    copy = compressor.model_copy(update={"top_n": 1})

    assert len(copy.compress_documents(documents, "red")) == 1
    assert len(compressor.compress_documents(documents, "red")) == 3


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({}, "either model="),
        ({"model": "local:bm25", "client": RerankClient("local:bm25")}, "either model="),
        ({"model": "local:bm25", "topn": 1}, "topn"),
        ({"model": "local:bm25", "top_n": 0}, "greater than or equal to 1"),
        ({"model": "openrouter:x"}, "OPENROUTER_API_KEY"),
        ({"client": "local:bm25"}, "RerankClient"),
    ],
)
def test_a_wrong_setup_is_refused_at_once(arguments: dict[str, Any], cure: str) -> None:
    """Construction refuses what could not work, and says the cure."""
    with pytest.raises(ValidationError, match=cure):
        RerankCompressor(**arguments)
