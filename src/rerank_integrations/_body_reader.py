"""The body of an HTTP response: decoded within a limit, whatever it claims to hold."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from rerank_integrations.providers.base import HTTPResponse

_LARGEST = 32 * 2**20  # bytes, besides an echo of the request
_ECHO_FACTOR = 2  # an echoed document is at most this many times as long, by JSON escapes
_MAX_MEMBERS = 1000  # of one gzip body; for each, zlib copies what follows it
_NOT_ENCODED = ("", "identity", "utf-8")
_GZIP = ("gzip", "x-gzip")
_BOM = b"\xef\xbb\xbf"


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
            self.problem = f"its body is encoded as {coding[:50]!r}, which was not asked for"

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

    def answer(self) -> HTTPResponse:
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
