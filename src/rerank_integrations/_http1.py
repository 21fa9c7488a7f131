"""HTTP/1.1 as bytes: what is written for a request, and an answer as it comes in. No I/O.

The only file that names the parser, llhttp's, which also stands in Node.js and in aiohttp.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rerank_integrations._address import Address
from rerank_integrations._received import Body
from rerank_integrations._wire import Request
from rerank_integrations.providers.base import Answer

_PIECE = 256 * 1024  # bytes; what is written in one go
_LARGEST_HEAD = 128 * 1024  # bytes; of an answer's status line and headers


class RemoteProtocolError(Exception):
    """What came is no answer, or only a part of one."""


def pieces_of(request: Request, address: Address) -> Iterator[bytes | memoryview]:
    """What is written one after another, so that a deadline is seen in between."""
    first, *others = request.content.reveal()
    lines = _head(request, address)
    if len(first) < _PIECE:  # a copy of a small body costs less than a system call
        yield lines + first
    else:
        others = [lines, first, *others]
    for piece in others:
        view = memoryview(piece)
        for start in range(0, len(view), _PIECE):
            yield view[start : start + _PIECE]


class Reader:
    """Reads the answers of one connection, one after another.

    Attributes:
        answer: the answer to the request that was begun last, when all of it has come.
        keeps_alive: whether another request may be sent after it.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append
        self._raw_headers: dict[bytes, bytes] = {}
        self.on_header = self._raw_headers.__setitem__
        self._parser: Any = HttpResponseParser(self)  # None when closed
        self._request: Request | None = None
        self._body: Any = None
        self._before_body = 0
        self._has_head = self._has_end = False
        self.answer: Answer | None = None
        self.keeps_alive = True

    def begin(self, request: Request) -> None:
        """The next answer is to this request."""
        self._request, self.answer, self._body = request, None, None
        self._before_body = 0
        self._has_head = self._has_end = False
        self._raw_headers.clear()

    def feed(self, data: bytes) -> None:
        """Take what was received; empty where the far side has closed.

        Raises:
            RemoteProtocolError: no answer, or its end is missing.
            ResponseError: the answer is too large, or cannot be decoded.
        """
        if self._request is None:
            self.keeps_alive = False  # nothing was asked
            return
        if not data:
            self._ended()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as cause:
            self.keeps_alive = False
            if not self._has_end:  # what follows an answer is not read
                raise RemoteProtocolError(f"what came is no HTTP answer: {cause}") from cause
        self._take(self._request, len(data))

    def close(self) -> None:
        """Let go of all: the parser and this object hold each other."""
        self._parser = self._request = self._body = None
        self.keeps_alive = False

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_message_begin(self) -> None:
        if self._has_end:
            raise RemoteProtocolError("a second answer came to one request")

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # such as 103, early hints: the answer follows
            self._has_head = False
            self._raw_headers.clear()
            return
        self._has_end = True
        self.keeps_alive = self.keeps_alive and self._parser.should_keep_alive()

    def _take(self, request: Request, count: int) -> None:
        if not self._has_head:
            self._before_body += count
            if self._before_body > _LARGEST_HEAD:
                raise RemoteProtocolError("the headers of the answer have no end")
            return
        if self._body is None:
            self._body = Body(request, self._headers())
        for chunk in self._chunks:
            self._body.add(chunk)
        self._chunks.clear()
        if self._has_end:
            self._finish()

    def _ended(self) -> None:
        """The far side has closed: that is the end of a body that says no other."""
        self.keeps_alive = False
        unbounded = not {b"content-length", b"transfer-encoding"} & {
            name.lower() for name in self._raw_headers
        }
        if self._body is None or not unbounded:
            what = "in the middle of its answer" if self._before_body or self._body else "silently"
            raise RemoteProtocolError(f"the server closed the connection {what}")
        self._finish()

    def _finish(self) -> None:
        self.answer = self._body.answer(self._parser.get_status_code())
        self._request = self._body = None

    def _headers(self) -> dict[str, str]:
        return {
            name.decode("latin-1").lower(): (value or b"").decode("latin-1")
            for name, value in self._raw_headers.items()
        }


def _head(request: Request, address: Address) -> bytes:
    """The request line and the headers."""
    lines = [
        f"POST {address.path} HTTP/1.1",
        f"host: {address.shown}",
        "accept-encoding: gzip, deflate",
    ]
    lines += [f"{name}: {value}" for name, value in request.headers.reveal().items()]
    return "\r\n".join([*lines, f"content-length: {request.size}", "", ""]).encode("ascii")
