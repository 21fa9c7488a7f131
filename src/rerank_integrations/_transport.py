"""The httpx clients behind a RerankClient: one for all threads, one for each event loop.

This module is light to import; httpx is loaded at the first call.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rerank_integrations._options import is_client
from rerank_integrations._rate_limit import MOST_STATES, Availability, RateLimiter, States
from rerank_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from rerank_integrations._sender import AsyncSender, Sender
    from rerank_integrations.providers._model_list import ModelInfo


class Share:
    """The use of a transport by one RerankClient: by the original or by a copy of it."""

    def __init__(self, *, is_copy: bool, is_open: bool) -> None:
        self.is_copy, self.is_open = is_copy, is_open


class Transport:
    """The HTTP clients of a RerankClient and its copies, and the state of each endpoint.

    A client that the user passed is never closed; a client that was created here is closed here.

    Args:
        http_client: a client with the interface of `httpx.Client`, or a callable that creates one.
        async_http_client: the same for event loops.
    """

    def __init__(self, http_client: Any = None, async_http_client: Any = None) -> None:
        self.http_client = http_client
        self.async_http_client = async_http_client
        self._limiters = States(RateLimiter, only_idle=True)
        self._availabilities = States(Availability)
        self._models: dict[bytes, tuple[ModelInfo, ...]] = {}
        self._sender: Sender | None = None
        self._of_loop: dict[asyncio.AbstractEventLoop, _LoopEntry] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._shares: weakref.WeakSet[Share] = weakref.WeakSet()  # those that are open
        self._finalizers: list[Any] = [weakref.finalize(self, _close_loops, self._of_loop)]
        _TRANSPORTS.add(self)

    def limiter(self, url: str) -> RateLimiter:
        """Return the rate limiter of an endpoint."""
        return self._limiters[url]

    def availability(self, key: bytes) -> Availability:
        """Return Retry-After and circuit breaker of an endpoint; the key comes from `key_of`."""
        return self._availabilities[key]

    def kept_models(self, key: bytes) -> tuple[ModelInfo, ...] | None:
        """Return the cached list of models of a provider; None if there is none."""
        return self._models.get(key)

    def keep_models(self, key: bytes, models: tuple[ModelInfo, ...]) -> None:
        """Cache the list of models of a provider; the key comes from `key_of`."""
        with self._lock:
            if len(self._models) >= MOST_STATES:
                self._models.clear()
            self._models[key] = models

    @property
    def has_availabilities(self) -> bool:
        """Whether any endpoint has failed or sent Retry-After."""
        return len(self._availabilities) > 0

    def clone(self) -> Transport:
        """Return a transport with the same clients and factories, and connections of its own."""
        return Transport(self.http_client, self.async_http_client)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle factories, but not live clients."""
        both = (self.http_client, self.async_http_client)
        kept = [None if is_client(given) else given for given in both]
        return dict(zip(("http_client", "async_http_client"), kept, strict=True))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def share(self, of: Share | None = None) -> Share:
        """Return the share of a new client, or with `of` of a copy of the client that has `of`."""
        share = Share(is_copy=of is not None, is_open=of is None or of.is_open)
        if share.is_open:
            with self._lock:
                self._shares.add(share)
        return share

    def leave(self, share: Share) -> bool:
        """End a share, and return whether to close: if it was the original's or the last one."""
        share.is_open = False
        with self._lock:
            self._shares.discard(share)
            return not (share.is_copy and self._shares)

    def check_open(self, share: Share | None = None) -> None:
        """Raise ConfigurationError if the client was closed, or this one of those that share."""
        if self._closed or (share is not None and not share.is_open):
            raise ConfigurationError("this client is closed; make a new RerankClient")

    def sender(self) -> Sender:
        """Return the sender for all threads.

        Raises:
            ConfigurationError: the transport is closed, only an async client was passed, or the
                client was used before a fork.
        """
        self.check_open()
        if self._sender is not None:
            return self._sender
        self._check_given("http_client", "async_http_client", "rerank", "arerank")
        from rerank_integrations._sender import Sender  # noqa: PLC0415  # loads httpx

        with self._lock:
            if self._sender is None:
                self._sender = Sender(self.http_client)
                if not is_client(self.http_client):
                    # closes the sockets if the object is dropped without close()
                    self._finalizers.append(weakref.finalize(self, self._sender.close))
            return self._sender

    async def async_sender(self) -> AsyncSender:
        """Return the sender of the running event loop.

        Raises:
            ConfigurationError: no event loop runs, the transport is closed, only a sync client was
                passed, or the client was used before a fork.
        """
        self.check_open()
        loop = running_loop()
        entry = self._of_loop.get(loop)
        if entry is not None:
            return entry.sender
        self._check_given("async_http_client", "http_client", "arerank", "rerank")
        from rerank_integrations._sender import AsyncSender  # noqa: PLC0415  # loads httpx

        with self._lock:
            _forget_ended(self._of_loop)
            sender = AsyncSender(self.async_http_client)
            entry = self._of_loop[loop] = _LoopEntry(sender, loop)
        await entry.tie_to_loop()
        return sender

    def close(self) -> None:
        """Close the connections of all threads; those of an event loop close when it ends."""
        with self._lock:
            self._closed = True
            sender, self._sender = self._sender, None
            _forget_ended(self._of_loop)
        if sender is not None:
            sender.close()

    async def aclose(self) -> None:
        """Close the connections of all threads and of the running event loop."""
        self.close()
        entry = self._of_loop.pop(running_loop(), None)
        if entry is not None:
            await entry.aclose()

    def _check_given(self, wanted: str, other: str, method: str, other_method: str) -> None:
        given = getattr(self, wanted)
        if given is None and getattr(self, other) is not None:
            raise ConfigurationError(
                f"{method} does not use {other}=; pass {wanted}= too, or call {other_method}"
            )
        if is_client(given) and _USED_IN.setdefault(given, os.getpid()) != os.getpid():
            raise ConfigurationError(
                f"{wanted}= is a client that was used before this process was forked, so it shares "
                "its connections with the parent; pass a callable that creates the client, such as "
                f"{wanted}=lambda: {type(given).__name__}(...)"
            )

    def _leave_to_parent(self) -> None:
        """Reset the state in a forked child: connections and locks belong to the parent."""
        for finalizer in self._finalizers:
            finalizer.detach()
        # kept, so that the parent's connections are not closed when they are garbage-collected here
        _OF_PARENT.append((self._sender, dict(self._of_loop)))
        self._sender = None
        self._of_loop.clear()
        self._lock = threading.Lock()
        self._finalizers = [weakref.finalize(self, _close_loops, self._of_loop)]
        self._limiters.reset_locks()
        self._availabilities.reset_locks()


# the process in which a user's client was first used
_USED_IN: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_TRANSPORTS: weakref.WeakSet[Transport] = weakref.WeakSet()
_OF_PARENT: list[Any] = []


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport._leave_to_parent()  # noqa: SLF001
    _OF_PARENT.append(set(_CLOSING))
    _CLOSING.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigurationError: no asyncio event loop runs in this thread.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "async calls need a running asyncio event loop (uvloop is one); under trio, run the "
            "sync method in a thread: await trio.to_thread.run_sync(client.rerank, ...)"
        ) from None


class _LoopEntry:
    """The connections of an event loop, which are closed in order when the loop ends.

    A suspended async generator is the public way to be notified of that: `asyncio.run` and every
    other runner that calls `loop.shutdown_asyncgens()` closes it, and so does the garbage
    collector.
    """

    def __init__(self, sender: AsyncSender, loop: asyncio.AbstractEventLoop) -> None:
        self.sender = sender
        self.loop = loop
        self.is_open = True
        self._keeper = self._until_closed()
        self._closing: asyncio.Task[None] | None = None

    async def tie_to_loop(self) -> None:
        """Register the connections, so that the loop closes them when it ends."""
        await anext(self._keeper)

    def close_soon(self) -> None:
        """Close the connections on their own loop."""
        self._closing = self.loop.create_task(self._close())

    async def aclose(self) -> None:
        """Close the connections; must run on their own loop."""
        await self._keeper.aclose()

    async def _close(self) -> None:
        # not only by the generator: a loop that ends meanwhile closes all generators too
        await self.sender.aclose()
        with suppress(RuntimeError):  # it is being closed
            await self._keeper.aclose()

    async def _until_closed(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            _CLOSING.discard(self)
            self.is_open = False
            if self._closing is not None and self._closing is not asyncio.current_task():
                await asyncio.wait([self._closing])
            await self.sender.aclose()


_CLOSING: set[_LoopEntry] = set()  # entries of collected clients whose loop still runs


def _forget_ended(of_loop: dict[asyncio.AbstractEventLoop, _LoopEntry]) -> None:
    """Drop the connections of loops that have ended.

    If a loop was closed without `shutdown_asyncgens()`, its sockets cannot be closed in order. So
    they are garbage-collected, and the warnings about that are suppressed.
    """
    ended = [loop for loop in of_loop if loop.is_closed()]
    left_open = sum(of_loop.pop(loop).is_open for loop in ended)
    if left_open:
        import warnings  # noqa: PLC0415  # rare

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def _close_loops(of_loop: dict[asyncio.AbstractEventLoop, _LoopEntry]) -> None:
    """Close the connections of loops that still run; `_CLOSING` holds them until then."""
    _forget_ended(of_loop)
    _CLOSING.difference_update([entry for entry in list(_CLOSING) if entry.loop.is_closed()])
    for loop, entry in of_loop.items():
        _CLOSING.add(entry)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(entry.close_soon)
