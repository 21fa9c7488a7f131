"""Exceptions of HTTP libraries, as errors of this package that hold no key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

from rerank_integrations._body_reader import BodyReader
from rerank_integrations.errors import (
    RerankError,
    RerankTimeoutError,
    ResponseError,
    TransportError,
)
from rerank_integrations.providers.base import HTTPResponse

_HTTP_LIBRARIES = frozenset(
    {
        *("httpx", "httpcore", "h11", "h2", "hpack", "socksio", "httpx2", "httpcore2"),
        *("httpx_aiohttp", "aiohttp", "anyio", "sniffio", "asyncio", "uvloop", "socket", "ssl"),
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
_LONGEST_MESSAGE = 300


class Limits(NamedTuple):
    """The time limits of a request, in seconds; `timeouts` is None for those of its HTTP client."""

    timeouts: Mapping[str, float | None] | None
    deadline: float | None
    deadline_passed: bool

    def describe(self, phase: str) -> str:
        """A limit as a message names it."""
        if phase == "deadline":
            seconds, name = self.deadline, "deadline"
        else:
            seconds, name = (self.timeouts or {}).get(phase), f"{phase} timeout"
        return f"the {name} of {seconds:g} s" if seconds is not None else f"the {name}"


def response_in(error: Exception, request_size: int) -> HTTPResponse:
    """The response in an error that a `raise_for_status` hook raised; any other is raised."""
    response = getattr(error, "response", None)
    if "HTTPStatusError" not in _kinds(error) or response is None:
        raise error
    reader = BodyReader(response.status_code, response.headers, request_size)
    content = b""
    with suppress(Exception):  # the hook did not read it
        content = response.content
    reader.add_decoded(content)
    return reader.answer()


def rerank_error(
    cause: Exception, url: str, limits: Limits, *, retry_on_timeout: bool
) -> RerankError:
    """The error of an HTTP library as one of ours, by name: httpx2 has the names of httpx.

    Args:
        cause: what was raised while the request was sent and its response read.
        url: the address of the request.
        limits: the time limits of the request.
        retry_on_timeout: whether a request that timed out while reading may be sent again.

    Raises:
        Exception: `cause` itself, where it is a defect of this package.
    """
    if isinstance(cause, RerankError):
        _remove_library_frames(cause, url)
        return cause
    links = list(_chain(cause))
    found = next((link for link in links if _is_of_library(link) or _is_os_error(link)), cause)
    if found is cause and _is_own_defect(cause):
        raise cause
    kinds = _kinds(found)
    certificate = any(map(_is_about_certificates, links))
    error: RerankError
    if kinds & _TIMEOUTS and not certificate and not _is_refused_by_aiohttp(links):
        phase = "deadline"
        if not limits.deadline_passed:
            phase = next((_PHASES[kind] for kind in kinds if kind in _PHASES), phase)
        error = RerankTimeoutError(
            f"the request to {url} timed out: {limits.describe(phase)} passed",
            is_retryable=retry_on_timeout or phase != "read",
            phase=phase,
        )
    elif "DecodingError" in kinds:
        error = ResponseError(f"the response from {url} cannot be decoded: {found}")
    else:
        refused = "ProxyError" in kinds and _CLIENT_ERROR.match(str(found)) is not None
        fix = "; set SSL_CERT_FILE to the certificates to trust" if certificate else ""
        message = str(found)[:_LONGEST_MESSAGE]
        error = TransportError(
            f"no response from {url}: {type(found).__name__}: {message}{fix}",
            is_retryable=bool(kinds & _TRANSIENT)
            and not (kinds & _PERMANENT or certificate or refused),
        )
    error.__cause__ = cause
    _remove_library_frames(cause, url)
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__]


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _package(name: str) -> str:
    return name.partition(".")[0]


def _is_of_library(error: BaseException) -> bool:
    return any(_package(kind.__module__) in _HTTP_LIBRARIES for kind in type(error).__mro__)


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


def _is_own_defect(error: BaseException) -> bool:
    """Whether the error comes from the code of this package, and not from a user's hook."""
    if _is_of_library(error) or _is_os_error(error):
        return False
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None:
        return False
    return _package(innermost.tb_frame.f_globals.get("__name__", "")) == _package(__name__)


def _remove_library_frames(error: BaseException, url: str) -> None:
    """Take the frames and requests of HTTP libraries out of an error and its causes.

    They hold headers, and so the key: https://github.com/encode/httpx, `RequestError.request`.
    Frames of this package and of the user's code stay.
    """
    for link in list(_chain(error)):
        link.__traceback__ = _without_libraries(link.__traceback__)
        for name in ("__cause__", "__context__"):
            inner = getattr(link, name)
            if hasattr(inner, "request_info"):  # aiohttp's, with the headers
                setattr(link, name, None)
        for name in ("request", "_request"):
            with suppress(Exception):
                request = getattr(link, name)
                setattr(link, name, type(request)("POST", url))
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
