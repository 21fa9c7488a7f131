"""Answers as bytes: what a connection reads, and what it makes of an end, without any socket."""

from __future__ import annotations

import json

import pytest

from rerank_integrations._address import address_of
from rerank_integrations._http1 import Reader, RemoteProtocolError, pieces_of
from rerank_integrations.errors import ResponseError
from rerank_integrations.providers.base import Answer
from support import call, request_of

REQUEST = request_of(call("a", "b"))
WHOLE = b"HTTP/1.1 200 OK\r\nX-Id: 7\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
UNBOUNDED = b"HTTP/1.1 200 OK\r\n\r\n{}"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-early: 1\r\n\r\n"


def begun() -> Reader:
    """A reader that waits for an answer."""
    reader = Reader()
    reader.begin(REQUEST)
    return reader


def read(*data: bytes) -> Answer | None:
    """What a reader makes of data that comes in these pieces."""
    reader = begun()
    for piece in data:
        reader.feed(piece)
    return reader.answer


@pytest.mark.parametrize("raw", [WHOLE, CHUNKED, HINTS + WHOLE], ids=["length", "chunks", "103"])
def test_pieces_do_not_matter(raw: bytes) -> None:
    """An answer is the same in one piece, byte by byte, and cut anywhere in two."""
    whole = read(raw)
    assert whole is not None
    assert (whole.status_code, bytes(whole.content)) == (200, b"{}")
    assert read(*(raw[i : i + 1] for i in range(len(raw)))) == whole
    for cut in range(1, len(raw)):
        assert read(raw[:cut], raw[cut:]) == whole


def test_header_names_are_in_lower_case() -> None:
    """Headers are those of the answer, in lower case, and none of an interim one."""
    found = read(HINTS + WHOLE)
    assert found is not None
    assert found.headers == {"x-id": "7", "content-length": "2"}


def test_one_connection_reads_many_answers() -> None:
    """A reader begins anew with each request, and holds nothing of the one before."""
    reader = begun()
    for status in (b"200 OK", b"404 Not Found", b"200 OK"):
        reader.begin(REQUEST)
        reader.feed(WHOLE.replace(b"200 OK", status))
        assert reader.answer is not None
        assert reader.answer.status_code == int(status[:3])
        assert reader.keeps_alive


@pytest.mark.parametrize(
    "raw",
    [
        WHOLE.replace(b"X-Id: 7", b"connection: close"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE + WHOLE,
        WHOLE + b"more",
    ],
    ids=["close", "1.0", "two answers", "more"],
)
def test_a_connection_that_cannot_be_used_again(raw: bytes) -> None:
    """The answer counts, and no request follows where the server said so or sent more."""
    reader = begun()
    reader.feed(raw)
    assert reader.answer is not None
    assert bytes(reader.answer.content) == b"{}"
    assert not reader.keeps_alive


def test_what_nobody_asked_for_ends_the_connection() -> None:
    """Bytes between two requests are not taken for the next answer."""
    reader = begun()
    reader.feed(WHOLE)
    reader.feed(WHOLE)
    assert not reader.keeps_alive


def test_an_end_is_an_end_where_nothing_else_says_it() -> None:
    """A body without a length ends with the connection."""
    found = read(UNBOUNDED[:-1], UNBOUNDED[-1:], b"")
    assert found is not None
    assert bytes(found.content) == b"{}"


@pytest.mark.parametrize(
    "raw",
    [b"", b"HTTP/1.1 200 OK\r\nx: 1", WHOLE[:-1], CHUNKED[:-3], HINTS],
    ids=["nothing", "half a head", "half a body", "no last chunk", "interim only"],
)
def test_an_early_end_is_refused(raw: bytes) -> None:
    """An answer whose end is missing is none."""
    reader = begun()
    if raw:
        reader.feed(raw)
    with pytest.raises(RemoteProtocolError, match="closed the connection"):
        reader.feed(b"")
    assert reader.answer is None
    assert not reader.keeps_alive


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ],
    ids=["ssh", "two lengths", "length and chunks", "no chunk", "another protocol"],
)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    """Bytes that could be read in two ways, or in none, are not read."""
    reader = begun()
    with pytest.raises(RemoteProtocolError):
        reader.feed(raw)
    assert not reader.keeps_alive


def test_headers_without_end_are_refused() -> None:
    """A server that sends headers for ever is not listened to for ever."""
    reader = begun()
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(RemoteProtocolError, match="no end"):  # noqa: PT012
        for number in range(10_000):
            reader.feed(b"x-%d: %b\r\n" % (number, b"y" * 100))


def test_a_body_that_cannot_be_decoded_is_an_error_of_ours() -> None:
    """What is wrong with the content is told as with any HTTP client."""
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(ResponseError, match="decoded"):
        read(raw)


@pytest.mark.parametrize(
    ("url", "shown", "line"),
    [
        ("https://a.example/v1/rerank", "a.example", "/v1/rerank"),
        ("http://a.example:8080", "a.example:8080", "/"),
        ("http://[::1]:80/a b", "[::1]:80", "/a%20b"),
        ("https://bücher.example/x", "xn--bcher-kva.example", "/x"),
    ],
)
def test_the_head_says_where_it_goes(url: str, shown: str, line: str) -> None:
    """The request line has the path, the `host` header the host, as HTTP writes them."""
    head, _, body = b"".join(pieces_of(REQUEST, address_of(url))).partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert lines[:2] == [f"POST {line} HTTP/1.1", f"host: {shown}"]
    assert f"content-length: {len(body)}" in lines
    assert json.loads(body)["documents"] == ["a", "b"]


def test_a_large_body_is_written_piece_by_piece() -> None:
    """No piece is so large that a deadline could pass while it is written."""
    request = request_of(call("a" * 3_000_000, "b"))
    pieces = list(pieces_of(request, address_of("https://a.example/")))
    assert max(map(len, pieces)) <= 256 * 1024
    assert b"".join(pieces).endswith(b"".join(request.content.reveal()))
