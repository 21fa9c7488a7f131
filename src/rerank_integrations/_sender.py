"""Sends requests through httpx: with the default clients, or with a client of the user.

The default clients take proxies and certificates from the environment, as httpx does:
https://www.python-httpx.org/environment_variables/
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies

import httpx

from rerank_integrations import _pool
from rerank_integrations._http_result import BodyReader, redirect_target, response_in
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
_LARGEST_WHOLE = 2**20  # bytes; a body up to this size is one piece, which hooks can read
_MAX_CACHED_HEADERS = 64
_MAX_ROUTES = 256  # a redirect may name a new address each time
_PORTS = {"http": 80, "https": 443}
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_NO_AUTH = httpx.Auth()  # saves httpx from making one for each request


class _Route(NamedTuple):
    """A parsed URL, with the default client for its origin."""

    url: httpx.URL
    host: str
    client: Any


class _Clients:
    """The HTTP clients of a process or an event loop, and the requests that they send.

    Args:
        given: a client of the user, a callable that creates one, or None for the default clients.
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
        """Return the timeouts for a call that sets none."""
        if self._given is None:
            return DEFAULT_TIMEOUTS
        own: Mapping[str, float | None] = self._given.timeout.as_dict()
        return own

    def _client(self, url: str) -> Any:
        return self._given if self._given is not None else self._route(url).client

    def _built(self, request: HTTPRequest, body: Any, extensions: dict[str, Any]) -> Any:
        """Return the httpx request; it holds the key, so callers store it in no local variable."""
        whole = None
        if request.size <= _LARGEST_WHOLE:
            whole = b"".join(request.content)
        if self._given is not None:  # its method merges headers, cookies and params of the client
            query = urlsplit(request.url).query
            has_both = query and getattr(self._given, "params", None)
            return self._given.build_request(
                request.method,
                request.url,
                # otherwise httpx would replace the query of the URL by the params of the client
                params=parse_qsl(query, keep_blank_values=True) if has_both else None,
                headers={**request.headers.get_secret_value(), **_length(request)},
                content=(body if whole is None else whole) if request.content else None,
                extensions=extensions,
            )
        route = self._route(request.url)
        built = httpx.Request(
            request.method,
            route.url,
            headers=self._cached_headers(request, route.host),
            stream=body if whole is None else httpx.ByteStream(whole),
            extensions=extensions,
        )
        built.headers.update(_length(request))
        if whole is not None:
            built.read()  # hooks and recorders may read its content
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
                if len(self._routes) >= _MAX_ROUTES:
                    self._routes.clear()
                parsed = httpx.URL(url)
                host = parsed.netloc.decode("ascii")
                route = self._routes[url] = _Route(parsed, host, self._made[origin])
        return route

    def _new_client(self, url: str) -> Any:
        """Create a default client, with the proxy and the certificates of the environment."""
        proxy = _proxy(proxy_for(url))
        verify = ssl_context() if url.startswith("https:") else False
        kind: Any = httpx.AsyncHTTPTransport if self.is_async else httpx.HTTPTransport

        def make() -> Any:
            return kind(verify=verify, trust_env=False, limits=_pool.ONE_CONNECTION, proxy=proxy)

        if self.is_async:
            return _pool.AsyncClient(transport=_pool.AsyncConnectionPool(make), trust_env=False)
        return _pool.Client(transport=_pool.ConnectionPool(make), trust_env=False)

    def _send_options(self) -> dict[str, Any]:
        # httpx must not follow redirects: it would send keys in custom headers to other hosts
        options: dict[str, Any] = {"stream": True, "follow_redirects": False}
        return {**options, "auth": _NO_AUTH} if self._is_default else options


class Sender(_Clients):
    """Sends requests from any thread."""

    def send(self, request: HTTPRequest, phases: Any, ends: float | None) -> HTTPResponse:
        """Send a request, and read the whole response before `ends`, in monotonic seconds.

        One redirect within the same origin is followed, as part of the same attempt.
        """
        response = self._exchange(request, phases, ends)
        target = redirect_target(request, response)
        return self._exchange(request._replace(url=target), phases, ends) if target else response

    def _exchange(self, request: HTTPRequest, phases: Any, ends: float | None) -> HTTPResponse:
        extensions: dict[str, Any] = {"timeout": _pool.Timeouts(phases or self._timeouts(), ends)}
        if self._given is not None:  # a later call with a deadline may reuse the connection
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
            return reader.response()
        except Exception as error:  # noqa: BLE001  # a hook may raise anything
            return response_in(error, request.size)
        finally:
            _pool.set_deadline(None)
            if response is not None:
                response.close()
                if self._is_default:
                    response.stream = _pool.EMPTY  # breaks a reference cycle with the response
            body.pieces = ()

    def close(self) -> None:
        """Close the clients that were created here."""
        for client in self._made.values():
            client.close()


class AsyncSender(_Clients):
    """Sends requests on one event loop."""

    is_async = True

    async def send(self, request: HTTPRequest, phases: Any) -> HTTPResponse:
        """Send a request, and read the whole response; the caller enforces the deadline.

        One redirect within the same origin is followed, as part of the same attempt.
        """
        response = await self._exchange(request, phases)
        target = redirect_target(request, response)
        return await self._exchange(request._replace(url=target), phases) if target else response

    async def _exchange(self, request: HTTPRequest, phases: Any) -> HTTPResponse:
        extensions: dict[str, Any] = {"timeout": phases or self._timeouts()}
        ours = None
        if self._given is not None:
            extensions["trace"] = _pool.watch_shared_stream
            ours = _pool.is_ours.set(True)
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
            return reader.response()
        except Exception as error:  # noqa: BLE001  # a hook may raise anything
            return response_in(error, request.size)
        finally:
            if ours is not None:
                _pool.is_ours.reset(ours)
            if response is not None:
                await response.aclose()
                if self._is_default:
                    response.stream = _pool.EMPTY
            body.pieces = ()

    async def aclose(self) -> None:
        """Close the clients that were created here."""
        await _pool.close_all([client.aclose for client in self._made.values()])


def _length(request: HTTPRequest) -> dict[str, str]:
    """Return the content-length header; a request without a body has none."""
    return {"content-length": str(request.size)} if request.content else {}


def _checked_made(factory: Callable[[], Any], *, is_async: bool) -> Any:
    name = "async_http_client" if is_async else "http_client"
    try:
        made = factory()
    except Exception as cause:
        raise ConfigurationError(
            f"the callable of {name}= failed to create a client: {type(cause).__name__}: {cause}"
        ) from cause
    if not is_client(made):
        kind = "httpx.AsyncClient" if is_async else "httpx.Client"
        raise ConfigurationError(
            f"the callable of {name}= must return an {kind}, not {type(made).__name__}"
        )
    check_given(f"the return value of the callable of {name}=", made, is_async=is_async)
    return made


def _proxy(url: Secret[str] | None) -> httpx.Proxy | None:
    if url is None:
        return None
    is_secure = url.get_secret_value().startswith("https:")
    to_proxy = ssl_context() if is_secure else None
    return httpx.Proxy(url.get_secret_value(), ssl_context=to_proxy)


def proxy_for(url: str) -> Secret[str] | None:
    """Return the proxy URL that the environment sets for a URL; None for a direct connection.

    NO_PROXY follows the rules of httpx: `a.ai` matches the host and its subdomains, `.a.ai` the
    subdomains, `https://a.ai` one scheme, `a.ai:8080` one port, `*` everything. Beyond httpx,
    networks (`10.0.0.0/8`, `fd00::/8`) and `[::1]` match too.

    Raises:
        ConfigurationError: the environment variable has no usable proxy URL.
    """
    found = Secret(getproxies())  # a URL may hold a password
    parts = urlsplit(url)
    entries = [e.strip().lower() for e in found.get_secret_value().get("no", "").split(",")]
    host, port = (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]
    if any(_matches(entry, parts.scheme, host, port) for entry in entries if entry):
        return None
    scheme = parts.scheme if found.get_secret_value().get(parts.scheme) else "all"
    proxy = Secret(found.get_secret_value().get(scheme) or "")
    if not proxy.get_secret_value():
        return None
    if "://" not in proxy.get_secret_value():
        proxy = Secret(f"http://{proxy.get_secret_value()}")
    problem = proxy_problem(proxy.get_secret_value())
    if problem:
        raise ConfigurationError(f"{_variable(scheme)} {problem}")
    return proxy


def proxy_problem(proxy: str) -> str | None:
    """Return why a proxy URL is unusable, without repeating it, since it may hold a password."""
    try:
        parts = urlsplit(proxy)
        usable = bool(parts.hostname) and parts.port != 0 and bool(httpx.URL(proxy).host)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        return "is not a proxy URL; write it as http://host:port, or unset the variable"
    if parts.scheme not in _PROXY_SCHEMES:
        return (
            f"is a proxy URL with the unknown scheme {parts.scheme}://; use "
            f"{', '.join(f'{scheme}://' for scheme in _PROXY_SCHEMES)}, or unset the variable"
        )
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        return "is a SOCKS proxy, which needs a package: pip install 'httpx[socks]'"
    return None


def _matches(entry: str, scheme: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY matches this origin."""
    if entry == "*":
        return True
    address = _address(host)
    try:
        network = ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address in network
    wanted_scheme, separator, rest = entry.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
        wanted, wanted_port = parts.hostname or "", parts.port
    except ValueError:  # a port that is not a number
        return False
    if wanted_scheme not in ("", "all", scheme) or wanted_port not in (None, port):
        return False
    if separator and wanted.startswith("*"):
        return host.endswith(wanted[1:]) and (wanted[1:2] == "." or _is_in_domain(host, wanted[1:]))
    if separator or wanted == "localhost" or _address(wanted):
        return wanted in ("", host)
    if wanted.startswith("."):
        return host.endswith(wanted)
    return _is_in_domain(host, wanted)


def _is_in_domain(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _address(host: str) -> object:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _variable(scheme: str) -> str:
    """Return the name of the environment variable, in upper or lower case, whichever is set."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "the proxy of the system")


def ssl_context() -> ssl.SSLContext:
    """Return an SSL context that trusts SSL_CERT_FILE and SSL_CERT_DIR, else certifi.

    Raises:
        ConfigurationError: the file or directory of a variable is missing or has no certificate.
    """
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=8)
def _ssl_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Return one context for all connections, because creating one takes longer than a call."""
    if file and not Path(file).is_file():
        raise ConfigurationError(
            f"SSL_CERT_FILE is {file!r}, which does not exist or is not a file; correct or unset "
            "the variable"
        )
    folders = [Path(part) for part in folder.split(os.pathsep) if part] if folder else []
    if folders and not any(one.is_dir() for one in folders):
        raise ConfigurationError(
            f"SSL_CERT_DIR is {folder!r}, which does not exist; correct or unset the variable"
        )
    try:
        is_empty = bool(folders) and not any(any(f.iterdir()) for f in folders if f.is_dir())
    except OSError as cause:
        raise ConfigurationError(
            f"the directory of SSL_CERT_DIR cannot be read: {cause}; correct or unset the variable"
        ) from cause
    if is_empty:
        raise ConfigurationError(
            f"SSL_CERT_DIR is {folder!r}, which has no certificate; correct or unset the variable"
        )
    if not file and not folder:
        import certifi  # noqa: PLC0415  # not needed where the variables are set

        return ssl.create_default_context(cafile=certifi.where())
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except (ssl.SSLError, OSError) as cause:
        raise ConfigurationError(
            f"SSL_CERT_FILE is {file!r}, from which no certificate can be read: {cause}; "
            "correct or unset the variable"
        ) from cause
