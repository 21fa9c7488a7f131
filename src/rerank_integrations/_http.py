"""The rim: HTTP connections, and an engine in this process behind the same interface.

The only file that names the HTTP library.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx

from rerank_integrations._flow import Heard, Send
from rerank_integrations.errors import (
    ConfigurationError,
    RerankError,
    RerankTimeoutError,
    ResponseError,
    TransportError,
)
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers.base import Answer

if TYPE_CHECKING:
    import ssl

Flow = Generator[Send, Heard, RerankResponse]
Handler = Callable[[bytes], Answer]

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100)
_LARGEST_ANSWER = 32 * 2**20  # bytes, besides an echo of the request
_GATEWAYS_ECHO = 2  # an echoed document is at most this many times as long, by JSON escapes


class Connections:
    """The HTTP clients, opened when first needed: one for all threads, one for each event loop.

    A client that the user handed in is used as it is, and never closed.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        http_client: Any = None,
        async_http_client: Any = None,
    ) -> None:
        self._handler = handler
        self._given = http_client
        self._given_async = async_http_client
        self._own: httpx.Client | None = None
        self._of_loop: dict[asyncio.AbstractEventLoop, _LoopClient] = {}
        self._lock = threading.Lock()
        self._closed = False
        weakref.finalize(self, _let_go, self._of_loop)

    def run(self, flow: Flow) -> RerankResponse:
        """Take a flow through its steps, in this thread."""
        try:
            step = next(flow)
            client = self._client()
            started = time.monotonic()  # opening the first client does not count
            while True:
                if step.pause:
                    time.sleep(step.pause)
                step = flow.send(Heard(_sent(client, step), time.monotonic() - started))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def arun(self, flow: Flow) -> RerankResponse:
        """Take a flow through its steps, on the running event loop."""
        try:
            step = next(flow)
            client = await self._async_client()
            started = time.monotonic()
            while True:
                if step.pause:
                    await asyncio.sleep(step.pause)
                step = flow.send(Heard(await _asent(client, step), time.monotonic() - started))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _client(self) -> Any:
        with self._lock:
            self._check_open()
            if self._given is not None:
                return self._given
            if self._own is None:
                self._own = httpx.Client(**self._settings())
                # an object that is dropped without close() leaves no open socket behind
                weakref.finalize(self, self._own.close)
            return self._own

    async def _async_client(self) -> Any:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check_open()
            if self._given_async is not None:
                return self._given_async
            entry = self._of_loop.get(loop)
            if entry is None:
                _forget_ended(self._of_loop)
                client = httpx.AsyncClient(**self._settings())
                entry = self._of_loop[loop] = _LoopClient(client, loop)
        await entry.tie_to_loop()
        return entry.client

    def _settings(self) -> dict[str, Any]:
        if self._handler is not None:
            return {"transport": _InProcess(self._handler)}
        return {"limits": _LIMITS, "verify": _ssl_context(), "timeout": _TIMEOUT}

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("this client is closed; make a new RerankClient")

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
        entry = self._of_loop.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            await entry.aclose()


def _forget_ended(of_loop: dict[asyncio.AbstractEventLoop, _LoopClient]) -> None:
    """Drop the clients of loops that have ended.

    Nothing can close the sockets of a loop in order that was closed without
    `shutdown_asyncgens()`, so they are collected, and quietly.
    """
    ended = [loop for loop in of_loop if loop.is_closed()]
    left_open = sum(of_loop.pop(loop).is_open() for loop in ended)
    if left_open:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def _let_go(of_loop: dict[asyncio.AbstractEventLoop, _LoopClient]) -> None:
    """Close the clients of loops that still run, held until then by nobody but `_LEAVING`."""
    _forget_ended(of_loop)
    _LEAVING.difference_update([entry for entry in _LEAVING if entry.loop.is_closed()])
    for loop, entry in of_loop.items():
        _LEAVING.add(entry)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(entry.leave)


class _LoopClient:
    """An async client that is closed in order when its event loop ends.

    A suspended async generator is the public way to be told: `asyncio.run` and every other
    runner that calls `loop.shutdown_asyncgens()` closes it, and so does the garbage collector.
    """

    def __init__(self, client: httpx.AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self.loop = loop
        self._keeper = self._until_closed()
        self._tied = False
        self._leaving: asyncio.Task[None] | None = None

    async def tie_to_loop(self) -> None:
        if not self._tied:
            self._tied = True
            await anext(self._keeper)

    def is_open(self) -> bool:
        return not self.client.is_closed

    def leave(self) -> None:
        self._leaving = self.loop.create_task(self.aclose())

    async def aclose(self) -> None:
        await self._keeper.aclose()

    async def _until_closed(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            _LEAVING.discard(self)
            await self.client.aclose()


_LEAVING: set[_LoopClient] = set()


class _InProcess(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Hands requests to an engine in this process; in a thread when called from a loop."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return _as_response(self._handler(request.read()))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        return _as_response(await asyncio.to_thread(self._handler, content))


class _Body:
    """The chunks of an answer, within the deadline and a limit of size."""

    def __init__(self, step: Send, ends: float | None) -> None:
        self._chunks: list[bytes] = []
        self._room = _LARGEST_ANSWER + _GATEWAYS_ECHO * len(step.request.content.reveal())
        self._ends = ends

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._room -= len(chunk)
        if self._room < 0:
            raise ResponseError("the answer is larger than any rerank answer; it was not read")
        if self._ends is not None and time.monotonic() > self._ends:
            raise TimeoutError

    def answer(self, response: httpx.Response) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, b"".join(self._chunks))


def _sent(client: Any, step: Send) -> Answer | RerankError:
    ends = None if step.seconds is None else time.monotonic() + step.seconds
    try:
        response = client.send(_built(client, step), stream=True, follow_redirects=False)
        try:
            body = _Body(step, ends)
            for chunk in response.iter_bytes():
                body.add(chunk)
            return body.answer(response)
        finally:
            response.close()
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


async def _asent(client: Any, step: Send) -> Answer | RerankError:
    try:
        async with asyncio.timeout(step.seconds):
            response = await client.send(_built(client, step), stream=True, follow_redirects=False)
            try:
                body = _Body(step, None)
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
                return body.answer(response)
            finally:
                await response.aclose()
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


@cache
def _ssl_context() -> ssl.SSLContext:
    """One context for all clients: it takes longer to make than a client."""
    return httpx.create_ssl_context()


def _as_response(answer: Answer) -> httpx.Response:
    return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def _built(client: Any, step: Send) -> Any:
    phases = step.phases or client.timeout.as_dict()
    left = step.seconds
    if left is not None:
        phases = {
            phase: left if seconds is None else min(left, seconds)
            for phase, seconds in phases.items()
        }
    return client.build_request(
        "POST",
        step.request.url,
        headers=step.request.headers.reveal(),
        content=step.request.content.reveal(),
        extensions={"timeout": phases},
    )


def _translated(cause: Exception, step: Send) -> RerankError:
    """The error of an HTTP library as ours; by name, for a user's client may be httpx2's."""
    if isinstance(cause, RerankError):
        return cause
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    where = step.request.url
    error: RerankError
    if kinds & {"TimeoutException", "TimeoutError"}:
        error = RerankTimeoutError(f"no answer from {where} in time; timeout= or deadline= passed")
    elif "DecodingError" in kinds:
        error = ResponseError(f"the answer from {where} cannot be decoded: {cause}")
    else:
        lasting = kinds & {"UnsupportedProtocol", "LocalProtocolError"}
        error = TransportError(
            f"no answer from {where}: {type(cause).__name__}: {cause}",
            is_retryable="TransportError" in kinds and not lasting,
        )
    error.__cause__ = _without_frames(cause)
    return error


def _without_frames(cause: BaseException) -> BaseException:
    """The cause without its frames, whose local variables hold headers and bodies."""
    seen: BaseException | None = cause
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
    return cause
