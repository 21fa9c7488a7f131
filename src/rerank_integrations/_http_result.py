"""What comes of an HTTP exchange: the body, decoded within a limit, or an error without keys."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from inspect import CO_VARARGS
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from rerank_integrations.errors import (
    RerankError,
    RerankTimeoutError,
    ResponseError,
    TransportError,
)
from rerank_integrations.providers._validation import Address, address_problem, shown_address
from rerank_integrations.providers.base import HTTPRequest, HTTPResponse

_LARGEST = 32 * 2**20  # bytes, besides an echo of the request
_ECHO_FACTOR = 2  # an echoed document is at most this many times as long, by JSON escapes
_MAX_MEMBERS = 1000  # of one gzip body; for each, zlib copies what follows it
_NOT_ENCODED = ("", "identity", "utf-8")
_GZIP = ("gzip", "x-gzip")
_PORTS = {"http": 80, "https": 443}
_BOM = b"\xef\xbb\xbf"
_REDIRECTS = {"POST": (307, 308), "GET": (301, 302, 303, 307, 308)}  # that keep the method
_HTTP_LIBRARIES = frozenset(
    {
        *("httpx", "httpcore", "h11", "h2", "hpack", "socksio", "httpx2", "httpcore2"),
        *("httpx_aiohttp", "aiohttp", "anyio", "sniffio", "asyncio", "uvloop", "socket", "ssl"),
        *("hyperframe", "idna"),
        "contextlib",  # its frames hold the traceback that they pass on
    }
)
_POOL = "rerank_integrations._pool"  # its frames hold requests of httpx, like those of httpx
_TIMEOUTS = frozenset({"TimeoutException", "TimeoutError"})
_PERMANENT = frozenset({"UnsupportedProtocol", "LocalProtocolError"})
_TRANSIENT = frozenset({"TransportError", "NetworkError", "RemoteProtocolError", "OSError"})
_PHASES = {
    "ConnectTimeout": "connect",
    "ReadTimeout": "read",
    "WriteTimeout": "write",
    "PoolTimeout": "pool",
}
_CLIENT_ERROR = re.compile(r"4\d\d\b")  # the status with which a proxy refuses


class BodyReader:
    """Takes the raw bytes of a response body, and never holds more than the limit.

    gzip and deflate are decoded here: the decoders of HTTP libraries turn 2 KB of a stacked or
    brotli coding into gigabytes before anyone can count them.

    Args:
        status_code: the status of the response.
        headers: the headers of the response.
        request_size: bytes of the request, which the response may echo.

    Attributes:
        problem: why the body cannot be used, and need not be read further; else None.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str], request_size: int) -> None:
        self.problem: str | None = None
        self._status_code = status_code
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._content: bytes | bytearray = b""
        self._limit = _LARGEST + _ECHO_FACTOR * request_size
        self._raw_size = 0
        self._members = 0
        self._decoder: Any = None
        self._start = b""  # of a deflate body, until its two bytes say which kind it is
        coding = self._headers.get("content-encoding", "").strip().lower()
        self._coding = "" if coding in _NOT_ENCODED else coding
        if self._coding in _GZIP:
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        elif self._coding not in ("", "deflate"):
            self.problem = f"its body is encoded as {coding!r}, which was not requested"

    def add(self, chunk: bytes) -> None:
        """Add raw bytes."""
        self._raw_size += len(chunk)
        if self._raw_size <= self._limit:
            if self._coding:
                self._decode(chunk)
            else:
                self._append(chunk)
        if max(self._raw_size, len(self._content)) > self._limit:
            self.problem = f"its body is larger than {self._limit:,} bytes and was not read"

    def add_decoded(self, content: bytes) -> None:
        """Add a body that a hook or a mock has read already."""
        self._coding = ""
        self.problem = None
        self.add(content)

    def response(self) -> HTTPResponse:
        """The whole response, once its body has ended or has a problem."""
        is_cut_off = self._decoder is None or not self._decoder.eof
        if self._coding and self._raw_size and is_cut_off and not self.problem:
            self.problem = "its body cannot be decoded: it ends too early"
        if self.problem:
            return HTTPResponse(self._status_code, self._headers, b"", self.problem)
        content = self._content
        if content[:3] == _BOM:
            content = content[3:]
        return HTTPResponse(self._status_code, self._headers, content)

    def _append(self, data: bytes) -> None:
        if not self._content:
            self._content = data  # most bodies come in one chunk
            return
        if isinstance(self._content, bytes):
            self._content = bytearray(self._content)
        self._content += data  # grows in place: a list of chunks would be held twice

    def _decode(self, data: bytes) -> None:
        if self._decoder is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            # https://www.rfc-editor.org/rfc/rfc1950#section-2.2; some servers leave the head out
            has_zlib_head = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS if has_zlib_head else -zlib.MAX_WBITS)
        while data and not self.problem:
            try:
                decoded = self._decoder.decompress(data, self._limit - len(self._content) + 1)
            except zlib.error as cause:
                self.problem = f"its body cannot be decoded: {cause}"
                return
            self._append(decoded)
            if len(self._content) > self._limit:
                return
            data = self._decoder.unused_data
            if data:
                self._next_member(data)

    def _next_member(self, data: bytes) -> None:
        """A gzip body may have several members, one after another."""
        self._members += 1
        is_member = self._coding in _GZIP and data[:1] == b"\x1f"
        if not is_member or self._members > _MAX_MEMBERS:
            self.problem = "its body cannot be decoded: it goes on after its end"
            return
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)


class Limits(NamedTuple):
    """The time limits of a request, in seconds; `timeouts` is None for those of its HTTP client."""

    timeouts: Mapping[str, float | None] | None
    deadline: float | None
    deadline_passed: bool
    seconds: float = 0.0  # since the request began; with the deadline passed, since the call did

    def describe(self, phase: str, used: Mapping[str, float | None]) -> str:
        """The limit that passed, as a message names it; `used` are the timeouts of the client."""
        if phase == "other":
            return "by a limit other than timeout= and deadline="
        if phase == "deadline":
            return f"deadline={self.deadline:g}" if self.deadline is not None else "deadline"
        seconds = (self.timeouts or used).get(phase)
        limit = f"timeout={seconds:g}" if seconds is not None else "timeout"
        return f"{limit}, in the {phase} phase"


def response_in(error: Exception, request_size: int) -> HTTPResponse:
    """The response in an error that a `raise_for_status` hook raised; any other is raised."""
    response = getattr(error, "response", None)
    if not _is_of_library(error) or "HTTPStatusError" not in _kinds(error) or response is None:
        raise error
    reader = BodyReader(response.status_code, response.headers, request_size)
    content = b""
    with suppress(Exception):  # the hook did not read it
        content = response.content
    reader.add_decoded(content)
    return reader.response()


def rerank_error(
    cause: Exception,
    url: str,
    limits: Limits,
    *,
    retry_on_timeout: bool,
    caller: BaseException | None = None,
) -> RerankError:
    """The error of an HTTP library as one of ours, by name: httpx2 has the names of httpx.

    Only errors of an HTTP library and of the system are translated. Any other was raised by code
    that the library called: a signal handler (Celery's `SoftTimeLimitExceeded`, RQ's
    `JobTimeoutException`), a hook of the user's, or a defect of this package.

    Args:
        cause: what was raised while the request was sent and its response read.
        url: the address of the request.
        limits: the time limits of the request.
        retry_on_timeout: whether a request that timed out while reading may be sent again.
        caller: what the caller handled when the request was sent: it is the context of `cause`,
            and neither its reason nor ours to change.

    Raises:
        Exception: `cause` itself, where it is none of an HTTP library.
    """
    interruption = of_signal(cause)
    if interruption is not None:
        _remove_library_frames(cause, url, caller)
        raise interruption from interruption.__cause__  # not what a library made of it
    if isinstance(cause, RerankError):
        _remove_library_frames(cause, url, caller)
        return cause
    if not _is_translated(cause):
        _remove_library_frames(cause, url, caller)
        raise cause
    links = list(error_chain(cause, caller))
    found = next((link for link in links if _is_of_library(link) or _is_os_error(link)), cause)
    kinds = _kinds(found)
    address = shown_address(url)
    certificate = any(map(_is_about_certificates, links))
    error: RerankError
    if kinds & _TIMEOUTS and not certificate and not _is_refused_by_aiohttp(links):
        phase = "deadline"
        if not limits.deadline_passed:  # by a hook's own limit, or the system's
            phase = next((_PHASES[kind] for kind in kinds if kind in _PHASES), "other")
        error = RerankTimeoutError(
            f"Request to {address} timed out after {_seconds(limits.seconds)} s "
            f"({limits.describe(phase, _timeouts_of(links))})",
            is_retryable=retry_on_timeout or phase != "read",
            phase=phase,
        )
    elif "DecodingError" in kinds:
        error = ResponseError(f"the response from {address} cannot be decoded: {found}")
    else:
        refused = "ProxyError" in kinds and _CLIENT_ERROR.match(str(found)) is not None
        fix = ""
        if certificate:
            fix = " (set SSL_CERT_FILE to the certificates to trust)"
        elif "WRONG_VERSION_NUMBER" in str(found):
            fix = " (no TLS is spoken there: use http:// with allow_http=True, or another port)"
        error = TransportError(  # `redact_error` cuts it: half a key could not be found any more
            f"no response from {address}{fix}: {type(found).__name__}: {found}",
            is_retryable=bool(kinds & _TRANSIENT)
            and not (kinds & _PERMANENT or certificate or refused),
        )
    if not _is_of_aiohttp(cause):
        error.__cause__ = cause
    _remove_library_frames(cause, url, caller)
    return error


def redirect_target(request: HTTPRequest, response: HTTPResponse) -> str | None:
    """The address of a redirect that keeps method, body and origin; None for all else."""
    url = request.url
    if response.status_code not in _REDIRECTS[request.method]:
        return None
    location = response.headers.get("location", "").strip()
    try:
        target = urljoin(url, location).partition("#")[0]
    except ValueError:  # no address, such as http://[a
        return None
    if target == url or address_problem(target, query=True) or _origin(target) != _origin(url):
        return None
    return Address(target)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2g}"


def _timeouts_of(links: Iterable[BaseException]) -> Mapping[str, float | None]:
    """The timeouts with which the HTTP client sent the request of an error."""
    for link in links:
        with suppress(Exception):  # httpx raises RuntimeError where there is no request
            request: Any = getattr(link, "request", None)
            return dict(request.extensions["timeout"])
    return {}


def error_chain(
    error: BaseException, caller: BaseException | None = None
) -> Iterator[BaseException]:
    """An error and what it came from, each once.

    Args:
        error: where the chain begins.
        caller: what the caller of this package handles, an error of its own; the chain ends there.
    """
    seen = {id(caller)}
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__]


def of_signal(error: BaseException) -> BaseException | None:
    """The error of a signal handler, such as a TimeoutError, from which this one was made.

    A handler is known by its argument: the frame that it interrupted.
    """
    link: BaseException | None = error
    seen: set[int] = set()  # a user's code may raise an error from itself
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback = link.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            handler = traceback.tb_next.tb_frame
            code = handler.f_code
            count = code.co_argcount + bool(code.co_flags & CO_VARARGS)
            for name in code.co_varnames[: count + code.co_kwonlyargcount]:
                given = handler.f_locals.get(name)
                values = given if type(given) is tuple else (given,)
                if any(value is traceback.tb_frame for value in values):
                    return link
            traceback = traceback.tb_next
        link = link.__cause__ or _made_from(link)
    return None


def _made_from(error: BaseException) -> BaseException | None:
    """What a library caught before it raised an error from None; not what the caller handles."""
    caught = error.__context__
    traceback = caught.__traceback__ if caught is not None else None
    if traceback is None:
        return None
    name = traceback.tb_frame.f_globals.get("__name__", "")
    return caught if _package(name) in _HTTP_LIBRARIES else None


def _kinds(error: BaseException) -> set[str]:
    known = _HTTP_LIBRARIES | {"builtins"}
    return {kind.__name__ for kind in type(error).__mro__ if _package(kind.__module__) in known}


def _package(name: str) -> str:
    return name.partition(".")[0]


def _is_of_library(error: BaseException) -> bool:
    return any(_package(kind.__module__) in _HTTP_LIBRARIES for kind in type(error).__mro__)


def _is_of_aiohttp(error: BaseException | None) -> bool:
    """Whether the error is aiohttp's: these hold headers, and the text of the response."""
    return error is not None and _package(type(error).__module__) == "aiohttp"


def _is_os_error(error: BaseException) -> bool:
    return isinstance(error, OSError)


def _is_about_certificates(error: BaseException) -> bool:
    reason = str(getattr(error, "reason", "") or "") if "SSLError" in _kinds(error) else ""
    verification = "SSLCertVerificationError" in _kinds(error)
    return verification or "CERTIFICATE" in reason or "UNKNOWN_CA" in reason


def _is_refused_by_aiohttp(links: Sequence[BaseException]) -> bool:
    """Whether httpx-aiohttp calls a connection that failed at once a timeout."""
    failed = any("ClientConnectionError" in _kinds(link) for link in links)
    return failed and not any("TimeoutError" in _kinds(link) for link in links)


def _is_translated(error: BaseException) -> bool:
    """Whether the error is of an HTTP library or of the system.

    One of Python's own, such as a RuntimeError, is if the code of a library raised it. Another
    class is not, wherever it was raised: RQ raises its own from outside, in any frame.
    """
    if _is_of_library(error) or _is_os_error(error):
        return True
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None or type(error).__module__ != "builtins":
        return False
    return _package(innermost.tb_frame.f_globals.get("__name__", "")) in _HTTP_LIBRARIES


def _remove_library_frames(error: BaseException, url: str, caller: BaseException | None) -> None:
    """Take the frames and requests of HTTP libraries out of an error and its causes.

    They hold headers, and so the key: https://github.com/encode/httpx, `RequestError.request`.
    Frames of this package and of the user's code stay.
    """
    address = Address(shown_address(url))
    for link in list(error_chain(error, caller)):
        link.__traceback__ = _without_libraries(link.__traceback__)
        for name in ("__cause__", "__context__"):
            if _is_of_aiohttp(getattr(link, name)):
                setattr(link, name, None)
        for name in ("request", "_request"):
            with suppress(Exception):
                request = getattr(link, name)
                setattr(link, name, type(request)(getattr(request, "method", "POST"), address))
        with suppress(Exception):
            response = link.response  # type: ignore[attr-defined]
            link.response = type(response)(response.status_code)  # type: ignore[attr-defined]


def _without_libraries(traceback: TracebackType | None) -> TracebackType | None:
    kept = []
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        if _package(name) not in _HTTP_LIBRARIES and name != _POOL:
            kept.append(traceback)
        traceback = traceback.tb_next
    rebuilt: TracebackType | None = None
    for link in reversed(kept):
        rebuilt = TracebackType(rebuilt, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return rebuilt
