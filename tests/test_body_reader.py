"""Bodies of responses: which codings are read, and how little a bad one can cost."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import repeat
from typing import Any, TypeAlias

import httpx
import pytest

from calls import TEXTS, Calls, client_of
from cases import cases
from loopback import Received, Reply, Server, ranking
from rerank_integrations import (
    RateLimitError,
    RerankError,
    ResponseError,
    ServiceUnavailableError,
)
from rerank_integrations._http_result import BodyReader

LIMIT = 32 * 2**20  # bytes of a body, besides an echo of the request
BUFFERS = 64 * 2**20  # bytes that sockets may hold on the way
BODY = ranking(0.5, 0.25, 0.75, more="é" * 50).content


def deflated(content: bytes, window: int) -> bytes:
    """Deflate with a head and a checksum, or raw."""
    compressor = zlib.compressobj(wbits=window)
    return compressor.compress(content) + compressor.flush()


GZIP = gzip.compress(BODY)
READ = {
    "gzip": ("gzip", GZIP),
    "GZIP": (" GZIP ", GZIP),
    "x-gzip": ("x-gzip", GZIP),
    "gzip in members": (
        "gzip",
        gzip.compress(BODY[:9]) + gzip.compress(b"") + gzip.compress(BODY[9:]),
    ),
    "deflate": ("deflate", deflated(BODY, zlib.MAX_WBITS)),
    "deflate without a head": ("deflate", deflated(BODY, -zlib.MAX_WBITS)),
    "utf-8": ("utf-8", BODY),
    "identity": ("identity", BODY),
    "empty": ("", BODY),
    "byte order mark": ("", b"\xef\xbb\xbf" + BODY),
    "byte order mark in gzip": ("gzip", gzip.compress(b"\xef\xbb\xbf" + BODY)),
}
REFUSED = {
    "truncated gzip": ("gzip", GZIP[:-9]),
    "gzip without its checksum": ("gzip", GZIP[:-8]),
    "half a head of gzip": ("gzip", GZIP[:1]),
    "wrong checksum": ("gzip", GZIP[:-8] + b"12345678"),
    "junk behind gzip": ("gzip", GZIP + b"junk"),
    "a cut second member": ("gzip", GZIP + GZIP[:-9]),
    "no gzip": ("gzip", BODY),
    "truncated deflate": ("deflate", deflated(BODY, zlib.MAX_WBITS)[:-5]),
    "junk behind deflate": ("deflate", deflated(BODY, zlib.MAX_WBITS) + b"junk"),
    "one byte of deflate": ("deflate", b"x"),
    "brotli": ("br", BODY),
    "zstd": ("zstd", BODY),
    "two codings": ("gzip, gzip", gzip.compress(GZIP)),
    "two codings of which one is none": ("identity, gzip", GZIP),
    "unknown": ("rot13", BODY),
}
read_ones = cases(("coding", "content"), READ.values(), ids=READ)
refused_ones = cases(("coding", "content"), REFUSED.values(), ids=REFUSED)


def reader_of(coding: str, pieces: Iterable[bytes], status: int = 200) -> BodyReader:
    """A reader that has read the pieces, until it has a problem."""
    reader = BodyReader(status, {"Content-Encoding": coding}, 0)
    for piece in pieces:
        if reader.problem:
            break
        reader.add(piece)
    return reader


@read_ones
def test_a_body_is_read(call: Calls, server: Server, coding: str, content: bytes) -> None:
    """A body is decoded from gzip, deflate in both forms, and what is no coding at all."""
    server.plays(Reply(content, headers={"Content-Encoding": coding}))
    with client_of(server, max_retries=0) as client:
        assert [result.relevance_score for result in call(client)] == [0.75, 0.5, 0.25]
        call.close(client)


@read_ones
def test_a_body_is_read_byte_by_byte(coding: str, content: bytes) -> None:
    """A body is the same however it is cut into pieces."""
    answer = reader_of(coding, (bytes([byte]) for byte in content)).response()
    assert (answer.content, answer.problem) == (BODY, None)


@refused_ones
def test_a_body_is_refused(call: Calls, server: Server, coding: str, content: bytes) -> None:
    """A 2xx whose body cannot be decoded to its end is a ResponseError, and is not retried."""
    server.plays(Reply(content, headers={"Content-Encoding": coding}))
    with client_of(server) as client:
        with pytest.raises(ResponseError):
            call(client)
        call.close(client)
    assert len(server.received) == 1


@refused_ones
def test_a_body_is_refused_byte_by_byte(coding: str, content: bytes) -> None:
    """What is refused does not depend on how a body is cut into pieces."""
    answer = reader_of(coding, (bytes([byte]) for byte in content), 503).response()
    assert answer.problem
    assert (answer.status_code, answer.content) == (503, b"")


@cases("kind", ["truncated gzip", "junk behind gzip", "brotli", "two codings"])
def test_a_status_outlives_its_body(
    call: Calls, server: Server, pauses: Sequence[float], kind: str
) -> None:
    """An error status counts, and is retried, though its body cannot be decoded."""
    coding, content = REFUSED[kind]
    server.plays(Reply(content, 503, {"Content-Encoding": coding, "Retry-After": "7"}))
    with client_of(server, max_retries=1) as client:
        with pytest.raises(ServiceUnavailableError) as caught:
            call(client)
        call.close(client)
    assert caught.value.retry_after == 7
    assert len(server.received) == len(caught.value.attempts) == 2
    assert pauses[0] >= 7


def test_a_body_that_a_hook_has_read(call: Calls, server: Server) -> None:
    """A hook of a user's client may read the response, and so decode it, before the package."""
    server.plays(Reply(GZIP, headers={"Content-Encoding": "gzip"}))

    def reads(response: httpx.Response) -> None:
        response.read()

    async def areads(response: httpx.Response) -> None:
        await response.aread()

    hook = reads if call.argument == "http_client" else areads
    with call.http_client(httpx, event_hooks={"response": [hook]}) as theirs:
        client = client_of(server, max_retries=0, **{call.argument: theirs})
        assert [result.relevance_score for result in call(client)] == [0.75, 0.5, 0.25]


# what a bad body costs

Flood: TypeAlias = Callable[[], Iterable[bytes]]
MEMBER = gzip.compress(b"")
ZEROS = bytes(2**16)


def head(coding: str, status: int = 200) -> bytes:
    """The head of a response whose body ends with the connection."""
    return f"HTTP/1.1 {status} OK\r\ncontent-encoding: {coding}\r\n\r\n".encode()


class Flooding:
    """Answers with a head and very many pieces; counts the bytes that could be sent."""

    def __init__(self, first: bytes, pieces: Flood) -> None:
        self.sent = 0
        self._first = first
        self._pieces = pieces

    def __call__(self, received: Received) -> Iterator[bytes]:
        """The pieces, as far as the client takes them."""
        yield self._first
        for piece in self._pieces():
            yield piece
            self.sent += len(piece)


def ended(call: Calls, plain: Server, flooding: Flooding, **options: Any) -> RerankError:
    """The error with which a call ends, which keeps no connection."""
    plain.plays(flooding)
    with client_of(plain.url, max_retries=0, **options) as client:
        with pytest.raises(RerankError) as caught:
            call(client)
        plain.until_closed(1)
        call.close(client)
    return caught.value


@cases("coding", ["br", "gzip, gzip", "unknown"])
@cases(("status", "kind"), [(200, ResponseError), (429, RateLimitError)])
def test_a_body_in_a_refused_coding_is_not_read(
    call: Calls, plain: Server, coding: str, status: int, kind: type[RerankError]
) -> None:
    """Of a body whose coding is refused, nothing but what was on its way is taken."""
    flooding = Flooding(head(coding, status), lambda: repeat(ZEROS, 2**14))
    assert isinstance(ended(call, plain, flooding), kind)
    assert flooding.sent < BUFFERS


def zeros_in_gzip(count: int) -> Iterator[bytes]:
    """One gzip stream of so many pieces of 64 KiB of zero bytes."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for _ in range(count):
        yield compressor.compress(ZEROS) + compressor.flush(zlib.Z_SYNC_FLUSH)


@cache
def bomb() -> bytes:
    """256 MiB of zero bytes, in one piece of gzip that is 1,000 times smaller."""
    return b"".join(zeros_in_gzip(2**12))


FLOODS: dict[str, tuple[str, Flood]] = {
    "no coding": ("", lambda: repeat(ZEROS, 2**14)),
    "zeros in one piece of gzip": ("gzip", lambda: [bomb()]),
    "zeros in many pieces of gzip": ("gzip", lambda: zeros_in_gzip(2**14)),
    "members": ("gzip", lambda: repeat(MEMBER * 1000, 2**14)),
    "members that come one by one": ("gzip", lambda: repeat(MEMBER, 2**14)),
    "zeros behind gzip": ("gzip", lambda: [GZIP, *repeat(ZEROS, 2**11)]),
    "zeros behind deflate": ("deflate", lambda: [deflated(BODY, 15), *repeat(ZEROS, 2**11)]),
}


@cases(("coding", "pieces"), FLOODS.values(), ids=FLOODS)
def test_a_body_without_end(call: Calls, plain: Server, coding: str, pieces: Flood) -> None:
    """A body larger than the limit, encoded or decoded, is neither read nor held beyond it."""
    flooding = Flooding(head(coding), pieces)
    tracemalloc.start()
    try:
        error = ended(call, plain, flooding)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, ResponseError)
    assert flooding.sent < LIMIT + BUFFERS
    assert peak < 3 * LIMIT, f"{peak / LIMIT:.2f} times the limit"


def test_the_largest_body(call: Calls, server: Server) -> None:
    """A body of exactly the limit is read; one byte more is refused."""
    with client_of(server, max_retries=0) as client:
        call(client)
        limit = LIMIT + 2 * len(server.received[0].content)
        server.plays(*(Reply(BODY.ljust(size)) for size in (limit, limit + 1)))
        assert len(call(client)) == len(TEXTS)
        with pytest.raises(ResponseError, match="larger than"):
            call(client)
        call.close(client)
