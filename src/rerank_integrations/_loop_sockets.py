"""Connections for one event loop: the same as for threads, but for the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rerank_integrations._address import PHASES, Address, Phases, address_of
from rerank_integrations._http1 import Reader, RemoteProtocolError, pieces_of
from rerank_integrations._kept import KEPT_SECONDS, Kept
from rerank_integrations._sockets import has_news
from rerank_integrations._wire import Request
from rerank_integrations.providers.base import Answer

_HAPPY_EYEBALLS = 0.25  # seconds before the next address of a host is tried too, as RFC 8305 has it


class LoopSockets:
    """Connections for one event loop."""

    def __init__(self) -> None:
        self.kept: Kept[_Connection] = Kept()

    async def send(self, request: Request, phases: Phases | None, left: float | None) -> Answer:
        """Post the request, and read the whole answer; who calls sees to the end in time."""
        del left
        address = address_of(request.url)
        connection = self.kept.take(address.key)
        if connection is None:
            connection = await _connected(address, (phases or PHASES)["connect"])
        try:
            return await connection.exchange(request, address, phases or PHASES)
        finally:
            self.kept.give_back(address.key, connection)

    async def aclose(self) -> None:
        """Close the connections that are free; the others close after their answer."""
        await asyncio.gather(*(connection.gone for connection in self.kept.close()))


class _Connection(asyncio.Protocol):
    """A connection that is told what comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = Reader()
        self._come: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._extend: Callable[[], None] | None = None
        self._error: Exception | None = None
        self._used = loop.time()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.is_reusable = False

    async def exchange(self, request: Request, address: Address, phases: Phases) -> Answer:
        """Send, and read the whole answer."""
        self.is_reusable = False
        reader, self._come = self._reader, self._loop.create_future()
        reader.begin(request)
        was_sent = await self._write(request, address, phases["write"], self._come)
        await self._until(self._come, phases["read"])
        if reader.answer is None:
            error, self._error = self._error, None
            raise error or RemoteProtocolError("the connection was closed")
        self._used = self._loop.time()
        self.is_reusable = was_sent and reader.keeps_alive
        return reader.answer

    def stands(self) -> bool:
        """Whether another request may be sent."""
        if self._transport.is_closing() or not self._reader.keeps_alive:
            return False
        # the loop may not have heard yet that the server has closed
        is_old = self._loop.time() - self._used > KEPT_SECONDS
        return not is_old and not has_news(self._transport.get_extra_info("socket"))

    def close(self) -> None:
        """Close the connection; `gone` says when it is."""
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """The connection stands."""
        self._transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        """Some of an answer, or something that was not asked for."""
        try:
            self._reader.feed(data)
        except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
            self._error = error
        if self._reader.answer is not None or self._error is not None:
            _wake(self._come)
            _wake(self._drained)  # an answer that came before all was sent, such as a 413
        elif self._extend is not None:
            self._extend()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        if error is not None:
            self._error = self._error or error
        else:
            self.data_received(b"")
        self._reader.close()
        for waiting in (self._drained, self._come, self.gone):
            _wake(waiting)

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """The socket takes more."""
        _wake(self._drained)

    async def _write(
        self,
        request: Request,
        address: Address,
        seconds: float | None,
        come: asyncio.Future[None],
    ) -> bool:
        """Send all, unless an answer comes before; whether all was sent."""
        for piece in pieces_of(request, address):
            if come.done():
                return False
            self._transport.write(piece)
            if self._drained is not None and not self._drained.done():
                async with asyncio.timeout(seconds):
                    await self._drained
        return True

    async def _until(self, come: asyncio.Future[None], seconds: float | None) -> None:
        """Wait for the answer, and no longer than so for each piece of it."""
        if seconds is None:
            await come
            return
        async with asyncio.timeout(seconds) as patience:

            def extend() -> None:
                if not patience.expired():
                    patience.reschedule(self._loop.time() + seconds)

            self._extend = extend
            try:
                await come
            finally:
                self._extend = None


async def _connected(address: Address, seconds: float | None) -> _Connection:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        _, connection = await loop.create_connection(
            lambda: _Connection(loop),
            address.host,
            address.port,
            ssl=address.ssl_context(),
            happy_eyeballs_delay=_HAPPY_EYEBALLS,
        )
    return connection


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
