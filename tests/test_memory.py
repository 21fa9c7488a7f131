"""Tests of memory: a request takes that of its body, and an answer that of its bytes.

What is measured is Python's own memory beyond that of the documents, with `tracemalloc`.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from cases import cases
from rerank_integrations import Jina, RerankClient, RerankDocument
from rerank_integrations._http_result import BodyReader
from rerank_integrations._request import Chunk
from rerank_integrations._response import parse_response
from rerank_integrations.providers.base import Provider
from support import call as prepared, openrouter

COUNT = 40
MEGABYTE = 1_000_000
CHUNK = 64 * 1024  # bytes; what comes from a socket at a time
CHUNK_PACKED = 1024  # less, for each becomes many times as long
PNG = b"\x89PNG\r\n\x1a\n"
ANSWER = b'{"results":[{"index":0,"relevance_score":0.5}]}'
SENDING = 1.05
READING = 1.15
WITHOUT_LIMITS: dict[str, Any] = {"max_request_bytes": None, "deadline": None}

Make = Callable[[bytes], object]


class Peak:
    """The most memory that was held, in bytes more than at the beginning."""

    size = 0


@contextmanager
def measured() -> Iterator[Peak]:
    """Measure what is held at most until the end."""
    peak = Peak()
    gc.collect()
    tracemalloc.start()
    try:
        yield peak
        peak.size = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def uri(content: bytes) -> str:
    """A data URI of a PNG."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def documents(make: Make, text: str | None = None) -> list[RerankDocument]:
    """Documents with a different image of a megabyte each."""
    images = (PNG + bytes([number]) * (MEGABYTE - len(PNG)) for number in range(COUNT))
    return [RerankDocument(text=text, image=make(image)) for image in images]


class Drain(httpx.BaseTransport):
    """Reads a request to its end, keeps its length, and answers in chunks."""

    def __init__(self, content: bytes = ANSWER) -> None:
        self.size = 0
        self._content = content

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Read and answer."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        for piece in request.stream:
            self.size += len(piece)
        return httpx.Response(200, stream=Chunks(self._content))


class Chunks(httpx.SyncByteStream):
    """An answer as it comes from a socket."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), CHUNK):
            yield self._content[start : start + CHUNK]


class LoopDrain(httpx.AsyncBaseTransport):
    """The same on an event loop."""

    size = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Read and answer."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for piece in request.stream:
            self.size += len(piece)
        return httpx.Response(200, content=ANSWER)


class Seeing(NamedTuple):
    """A provider, and a model of it that sees."""

    provider: Provider
    model: str


SEEING = {
    "openrouter": Seeing(openrouter(), "some/model"),
    "jina": Seeing(Jina(api_key="the-key"), "jina-reranker-m0"),
}


def warm(client: RerankClient) -> None:
    """Send something small, for what is loaded and kept by the first request is not its own."""
    client.rerank("q", [RerankDocument(image=PNG)])


def within(peak: Peak, size: int, factor: float) -> None:
    """Check that no more was held than so many times the size, and say by how much it was."""
    assert size > COUNT * MEGABYTE
    assert peak.size <= factor * size, f"{peak.size / size:.3f} times the bytes, not {factor}"


@cases("make", [bytes, uri], ids=["bytes", "uri"])
@cases("seeing", SEEING.values(), ids=SEEING.keys())
def test_sending(seeing: Seeing, make: Make) -> None:
    """A call takes at most 1.05 times the body of its request, above the caller's documents."""
    given = documents(make)
    drain = Drain()
    with httpx.Client(transport=drain) as http_client:
        client = RerankClient(
            seeing.model, provider=seeing.provider, http_client=http_client, **WITHOUT_LIMITS
        )
        warm(client)
        drain.size = 0
        with measured() as peak:
            client.rerank("q", given)
    within(peak, drain.size, SENDING)


@cases("make", [bytes, uri], ids=["bytes", "uri"])
def test_sending_on_a_loop(make: Make) -> None:
    """A call on an event loop takes at most 1.05 times its body, too."""
    given = documents(make)
    drain = LoopDrain()

    async def ranked() -> Peak:
        async with httpx.AsyncClient(transport=drain) as http_client:
            client = RerankClient(
                "m", provider=openrouter(), async_http_client=http_client, **WITHOUT_LIMITS
            )
            await client.arerank("q", [RerankDocument(image=PNG)])
            drain.size = 0
            with measured() as peak:
                await client.arerank("q", given)
            return peak

    within(asyncio.run(ranked()), drain.size, SENDING)


@cases("make", [bytes, uri], ids=["bytes", "uri"])
@cases("text", [None, "a page"])
def test_preparing(make: Make, text: str | None) -> None:
    """A request that is prepared takes at most 1.05 times its body."""
    given = documents(make, text)
    prepared(RerankDocument(image=PNG))
    with measured() as peak:
        [part] = prepared(*given, max_request_bytes=None).chunks
        request = part.request()
    within(peak, request.size, SENDING)


@cases("make", [bytes, uri], ids=["bytes", "uri"])
def test_waiting(make: Make) -> None:
    """Requests that wait for their turn hold no image a second time."""
    given = documents(make)
    with measured() as peak:
        call = prepared(*given, max_request_bytes=2 * MEGABYTE)
        assert len(call.chunks) == COUNT
    # while a data URI is checked its base64 and what that stands for are held
    assert peak.size <= 3 * MEGABYTE


@cases("make", [bytes, uri], ids=["bytes", "uri"])
def test_one_request_after_another(make: Make) -> None:
    """A call of several requests, one at a time, takes the memory of a few of them only."""
    given = documents(make)
    drain = Drain()
    with httpx.Client(transport=drain) as http_client:
        client = RerankClient(
            "m",
            provider=openrouter(),
            http_client=http_client,
            max_concurrency=1,
            max_documents_per_request=1,
        )
        warm(client)
        drain.size = 0
        with measured() as peak:
            client.rerank("q", given)
    assert drain.size > COUNT * MEGABYTE
    assert peak.size <= 4 * MEGABYTE


def echo(part: Chunk) -> bytes:
    """An answer that repeats all images of a request, as gateways do."""
    items = (
        b'{"index":%d,"relevance_score":0.5,"document":{"image":"%b"}}'
        % (number, uri(PNG + bytes([number]) * (MEGABYTE - len(PNG))).encode())
        for number in range(len(part.sent))
    )
    return b'{"results":[' + b",".join(items) + b"]}"


def test_reading_an_echo() -> None:
    """An answer that echoes the images takes at most 1.15 times its bytes while it is read."""
    [part] = prepared(*documents(bytes), max_request_bytes=None).chunks
    request, content = part.request(), echo(part)
    with measured() as peak:
        body = BodyReader(200, {"content-type": "application/json"}, request.size)
        for chunk in Chunks(content):
            body.add(chunk)
        response = parse_response(part, body.response())
    assert [result.index for result in response] == list(range(COUNT))
    within(peak, len(content), READING)


def test_reading_a_packed_echo() -> None:
    """An answer that comes packed takes at most 1.15 times its bytes once it is unpacked."""
    [part] = prepared(*documents(bytes), max_request_bytes=None).chunks
    request, content = part.request(), echo(part)
    packed = gzip.compress(content, 1)
    with measured() as peak:
        body = BodyReader(200, {"content-encoding": "gzip"}, request.size)
        for start in range(0, len(packed), CHUNK_PACKED):
            body.add(packed[start : start + CHUNK_PACKED])
        response = parse_response(part, body.response())
    assert len(response) == COUNT
    within(peak, len(content), READING)


def test_call_with_an_echo() -> None:
    """A call with an echo takes no more than its body and 1.15 times the answer."""
    given = documents(bytes)
    [part] = prepared(*given, max_request_bytes=None).chunks
    content = echo(part)
    drain = Drain(content)
    with httpx.Client(transport=drain) as http_client:
        client = RerankClient("m", provider=openrouter(), http_client=http_client, **WITHOUT_LIMITS)
        client.rerank("q", given)
        drain.size = 0
        with measured() as peak:
            response = client.rerank("q", given)
    assert len(response) == COUNT
    assert drain.size > COUNT * MEGABYTE
    assert peak.size <= SENDING * drain.size + READING * len(content)


def test_nothing_stays() -> None:
    """After a call nothing of its body or its answer is held."""
    given = documents(bytes)
    drain = Drain()
    with httpx.Client(transport=drain) as http_client:
        client = RerankClient("m", provider=openrouter(), http_client=http_client, **WITHOUT_LIMITS)
        warm(client)
        gc.collect()
        tracemalloc.start()
        try:
            response = client.rerank("q", given)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert len(response) == 1
    assert held < MEGABYTE / 2
