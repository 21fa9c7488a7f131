"""What a server can do with a request: respond in some way, or be rude at some moment."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache

from loopback import Act, Peer, Received, Reply, Responds, head

_TICK = 0.005  # seconds between the pieces of a trickle
_CHUNK = b" " * 2**16
_EARLY = 2**18  # bytes of a large request
_CHUNKS = 1600  # 100 MB

Headers = Mapping[str, str]


def failing(status: int, headers: Headers | None = None, says: str = "no luck") -> Reply:
    """Responds with an error status and an error body."""
    return Reply({"error": {"message": says}}, status, headers or {})


def asks_to_wait(delay: timedelta) -> Responds:
    """Responds with 429 and a date in Retry-After."""

    def respond(received: Received) -> Reply:
        date = format_datetime(datetime.now(UTC) + delay, usegmt=True)
        return failing(429, {"Retry-After": date})

    return respond


def page(status: int) -> Reply:
    """Responds with a page, as what stands in front of a gateway does."""
    html = f"<html><title>{status} no luck</title><body>nginx</body></html>".encode()
    return Reply(html, status, {"Content-Type": "text/html"})


def in_encoding(name: str, content: bytes) -> Reply:
    """Responds 200 with content that is said to be in an encoding."""
    return Reply(content, 200, {"Content-Encoding": name})


def says(content: bytes) -> Act:
    """Reads the request, sends bytes as they are and closes the connection."""

    @Act
    def act(peer: Peer) -> None:
        peer.say(content)
        peer.close()

    return act


def interrupts(content: bytes) -> Act:
    """Sends bytes and closes the connection without having read what came."""

    def play(peer: Peer) -> None:
        peer.say(content)
        peer.close()

    return Act(play, before_reading=True)


def refuses_early(reply: Reply) -> Act:
    """Responds when a part of the request was read, and reads no more."""

    def play(peer: Peer) -> None:
        peer.skip(_EARLY)
        peer.say(reply.whole)
        peer.pause()

    return Act(play, before_reading=True)


def resets_after(content: bytes = b"") -> Act:
    """Reads the request, sends bytes and resets the connection."""

    @Act
    def act(peer: Peer) -> None:
        peer.say(content)
        peer.reset()

    return act


resets_meanwhile = Act(Peer.reset, before_reading=True)
"""Resets the connection while the request still comes in."""


def stalls_after(content: bytes = b"") -> Act:
    """Reads the request, sends bytes, then nothing more."""

    @Act
    def act(peer: Peer) -> None:
        peer.say(content)
        peer.pause()

    return act


def trickles(content: bytes, *, after: bytes = b"", pieces: int | None = None) -> Act:
    """Sends some bytes at once, then the content byte by byte, or in so many pieces."""
    size = len(content) // pieces + 1 if pieces else 1

    @Act
    def act(peer: Peer) -> None:
        peer.say(after)
        for start in range(0, len(content), size):
            peer.say(content[start : start + size])
            peer.pause(_TICK)

    return act


def floods(status: int = 200, *, in_chunks: bool = False, begin: bytes = b"") -> Act:
    """Responds with 100 MB of spaces; with a beginning that is gzip they come after its end."""
    headers = {"Content-Length": str(len(begin) + _CHUNKS * len(_CHUNK))}
    if in_chunks:
        headers = {"Transfer-Encoding": "chunked"}
    if begin:
        headers["Content-Encoding"] = "gzip"
    piece = b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK) if in_chunks else _CHUNK

    @Act
    def act(peer: Peer) -> None:
        with suppress(ConnectionError):  # the client need not take them all
            peer.say(head(status, headers) + begin)
            for _ in range(_CHUNKS):
                peer.say(piece)
        peer.close()

    return act


def bombs(received: Received) -> Reply:
    """Responds with 100 MB of spaces that are packed in 100 KB."""
    return in_encoding("gzip", _bomb())


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(_CHUNK) for _ in range(_CHUNKS)) + packer.flush()


def packed(content: bytes) -> bytes:
    """The content as gzip."""
    return gzip.compress(content)
