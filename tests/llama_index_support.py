"""What the LlamaIndex tests share: nodes, a first stage, ears for events, and both ways to call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEvent, CBEventType
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import RetrieverTool
from pydantic import Field

from loopback import Server
from rerank_integrations import Local, RerankClient
from rerank_integrations.llama_index import RerankPostprocessor

KEY = "sk-0123456789"
QUERY = "red bicycle"
TEXTS = {"car": "a blue car", "bicycle": "a red bicycle", "van": "a red van"}

Rerank: TypeAlias = Callable[[RerankPostprocessor, list[NodeWithScore], str], list[NodeWithScore]]
Ask: TypeAlias = Callable[..., Any]


def three(*scores: float) -> list[NodeWithScore]:
    """Three nodes, of which the second fits the query best, then the third, with first scores."""
    return [
        NodeWithScore(node=TextNode(text=text, id_=title, metadata={"title": title}), score=score)
        for (title, text), score in zip(TEXTS.items(), scores or (0.9, 0.5, 0.1), strict=True)
    ]


def ids(nodes: Sequence[NodeWithScore]) -> list[str]:
    """The nodes' ids, in order."""
    return [found.node.node_id for found in nodes]


def local(**arguments: Any) -> RerankPostprocessor:
    """A postprocessor that ranks in this process."""
    return RerankPostprocessor(model="local:bm25", **arguments)


def scoring(*scores: float, **options: Any) -> RerankClient:
    """A client that gives each document, in order, one of the scores."""
    return RerankClient("mine", provider=Local(scorer=lambda query, texts: scores), **options)


def failing() -> RerankClient:
    """A client whose scorer always fails."""

    def scorer(query: str, texts: Sequence[str]) -> list[float]:
        raise RuntimeError("no memory")

    return RerankClient("mine", provider=Local(scorer=scorer))


def openrouter(server: Server | str, **arguments: Any) -> RerankPostprocessor:
    """A postprocessor whose provider is played by the server."""
    url = server if isinstance(server, str) else server.url
    given: dict[str, Any] = {"model": "openrouter:m", "api_key": KEY, "base_url": url}
    return RerankPostprocessor(**(given | arguments))


class Candidates(BaseRetriever):
    """A first stage that always finds the same nodes."""

    def __init__(self, found: list[NodeWithScore] | None = None) -> None:
        super().__init__()
        self.found = three() if found is None else found

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list(self.found)


def memory() -> ChatMemoryBuffer:
    """A memory without a database, for the framework leaves that of its default one open."""
    return ChatMemoryBuffer.from_defaults(token_limit=1000)


def titles(answer: Any) -> list[str]:
    """The titles of an answer's sources, in order; citations are nodes without the first id."""
    return [found.node.metadata["title"] for found in answer.source_nodes]


def tool_of(steps: list[Any]) -> RetrieverTool:
    """A tool that searches."""
    return RetrieverTool.from_defaults(
        Candidates(), node_postprocessors=steps, name="search", description="Finds vehicles."
    )


class Outcome(BaseEventHandler):
    """Notes the events of the instrumentation channel."""

    events: list[Any]

    def handle(self, event: BaseEvent, **_: Any) -> None:
        """Note an event."""
        self.events.append(event)


@pytest.fixture(name="heard")
def heard_fixture() -> Iterator[list[Any]]:
    """The events of the instrumentation channel while a test runs."""
    handler, root = Outcome(events=[]), get_dispatcher()
    root.add_event_handler(handler)
    yield handler.events
    root.event_handlers.remove(handler)


class Span(NamedTuple):
    """What a span handler was told, and as text all that it was handed."""

    kind: str
    id: str
    parent: str | None
    error: BaseException | None
    text: str


class Spans(BaseSpanHandler[BaseSpan]):
    """Notes the spans."""

    seen: list[Any] = Field(default_factory=list)

    def _note(self, kind: str, given: dict[str, Any]) -> BaseSpan:
        span = Span(kind, given["id_"], given.get("parent_span_id"), given.get("err"), repr(given))
        self.seen.append(span)
        return BaseSpan(id_=span.id)

    def new_span(self, **given: Any) -> BaseSpan:  # type: ignore[override]
        """A span begins."""
        return self._note("enter", given)

    def prepare_to_exit_span(self, **given: Any) -> BaseSpan:  # type: ignore[override]
        """A span ends."""
        return self._note("exit", given)

    def prepare_to_drop_span(self, **given: Any) -> BaseSpan:  # type: ignore[override]
        """A span fails."""
        return self._note("drop", given)

    def own(self, kind: str) -> Span:
        """The only span of the postprocessor's to which that happened."""
        (found,) = (s for s in self.seen if s.kind == kind and s.id.startswith("RerankPost"))
        assert isinstance(found, Span)
        return found


@pytest.fixture(name="spans")
def spans_fixture() -> Iterator[Spans]:
    """The spans that are told while a test runs."""
    handler, root = Spans(), get_dispatcher()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


class Debug(LlamaDebugHandler):
    """The framework's handler of the other channel, silent."""

    def __init__(self) -> None:
        super().__init__(print_trace_on_end=False)

    def told(self) -> list[list[CBEvent]]:
        """The rerankings, as pairs of a beginning and an end."""
        return self.get_event_pairs(CBEventType.RERANKING)

    def payloads(self) -> list[dict[str, Any]]:
        """What was said at the beginning and at the end of the only reranking."""
        ((begun, ended),) = self.told()
        return [begun.payload or {}, ended.payload or {}]


@pytest.fixture(name="debug")
def debug_fixture() -> Debug:
    """A handler for a callback manager."""
    return Debug()


def starts(heard: list[Any]) -> list[ReRankStartEvent]:
    """The beginnings of rerankings."""
    return [event for event in heard if isinstance(event, ReRankStartEvent)]


def ends(heard: list[Any]) -> list[ReRankEndEvent]:
    """The ends of rerankings."""
    return [event for event in heard if isinstance(event, ReRankEndEvent)]


def both(heard: list[Any]) -> tuple[ReRankStartEvent, ReRankEndEvent]:
    """The beginning and the end of the only reranking."""
    (start,), (end,) = starts(heard), ends(heard)
    return start, end


def scored(nodes: Sequence[NodeWithScore]) -> list[tuple[str, float | None]]:
    """The nodes' ids and scores, in order."""
    return [(found.node.node_id, found.score) for found in nodes]


@pytest.fixture(name="nodes")
def nodes_fixture() -> list[NodeWithScore]:
    """Three nodes, one of which fits the question."""
    return three(0.5, 0.5, 0.5)


@pytest.fixture(name="ask", params=["sync", "async"])
def ask_fixture(request: pytest.FixtureRequest) -> Ask:
    """Calls a method, or its async twin, whose name LlamaIndex begins with "a", on a loop."""
    if request.param == "sync":
        return lambda thing, method, *given, **named: getattr(thing, method)(*given, **named)
    return lambda thing, method, *given, **named: asyncio.run(
        _awaited(getattr(thing, f"a{method}")(*given, **named))
    )


@pytest.fixture(name="rerank")
def rerank_fixture(ask: Ask) -> Rerank:
    """Calls a postprocessor, synchronously or on an event loop."""

    def call(
        reranker: RerankPostprocessor, nodes: list[NodeWithScore], query: str
    ) -> list[NodeWithScore]:
        kept: list[NodeWithScore] = ask(reranker, "postprocess_nodes", nodes, query_str=query)
        return kept

    return call


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given
