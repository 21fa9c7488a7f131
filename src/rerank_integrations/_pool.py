"""The default httpx clients, with connection pools that stay fast at high concurrency.

The pool of httpx checks all of its connections for each request, and slows down above about 20
concurrent requests (https://github.com/encode/httpx/issues/3215). These pools give each connection
an `httpx.HTTPTransport` of its own and keep the idle ones in a stack: the connection that was used
last is used next.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import httpx

MAX_CONNECTIONS = 1000  # in one pool, which serves one origin
MAX_IDLE = 256
IDLE_SECONDS = 55.0  # most servers close an idle connection after 60 s or more
ONE_CONNECTION = httpx.Limits(
    max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_SECONDS
)
_WRITE_SIZE = 256 * 1024  # bytes; the deadline is checked before each
_READ_SIZE = 64 * 1024
_UNWATCHED = 64 * 1024  # bytes; a smaller write does not block
_LOOK_SECONDS = 0.01  # to check for a response that came while the write timed out
_STATUS = b"HTTP/1.1 413"
_PROXY_ANSWERED = "setup_socks5_connection.complete"
_CONNECTED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")
_call = threading.local()  # .ends: the deadline of this thread's call, in monotonic seconds
# whether this task sends a request of this package, on a connection shared with the user's requests
is_ours: ContextVar[bool] = ContextVar("is_ours", default=False)


def set_deadline(ends: float | None) -> None:
    """Set the deadline for reads and writes of this thread, in monotonic seconds."""
    _call.ends = ends


def bound_stream(event: str, info: Mapping[str, Any]) -> None:
    """Limit every read and write of a new connection by the deadline of its thread's call.

    This is needed because the read timeout of httpx starts again with every byte. It is the `trace`
    extension of a sync request: https://www.encode.io/httpcore/extensions/#trace
    """
    if not event.endswith(_CONNECTED):
        return
    stream = info["return_value"]
    read, write = stream.read, stream.write
    early = _EarlyResponse(stream)

    def bounded_read(max_bytes: int, timeout: float | None = None) -> Any:
        return early.take(max_bytes) or read(max_bytes, _time_left(timeout))

    def bounded_write(buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)  # httpcore would copy the rest after each write
        try:
            for start in range(0, len(view), _WRITE_SIZE):
                write(view[start : start + _WRITE_SIZE], _time_left(timeout))
        except Exception as error:
            if type(error).__name__ != "WriteTimeout":
                raise
            with suppress(Exception):  # no response has come
                early.add(read(_READ_SIZE, _LOOK_SECONDS))
            if not early.is_refusal():
                raise
            raise early.stop() from error

    stream.read, stream.write = bounded_read, bounded_write


async def watch_shared_stream(event: str, info: Mapping[str, Any]) -> None:
    """Call `watch_stream` on a connection of the user's client, only for our own requests."""
    await watch_stream(event, info, is_ours.get)


async def watch_stream(
    event: str, info: Mapping[str, Any], watches: Callable[[], bool] = lambda: True
) -> None:
    """Stop a large write on a new connection of an event loop when an early response comes.

    It is the `trace` extension of an async request. On an event loop, a connection is not read
    while a request is written to it. If the server closes the connection and more is written, the
    data received so far is lost. So the headers of a request are written together with the
    beginning of its body.
    """
    if not event.endswith(_CONNECTED):
        return
    stream = info["return_value"]
    read, write = stream.read, stream.write
    early = _EarlyResponse(stream)
    head, is_http1 = b"", False

    async def watched_read(
        max_bytes: int, timeout: float | None = None
    ) -> Any:  # the signature of httpcore
        if head:
            await watched_write(b"", timeout)
        return early.take(max_bytes) or await read(max_bytes, timeout)

    async def look() -> None:
        with suppress(Exception):  # the write or the next read fails with the same error
            while early.add(await read(_READ_SIZE, None)):
                pass

    async def watched_write(
        buffer: bytes, timeout: float | None = None
    ) -> None:  # the signature of httpcore
        nonlocal head, is_http1
        if not watches():
            await write(buffer, timeout)
            return
        if buffer[:5] == b"POST " and buffer[-4:] == b"\r\n\r\n" and not head:
            head, is_http1 = buffer, True
            return
        is_first, buffer, head = bool(head), head + buffer, b""
        if not buffer:
            return
        is_small = len(buffer) <= _UNWATCHED
        # no response can come before the first write
        is_quiet = (is_small and is_first) or not stream.get_extra_info("is_readable")
        # with HTTP/2 other requests read meanwhile, and two may not read at once
        if not is_http1 or early.has_come or (is_small and is_quiet):
            await write(buffer, timeout)
            return
        tasks = [asyncio.ensure_future(look())]
        try:
            ends = time.monotonic() + _LOOK_SECONDS
            while not (is_quiet or tasks[0].done() or time.monotonic() > ends):
                await asyncio.wait(tasks, timeout=0)  # a failing write would lose received data
                is_quiet = not stream.get_extra_info("is_readable")
            await asyncio.wait(tasks, timeout=0)
            if not early.is_refusal():
                tasks.append(asyncio.ensure_future(write(buffer, timeout)))
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if early.is_refusal():
                raise early.stop()
            await tasks[-1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    stream.read, stream.write = watched_read, watched_write


class _EarlyResponse:
    """The data that a server sends before it has read the whole request.

    After a status that refuses the request, such as 413 or 401, nothing more is written. Otherwise
    the write to a server that stops reading would time out, and the request would be retried.
    """

    def __init__(self, stream: Any) -> None:
        self._package = type(stream).__module__.partition(".")[0]
        self._data = b""

    @property
    def has_come(self) -> bool:
        """Whether a part of a response was received."""
        return bool(self._data)

    def add(self, data: bytes) -> bool:
        """Keep data that was read; return whether more is needed to know the status."""
        self._data += data
        return bool(data) and len(self._data) < len(_STATUS)

    def take(self, max_bytes: int) -> bytes:
        """Return the data that was read, and forget it."""
        data, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return data

    def is_refusal(self) -> bool:
        """Return whether the status is final and not a success."""
        is_http = self._data.startswith(_STATUS[:7]) and len(self._data) >= len(_STATUS)
        return is_http and self._data[9:10] in (b"3", b"4", b"5")

    def stop(self) -> Exception:
        """Return the error after which httpcore reads the response."""
        error: Exception = sys.modules[self._package].WriteError("the server has responded")
        return error


def _time_left(timeout: float | None) -> float | None:
    return shortened(timeout, getattr(_call, "ends", None))


class _Connection:
    """A transport with one connection, which counts what is read for the current request.

    h11 keeps bytes that arrive after a response, and treats them as the next response. So a
    connection is reused only if its last response ended exactly where the received data ends.
    """

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.stream: Any = None  # the network stream, once connected
        self.idle_since = 0.0
        self._reads = 0
        self._bytes = 0
        self._head = 0
        self._start = b""
        self._tail = b""
        self._may_have_more = False
        self._tls: ssl.SSLObject | None = None  # only on an event loop

    def begin(self, request: httpx.Request) -> None:
        """Start counting for a request; the `trace` extension reports a new connection."""
        self.restart()
        if self.stream is None:
            given = request.extensions.get("trace")
            is_async = isinstance(self.transport, httpx.AsyncBaseTransport)
            trace = _async_trace(self, given) if is_async else _sync_trace(self, given)
            request.extensions = {**request.extensions, "trace": trace}

    def connected(self, stream: Any) -> None:
        """Set the network stream; through a proxy, the tunnel replaces an earlier one."""
        self.stream = stream
        tls = stream.get_extra_info("ssl_object")
        self._tls = tls if isinstance(tls, ssl.SSLObject) else None
        self.restart()

    def restart(self) -> None:
        """Reset the counts."""
        self._reads = self._bytes = self._head = 0
        self._start = self._tail = b""

    def count(self, data: bytes, max_bytes: int) -> None:
        """Count data that was read with a limit of `max_bytes`."""
        self._reads += 1
        self._may_have_more = len(data) >= max_bytes  # anyio buffers what exceeds the limit
        if not self._head:
            start = self._start + data
            end = start.find(b"\r\n\r\n")
            if end >= 0:
                self._head = self._bytes - len(self._start) + end + 4
            self._start = start[-3:]
        self._bytes += len(data)
        self._tail = (self._tail + data[-5:])[-5:]

    def served(self, response: httpx.Response) -> bool:
        """Return whether the response came over this connection, and not over a newer one."""
        return response.extensions.get("network_stream") is self.stream

    def had_stale_bytes(self, response: httpx.Response | None) -> bool:
        """Return whether a (possibly broken) response came from bytes received before."""
        known = self.stream is not None and self.idle_since > 0
        return known and not self._reads and (response is None or self.served(response))

    def ended_exactly(self, response: httpx.Response) -> bool:
        """Return whether the response was read to its end, and nothing followed it."""
        if self.stream is None or self._may_have_more or not self.served(response):
            return False
        headers = response.headers
        if "transfer-encoding" in headers:
            return self._tail == b"0\r\n\r\n"
        return self._bytes == self._head + int(headers.get("content-length", -1))

    def close(self) -> None:
        """Close the connection of a thread."""
        if self.stream is not None:  # httpcore forgets a stream that failed to connect
            self.stream.close()
        self.transport.close()

    async def aclose(self) -> None:
        """Close the connection of an event loop."""
        if self.stream is not None:  # a stream cancelled in the TLS handshake stays open
            await self.stream.aclose()
        await self.transport.aclose()

    def is_usable(self) -> bool:
        """Return whether the connection was used recently, is open, and has no unread data."""
        if time.monotonic() - self.idle_since > IDLE_SECONDS:
            return False
        return not self.stream.get_extra_info("is_readable") and not self._has_decrypted_bytes()

    def _has_decrypted_bytes(self) -> bool:
        """Return whether TLS on an event loop still holds bytes of the last response."""
        if self._tls is None:
            return False
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass
        return True  # a byte, or the end of the connection


async def close_all(closes: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Close each of them, even after a cancellation, which is raised at the end."""
    cancelled: BaseException | None = None
    for close in closes:
        try:
            await close()
        except Exception:  # noqa: BLE001, S110  # it is closed as far as it can be
            pass
        except BaseException as error:  # noqa: BLE001  # raised below
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _sync_trace(connection: _Connection, given: Any) -> Callable[..., None]:
    def trace(event: str, info: Mapping[str, Any]) -> None:
        if given is not None:
            given(event, info)
        if event.endswith(_PROXY_ANSWERED):
            connection.restart()
        if event.endswith(_CONNECTED):
            bound_stream(event, info)
            stream = info["return_value"]
            connection.connected(stream)
            read = stream.read

            def counted_read(max_bytes: int, timeout: float | None = None) -> Any:
                data = read(max_bytes, timeout)
                connection.count(data, max_bytes)
                return data

            stream.read = counted_read

    return trace


def _async_trace(connection: _Connection, given: Any) -> Callable[..., Any]:
    async def trace(event: str, info: Mapping[str, Any]) -> None:
        if given is not None:
            await given(event, info)
        if event.endswith(_PROXY_ANSWERED):
            connection.restart()
        if event.endswith(_CONNECTED):
            await watch_stream(event, info)
            stream = info["return_value"]
            connection.connected(stream)
            read = stream.read

            async def counted_read(
                max_bytes: int, timeout: float | None = None
            ) -> Any:  # the signature of httpcore
                data = await read(max_bytes, timeout)
                connection.count(data, max_bytes)
                return data

            stream.read = counted_read

    return trace


class _NoCookies(httpx.Cookies):
    """Ignores cookies: parsing them costs more than the rest of a small response."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Do nothing."""


_NO_COOKIES = _NoCookies()


class Client(httpx.Client):
    """The default client of all threads, for one origin."""

    cookies = property(lambda _: _NO_COOKIES)


class AsyncClient(httpx.AsyncClient):
    """The default client of one event loop, for one origin."""

    cookies = property(lambda _: _NO_COOKIES)


EMPTY = httpx.ByteStream(b"")


class SyncBody(httpx.SyncByteStream):
    """A large request body in pieces, which can be sent again until `pieces` are dropped."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.pieces)


class AsyncBody(httpx.AsyncByteStream):
    """Async version of `SyncBody`; httpx treats an object with both interfaces as sync."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


class Timeouts(dict[str, Any]):
    """The timeouts of a request, limited by its deadline each time httpcore reads one."""

    def __init__(self, phases: Mapping[str, float | None], ends: float | None) -> None:
        super().__init__(phases)
        self._ends = ends

    def get(self, key: str, default: Any = None) -> Any:
        """Return the timeout, limited by the time left before the deadline.

        Raises:
            TimeoutError: the deadline has passed.
        """
        return shortened(super().get(key, default), self._ends)


def shortened(timeout: float | None, ends: float | None) -> float | None:
    """Return a timeout, limited by the time left until `ends`, in monotonic seconds.

    Raises:
        TimeoutError: `ends` has passed.
    """
    if ends is None:
        return timeout
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline passed")
    return left if timeout is None else min(left, timeout)


class _Idle:
    """The stack of idle connections."""

    def __init__(self) -> None:
        self._stack: deque[_Connection] = deque()
        self.is_closed = False

    def pop(self) -> tuple[_Connection | None, list[_Connection]]:
        """Return the usable connection that was used last, and unusable ones to close."""
        unusable: list[_Connection] = []
        with suppress(IndexError):
            while True:
                connection = self._stack.pop()
                if connection.is_usable():
                    return connection, unusable
                unusable.append(connection)
        return None, unusable

    def push(self, connection: _Connection, response: httpx.Response) -> list[_Connection]:
        """Keep a connection if it can be reused; return the connections to close."""
        if self.is_closed or not connection.ended_exactly(response):
            return [connection]
        connection.idle_since = time.monotonic()
        self._stack.append(connection)
        with suppress(IndexError):
            oldest = self._stack[0]
            is_old = connection.idle_since - oldest.idle_since > IDLE_SECONDS
            if is_old or len(self._stack) > MAX_IDLE:
                return [self._stack.popleft()]
        return []

    def drain(self) -> list[_Connection]:
        """Keep no connections from now on; return those to close."""
        self.is_closed = True
        drained: list[_Connection] = []
        with suppress(IndexError):
            while True:
                drained.append(self._stack.pop())
        return drained


class ConnectionPool(httpx.BaseTransport):
    """The connections of all threads to one origin.

    Args:
        make: creates a transport with one connection.
    """

    def __init__(self, make: Callable[[], httpx.HTTPTransport]) -> None:
        self._make = make
        self._idle = _Idle()
        self._slots = threading.Semaphore(MAX_CONNECTIONS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on an idle connection, or on a new one."""
        if not self._slots.acquire(timeout=_pool_timeout(request)):
            raise _no_slot(request)
        try:
            connection, response = self._exchange(request)
            if response.is_closed:  # a mock response, whose body was read before it was returned
                self._close([connection])
                self._slots.release()
                return response

            def finish(*, is_whole: bool) -> None:
                try:
                    unusable = [connection]
                    if is_whole:
                        unusable = self._idle.push(connection, response)
                    self._close(unusable)
                finally:
                    self._slots.release()

            response.stream = _SyncStream(response.stream, finish)
        except BaseException:
            self._slots.release()
            raise
        return response

    def close(self) -> None:
        """Close the idle connections; the others are closed after their response."""
        self._close(self._idle.drain())

    def _exchange(self, request: httpx.Request) -> tuple[_Connection, httpx.Response]:
        idle, unusable = self._idle.pop()
        self._close(unusable)
        while True:  # at most twice: a new connection has no stale bytes
            connection, idle = idle or _Connection(self._make()), None
            connection.begin(request)
            try:
                response = connection.transport.handle_request(request)
                if not connection.had_stale_bytes(response):
                    return connection, response
                response.close()
            except BaseException as error:
                self._close([connection])
                if not (_is_protocol_error(error) and connection.had_stale_bytes(None)):
                    raise
            else:
                self._close([connection])

    @staticmethod
    def _close(connections: list[_Connection]) -> None:
        for connection in connections:
            with suppress(Exception):
                connection.close()


class AsyncConnectionPool(httpx.AsyncBaseTransport):
    """The connections of one event loop to one origin; async version of `ConnectionPool`."""

    def __init__(self, make: Callable[[], httpx.AsyncHTTPTransport]) -> None:
        self._make = make
        self._idle = _Idle()
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on an idle connection, or on a new one."""
        if self._slots.locked():
            try:
                async with asyncio.timeout(_pool_timeout(request)):
                    await self._slots.acquire()
            except TimeoutError:
                raise _no_slot(request) from None
        else:
            await self._slots.acquire()
        try:
            connection, response = await self._exchange(request)
            if response.is_closed:
                await self._close([connection])
                self._slots.release()
                return response

            async def finish(*, is_whole: bool) -> None:
                try:
                    unusable = [connection]
                    if is_whole:
                        unusable = self._idle.push(connection, response)
                    await self._close(unusable)
                finally:
                    self._slots.release()

            response.stream = _AsyncStream(response.stream, finish)
        except BaseException:
            self._slots.release()
            raise
        return response

    async def aclose(self) -> None:
        """Close the idle connections; the others are closed after their response."""
        await self._close(self._idle.drain())

    async def _exchange(self, request: httpx.Request) -> tuple[_Connection, httpx.Response]:
        idle, unusable = self._idle.pop()
        try:
            await self._close(unusable)
        except BaseException:
            await self._close([idle] if idle else [])
            raise
        while True:
            connection, idle = idle or _Connection(self._make()), None
            connection.begin(request)
            try:
                response = await connection.transport.handle_async_request(request)
                if not connection.had_stale_bytes(response):
                    return connection, response
                await response.aclose()
            except BaseException as error:
                await self._close([connection])
                if not (_is_protocol_error(error) and connection.had_stale_bytes(None)):
                    raise
            else:
                await self._close([connection])

    @staticmethod
    async def _close(connections: list[_Connection]) -> None:
        await close_all([connection.aclose for connection in connections])


class _SyncStream(httpx.SyncByteStream):
    """The body of a response; closing it returns the connection to the pool."""

    def __init__(self, stream: Any, finish: Callable[..., None]) -> None:
        self._stream = stream
        self._finish: Callable[..., None] | None = finish

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            try:
                self._stream.close()
            except BaseException:
                finish(is_whole=False)
                raise
            finish(is_whole=True)


class _AsyncStream(httpx.AsyncByteStream):
    """Async version of `_SyncStream`."""

    def __init__(self, stream: Any, finish: Callable[..., Any]) -> None:
        self._stream = stream
        self._finish: Callable[..., Any] | None = finish

    def __aiter__(self) -> AsyncIterator[bytes]:
        found: AsyncIterator[bytes] = aiter(self._stream)
        return found

    async def aclose(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            try:
                await self._stream.aclose()
            except BaseException:  # httpcore may still hold the connection for this request
                await finish(is_whole=False)
                raise
            await finish(is_whole=True)


def _pool_timeout(request: httpx.Request) -> float | None:
    timeout: float | None = request.extensions.get("timeout", {}).get("pool")
    return timeout


def _no_slot(request: httpx.Request) -> httpx.PoolTimeout:
    return httpx.PoolTimeout(
        f"all {MAX_CONNECTIONS} connections to {request.url.host} are in use", request=request
    )


def _is_protocol_error(error: BaseException) -> bool:
    return isinstance(error, httpx.RemoteProtocolError)
