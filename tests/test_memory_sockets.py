"""Tests of memory over real sockets: a far side in another process, so that only ours counts.

What is measured is Python's own memory beyond that of the documents, with `tracemalloc`.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from calls import QUERY, TEXTS, client_of
from rerank_integrations import RerankClient, RerankDocument
from support import part

COUNT = 40
MEGABYTE = 1_000_000
PNG = b"\x89PNG\r\n\x1a\n"
SENDING = 1.05
READING = 1.2  # a bytearray grows by an eighth; the rest is that of the call
# reads requests, keeps nothing of them, and answers with as many bytes as a header asks for
FAR = """
import os, socket, sys, threading

def serve(connection):
    file = connection.makefile("rb")
    while file.readline():
        headers = {}
        while (line := file.readline()) not in (b"\\r\\n", b""):
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        left = int(headers[b"content-length"])
        while left:
            left -= len(file.read(min(left, 65536)))
        echo = b"A" * int(headers.get(b"x-echo", b"0"))
        body = b'{"results":[{"index":0,"relevance_score":0.5,"document":{"image":"%b"}}]}' % echo
        connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body))
        connection.sendall(body)

def ends():
    sys.stdin.read()
    os._exit(0)

listening = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=ends).start()
print(listening.getsockname()[1], flush=True)
while True:
    connection, _ = listening.accept()
    threading.Thread(target=serve, args=(connection,)).start()
"""

Measured = Callable[..., int]


def uri(content: bytes, kind: str) -> str:
    """A data URI."""
    return f"data:image/png{kind};base64,{base64.b64encode(content).decode()}"


def pictures(make: Callable[[bytes], object]) -> list[Any]:
    """Documents with a different image of a megabyte each."""
    contents = (PNG + bytes([number]) * MEGABYTE for number in range(COUNT))
    return [RerankDocument(image=make(content)) for content in contents]


def pages() -> list[Any]:
    """Documents with a different text of a megabyte each."""
    return [chr(ord("A") + number) * MEGABYTE for number in range(COUNT)]


KINDS: dict[str, Callable[[], list[Any]]] = {
    "bytes": lambda: pictures(bytes),
    "uri": lambda: pictures(lambda content: uri(content, "")),
    "uri with a parameter": lambda: pictures(lambda content: uri(content, ';name="a.png"')),
    "text": pages,
}


@pytest.fixture(name="far", scope="module")
def far_fixture() -> Iterator[str]:
    """The address of the far side."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", FAR], **pipes) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


@pytest.fixture(name="measured", params=["sync", "async"])
def measured_fixture(request: pytest.FixtureRequest) -> Measured:
    """Ranks documents, and says how many bytes were held at most meanwhile."""

    def sync(client: RerankClient, documents: list[Any]) -> int:
        with client:
            client.rerank(QUERY, TEXTS)  # what is loaded by the first call is not its own
            with measuring() as peak:
                client.rerank(QUERY, documents)
        return peak()

    async def on_a_loop(client: RerankClient, documents: list[Any]) -> int:
        async with client:
            await client.arerank(QUERY, TEXTS)
            with measuring() as peak:
                await client.arerank(QUERY, documents)
        return peak()

    def on_its_loop(client: RerankClient, documents: list[Any]) -> int:
        return asyncio.run(on_a_loop(client, documents))

    return sync if request.param == "sync" else on_its_loop


@contextmanager
def measuring() -> Iterator[Callable[[], int]]:
    """Gives what says, afterwards, how many bytes were held at most."""
    found: list[int] = []
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: found[0]
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def within(peak: int, size: int, factor: float) -> None:
    """See that no more was held than so many times the size, and say by how much it was."""
    assert peak <= factor * size, f"{peak / size:.3f} times the bytes, not {factor}"


@pytest.mark.parametrize("kind", KINDS)
def test_sending(far: str, measured: Measured, kind: str) -> None:
    """A call takes at most 1.05 times the body of its request, above the caller's documents."""
    documents = KINDS[kind]()
    size = part(*documents, max_request_bytes=None).request().size
    assert size > COUNT * MEGABYTE
    client = client_of(far, max_request_bytes=None, deadline=None)
    within(measured(client, documents), size, SENDING)


@pytest.mark.parametrize("kind", ["bytes", "uri with a parameter"])
def test_sending_in_parts(far: str, measured: Measured, kind: str) -> None:
    """A call of several requests takes the memory of those that are on their way, and one more."""
    documents = KINDS[kind]()
    size = part(*documents[:4], max_request_bytes=None).request().size
    limits: dict[str, Any] = {"max_request_bytes": size + 100, "max_concurrency": 2}
    client = client_of(far, deadline=None, **limits)
    within(measured(client, documents), 3 * size, SENDING)


@pytest.mark.parametrize("size", [10 * MEGABYTE, 30 * MEGABYTE])
def test_reading(far: str, measured: Measured, size: int) -> None:
    """An answer with an echo takes at most 1.15 times its bytes."""
    client = client_of(far, deadline=None, extra_headers={"x-echo": str(size)})
    within(measured(client, ["a"]), size, READING)
