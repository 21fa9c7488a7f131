"""An answer as it comes in: decoded, and no larger than an answer can be."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from rerank_integrations._wire import Request
from rerank_integrations.errors import ResponseError
from rerank_integrations.providers.base import Answer

_LARGEST_ANSWER = 32 * 2**20  # bytes, besides an echo of the request
_GATEWAYS_ECHO = 2  # an echoed document is at most this many times as long, by JSON escapes


class Body:
    """The bytes of an answer, chunk by chunk.

    Args:
        request: what was sent, and may be echoed.
        headers: those of the answer.
        decode: whether the chunks are still in the encoding that the headers name.

    Raises:
        ResponseError: too large, or in an encoding that was not asked for.
    """

    def __init__(
        self, request: Request, headers: Mapping[str, str], *, decode: bool = True
    ) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._content = bytearray()  # grows in place: a list of chunks would be held twice
        self._most = _LARGEST_ANSWER + _GATEWAYS_ECHO * request.size
        self._decoder = self._decoder_of() if decode else None

    def add(self, chunk: bytes) -> None:
        """Add what came next."""
        if self._decoder is not None:
            try:
                chunk = self._decoder.decompress(chunk, self._most + 1)
            except zlib.error as cause:
                raise ResponseError(f"the answer cannot be decoded: {cause}") from cause
            if self._decoder.unused_data:  # zlib would keep all that comes
                raise ResponseError("the answer cannot be decoded: it goes on after its end")
        self._content += chunk
        if len(self._content) > self._most:
            raise ResponseError("the answer is larger than any rerank answer; it was not read")

    def answer(self, status_code: int) -> Answer:
        """The whole, when all has come."""
        if self._decoder is not None and self._content and not self._decoder.eof:
            raise ResponseError("the answer cannot be decoded: it ends too early")
        return Answer(status_code, self._headers, self._content)

    def _decoder_of(self) -> Any:
        encoding = self._headers.get("content-encoding", "").strip().lower()
        if encoding in ("", "identity"):
            return None
        if encoding in ("gzip", "x-gzip", "deflate"):
            return zlib.decompressobj(zlib.MAX_WBITS | 32)  # tells gzip from zlib by itself
        raise ResponseError(f"the answer cannot be decoded: it is in {encoding!r}")
