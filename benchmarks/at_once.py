"""Many requests at once on one event loop: CPU for each, throughput, bursts, and large lists."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import httpx
from pydantic_core import from_json, to_json

from benchmarks.clients import KEY, QUERY
from rerank_integrations import OpenRouter, RerankClient

AsyncCall = Callable[[], Awaitable[object]]
Opened = Callable[[str, list[str], int], Any]
_THREADS = 128


class Cost(NamedTuple):
    """Seconds for all calls together."""

    wall: float
    cpu: float


def cost(opened: Opened, url: str, documents: list[str], *, calls: int, at_once: int) -> Cost:
    """What so many calls cost, at most so many of them in flight."""

    async def measured() -> Cost:
        turns = asyncio.Semaphore(at_once)
        async with opened(url, documents, 10) as call:
            await call()

            async def in_turn() -> None:
                async with turns:
                    await call()

            wall, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(in_turn() for _ in range(calls)))
            return Cost(time.perf_counter() - wall, time.process_time() - cpu)

    return asyncio.run(measured())


@asynccontextmanager
async def ours(url: str, documents: list[str], top_n: int) -> AsyncIterator[AsyncCall]:
    """`RerankClient.arerank`."""
    provider = OpenRouter(api_key=KEY, base_url=url)
    async with RerankClient("m", provider=provider, deadline=None) as client:
        yield lambda: client.arerank(QUERY, documents, top_n=top_n)


@asynccontextmanager
async def ours_on_aiohttp(url: str, documents: list[str], top_n: int) -> AsyncIterator[AsyncCall]:
    """`RerankClient.arerank` with the extra `aiohttp`."""
    from httpx_aiohttp import HttpxAiohttpClient

    def make() -> HttpxAiohttpClient:
        return HttpxAiohttpClient(limits=httpx.Limits(max_connections=None))

    provider = OpenRouter(api_key=KEY, base_url=url)
    async with RerankClient(
        "m", provider=provider, deadline=None, async_http_client=make
    ) as client:
        yield lambda: client.arerank(QUERY, documents, top_n=top_n)


@asynccontextmanager
async def ours_langchain(url: str, documents: list[str], top_n: int) -> AsyncIterator[AsyncCall]:
    """`RerankCompressor.acompress_documents`."""
    from langchain_core.documents import Document

    from rerank_integrations.langchain import RerankCompressor

    found = [Document(text) for text in documents]
    provider = OpenRouter(api_key=KEY, base_url=url)
    async with RerankClient("m", provider=provider) as client:
        reranker = RerankCompressor(client=client, top_n=top_n)
        yield lambda: reranker.acompress_documents(found, QUERY)


@asynccontextmanager
async def ours_llama_index(url: str, documents: list[str], top_n: int) -> AsyncIterator[AsyncCall]:
    """`RerankPostprocessor.apostprocess_nodes`."""
    from llama_index.core.schema import NodeWithScore, TextNode

    from rerank_integrations.llama_index import RerankPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in documents]
    provider = OpenRouter(api_key=KEY, base_url=url)
    async with RerankClient("m", provider=provider) as client:
        reranker = RerankPostprocessor(client=client, top_n=top_n)
        yield lambda: reranker.apostprocess_nodes(nodes, query_str=QUERY)


@asynccontextmanager
async def plain_httpx(url: str, documents: list[str], top_n: int) -> AsyncIterator[AsyncCall]:
    """What one writes by hand."""
    async with httpx.AsyncClient(timeout=120) as client:

        async def call() -> object:
            body = {"model": "m", "query": QUERY, "documents": documents, "top_n": top_n}
            answer = await client.post(f"{url}/v1/rerank", json=body)
            return answer.json()

        yield call


@asynccontextmanager
async def bare_aiohttp(url: str, documents: list[str], top_n: int) -> AsyncIterator[AsyncCall]:
    """The reference for CPU: aiohttp and pydantic_core, without any check."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def call() -> object:
            body = {"model": "m", "query": QUERY, "documents": documents, "top_n": top_n}
            async with session.post(f"{url}/v1/rerank", data=to_json(body)) as answer:
                return from_json(await answer.read())

        yield call


@asynccontextmanager
async def raw_streams(url: str, documents: list[str], top_n: int) -> AsyncIterator[AsyncCall]:
    """The limit: prebuilt bytes over asyncio's own streams, one connection a request in flight."""
    parts = urlsplit(url)
    content = to_json({"model": "m", "query": QUERY, "documents": documents, "top_n": top_n})
    head = f"POST / HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {len(content)}\r\n\r\n"
    sent = head.encode() + content
    free: list[Any] = []

    async def call() -> object:
        pair = free.pop() if free else await asyncio.open_connection(parts.hostname, parts.port)
        reader, writer = pair
        writer.write(sent)
        got = b""
        while not got.endswith(b"}}"):
            got += await reader.read(1 << 16)
        free.append(pair)
        return got

    yield call
    for _, writer in free:
        writer.close()


def our_threads(url: str, documents: list[str]) -> float:
    """Seconds of CPU for calls of 128 threads by `RerankClient.rerank`."""
    provider = OpenRouter(api_key=KEY, base_url=url)
    with RerankClient("m", provider=provider, deadline=None) as client:
        return _in_threads(lambda: client.rerank(QUERY, documents, top_n=10))


def httpx_threads(url: str, documents: list[str]) -> float:
    """The same by one `httpx.Client`."""
    body = {"model": "m", "query": QUERY, "documents": documents, "top_n": 10}
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    with httpx.Client(timeout=120, limits=limits) as client:
        return _in_threads(lambda: client.post(f"{url}/v1/rerank", json=body).json())


def _in_threads(call: Callable[[], object]) -> float:
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda _: call(), range(_THREADS)))  # opens the connections
        began = time.process_time()
        list(pool.map(lambda _: call(), range(8 * _THREADS)))
        return time.process_time() - began


def sequential_parts(url: str, documents: list[str], size: int) -> float:
    """Seconds for a large list in parts, one after another, by plain httpx."""
    started = time.perf_counter()
    with httpx.Client(timeout=120) as client:
        for first in range(0, len(documents), size):
            body = {"model": "m", "query": QUERY, "documents": documents[first : first + size]}
            client.post(f"{url}/v1/rerank", json=body).json()
    return time.perf_counter() - started


def our_parts(url: str, documents: list[str], size: int) -> float:
    """Seconds for the same list by `RerankClient.arerank`."""

    async def ranked() -> float:
        provider = OpenRouter(api_key=KEY, base_url=url)
        async with RerankClient("m", provider=provider) as client:
            await client.arerank(QUERY, documents[:size])
            started = time.perf_counter()
            await client.arerank(
                QUERY, documents, max_documents_per_request=size, max_concurrency=10
            )
            return time.perf_counter() - started

    return asyncio.run(ranked())
