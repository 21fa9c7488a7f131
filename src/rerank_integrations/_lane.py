"""A way to send: connections for threads and for event loops, kept, and closed in time."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from rerank_integrations._theirs import LoopTheirs, Theirs, proxy_client
from rerank_integrations._traffic import Traffic
from rerank_integrations._wire import Request
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.base import Answer

if TYPE_CHECKING:
    import asyncio


class _Sender(Protocol):
    def send(self, request: Request, phases: Any, ends: float | None) -> Answer: ...
    def close(self) -> None: ...


class _LoopSender(Protocol):
    async def send(self, request: Request, phases: Any, left: float | None) -> Answer: ...
    async def aclose(self) -> None: ...


class Lane:
    """What sends the requests of a client: opened when first needed, one for each event loop.

    A client that the user handed in is used as it is, and never closed.
    """

    def __init__(self, http_client: Any = None, async_http_client: Any = None) -> None:
        self._traffic: dict[str, Traffic] = {}
        self._given = http_client and Theirs(http_client)
        self._given_async = async_http_client and LoopTheirs(async_http_client)
        self._own: _Sender | None = None
        self._of_loop: dict[asyncio.AbstractEventLoop, _OnLoop] = {}
        self._lock = threading.Lock()
        self._closed = False
        weakref.finalize(self, _let_go, self._of_loop)

    def traffic(self, url: str) -> Traffic:
        """What was sent to an endpoint of late."""
        return self._traffic.setdefault(url, Traffic())

    def unopened(self) -> Lane:
        """The same way with connections of its own."""
        given = self._given and self._given.client
        return Lane(given, self._given_async and self._given_async.client)

    def sender(self) -> _Sender:
        """What sends from any thread.

        Raises:
            ConfigurationError: the client is closed.
        """
        if self._closed:
            raise _closed()
        if self._given is not None:
            return self._given
        if self._own is None:
            from rerank_integrations._sockets import Sockets  # noqa: PLC0415  # slow

            with self._lock:
                if self._own is None:
                    client = proxy_client(is_async=False)
                    self._own = Sockets() if client is None else Theirs(client)
                    # an object that is dropped without close() leaves no open socket behind
                    weakref.finalize(self, self._own.close)
        return self._own

    async def loop_sender(self) -> _LoopSender:
        """What sends on the running event loop; the same errors."""
        if self._closed:
            raise _closed()
        if self._given_async is not None:
            return self._given_async
        loop = _running_loop()
        entry = self._of_loop.get(loop)
        if entry is None:
            from rerank_integrations._loop_sockets import LoopSockets  # noqa: PLC0415  # slow

            client = proxy_client(is_async=True)
            with self._lock:
                _forget_ended(self._of_loop)
                sender = LoopSockets() if client is None else LoopTheirs(client)
                entry = self._of_loop[loop] = _OnLoop(sender, loop)
            await entry.tie_to_loop()
        return entry.sender

    def close(self) -> None:
        """Close the connections of all threads; those of event loops close with their loop."""
        with self._lock:
            self._closed = True
            own, self._own = self._own, None
            _forget_ended(self._of_loop)
        if own is not None:
            own.close()

    async def aclose(self) -> None:
        """Close the connections of all threads and of the running event loop."""
        self.close()
        entry = self._of_loop.pop(_running_loop(), None)
        if entry is not None:
            await entry.aclose()


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio  # noqa: PLC0415  # slow, and loaded where a loop runs

    return asyncio.get_running_loop()


def _closed() -> ConfigurationError:
    return ConfigurationError("this client is closed; make a new RerankClient")


def _forget_ended(of_loop: dict[asyncio.AbstractEventLoop, _OnLoop]) -> None:
    """Drop the connections of loops that have ended.

    Nothing can close the sockets of a loop in order that was closed without
    `shutdown_asyncgens()`, so they are collected, and quietly.
    """
    ended = [loop for loop in of_loop if loop.is_closed()]
    left_open = sum(of_loop.pop(loop).is_open for loop in ended)
    if left_open:
        import warnings  # noqa: PLC0415  # rare

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def _let_go(of_loop: dict[asyncio.AbstractEventLoop, _OnLoop]) -> None:
    """Close the connections of loops that still run, held until then by nobody but `_LEAVING`."""
    _forget_ended(of_loop)
    _LEAVING.difference_update([entry for entry in _LEAVING if entry.loop.is_closed()])
    for loop, entry in of_loop.items():
        _LEAVING.add(entry)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(entry.leave)


class _OnLoop:
    """Connections that are closed in order when their event loop ends.

    A suspended async generator is the public way to be told: `asyncio.run` and every other
    runner that calls `loop.shutdown_asyncgens()` closes it, and so does the garbage collector.
    """

    def __init__(self, sender: _LoopSender, loop: asyncio.AbstractEventLoop) -> None:
        self.sender = sender
        self.loop = loop
        self.is_open = True
        self._keeper = self._until_closed()
        self._leaving: asyncio.Task[None] | None = None

    async def tie_to_loop(self) -> None:
        await anext(self._keeper)

    def leave(self) -> None:
        self._leaving = self.loop.create_task(self.aclose())

    async def aclose(self) -> None:
        await self._keeper.aclose()

    async def _until_closed(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            _LEAVING.discard(self)
            self.is_open = False
            await self.sender.aclose()


_LEAVING: set[_OnLoop] = set()
