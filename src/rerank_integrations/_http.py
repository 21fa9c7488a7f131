"""HTTP/1.1 over connections of our own, kept for the next request; and what a proxy needs.

The only file that names the HTTP library. One connection serves one request at a time, and the
one used last is used next, so that no connection is opened while another is free.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

import httpcore

from rerank_integrations._received import Body
from rerank_integrations._wire import Request
from rerank_integrations.providers.base import Answer

Phases = Mapping[str, float | None]

_KEPT_SECONDS = 55.0  # servers close an idle connection after 60 s or more, most of them
_MOST_KEPT = 256
_PIECE = 256 * 1024  # bytes; what is written in one go, so that a deadline is seen in between
_TIMEOUT = {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 30.0}


class Sockets:
    """Connections for all threads."""

    def __init__(self) -> None:
        self._kept: dict[str, list[_Connection]] = {}
        self._closed = False

    def send(self, request: Request, phases: Phases | None, ends: float | None) -> Answer:
        """Post the request, and read the whole answer before `ends`, on the monotonic clock."""
        target = _target(request.url)
        connection = self._taken(target)
        connection.clock.ends = ends
        try:
            response = connection.http.handle_request(_posted(target, request, phases))
            body = Body(request, _headers(response.headers))
            for chunk in response.iter_stream():
                body.add(chunk)
            response.close()
            return body.answer(response.status)
        finally:
            if connection.http.is_available() and not self._closed:
                self._keep(target, connection)
            else:
                connection.http.close()

    def close(self) -> None:
        """Close the connections that are free; the others close after their answer."""
        self._closed = True
        for kept in self._kept.values():
            while kept:
                kept.pop().http.close()

    def _taken(self, target: _Target) -> _Connection:
        kept = self._kept.setdefault(target.key, [])
        while True:
            try:
                connection = kept.pop()
            except IndexError:
                return _Connection(target)
            if not connection.http.has_expired():
                return connection
            connection.http.close()

    def _keep(self, target: _Target, connection: _Connection) -> None:
        kept = self._kept[target.key]
        kept.append(connection)
        if len(kept) > _MOST_KEPT:
            kept.pop(0).http.close()


class LoopSockets:
    """Connections for one event loop."""

    def __init__(self) -> None:
        self._kept: dict[str, list[httpcore.AsyncHTTPConnection]] = {}
        self._closed = False

    async def send(self, request: Request, phases: Phases | None, left: float | None) -> Answer:
        """Post the request, and read the whole answer; who calls sees to the end in time."""
        del left
        target = _target(request.url)
        connection = await self._taken(target)
        try:
            response = await connection.handle_async_request(_posted(target, request, phases))
            body = Body(request, _headers(response.headers))
            async for chunk in response.aiter_stream():
                body.add(chunk)
            await response.aclose()
            return body.answer(response.status)
        finally:
            if connection.is_available() and not self._closed:
                await self._keep(target, connection)
            else:
                await connection.aclose()

    async def aclose(self) -> None:
        """Close the connections that are free; the others close after their answer."""
        self._closed = True
        for kept in self._kept.values():
            while kept:
                await kept.pop().aclose()

    async def _taken(self, target: _Target) -> httpcore.AsyncHTTPConnection:
        kept = self._kept.setdefault(target.key, [])
        while kept:
            connection = kept.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            target.url.origin, ssl_context=target.ssl_context(), keepalive_expiry=_KEPT_SECONDS
        )

    async def _keep(self, target: _Target, connection: httpcore.AsyncHTTPConnection) -> None:
        kept = self._kept[target.key]
        kept.append(connection)
        if len(kept) > _MOST_KEPT:
            await kept.pop(0).aclose()


def proxy_client(*, is_async: bool) -> Any:
    """A client of the HTTP library's own that goes through the proxy of the environment.

    None where the environment names no proxy.
    """
    if not {"http", "https", "all"} & getproxies().keys():
        return None
    import httpx  # noqa: PLC0415  # slow to load, and needed for this alone

    kind = httpx.AsyncClient if is_async else httpx.Client
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_MOST_KEPT)
    timeout = httpx.Timeout(**_TIMEOUT)
    return kind(verify=_ssl_context(), timeout=timeout, limits=limits)


class _Target(NamedTuple):
    """Where a URL leads; connections are kept by `key`."""

    key: str
    url: httpcore.URL
    host: bytes

    def ssl_context(self) -> ssl.SSLContext | None:
        return _ssl_context() if self.url.scheme == b"https" else None


class _Pieces:
    """A body for sync and async sending, as often as it is sent."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:  # asyncio copies what a socket does not take at once
            view = memoryview(piece)
            for start in range(0, len(view), _PIECE):
                yield bytes(view[start : start + _PIECE]) if len(view) > _PIECE else piece


class _Clock:
    """When the request in hand must have ended; shared by the layers of a connection."""

    ends: float | None = None

    def left(self, seconds: float | None, error: type[Exception]) -> float | None:
        """The shorter of `seconds` and what is left."""
        if self.ends is None:
            return seconds
        left = self.ends - time.monotonic()
        if left <= 0:
            raise error("the deadline passed")
        return left if seconds is None else min(left, seconds)


class _Connection:
    """A connection that knows when a request must have ended: a server may trickle its answer."""

    def __init__(self, target: _Target) -> None:
        self.clock = _Clock()
        self.http = httpcore.HTTPConnection(
            target.url.origin,
            ssl_context=target.ssl_context(),
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=_Network(self.clock),
        )


class _Network(httpcore.NetworkBackend):
    """Opens streams that see the clock."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._clock.left(timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(self._clock, stream)


class _Stream(httpcore.NetworkStream):
    """A stream whose every read and write ends with the clock."""

    def __init__(self, clock: _Clock, inner: httpcore.NetworkStream) -> None:
        self._clock = clock
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._clock.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), _PIECE):
            left = self._clock.left(timeout, httpcore.WriteTimeout)
            self._inner.write(view[start : start + _PIECE], left)  # type: ignore[arg-type]

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._clock.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._clock, self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


@lru_cache(maxsize=64)
def _target(address: str) -> _Target:
    parts = urlsplit(address)
    name = parts.hostname or ""
    host = name.encode("ascii") if name.isascii() else name.encode("idna")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    url = httpcore.URL(
        scheme=parts.scheme.encode(), host=host, port=parts.port, target=path.encode("ascii")
    )
    shown = b"[%b]" % host if b":" in host else host
    if parts.port is not None:
        shown += b":%d" % parts.port
    return _Target(f"{parts.scheme}://{shown.decode('ascii')}", url, shown)


def _posted(target: _Target, request: Request, phases: Phases | None) -> httpcore.Request:
    headers = {**request.headers.reveal(), "content-length": str(request.size)}
    return httpcore.Request(
        b"POST",
        target.url,
        headers=[(b"host", target.host), (b"accept-encoding", b"gzip, deflate")]
        + [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()],
        content=_Pieces(request.content.reveal()),
        extensions={"timeout": phases or _TIMEOUT},
    )


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}


@cache
def _ssl_context() -> ssl.SSLContext:
    """One context for all connections: it takes longer to make than a connection."""
    import certifi  # noqa: PLC0415  # the HTTP library brings it

    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        return ssl.create_default_context(cafile=file, capath=folder)
    return ssl.create_default_context(cafile=certifi.where())
