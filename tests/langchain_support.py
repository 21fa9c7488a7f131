"""What the LangChain tests share: documents, a first stage, tracers, and both ways to call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterator, Sequence
from contextvars import copy_context
from typing import Any, TypeAlias, TypeVar

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load import loads
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.schemas import Run

from loopback import Server
from rerank_integrations import Local, RerankClient, RerankResponse
from rerank_integrations.langchain import RerankCompressor

T = TypeVar("T")
KEY = "sk-0123456789"
QUERY = "red bicycle"


def three() -> list[Document]:
    """Three documents, the second of which fits the query best, and then the third."""
    return [
        Document("a blue car", id="1", metadata={"title": "car"}),
        Document("a red bicycle", id="2", metadata={"title": "bicycle"}),
        Document("a red car", id="3", metadata={"title": "car"}),
    ]


def ids(documents: Sequence[Document]) -> list[str | None]:
    """The documents' ids, in order."""
    return [document.id for document in documents]


def local(**arguments: Any) -> RerankCompressor:
    """A compressor that ranks in this process."""
    return RerankCompressor(model="local:bm25", **arguments)


def scoring(*scores: float, **options: Any) -> RerankClient:
    """A client that gives each document, in order, one of the scores."""
    return RerankClient("mine", provider=Local(scorer=lambda query, texts: scores), **options)


def openrouter(server: Server | str, **arguments: Any) -> RerankCompressor:
    """A compressor whose provider is played by the server."""
    url = server if isinstance(server, str) else server.url
    given: dict[str, Any] = {"model": "openrouter:m", "api_key": KEY, "base_url": url}
    return RerankCompressor(**(given | arguments))


def loaded(text: str, **secrets: str) -> Any:
    """What was dumped, with the secrets by their names."""
    options: dict[str, Any] = {
        "valid_namespaces": ["rerank_integrations"],
        "secrets_map": secrets,
        "allowed_objects": [RerankCompressor],  # newer versions insist on it
    }
    known = inspect.signature(loads).parameters
    return loads(text, **{name: value for name, value in options.items() if name in known})


class Candidates(BaseRetriever):
    """A first stage that always finds the same documents."""

    found: list[Document]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return self.found


class Runs:
    """The runs that a tracer was told of, in the order of their start."""

    runs: list[Run]

    def run(self, name: str = "RerankCompressor") -> Run:
        """The only run of that name."""
        (found,) = [run for run in self.runs if run.name == name]
        return found


class Tracer(Runs, BaseTracer):
    """A tracer that keeps every run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = []

    def _persist_run(self, run: Run) -> None:
        pass

    def _on_run_create(self, run: Run) -> None:
        self.runs.append(run)


class AsyncTracer(Runs, AsyncBaseTracer):
    """A tracer of the other kind that keeps every run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = []

    async def _persist_run(self, run: Run) -> None:
        pass

    async def _on_run_create(self, run: Run) -> None:
        self.runs.append(run)


def content(run: Run) -> str:
    """All that a run holds, as one text."""
    said = (run.name, run.inputs, run.outputs, run.error, run.extra, run.tags, run.events)
    return repr((*said, run.serialized))


class Sync:
    """Calls without an event loop."""

    def compress(
        self,
        compressor: BaseDocumentCompressor,
        documents: Sequence[Document],
        query: str = QUERY,
        callbacks: Any = None,
    ) -> Sequence[Document]:
        """Compress."""
        return compressor.compress_documents(documents, query, callbacks=callbacks)

    def rerank(
        self, compressor: RerankCompressor, documents: Any, query: Any = QUERY, **options: Any
    ) -> RerankResponse:
        """Rerank, for the whole response."""
        return compressor.rerank(documents, query, **options)

    def ask(self, client: RerankClient, documents: Any) -> RerankResponse:
        """Ask a client, without LangChain."""
        return client.rerank(QUERY, documents)

    def invoke(self, runnable: Runnable[Any, Any], given: Any, config: Any = None) -> Any:
        """Invoke."""
        return runnable.invoke(given, config)

    def batch(self, runnable: Runnable[Any, Any], given: list[Any], **options: Any) -> list[Any]:
        """Invoke with several inputs."""
        return runnable.batch(given, **options)


class Async:
    """Calls on one event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        # as `asyncio.run` does, in the context of its caller
        return self._runner.run(coroutine, context=copy_context())

    def compress(
        self,
        compressor: BaseDocumentCompressor,
        documents: Sequence[Document],
        query: str = QUERY,
        callbacks: Any = None,
    ) -> Sequence[Document]:
        """Compress."""
        return self._run(_compress(compressor, documents, query, callbacks))

    def rerank(
        self, compressor: RerankCompressor, documents: Any, query: Any = QUERY, **options: Any
    ) -> RerankResponse:
        """Rerank, for the whole response."""
        return self._run(compressor.arerank(documents, query, **options))

    def ask(self, client: RerankClient, documents: Any) -> RerankResponse:
        """Ask a client, without LangChain."""
        return self._run(client.arerank(QUERY, documents))

    def invoke(self, runnable: Runnable[Any, Any], given: Any, config: Any = None) -> Any:
        """Invoke."""
        return self._run(_invoke(runnable, given, config))

    def batch(self, runnable: Runnable[Any, Any], given: list[Any], **options: Any) -> list[Any]:
        """Invoke with several inputs."""
        return self._run(_batch(runnable, given, options))


Way: TypeAlias = Sync | Async


async def _compress(
    compressor: BaseDocumentCompressor, documents: Sequence[Document], query: str, callbacks: Any
) -> Sequence[Document]:
    return await compressor.acompress_documents(documents, query, callbacks=callbacks)


async def _invoke(runnable: Runnable[Any, Any], given: Any, config: Any) -> Any:
    return await runnable.ainvoke(given, config)


async def _batch(runnable: Runnable[Any, Any], given: list[Any], options: Any) -> list[Any]:
    return await runnable.abatch(given, **options)


@pytest.fixture(name="way", params=["sync", "async"])
def way_fixture(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Calls without and with an event loop."""
    if request.param == "sync":
        yield Sync()
        return
    with asyncio.Runner() as runner:
        yield Async(runner)
