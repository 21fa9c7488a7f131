"""Sends requests through httpx: the default clients, or a client of the user's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from rerank_integrations import _pool
from rerank_integrations._body_reader import BodyReader
from rerank_integrations._environment import proxy_for, ssl_context
from rerank_integrations._network_errors import response_in
from rerank_integrations._options import check_given, is_client
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.base import HTTPRequest, HTTPResponse

DEFAULT_TIMEOUTS: Mapping[str, float | None] = {
    "connect": 5.0,
    "read": 30.0,
    "write": 30.0,
    "pool": 30.0,
}
_LARGEST_WHOLE = 2**20  # bytes; a body up to here is one piece, which hooks can read
_MAX_CACHED_HEADERS = 64
_NO_AUTH = httpx.Auth()  # saves httpx from making one for each request


class _Route(NamedTuple):
    """A URL, parsed once, with the default client for its origin."""

    url: httpx.URL
    host: str
    client: Any


class _Clients:
    """The HTTP clients of a process or an event loop, and the requests that they send.

    Args:
        given: a client of the user's, a callable that makes one, or None for the default clients.
    """

    is_async = False

    def __init__(self, given: Any) -> None:
        self._is_default = given is None
        self._given = given if is_client(given) else None
        self._made: dict[object, Any] = {}
        self._routes: dict[str, _Route] = {}
        self._headers: Secret[dict[tuple[tuple[str, str], ...], httpx.Headers]] = Secret({})
        self._lock = threading.Lock()
        if given is not None and self._given is None:
            self._given = self._made[None] = _checked_made(given, is_async=self.is_async)

    def _timeouts(self) -> Mapping[str, float | None]:
        """The timeouts where the call sets none."""
        if self._given is None:
            return DEFAULT_TIMEOUTS
        own: Mapping[str, float | None] = self._given.timeout.as_dict()
        return own

    def _client(self, url: str) -> Any:
        return self._given if self._given is not None else self._route(url).client

    def _built(self, request: HTTPRequest, body: Any, extensions: dict[str, Any]) -> Any:
        """The request as httpx has it; callers keep it in no variable, for it holds the key."""
        whole = None
        if request.size <= _LARGEST_WHOLE:
            whole = b"".join(request.content)
        if self._given is not None:  # merges the headers, cookies and params of the client
            return self._given.build_request(
                "POST",
                request.url,
                headers={**request.headers.get_secret_value(), "content-length": str(request.size)},
                content=body if whole is None else whole,
                extensions=extensions,
            )
        route = self._route(request.url)
        built = httpx.Request(
            "POST",
            route.url,
            headers=self._cached_headers(request, route.host),
            stream=body if whole is None else httpx.ByteStream(whole),
            extensions=extensions,
        )
        built.headers["content-length"] = str(request.size)
        if whole is not None:
            built.read()  # hooks and recorders may ask for its content
        return built

    def _cached_headers(self, request: HTTPRequest, host: str) -> httpx.Headers:
        cached = self._headers.get_secret_value()
        key = (("host", host), *request.headers.get_secret_value().items())
        found = cached.get(key)
        if found is None:
            if len(cached) >= _MAX_CACHED_HEADERS:
                cached.clear()
            found = cached[key] = httpx.Headers(dict(key))
        return found

    def _route(self, url: str) -> _Route:
        route = self._routes.get(url)
        if route is None:
            parts = urlsplit(url)
            origin = (parts.scheme, parts.netloc.lower())
            with self._lock:
                if origin not in self._made:
                    self._made[origin] = self._new_client(url)
                parsed = httpx.URL(url)
                host = parsed.netloc.decode("ascii")
                route = self._routes[url] = _Route(parsed, host, self._made[origin])
        return route

    def _new_client(self, url: str) -> Any:
        """A default client, with the proxy and the certificates that the environment sets."""
        found = proxy_for(url)
        to_proxy = ssl_context() if found and found.startswith("https:") else None
        proxy = httpx.Proxy(found, ssl_context=to_proxy) if found else None
        verify = ssl_context() if url.startswith("https:") else False
        kind: Any = httpx.AsyncHTTPTransport if self.is_async else httpx.HTTPTransport

        def make() -> Any:
            return kind(verify=verify, trust_env=False, limits=_pool.ONE_CONNECTION, proxy=proxy)

        if self.is_async:
            return _pool.AsyncClient(transport=_pool.AsyncConnectionPool(make), trust_env=False)
        return _pool.Client(transport=_pool.ConnectionPool(make), trust_env=False)

    def _send_options(self) -> dict[str, Any]:
        # redirects are never followed: httpx would pass keys in headers of their own on
        options: dict[str, Any] = {"stream": True, "follow_redirects": False}
        return {**options, "auth": _NO_AUTH} if self._is_default else options


class Sender(_Clients):
    """Sends requests from any thread."""

    def send(self, request: HTTPRequest, phases: Any, ends: float | None) -> HTTPResponse:
        """Post a request, and read its whole response before `ends`, in monotonic seconds."""
        extensions: dict[str, Any] = {"timeout": _pool.Timeouts(phases or self._timeouts(), ends)}
        if self._given is not None and ends is not None:
            extensions["trace"] = _pool.bound_stream
        body = _pool.SyncBody(request.content)
        response = None
        _pool.set_deadline(ends)
        try:
            response = self._client(request.url).send(
                self._built(request, body, extensions), **self._send_options()
            )
            reader = BodyReader(response.status_code, response.headers, request.size)
            if response.is_stream_consumed:
                reader.add_decoded(response.content)
            elif reader.problem is None:
                for chunk in response.stream if self._is_default else response.iter_raw():
                    reader.add(chunk)
                    if reader.problem:
                        break
                    _pool.shortened(None, ends)
            return reader.answer()
        except Exception as error:  # noqa: BLE001  # a hook may raise anything
            return response_in(error, request.size)
        finally:
            _pool.set_deadline(None)
            if response is not None:
                response.close()
                if self._is_default:
                    response.stream = _pool.EMPTY  # it refers back to the response
            body.pieces = ()

    def close(self) -> None:
        """Close the clients that were made here."""
        for client in self._made.values():
            client.close()


class AsyncSender(_Clients):
    """Sends requests on one event loop."""

    is_async = True

    async def send(self, request: HTTPRequest, phases: Any) -> HTTPResponse:
        """Post a request, and read its whole response; the caller sets the deadline."""
        extensions = {"timeout": phases or self._timeouts()}
        body = _pool.AsyncBody(request.content)
        response = None
        try:
            response = await self._client(request.url).send(
                self._built(request, body, extensions), **self._send_options()
            )
            reader = BodyReader(response.status_code, response.headers, request.size)
            if response.is_stream_consumed:
                reader.add_decoded(response.content)
            elif reader.problem is None:
                stream = response.stream if self._is_default else response.aiter_raw()
                async for chunk in stream:
                    reader.add(chunk)
                    if reader.problem:
                        break
            return reader.answer()
        except Exception as error:  # noqa: BLE001  # a hook may raise anything
            return response_in(error, request.size)
        finally:
            if response is not None:
                await response.aclose()
                if self._is_default:
                    response.stream = _pool.EMPTY
            body.pieces = ()

    async def aclose(self) -> None:
        """Close the clients that were made here."""
        await _pool.close_all([client.aclose for client in self._made.values()])


def _checked_made(factory: Callable[[], Any], *, is_async: bool) -> Any:
    name = "async_http_client" if is_async else "http_client"
    try:
        made = factory()
    except Exception as cause:
        raise ConfigurationError(
            f"the callable of {name}= made no client: {type(cause).__name__}: {cause}"
        ) from cause
    if not is_client(made):
        kind = "httpx.AsyncClient" if is_async else "httpx.Client"
        raise ConfigurationError(
            f"the callable of {name}= must make an {kind}, not {type(made).__name__}"
        )
    check_given(f"what the callable of {name}= makes", made, is_async=is_async)
    return made
