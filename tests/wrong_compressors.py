"""Compressors with one bug each, of the kinds that published ones have, around a correct one."""

# ruff: noqa: D102  # a class's docstring is its bug; the methods are those of Correct

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr

from conformance_support import RULES, SECRET, score_of
from rerank_integrations.testing._calls import AT_ONCE

KEY = "relevance_score"


class Correct(BaseDocumentCompressor):
    """Holds every rule; each bug replaces one of its methods."""

    model_config = ConfigDict(extra="forbid")

    top_n: int | None = None
    api_key: SecretStr = SecretStr(SECRET)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Rank."""
        return self.answer(list(documents), query)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Rank, after a turn of the event loop."""
        await asyncio.sleep(0)
        return self.answer(list(documents), query)

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        """The documents that are kept."""
        texts = [document.page_content for document in documents]
        pairs = self.ranking(query, texts)[: self.top_n]
        return [self.result(documents[index], score) for index, score in pairs]

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        """Indexes with their scores, best first, as a server sends them."""
        scores = [score_of(query, text) for text in texts]
        return sorted(enumerate(scores), key=lambda pair: -pair[1])

    def result(self, document: Document, score: float) -> Document:
        """A copy with the score."""
        return document.model_copy(update={"metadata": {**document.metadata, KEY: score}})


class MutatesInput(Correct):
    """Writes the score into the caller's document (NVIDIA before 1.5)."""

    def result(self, document: Document, score: float) -> Document:
        document.metadata[KEY] = score
        return document


class SharesMetadata(Correct):
    """Makes a new document around the caller's metadata."""

    def result(self, document: Document, score: float) -> Document:
        found = document.model_copy()
        found.metadata[KEY] = score
        return found


class WritesIntoNested(Correct):
    """Copies metadata, and then writes into what is nested in it."""

    def result(self, document: Document, score: float) -> Document:
        found = super().result(document, score)
        found.metadata.setdefault("nested", {})["rank"] = 1
        return found


class SortsInput(Correct):
    """Sorts the caller's own list."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        if isinstance(documents, list):
            documents.sort(key=lambda document: -score_of(query, document.page_content))
        return super().compress_documents(documents, query)


class LosesId(Correct):
    """Builds a new document of text and metadata (Cohere, Voyage, Jina, Pinecone)."""

    def result(self, document: Document, score: float) -> Document:
        found = super().result(document, score)
        return found.model_copy(update={"id": None})


class IndexAsId(Correct):
    """Puts a number in place of the id (Vertex)."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        kept = super().answer(documents, query)
        return [found.model_copy(update={"id": str(place)}) for place, found in enumerate(kept)]


class LosesSubclass(Correct):
    """Builds a plain Document (most of them)."""

    def result(self, document: Document, score: float) -> Document:
        metadata = {**document.metadata, KEY: score}
        return Document(page_content=document.page_content, id=document.id, metadata=metadata)


class LosesMetadata(Correct):
    """Returns the score as the only metadata (Vertex)."""

    def result(self, document: Document, score: float) -> Document:
        return document.model_copy(update={"metadata": {KEY: score}})


class DeepCopiesMetadata(Correct):
    """Fails at metadata that cannot be copied (Cohere, Voyage, Jina, Pinecone)."""

    def result(self, document: Document, score: float) -> Document:
        return super().result(copy.deepcopy(document), score)


class DumpsModels(Correct):
    """Takes a document through model_dump(), which makes dicts of models (Bedrock)."""

    def result(self, document: Document, score: float) -> Document:
        metadata = {
            key: value.model_dump() if isinstance(value, BaseModel) else value
            for key, value in document.metadata.items()
        }
        return document.model_copy(update={"metadata": {**metadata, KEY: score}})


class TrustsTheEcho(Correct):
    """Returns the server's shortened copy of the text."""

    def result(self, document: Document, score: float) -> Document:
        found = super().result(document, score)
        return found.model_copy(update={"page_content": found.page_content[:10]})


class RepeatsAnIndex(Correct):
    """Takes an index that comes twice for two documents (Cohere)."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        found = super().ranking(query, texts)
        return [*found[:1], *found] if len(found) > 2 else found


class MapsById(Correct):
    """Looks results up by id, so that equal ones fall together."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        return super().answer(
            list({document.id: document for document in documents}.values()), query
        )


class MapsByText(Correct):
    """Looks the document up by its text, so that the last of equal ones comes back for each."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        last = {document.page_content: document for document in documents}
        return super().answer([last[document.page_content] for document in documents], query)


class DropsRepeated(Correct):
    """Leaves out an object that it has seen."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        return super().answer(
            list({id(document): document for document in documents}.values()), query
        )


class SharesTwins(Correct):
    """Returns one object for both places of a document."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        made: dict[int, Document] = {}
        pairs = self.ranking(query, [document.page_content for document in documents])
        return [
            made.setdefault(id(documents[index]), self.result(documents[index], score))
            for index, score in pairs
        ][: self.top_n]


class AsyncWithoutScore(Correct):
    """Forgets in the async method what the sync method sorts by."""

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        kept = await super().acompress_documents(documents, query)
        return [
            found.model_copy(update={"metadata": {**found.metadata, KEY: 0.0}}) for found in kept
        ]


class NoSequence(Correct):
    """Returns what can be read like a list, and is none."""

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return _View(super().compress_documents(documents, query))


class _View:
    """What can be measured and read, but is no Sequence, as a view of a dict is."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Any:
        return iter(self._documents)

    def __getitem__(self, place: int) -> Document:
        return self._documents[place]


class NumpyScore(Correct):
    """Gives what a model gives (Flashrank)."""

    def result(self, document: Document, score: Any) -> Document:
        return super().result(document, np.float32(score))  # type: ignore[arg-type]


class IntScore(Correct):
    """Gives an int."""

    def result(self, document: Document, score: Any) -> Document:
        return super().result(document, round(100 * score))


class TextScore(Correct):
    """Gives a text."""

    def result(self, document: Document, score: Any) -> Document:
        return super().result(document, f"{score:.3f}")  # type: ignore[arg-type]


class NanScore(Correct):
    """Passes on a score that is no number."""

    def result(self, document: Document, score: Any) -> Document:
        return super().result(document, score or float("nan"))


class AddsAnObject(Correct):
    """Adds the server's usage as an object (Voyage adds its tokens to every document)."""

    def result(self, document: Document, score: float) -> Document:
        found = super().result(document, score)
        found.metadata["usage"] = object()
        return found


class KeepsInputOrder(Correct):
    """Adds scores and sorts nothing."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        return sorted(super().ranking(query, texts))


class SwapsScores(Correct):
    """Gives the sorted scores to the documents as they stand."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        return list(enumerate(score for _, score in super().ranking(query, texts)))


class FiltersThenIndexes(Correct):
    """Sends only documents with text, and looks the indexes up in the whole list."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        return super().ranking(query, [text for text in texts if text])


class RefusesBlank(Correct):
    """Passes on the server's refusal of an empty text."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        if not all(texts):
            raise ValueError("400: documents must not be empty")
        return super().ranking(query, texts)


class CutsThenRanks(Correct):
    """Ranks the first top_n of the input."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        return super().answer(documents[: self.top_n], query)


class IgnoresTopN(Correct):
    """Relies on a server that does not know top_n."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        pairs = self.ranking(query, [document.page_content for document in documents])
        return [self.result(documents[index], score) for index, score in pairs]


class LargeTopN(Correct):
    """Passes a top_n on that the server refuses (Bedrock)."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        if texts and (self.top_n or 0) > len(texts):
            raise ValueError("400: top_n is larger than the number of documents")
        return super().ranking(query, texts)


class NoneAsLimit(Correct):
    """Computes with a top_n of None."""

    top_n: int | None = 100

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        _ = min(self.top_n, len(texts))  # type: ignore[type-var]
        return super().ranking(query, texts)


class EmptyList(Correct):
    """Looks at the first document (LLMListwiseRerank)."""

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        return super().answer(documents, query) if documents[0] else []


class ListsOnly(Correct):
    """Adds a list to what is given."""

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return super().compress_documents(documents + [], query)  # noqa: RUF005  # the bug


class ReusesResults(Correct):
    """Hands the same list out for every call of a thread."""

    _of_thread: dict[int, list[Document]] = PrivateAttr(default_factory=dict)

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        kept = self._of_thread.setdefault(threading.get_ident(), [])
        kept[:] = super().compress_documents(documents, query)
        return kept


class StateOnLoop(Correct):
    """Keeps a call's documents on self, by thread, while it waits."""

    _of_thread: dict[int, Sequence[Document]] = PrivateAttr(default_factory=dict)

    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        self._of_thread[threading.get_ident()] = documents
        await asyncio.sleep(0)
        return self.answer(list(self._of_thread[threading.get_ident()]), query)


class StateOnThreads(Correct):
    """Keeps a call's documents on self; all threads meet before any goes on."""

    _documents: Sequence[Document] = PrivateAttr(default=())

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        self._documents = documents
        if not threading.current_thread().name.startswith(RULES):
            MEETING.wait(timeout=30)
        return self.answer(list(self._documents), query)


MEETING = threading.Barrier(AT_ONCE)


FIRST = threading.Lock()


class LoopBound(Correct):
    """Keeps what belongs to its first event loop, as a connection does (LocalAI)."""

    _loop: Any = PrivateAttr(default=None)

    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        with FIRST:
            self._loop = self._loop or asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("Event loop is closed")  # as httpx says
        return await super().acompress_documents(documents, query)

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_loop": None}}

    def __copy__(self) -> Any:
        return type(self)(top_n=self.top_n)

    def __deepcopy__(self, memo: Any = None) -> Any:
        return copy.copy(self)


class RunsALoop(Correct):
    """Starts an event loop in the sync method."""

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        coroutine = self.acompress_documents(documents, query)
        try:
            return asyncio.run(coroutine)
        finally:
            coroutine.close()


class InheritedAsync(Correct):
    """Has no async method of its own (Cohere, Jina, Bedrock)."""

    acompress_documents = BaseDocumentCompressor.acompress_documents


class AsyncInThread(Correct):
    """Hands its sync method to a thread."""

    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return await asyncio.to_thread(self.compress_documents, documents, query)


class AsyncBlocks(Correct):
    """Calls its sync method on the event loop."""

    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return self.compress_documents(documents, query)


class OtherCallbacks(Correct):
    """Calls the parameter otherwise."""

    def compress_documents(self, documents: Any, query: str, run_manager: Any = None) -> Any:
        return super().compress_documents(documents, query)


class HiddenCallbacks(Correct):
    """Loses the parameter in **kwargs, as a decorator does."""

    async def acompress_documents(  # type: ignore[override]
        self, documents: Any, query: str, **kwargs: Any
    ) -> Any:
        return await super().acompress_documents(documents, query)


class NeedsCallbacks(Correct):
    """Has no default for it."""

    def compress_documents(self, documents: Any, query: str, callbacks: Any = ()) -> Any:
        return super().compress_documents(documents, query)


class NoAsyncManager(Correct):
    """Uses the sync manager's methods on what it is given."""

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        if callbacks is not None:
            callbacks.on_retriever_start(None, query).on_retriever_end([])
        return super().compress_documents(documents, query)


class IgnoresUnknown(Correct):
    """Takes any argument and ignores it (Voyage, NVIDIA)."""

    model_config = ConfigDict(extra="ignore")


class HoldsLock(Correct):
    """Holds a lock, as most clients do (Cohere)."""

    _lock: Any = PrivateAttr(default_factory=threading.Lock)


class ClientAfterUse(Correct):
    """Opens a client when first used, and keeps it (NVIDIA)."""

    _client: Any = PrivateAttr(default=None)

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        self._client = self._client or threading.Lock()
        return super().answer(documents, query)


class PickleLosesClient(Correct):
    """Leaves its client out of a pickle, and does not make it anew."""

    _client: Any = PrivateAttr(default="client")

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        _ = self._client.upper()
        return super().answer(documents, query)

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_client": None}}


class CopyLosesClient(PickleLosesClient):
    """Leaves its client out of every copy."""

    def __copy__(self) -> Any:
        twin = super().__copy__()
        twin._client = None
        return twin


class FreezesTopN(Correct):
    """Reads top_n in the constructor alone."""

    _limit: int | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        self._limit = self.top_n

    def answer(self, documents: list[Document], query: str) -> list[Document]:
        pairs = self.ranking(query, [document.page_content for document in documents])
        return [self.result(documents[index], score) for index, score in pairs[: self._limit]]


class PlainKey(Correct):
    """Holds its key as a str (Jina, LocalAI)."""

    api_key: str = SECRET  # type: ignore[assignment]


class KeyInError(Correct):
    """Shows what it was given in its error."""

    def __init__(self, **arguments: Any) -> None:
        if "nonsense_argument" in arguments:
            raise TypeError(f"refused: {arguments | {'api_key': SECRET}}")
        super().__init__(**arguments)
