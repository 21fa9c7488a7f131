"""Reads response bodies within a size limit, and converts errors of HTTP libraries."""

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

_LARGEST = 32 * 2**20  # bytes, in addition to an echo of the request
_ECHO_FACTOR = 2  # an echoed document is at most this many times as long, by JSON escapes
_MAX_MEMBERS = 1000  # members of one gzip body; zlib copies the rest of the data after each
_NOT_ENCODED = ("", "identity", "utf-8")
_GZIP = ("gzip", "x-gzip")
_PORTS = {"http": 80, "https": 443}
_BOM = b"\xef\xbb\xbf"
_REDIRECTS = {"POST": (307, 308), "GET": (301, 302, 303, 307, 308)}  # those that keep the method
_HTTP_LIBRARIES = frozenset(
    {
        *("httpx", "httpcore", "h11", "h2", "hpack", "socksio", "httpx2", "httpcore2"),
        *("httpx_aiohttp", "aiohttp", "anyio", "sniffio", "asyncio", "uvloop", "socket", "ssl"),
        *("hyperframe", "idna"),
        "contextlib",  # its frames hold the traceback of the exception
    }
)
_POOL = "rerank_integrations._pool"  # its frames hold requests of httpx, as httpx's own frames do
_TIMEOUTS = frozenset({"TimeoutException", "TimeoutError"})
_PERMANENT = frozenset({"UnsupportedProtocol", "LocalProtocolError"})
_TRANSIENT = frozenset({"TransportError", "NetworkError", "RemoteProtocolError", "OSError"})
_PHASES = {
    "ConnectTimeout": "connect",
    "ReadTimeout": "read",
    "WriteTimeout": "write",
    "PoolTimeout": "pool",
}
_CLIENT_ERROR = re.compile(r"4\d\d\b")  # the status of a proxy that refuses the request


class BodyReader:
    """Collects the raw bytes of a response body, up to a limit, and decodes gzip and deflate.

    Decoding happens here because the decoders of HTTP libraries may expand 2 KB of a stacked or
    brotli encoding to gigabytes before the size can be checked.

    Args:
        status_code: the status of the response.
        headers: the headers of the response.
        request_size: the size of the request body in bytes; the response may echo it.

    Attributes:
        problem: why the body is unusable, so that it need not be read further; else None.
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
        self._start = b""  # the first two bytes of a deflate body, which show its format
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
        """Add a body that a hook or a mock has already read."""
        self._coding = ""
        self.problem = None
        self.add(content)

    def response(self) -> HTTPResponse:
        """Return the response, after the end of its body or a problem."""
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
        self._content += data  # grows in place; joining a list of chunks would hold it twice

    def _decode(self, data: bytes) -> None:
        if self._decoder is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            # https://www.rfc-editor.org/rfc/rfc1950#section-2.2; some servers omit the zlib header
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
        """Continue with the next member of a gzip body."""
        self._members += 1
        is_member = self._coding in _GZIP and data[:1] == b"\x1f"
        if not is_member or self._members > _MAX_MEMBERS:
            self.problem = "its body cannot be decoded: there is data after its end"
            return
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)


class Limits(NamedTuple):
    """The time limits of a request, in seconds.

    Attributes:
        timeouts: by phase; None for those of the HTTP client.
        deadline: of the whole call; None for no limit.
        deadline_passed: whether the deadline has passed.
        seconds: since the request began; if the deadline has passed, since the call began.
    """

    timeouts: Mapping[str, float | None] | None
    deadline: float | None
    deadline_passed: bool
    seconds: float = 0.0

    def describe(self, phase: str, used: Mapping[str, float | None]) -> str:
        """Return the exceeded limit for a message; `used` are the timeouts of the HTTP client."""
        if phase == "other":
            return "by a limit other than timeout= and deadline="
        if phase == "deadline":
            return f"deadline={self.deadline:g}" if self.deadline is not None else "deadline"
        seconds = (self.timeouts or used).get(phase)
        limit = f"timeout={seconds:g}" if seconds is not None else "timeout"
        return f"{limit}, in the {phase} phase"


def response_in(error: Exception, request_size: int) -> HTTPResponse:
    """Return the response in an error of a `raise_for_status` hook; any other error is raised."""
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
    """Convert an error of an HTTP library to a RerankError.

    Classes are recognised by their names, because httpx2 uses the names of httpx. Only errors of
    HTTP libraries and of the operating system are converted. Other errors come from code that the
    library called: a signal handler (Celery's `SoftTimeLimitExceeded`, RQ's `JobTimeoutException`),
    a hook of the user, or a defect of this package.

    Args:
        cause: the error that was raised while the request was sent or its response read.
        url: the URL of the request.
        limits: the time limits of the request.
        retry_on_timeout: whether a read timeout may be retried.
        caller: the exception that the caller was handling when the request was sent. It is in the
            context of `cause`, but is not its reason, and must not be changed.

    Raises:
        Exception: `cause` itself, if it is not an error of an HTTP library.
    """
    interruption = of_signal(cause)
    if interruption is not None:
        _remove_library_frames(cause, url, caller)
        raise interruption from interruption.__cause__  # not the error that a library made of it
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
        if not limits.deadline_passed:  # a timeout, or a limit of a hook or the operating system
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
            fix = " (the port does not use TLS: use http:// with allow_http=True, or another port)"
        error = TransportError(  # truncated later by `redact_error`, or part of a key might remain
            f"no response from {address}{fix}: {type(found).__name__}: {found}",
            is_retryable=bool(kinds & _TRANSIENT)
            and not (kinds & _PERMANENT or certificate or refused),
        )
    if not _is_of_aiohttp(cause):
        error.__cause__ = cause
    _remove_library_frames(cause, url, caller)
    return error


def redirect_target(request: HTTPRequest, response: HTTPResponse) -> str | None:
    """Return the URL of a redirect that keeps method, body and origin; None for others."""
    url = request.url
    if response.status_code not in _REDIRECTS[request.method]:
        return None
    location = response.headers.get("location", "").strip()
    try:
        target = urljoin(url, location).partition("#")[0]
    except ValueError:  # an invalid URL, such as http://[a
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
    """Return the timeouts that the HTTP client used for the request of an error."""
    for link in links:
        with suppress(Exception):  # httpx raises RuntimeError if the error has no request
            request: Any = getattr(link, "request", None)
            return dict(request.extensions["timeout"])
    return {}


def error_chain(
    error: BaseException, caller: BaseException | None = None
) -> Iterator[BaseException]:
    """Yield an error, its causes and its contexts, each once.

    Args:
        error: the start of the chain.
        caller: the exception that the caller of this package is handling; the chain ends there.
    """
    seen = {id(caller)}
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):  # of a transport that runs tasks
                waiting += link.exceptions


def of_signal(error: BaseException) -> BaseException | None:
    """Return the error of a signal handler, such as a TimeoutError, that caused this error.

    A handler is recognised by its argument: the frame that it interrupted.
    """
    link: BaseException | None = error
    seen: set[int] = set()  # an error may be its own cause
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
    """Return the error that a library caught before it raised this one with `from None`."""
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
    """Return whether it is an error of aiohttp, which holds headers and the response text."""
    return error is not None and _package(type(error).__module__) == "aiohttp"


def _is_os_error(error: BaseException) -> bool:
    return isinstance(error, OSError)


def _is_about_certificates(error: BaseException) -> bool:
    reason = str(getattr(error, "reason", "") or "") if "SSLError" in _kinds(error) else ""
    verification = "SSLCertVerificationError" in _kinds(error)
    return verification or "CERTIFICATE" in reason or "UNKNOWN_CA" in reason


def _is_refused_by_aiohttp(links: Sequence[BaseException]) -> bool:
    """Return whether httpx-aiohttp reports a connection that failed at once as a timeout."""
    failed = any("ClientConnectionError" in _kinds(link) for link in links)
    return failed and not any("TimeoutError" in _kinds(link) for link in links)


def _is_translated(error: BaseException) -> bool:
    """Return whether the error is one of an HTTP library or of the operating system.

    A built-in error, such as a RuntimeError, counts if code of a library raised it. Any other class
    does not, wherever it was raised: RQ raises its own exception asynchronously, in any frame.
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
    """Remove the frames and requests of HTTP libraries from an error and its causes.

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
