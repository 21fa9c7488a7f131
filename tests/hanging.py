"""A server on the test's own event loop that knows at any time how many connections are open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rerank_integrations import OpenRouter, RerankClient

TIME = 20.0  # seconds until a test that waits in vain fails


class Hanging:
    """Ranks what it is asked, unless it hangs; a hanging one is silent until the client goes.

    Attributes:
        hangs: "before" it sends anything, "inside" of an answer, or "" for never.
        status: that of its answers.
    """

    def __init__(self) -> None:
        self.url = ""
        self.hangs = ""
        self.status = 200
        self.asked = 0
        self.opened = 0
        self.open = 0
        self._changed = asyncio.Condition()

    async def until_asked(self, times: int) -> None:
        """Wait for so many requests."""
        await self._until(lambda: self.asked >= times)

    async def until_open(self, count: int) -> None:
        """Wait until so many connections are open, and no more."""
        await self._until(lambda: self.open == count)

    async def _until(self, holds: Any) -> None:
        async with asyncio.timeout(TIME), self._changed:
            await self._changed.wait_for(holds)

    async def _notes(self, **changes: int) -> None:
        async with self._changed:
            for name, change in changes.items():
                setattr(self, name, getattr(self, name) + change)
            self._changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until it ends."""
        await self._notes(opened=1, open=1)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                (size,) = (int(line[15:]) for line in lines if line.startswith("content-length:"))
                content = await reader.readexactly(size)
                await self._notes(asked=1)
                if self.hangs == "before":
                    break
                answer = self._answer(content)
                writer.write(answer[:-5] if self.hangs == "inside" else answer)
                await writer.drain()
                if self.hangs:
                    break
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()
            await self._notes(open=-1)

    def _answer(self, content: bytes) -> bytes:
        documents = json.loads(content)["documents"]
        results = [{"index": i, "relevance_score": 0.5} for i in range(len(documents))]
        body = json.dumps({"results": results}).encode()
        head = f"HTTP/1.1 {self.status} Any\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


@asynccontextmanager
async def hanging(hangs: str = "") -> AsyncIterator[Hanging]:
    """Such a server, which ends with the block."""
    played = Hanging()
    played.hangs = hangs
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0, backlog=512)
    played.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield played
        await played.until_open(0)
    finally:
        server.close()


def client_at(played: Hanging, **options: Any) -> RerankClient:
    """A client that asks it."""
    return RerankClient("m", provider=OpenRouter(api_key="the-key", base_url=played.url), **options)
