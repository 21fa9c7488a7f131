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
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx

from rerank_integrations._flow import Flow, Fork, Heard, PartFlow, Send
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
        """Take a flow through its steps, in this thread; its forks in several."""
        client = self._client()  # opening the first one does not count
        return _driven(flow, client, time.monotonic())

    async def arun(self, flow: Flow) -> RerankResponse:
        """Take a flow through its steps, on the running event loop."""
        client = await self._async_client()
        return await _adriven(flow, client, time.monotonic())

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


def _driven(flow: Flow, client: Any, started: float) -> RerankResponse:
    try:
        step = next(flow)
        while True:
            try:
                came = (
                    _forked(step, client, started)
                    if isinstance(step, Fork)
                    else Heard(_sent(client, step, started), time.monotonic() - started)
                )
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def _adriven(flow: Flow, client: Any, started: float) -> RerankResponse:
    try:
        step = next(flow)
        while True:
            try:
                came = (
                    await _aforked(step, client, started)
                    if isinstance(step, Fork)
                    else Heard(await _asent(client, step, started), time.monotonic() - started)
                )
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _forked(fork: Fork, client: Any, started: float) -> list[RerankResponse]:
    pool = ThreadPoolExecutor(min(fork.at_once, len(fork.flows)), "rerank")
    try:
        futures = [pool.submit(_driven, flow, client, started) for flow in fork.flows]
        ended = wait(futures, return_when=FIRST_EXCEPTION).done
        failed = [future for future in futures if future in ended and future.exception()]
        return [future.result() for future in failed or futures]
    finally:  # after a failure nobody waits for what is on its way
        pool.shutdown(wait=False, cancel_futures=True)


async def _aforked(fork: Fork, client: Any, started: float) -> list[RerankResponse]:
    turns = asyncio.Semaphore(fork.at_once)

    async def in_turn(flow: PartFlow) -> RerankResponse:
        async with turns:
            return await _adriven(flow, client, started)

    tasks = [asyncio.create_task(in_turn(flow)) for flow in fork.flows]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Body:
    """The bytes of an answer, within the deadline and a limit of size."""

    def __init__(self, step: Send, ends: float | None) -> None:
        self._content = bytearray()  # grows in place: a list of chunks would be held twice
        self._most = _LARGEST_ANSWER + _GATEWAYS_ECHO * step.request.size
        self._ends = ends

    def add(self, chunk: bytes) -> None:
        self._content += chunk
        if len(self._content) > self._most:
            raise ResponseError("the answer is larger than any rerank answer; it was not read")
        if self._ends is not None and time.monotonic() > self._ends:
            raise TimeoutError

    def answer(self, response: httpx.Response) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, self._content)


def _sent(client: Any, step: Send, started: float) -> Answer | RerankError:
    if step.pause:
        time.sleep(step.pause)
    left = _left(step, started)
    ends = None if left is None else time.monotonic() + left
    try:
        request = _built(client, step, left, iter(step.request.content.reveal()))
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            body = _Body(step, ends)
            for chunk in response.iter_bytes():
                body.add(chunk)
            return body.answer(response)
        finally:
            response.close()
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


async def _asent(client: Any, step: Send, started: float) -> Answer | RerankError:
    if step.pause:
        await asyncio.sleep(step.pause)
    left = _left(step, started)
    try:
        async with asyncio.timeout(left):
            request = _built(client, step, left, _async_iter(step.request.content.reveal()))
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = _Body(step, None)
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
                return body.answer(response)
            finally:
                await response.aclose()
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


async def _async_iter(pieces: Iterable[bytes]) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece


def _left(step: Send, started: float) -> float | None:
    """The seconds that the call still has."""
    if step.deadline is None:
        return None
    left = started + step.deadline - time.monotonic()
    if left <= 0:
        raise RerankTimeoutError("the deadline passed before the request could be sent")
    return left


@cache
def _ssl_context() -> ssl.SSLContext:
    """One context for all clients: it takes longer to make than a client."""
    return httpx.create_ssl_context()


def _as_response(answer: Answer) -> httpx.Response:
    return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(answer.content))


def _built(client: Any, step: Send, left: float | None, pieces: Any) -> Any:
    phases = step.phases or client.timeout.as_dict()
    if left is not None:
        phases = {
            phase: left if seconds is None else min(left, seconds)
            for phase, seconds in phases.items()
        }
    whole = step.request.content.reveal()
    return client.build_request(
        "POST",
        step.request.url,
        headers={**step.request.headers.reveal(), "content-length": str(step.request.size)},
        content=whole[0] if len(whole) == 1 else pieces,
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
