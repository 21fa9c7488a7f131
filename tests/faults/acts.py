"""What a server can do with a request: answer it in some way, or be rude at some moment."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache

from faults.server import Act, Peer

_TICK = 0.005  # seconds between the pieces of a trickle
_CHUNK = b" " * 2**16
_CHUNKS = 1600  # 100 MB

Headers = Mapping[str, str]


def head(status: int, headers: Headers) -> bytes:
    """The bytes of an answer up to its body."""
    lines = [f"HTTP/1.1 {status} Words", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def answer(body: object, status: int = 200, headers: Headers | None = None) -> bytes:
    """The bytes of an answer; a body that is no bytes is written as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    usual = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    return head(status, usual | dict(headers or {})) + content


def replies(body: object, status: int = 200, headers: Headers | None = None) -> Act:
    """Answers in order, and keeps the connection."""
    content = answer(body, status, headers)

    def act(peer: Peer) -> None:
        peer.hear()
        peer.say(content)

    return act


def failing(status: int, headers: Headers | None = None) -> Act:
    """Answers with an error status and an error body."""
    return replies({"error": {"message": "no luck"}}, status, headers)


def asks_to_wait(delay: timedelta) -> Act:
    """Answers 429 with a date in Retry-After."""

    def act(peer: Peer) -> None:
        date = format_datetime(datetime.now(UTC) + delay, usegmt=True)
        failing(429, {"Retry-After": date})(peer)

    return act


def page(status: int) -> Act:
    """Answers with a page, as what stands in front of a gateway does."""
    html = f"<html><title>{status} no luck</title><body>nginx</body></html>".encode()
    return replies(html, status, {"Content-Type": "text/html"})


def in_encoding(name: str, content: bytes) -> Act:
    """Answers 200 with content that is said to be in an encoding."""
    return replies(content, 200, {"Content-Encoding": name})


def says(content: bytes) -> Act:
    """Reads the request, sends bytes as they are and closes the connection."""

    def act(peer: Peer) -> None:
        peer.hear()
        peer.say(content)
        peer.close()

    return act


def interrupts(content: bytes) -> Act:
    """Sends bytes and closes the connection without having read what came."""

    def act(peer: Peer) -> None:
        peer.say(content)
        peer.close()

    return act


def resets_after(content: bytes = b"") -> Act:
    """Reads the request, sends bytes and resets the connection."""

    def act(peer: Peer) -> None:
        peer.hear()
        peer.say(content)
        peer.reset()

    return act


def resets_meanwhile(peer: Peer) -> None:
    """Resets the connection while the request still comes in."""
    peer.reset()


def stalls_after(content: bytes = b"") -> Act:
    """Reads the request, sends bytes, then nothing more."""

    def act(peer: Peer) -> None:
        peer.hear()
        peer.say(content)
        peer.pause()

    return act


def trickles(content: bytes, *, after: bytes = b"", pieces: int | None = None) -> Act:
    """Sends some bytes at once, then the content byte by byte, or in so many pieces."""
    size = len(content) // pieces + 1 if pieces else 1

    def act(peer: Peer) -> None:
        peer.hear()
        peer.say(after)
        for start in range(0, len(content), size):
            peer.say(content[start : start + size])
            peer.pause(_TICK)

    return act


def floods(status: int = 200, *, in_chunks: bool = False, begin: bytes = b"") -> Act:
    """Answers with 100 MB of spaces; with a beginning that is gzip they come after its end."""
    headers = {"Content-Length": str(len(begin) + _CHUNKS * len(_CHUNK))}
    if in_chunks:
        headers = {"Transfer-Encoding": "chunked"}
    if begin:
        headers["Content-Encoding"] = "gzip"
    piece = b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK) if in_chunks else _CHUNK

    def act(peer: Peer) -> None:
        peer.hear()
        with suppress(ConnectionError):  # the client need not take them all
            peer.say(head(status, headers) + begin)
            for _ in range(_CHUNKS):
                peer.say(piece)
        peer.close()

    return act


def bombs(peer: Peer) -> None:
    """Answers with 100 MB of spaces that are packed in 100 KB."""
    in_encoding("gzip", _bomb())(peer)


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(_CHUNK) for _ in range(_CHUNKS)) + packer.flush()


def packed(content: bytes) -> bytes:
    """The content as gzip."""
    return gzip.compress(content)
