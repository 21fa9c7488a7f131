"""What both adapters share: settings, copies and connections."""

from __future__ import annotations

import asyncio
import copy
import tomllib
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import haystack
import pytest
from langchain_core.documents import Document
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode

from calls import TEXTS
from cases import cases
from loopback import Reply, Server
from rerank_integrations import (
    ConfigurationError,
    InvalidRequestError,
    OpenRouter,
    RateLimitError,
    RerankBatch,
    RerankClient,
)
from rerank_integrations._adapter import Adapter
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

Rank = Callable[[Any], int]
Kind: TypeAlias = type[RerankCompressor | RerankPostprocessor]


def _compress(adapter: RerankCompressor) -> int:
    return len(adapter.compress_documents([Document(text) for text in TEXTS], "q"))


def _postprocess(adapter: RerankPostprocessor) -> int:
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    return len(adapter.postprocess_nodes(nodes, query_str="q"))


adapters = cases(
    ("kind", "rank"), [(RerankCompressor, _compress), (RerankPostprocessor, _postprocess)]
)


def made(kind: Kind, server: Server, **settings: Any) -> Any:
    """An adapter of that kind that asks the server."""
    return kind(model="openrouter:m", api_key="the-key", base_url=server.url, **settings)


@adapters
def test_other_options_share_the_connections(kind: Kind, rank: Rank, server: Server) -> None:
    """with_options gives a checked copy on the same connections, and leaves the original."""
    with made(kind, server, top_n=2) as adapter:
        assert [rank(adapter), rank(adapter.with_options(top_n=1)), rank(adapter)] == [2, 1, 2]
    assert server.connections == 1


@adapters
def test_another_model_goes_to_another_client(kind: Kind, rank: Rank, server: Server) -> None:
    """with_options(model=...) asks for that model, with the same key."""
    with made(kind, server) as adapter, adapter.with_options(model="together:other") as other:
        rank(other)
    assert server.received[0].body["model"] == "other"
    assert server.received[0].headers["authorization"] == "Bearer the-key"


@adapters
def test_other_options_are_checked(kind: Any, rank: Rank) -> None:
    """with_options refuses what the constructor refuses."""
    adapter = kind(model="local:bm25")
    for changes in ({"top_n": 0}, {"topn": 1}, {"on_error": "ignore"}, {"rank_fields": "title"}):
        with pytest.raises((ConfigurationError, InvalidRequestError)):
            adapter.with_options(**changes)
    keyed = kind(model="voyage:m", api_key="voyage-key")
    for one in (keyed, kind(model="voyage:m", api_key="k", extra_headers={"x-key": "1"})):
        with pytest.raises(ConfigurationError, match="for voyage and is not sent to cohere"):
            one.with_options(model="cohere:m", **({} if one is keyed else {"api_key": "k"}))
    with pytest.raises(ConfigurationError, match="for voyage and is not sent to cohere"):
        rank(keyed.model_copy(update={"model": "cohere:m"}))
    assert keyed.with_options(model="cohere:m", api_key="k").api_key.get_secret_value() == "k"
    assert keyed.with_options(model="voyage:n").api_key.get_secret_value() == "voyage-key"


@adapters
def test_a_closed_adapter_says_so(kind: Kind, rank: Rank, server: Server) -> None:
    """Leaving the with block closes the connections, and a call afterwards is a clear error."""
    with made(kind, server) as adapter:
        rank(adapter)
    with pytest.raises(ConfigurationError, match="closed"):
        rank(adapter)


@adapters
def test_an_adapter_closes_on_its_event_loop(kind: Kind, rank: Rank, server: Server) -> None:
    """`async with` closes the connections of the running event loop too."""

    async def use() -> Any:
        async with made(kind, server) as adapter:
            await asyncio.to_thread(rank, adapter)
            return adapter

    with pytest.raises(ConfigurationError, match="closed"):
        rank(asyncio.run(use()))


def _run(ranker: RerankRanker) -> int:
    documents = [haystack.Document(content=text) for text in TEXTS]
    return len(ranker.run(query="q", documents=documents)["documents"])


def _retrieve(adapter: RerankCompressor) -> int:
    return len(adapter.as_retriever(lambda _: [Document(text) for text in TEXTS]).invoke("q"))


def _batch(batch: RerankBatch) -> int:
    rows = batch.rows([{"query": "q", "documents": list(TEXTS)}])
    return len(next(iter(rows))["scores"])


@cases(
    ("kind", "rank"),
    [
        (RerankCompressor, _compress),
        (RerankCompressor, _retrieve),
        (RerankPostprocessor, _postprocess),
        (RerankRanker, _run),
        (RerankBatch, _batch),
    ],
)
@cases("is_copy", [False, True])
def test_closing_leaves_what_it_did_not_make(
    kind: Any, rank: Rank, server: Server, *, is_copy: bool
) -> None:
    """A client that was given is never closed, and a copy of an adapter closes its own part."""

    async def close(adapter: Any) -> None:
        for name in ("close", "close_async", "aclose"):
            end = getattr(adapter, name, None)
            if end is not None and asyncio.iscoroutine(waited := end()):
                await waited

    provider = OpenRouter(api_key="the-key", base_url=server.url)
    with RerankClient("m", provider=provider) as client:
        adapter = kind(client=client.with_options(top_n=2) if is_copy else client)
        rank(adapter)
        asyncio.run(close(adapter))
        assert (rank(adapter), len(client.rerank("q", TEXTS))) == (2 if is_copy else 3, 3)
    if is_copy and issubclass(kind, Adapter):
        with made(kind, server) as adapter:
            for other in (adapter.with_options(top_n=1), copy.copy(adapter)):
                rank(other)
                asyncio.run(close(other))
                with pytest.raises(ConfigurationError, match="closed"):
                    rank(other)
                assert rank(adapter) == 3


def test_a_configured_model_stays_with_the_client(server: Server) -> None:
    """A step whose compressor holds a client asks that client's provider for another model."""
    provider = made(RerankCompressor, server)._ranker().provider
    with RerankClient("m", provider=provider) as client:
        step = RerankCompressor(client=client).as_runnable()
        step.model = "other"
        step.invoke({"query": "q", "documents": [Document(text) for text in TEXTS]})
    assert server.received[0].body["model"] == "other"


def test_headers_of_a_call_are_in_no_frame(server: Server) -> None:
    """Headers given to the compressor's rerank() are in no frame of ours that raises."""
    server.plays(Reply({"error": {"message": "slow down", "code": 429}}, 429))
    with made(RerankCompressor, server) as adapter, pytest.raises(RateLimitError) as caught:
        adapter.rerank(TEXTS, "q", extra_headers={"x-team": "team-secret"}, max_retries=0)
    error = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in error.stack if "rerank_integrations" in frame.filename]

    assert ours
    assert not any("team-secret" in str(frame.locals) for frame in ours)


@adapters
def test_a_refused_setup_keeps_no_key(kind: Kind, rank: Rank) -> None:
    """The error of a wrong setup holds the key in no form: text, errors, JSON or frames."""
    settings = {"model": "openrouter:m", "api_key": "sk-secret-1", "base_url": "host"}
    with pytest.raises(ConfigurationError) as caught:
        kind(**settings)  # type: ignore[arg-type]
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [str(frame.locals) for frame in trace.stack if "rerank_integrations" in frame.filename]
    error = caught.value

    assert "sk-secret-1" not in f"{error} {error!r} {error.__context__!r} {ours}"


def test_the_listing_is_true() -> None:
    """The metadata for LlamaHub names the module and the class that are there."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    listing = project["tool"]["llamahub"]
    module = import_module(listing["import_path"])

    for name in listing["class_authors"]:
        assert issubclass(getattr(module, name), BaseNodePostprocessor)
