"""Postprocessors with one bug each, of the kinds that published ones have, around a correct one."""

# ruff: noqa: D102  # a class's docstring is its bug; the methods are those of Correct

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from conformance_support import RULES, SECRET, score_of
from rerank_integrations.testing._calls import AT_ONCE

KEY = "retrieval_score"
dispatcher = get_dispatcher(__name__)

End: TypeAlias = Callable[[list[NodeWithScore]], list[NodeWithScore]]


def plain(found: NodeWithScore) -> str:
    """The text alone."""
    return found.node.get_content(metadata_mode=MetadataMode.NONE)


class Correct(BaseNodePostprocessor):
    """Holds every rule; each bug replaces one of its methods."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    top_n: int | None = None
    api_key: SecretStr = Field(default=SecretStr(SECRET), exclude=True, repr=False)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query = self.asked(query_bundle)
        with self.told(nodes, query) as end:
            return end(self.answer(nodes, query))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query = self.asked(query_bundle)
        with self.told(nodes, query) as end:
            await asyncio.sleep(0)
            return end(self.answer(nodes, query))

    def asked(self, bundle: QueryBundle | None) -> str:
        """The query."""
        if bundle is None:
            raise ValueError("no query: pass query_str or query_bundle")
        return bundle.query_str

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        """The nodes that are kept."""
        texts = [found.node.get_content(metadata_mode=MetadataMode.EMBED) for found in nodes]
        pairs = self.ranking(query, texts)[: self.top_n]
        return [self.result(nodes[index], score) for index, score in pairs]

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        """Indexes with their scores, best first, as a server sends them."""
        scores = [score_of(query, text) for text in texts]
        return sorted(enumerate(scores), key=lambda pair: -pair[1])

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        """A new wrapper around the same node."""
        return given.model_copy(update={"score": score})

    @contextmanager
    def told(self, nodes: list[NodeWithScore], query: str) -> Iterator[End]:
        """Tells both event channels."""
        self.tell(ReRankStartEvent, nodes=nodes, query=query)
        payload: dict[str, Any] = {
            EventPayload.NODES: self.noted(nodes),
            EventPayload.QUERY_STR: query,
        }
        with self.manager().event(CBEventType.RERANKING, payload=payload) as event:

            def end(kept: list[NodeWithScore]) -> list[NodeWithScore]:
                event.on_end(payload={EventPayload.NODES: self.noted(kept)})
                self.tell(ReRankEndEvent, nodes=kept)
                return kept

            yield end

    def tell(self, kind: Any, nodes: list[NodeWithScore], **more: Any) -> None:
        """One event of instrumentation."""
        if kind is ReRankStartEvent:
            more = {"top_n": self.top_n or len(nodes), "model_name": "words"} | more
        dispatcher.event(kind(nodes=self.noted(nodes), **more))

    def manager(self) -> CallbackManager:
        """Who is told of the call."""
        return self.callback_manager

    def noted(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        """What events get."""
        return [found.model_copy() for found in nodes]


def with_node(given: NodeWithScore, score: float, node: BaseNode) -> NodeWithScore:
    """A result around another node."""
    return given.model_copy(update={"score": score, "node": node})


class MutatesInput(Correct):
    """Writes the score into the caller's wrapper (TEI, SentenceTransformer, Flashrank)."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        given.score = score
        return given


class WritesMetadata(Correct):
    """Keeps the first score in the caller's node (SentenceTransformer)."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        given.node.metadata[KEY] = given.score
        return super().result(given, score)


class WritesIntoNested(Correct):
    """Copies metadata, and then writes into what is nested in it."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        given.node.metadata.get("nested", {})["rank"] = 1
        return super().result(given, score)


class ExcludesInPlace(Correct):
    """Hides a key from prompts in the lists of the caller's node."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        given.node.excluded_llm_metadata_keys.append(KEY)
        return super().result(given, score)


class SortsInput(Correct):
    """Sorts the caller's own list."""

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        if query_bundle:
            nodes.sort(key=lambda found: -score_of(query_bundle.query_str, plain(found)))
        return super()._postprocess_nodes(nodes, query_bundle)


class LosesId(Correct):
    """Builds a new node of text and metadata."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        return with_node(given, score, given.node.model_copy(update={"id_": "new"}))


class IndexAsId(Correct):
    """Puts a number in place of the id."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        return [
            with_node(found, found.score or 0.0, found.node.model_copy(update={"id_": str(place)}))
            for place, found in enumerate(super().answer(nodes, query))
        ]


class LosesSubclass(Correct):
    """Builds a plain TextNode."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        node = given.node
        return with_node(
            given,
            score,
            TextNode(
                text=plain(given),
                id_=node.node_id,
                metadata=node.metadata,
                excluded_llm_metadata_keys=node.excluded_llm_metadata_keys,
                excluded_embed_metadata_keys=node.excluded_embed_metadata_keys,
            ),
        )


class LosesMetadata(Correct):
    """Returns the text and the id alone."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        return with_node(given, score, given.node.model_copy(update={"metadata": {}}))


class DeepCopiesNodes(Correct):
    """Fails at what cannot be copied."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        return super().result(copy.deepcopy(given), score)


class DumpsMetadata(Correct):
    """Takes metadata through model_dump(), which makes dicts of models."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        metadata = {
            key: value.model_dump() if hasattr(value, "model_dump") else value
            for key, value in given.node.metadata.items()
        }
        return with_node(given, score, given.node.model_copy(update={"metadata": metadata}))


class DumpsNodes(Correct):
    """Reads the text of a dump, which an IndexNode's object cannot be in."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        for found in nodes:
            if getattr(found.node, "obj", None) is not None:
                found.node.to_dict()
        return super().answer(nodes, query)


class ReadsText(Correct):
    """Reads node.text, which Node has not (TEI)."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        _ = [found.text for found in nodes]
        return super().answer(nodes, query)


class TrustsTheEcho(Correct):
    """Returns the server's shortened copy of the text."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        node = given.node.model_copy()
        node.set_content(plain(given)[:10])
        return with_node(given, score, node)


class RepeatsAnIndex(Correct):
    """Takes an index that comes twice for two nodes."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        found = super().ranking(query, texts)
        return [*found[:1], *found] if len(found) > 2 else found


class MapsById(Correct):
    """Looks results up by id, so that equal ones fall together (Flashrank)."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        return super().answer(list({found.node.node_id: found for found in nodes}.values()), query)


class MapsByText(Correct):
    """Looks the node up by its text, so that the last of equal ones comes back for each."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        last = {plain(found): found for found in nodes}
        return super().answer([last[plain(found)] for found in nodes], query)


class DropsRepeated(Correct):
    """Leaves out an object that it has seen."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        return super().answer(list({id(found): found for found in nodes}.values()), query)


class SharesTwins(Correct):
    """Returns one object for both places of a node."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        made: dict[int, NodeWithScore] = {}
        pairs = self.ranking(query, [plain(found) for found in nodes])
        return [
            made.setdefault(id(nodes[index]), self.result(nodes[index], score))
            for index, score in pairs
        ][: self.top_n]


class AsyncWithoutScore(Correct):
    """Forgets in the async method what the sync method sorts by."""

    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        kept = await super()._apostprocess_nodes(nodes, query_bundle)
        return [found.model_copy(update={"score": 0.0}) for found in kept]


class ReturnsTuple(Correct):
    """Returns a tuple, to which an engine cannot add a list."""

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return tuple(super()._postprocess_nodes(nodes, query_bundle)) if nodes else []


class ReturnsOthers(Correct):
    """Returns objects that look like NodeWithScore."""

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        kept = super()._postprocess_nodes(nodes, query_bundle)
        return [SimpleNamespace(node=found.node, score=found.score) for found in kept]


class NumpyScore(Correct):
    """Gives what a model gives (SentenceTransformer)."""

    def result(self, given: NodeWithScore, score: Any) -> NodeWithScore:
        return super().result(given, np.float32(score))  # type: ignore[arg-type]


class IntScore(Correct):
    """Gives an int."""

    def result(self, given: NodeWithScore, score: Any) -> NodeWithScore:
        return super().result(given, round(100 * score))


class TextScore(Correct):
    """Gives a text."""

    def result(self, given: NodeWithScore, score: Any) -> NodeWithScore:
        return super().result(given, f"{score:.3f}")  # type: ignore[arg-type]


class NanScore(Correct):
    """Passes on a score that is no number, which SimilarityPostprocessor keeps."""

    def result(self, given: NodeWithScore, score: Any) -> NodeWithScore:
        return super().result(given, score or float("nan"))


class AddsAnObject(Correct):
    """Adds the server's usage as an object, where no prompt shows it."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        return with_node(given, score, _adding(given.node, "usage", object(), hidden=True))


class VisibleScore(Correct):
    """Keeps the first score in a copy of the node, where every prompt shows it."""

    def result(self, given: NodeWithScore, score: float) -> NodeWithScore:
        return with_node(given, score, _adding(given.node, KEY, given.score, hidden=False))


def _adding(node: BaseNode, key: str, value: object, *, hidden: bool) -> BaseNode:
    more = [key] if hidden else []
    update = {
        "metadata": {**node.metadata, key: value},
        "excluded_llm_metadata_keys": node.excluded_llm_metadata_keys + more,
        "excluded_embed_metadata_keys": node.excluded_embed_metadata_keys + more,
    }
    return node.model_copy(update=update)


class KeepsInputOrder(Correct):
    """Adds scores and sorts nothing."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        return sorted(super().ranking(query, texts))


class SwapsScores(Correct):
    """Gives the sorted scores to the nodes as they stand (TEI)."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        return list(enumerate(score for _, score in super().ranking(query, texts)))


class FiltersThenIndexes(Correct):
    """Sends only nodes with text, and looks the indexes up in the whole list."""

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

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        return super().answer(nodes[: self.top_n], query)


class IgnoresTopN(Correct):
    """Relies on a server that does not know top_n."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        pairs = self.ranking(query, [plain(found) for found in nodes])
        return [self.result(nodes[index], score) for index, score in pairs]


class LargeTopN(Correct):
    """Passes a top_n on that the server refuses."""

    def ranking(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        if (self.top_n or 0) > len(texts):
            raise ValueError("400: top_n is larger than the number of documents")
        return super().ranking(query, texts)


class NoneInEvent(Correct):
    """Takes None for top_n, which the start event refuses (watsonx, NVIDIA)."""

    top_n: int | None = 100

    def tell(self, kind: Any, nodes: list[NodeWithScore], **more: Any) -> None:
        if kind is ReRankStartEvent:
            more["top_n"] = self.top_n
        super().tell(kind, nodes, **more)


class EmptyList(Correct):
    """Looks at the first node."""

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return super()._postprocess_nodes(nodes, query_bundle) if nodes[0] else []


class EmptyListNeedsQuery(Correct):
    """Checks the query before the list (all of the published ones)."""

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        self.asked(query_bundle)
        return super()._postprocess_nodes(nodes, query_bundle)


class NeedsScores(Correct):
    """Computes with the score that comes in."""

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        _ = [found.score + 1.0 for found in nodes]  # type: ignore[operator]
        return super().answer(nodes, query)


class RanksForEmbeddings(Correct):
    """Ranks for the texts of the embedding, which are HyDE's answers and no query."""

    def asked(self, bundle: QueryBundle | None) -> str:
        return super().asked(bundle) and " ".join(bundle.embedding_strs if bundle else [])


class TextsOnly(Correct):
    """Overrides the public method, and takes a query as text alone."""

    def postprocess_nodes(  # type: ignore[override]
        self, nodes: Any, query_str: str | None = None
    ) -> Any:
        return super().postprocess_nodes(nodes, query_str=query_str)


class NoQueryNoError(Correct):
    """Ranks for nothing when the query is missing."""

    def asked(self, bundle: QueryBundle | None) -> str:
        return bundle.query_str if bundle else "None"


class NoQueryAttributeError(Correct):
    """Fails at None when the query is missing."""

    def asked(self, bundle: QueryBundle | None) -> str:
        return bundle.query_str  # type: ignore[union-attr]


class NoQueryUnclear(Correct):
    """Says nothing of the query that is missing."""

    def asked(self, bundle: QueryBundle | None) -> str:
        if bundle is None:
            raise ValueError("invalid input")
        return bundle.query_str


class NoSpan(Correct):
    """Has no span around the async method (LLMRerank)."""


# a method that overrides a decorated one would be decorated by LlamaIndex
NoSpan._apostprocess_nodes = Correct._apostprocess_nodes.__wrapped__  # type: ignore[method-assign,attr-defined]


class TellsNoInstrumentation(Correct):
    """Tells the callback manager alone (SentenceTransformer of the core package)."""

    def tell(self, kind: Any, nodes: list[NodeWithScore], **more: Any) -> None:
        pass


class TellsNoEnd(Correct):
    """Tells when it begins, and never that it ended."""

    def tell(self, kind: Any, nodes: list[NodeWithScore], **more: Any) -> None:
        if kind is ReRankStartEvent:
            super().tell(kind, nodes, **more)


class TellsAnotherQuery(Correct):
    """Tells instrumentation the query as the prompt has it."""

    def tell(self, kind: Any, nodes: list[NodeWithScore], **more: Any) -> None:
        if kind is ReRankStartEvent:
            more["query"] = f"Rank for: {more['query']}"
        super().tell(kind, nodes, **more)


class TellsNoNodes(Correct):
    """Tells instrumentation nothing of the nodes."""

    def tell(self, kind: Any, nodes: list[NodeWithScore], **more: Any) -> None:
        super().tell(kind, [], **more)


class TellsNoManager(Correct):
    """Tells instrumentation alone (Google, Flashrank)."""

    def manager(self) -> CallbackManager:
        return CallbackManager([])


class KeepsFirstManager(Correct):
    """Tells the manager that it was made with, not the engine's."""

    _first: CallbackManager = PrivateAttr(default_factory=CallbackManager)

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        self._first = self.callback_manager

    def manager(self) -> CallbackManager:
        return self._first


class TellsOriginals(Correct):
    """Puts the wrappers themselves in the events (all of the published ones)."""

    def noted(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        return list(nodes)


class Frozen(Correct):
    """Cannot be given the engine's manager."""

    model_config = ConfigDict(frozen=True)


class SettingIsNoField(Correct):
    """Has an argument that is no field, so that a dict has it not (Cohere)."""

    _limit: int | None = PrivateAttr(default=None)

    def __init__(self, top_n: int | None = None, **fields: Any) -> None:
        super().__init__(**fields)
        self._limit = top_n

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        kept = super().answer(nodes, query)
        return kept[: self._limit if self.top_n is None else self.top_n]


class KeyInDict(Correct):
    """Holds its key in a field that is not excluded, which JSON cannot hold (watsonx)."""

    api_key: SecretStr = SecretStr(SECRET)


class ReusesResults(Correct):
    """Hands the same list out for every call of a thread."""

    _of_thread: dict[int, list[NodeWithScore]] = PrivateAttr(default_factory=dict)

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        kept = self._of_thread.setdefault(threading.get_ident(), [])
        kept[:] = super()._postprocess_nodes(nodes, query_bundle)
        return kept


class StateOnLoop(Correct):
    """Keeps a call's nodes on self, by thread, while it waits."""

    _of_thread: dict[int, list[NodeWithScore]] = PrivateAttr(default_factory=dict)

    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        self._of_thread[threading.get_ident()] = nodes
        await asyncio.sleep(0)
        nodes = self._of_thread[threading.get_ident()]
        return await super()._apostprocess_nodes(nodes, query_bundle)


MEETING = threading.Barrier(AT_ONCE)


class StateOnThreads(Correct):
    """Keeps a call's nodes on self; all threads meet before any goes on."""

    _nodes: list[NodeWithScore] = PrivateAttr(default_factory=list)

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        self._nodes = nodes
        if not threading.current_thread().name.startswith(RULES):
            MEETING.wait(timeout=30)
        return super()._postprocess_nodes(self._nodes, query_bundle)


FIRST = threading.Lock()


class LoopBound(Correct):
    """Keeps what belongs to its first event loop, as a connection does (Google)."""

    _loop: Any = PrivateAttr(default=None)

    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        with FIRST:
            self._loop = self._loop or asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("Event loop is closed")  # as httpx says
        return await super()._apostprocess_nodes(nodes, query_bundle)

    def __copy__(self) -> Any:
        return type(self)(top_n=self.top_n)

    def __deepcopy__(self, memo: Any = None) -> Any:
        return copy.copy(self)


class RunsALoop(Correct):
    """Starts an event loop in the sync method."""

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        coroutine = self._apostprocess_nodes(nodes, query_bundle)
        try:
            return asyncio.run(coroutine)
        finally:
            coroutine.close()


class InheritedAsync(Correct):
    """Has no async method of its own (most of them)."""

    _apostprocess_nodes = BaseNodePostprocessor._apostprocess_nodes


class AsyncInThread(Correct):
    """Hands its sync method to a thread."""

    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return await asyncio.to_thread(self._postprocess_nodes, nodes, query_bundle)


class AsyncBlocks(Correct):
    """Calls its sync method on the event loop."""

    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return self._postprocess_nodes(nodes, query_bundle)


class IgnoresUnknown(Correct):
    """Takes any argument and ignores it (Bedrock)."""

    model_config = ConfigDict(extra="ignore")


class HoldsLock(Correct):
    """Holds a lock, as most clients do (Cohere)."""

    _lock: Any = PrivateAttr(default_factory=threading.Lock)


class ClientAfterUse(Correct):
    """Opens a client when first used, and keeps it (NVIDIA)."""

    _client: Any = PrivateAttr(default=None)

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        self._client = self._client or threading.Lock()
        return super().answer(nodes, query)


class ClosedInit(Correct):
    """Takes no callback_manager, so that a pickle comes back without its client (Cohere)."""

    _client: Any = PrivateAttr(default=None)

    def __init__(self, top_n: int | None = None) -> None:
        super().__init__(top_n=top_n)
        self._client = lambda: "client"

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        self._client()
        return super().answer(nodes, query)


class CopyLosesClient(Correct):
    """Leaves its client out of a copy, and does not make it anew."""

    _client: Any = PrivateAttr(default="client")

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        _ = self._client.upper()
        return super().answer(nodes, query)

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

    def answer(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        pairs = self.ranking(query, [plain(found) for found in nodes])
        return [self.result(nodes[index], score) for index, score in pairs[: self._limit]]


class PlainKey(Correct):
    """Holds its key as a str (Jina, TEI, SiliconFlow, Bedrock)."""

    api_key: str = SECRET  # type: ignore[assignment]


class KeyInError(Correct):
    """Shows what it was given in its error."""

    def __init__(self, **arguments: Any) -> None:
        if "nonsense_argument" in arguments:
            raise TypeError(f"refused: {arguments | {'api_key': SECRET}}")
        super().__init__(**arguments)
