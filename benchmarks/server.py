"""A loopback server in a process of its own: it answers every POST with the same prebuilt bytes."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


@contextmanager
def serving(results: int, *, echo: int = 0, latency: float = 0.0) -> Iterator[str]:
    """The base URL of a server that gives so many results after so many seconds.

    Args:
        results: how many, the first document best.
        echo: characters of each document that come back with it.
        latency: seconds between a request and its answer.
    """
    options = ("--results", str(results), "--echo", str(echo), "--latency", str(latency))
    command = (sys.executable, str(Path(__file__)), *options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def answer(results: int, echo: int) -> bytes:
    """An answer that every client here can read: those of Cohere, Jina and OpenRouter in one."""
    body = {
        "id": "gen-rerank-1",
        "model": "m",
        "provider": "Cohere",
        "results": [
            {
                "index": index,
                "relevance_score": 1 - index / 20_000,
                "document": {"text": f"{index} ".ljust(echo, "x") if echo else ""},
            }
            for index in range(results)
        ],
        "usage": {"search_units": 1, "total_tokens": 100},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    return head.encode() + _END + content


class _Connection(asyncio.Protocol):
    def __init__(self, prebuilt: bytes, latency: float) -> None:
        self._prebuilt, self._latency = prebuilt, latency
        self._head, self._missing = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._head += data
            head, end, body = self._head.partition(_END)
            found = _LENGTH.search(head)
            if not end or found is None:
                return
            self._head, self._missing, data = b"", int(found[1]), body
        self._missing -= len(data)
        if self._missing:
            return
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._send)
        else:
            self._send()

    def _send(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._prebuilt)


async def _serve(results: int, echo: int, latency: float) -> None:
    prebuilt = answer(results, echo)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(prebuilt, latency), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, required=True)
    parser.add_argument("--echo", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    given = parser.parse_args()
    asyncio.run(_serve(given.results, given.echo, given.latency))
