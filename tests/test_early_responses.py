"""Servers that respond before they have read the whole request."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import pytest

from calls import Calls, client_of
from cases import cases
from loopback import Act, Peer, Reply, Server, echoes, running
from rerank_integrations import (
    AuthenticationError,
    PayloadTooLargeError,
    RerankTimeoutError,
    StatusError,
)

LARGE = ["x" * 8_000_000, "y"]
READ = 500_000  # bytes of a request that the server reads before it responds


def responds_early(then: str, *replies: Reply | bytes) -> Act:
    """Reads a part of the request, responds, and closes, stops reading, or reads the rest."""

    def play(peer: Peer) -> None:
        peer.skip(READ)
        for reply in replies:
            peer.say(reply if isinstance(reply, bytes) else reply.whole)
        if then == "stays":
            peer.pause()
        if then == "half-closes":
            peer.end_writing()
            peer.pause()
        peer.close()

    return Act(play, f"early, then {then}", before_reading=True)


def refused(call: Calls, server: Server, library: Any, **options: Any) -> Any:
    """The error of a call with a large request."""
    timeout = httpx.Timeout(10, write=0.5)
    if library is None:
        with client_of(server, timeout=timeout, **options) as client:
            with pytest.raises(Exception, match=r"413|401|timed out") as caught:
                call(client, documents=LARGE)
            call.close(client)
        return caught.value
    with call.http_client(library) as theirs:
        client = client_of(server, timeout=timeout, **{call.argument: theirs}, **options)
        with pytest.raises(StatusError) as caught:
            call(client, documents=LARGE)
    return caught.value


@cases("then", ["closes", "half-closes", "stays"])
@cases("kind", [PayloadTooLargeError, AuthenticationError])
@cases("library", [None, httpx, "TLS"])
def test_an_early_status_is_raised(
    call: Calls,
    context: ssl.SSLContext,
    then: str,
    kind: type[StatusError],
    library: Any,
) -> None:
    """A status that comes before the body was read is raised, after one upload."""
    early = Reply({"message": "early"}, 413 if kind is PayloadTooLargeError else 401)
    act = responds_early(then, early)
    if library == "TLS":  # which cannot be closed half
        act, library = responds_early("stays", early), None
        server_of = running(act, context=context, small_buffer=True)
    else:
        server_of = running(act, small_buffer=True)
    with server_of as server:
        error = refused(call, server, library)
        assert server.begun == 1
    assert type(error) is kind
    assert error.message == "early"
    assert len(error.attempts) == 1


def test_a_refusal_of_a_small_request(call: Calls, context: ssl.SSLContext) -> None:
    """A server that reads nothing, responds and closes is heard, however soon it does so."""
    for security in (None, context):
        with running(Act(_refuses_at_once, before_reading=True), context=security) as server:
            client = client_of(server, max_retries=0)
            for _ in range(20):
                with pytest.raises(AuthenticationError):
                    call(client, documents=["x" * 30_000])
            call.close(client)
            assert server.begun == 20


def test_what_comes_early_and_refuses_nothing(call: Calls) -> None:
    """An interim response ends no upload, and without a response the write times out."""
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    with running(responds_early("stays", interim), small_buffer=True) as server:
        error = refused(call, server, None, max_retries=0)
    assert isinstance(error, RerankTimeoutError)
    assert error.phase == "write"
    reads_on = Act(_reads_on, before_reading=True)
    with running(reads_on, small_buffer=True) as server:
        with client_of(server) as client:
            response = call(client, documents=[*LARGE, "z"])
            call.close(client)
        assert len(response) == 3
        assert server.begun == 1


def _reads_on(peer: Peer) -> None:
    peer.say(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    peer.say(echoes(peer.read()))


def _refuses_at_once(peer: Peer) -> None:
    peer.say(Reply(status=401, headers={"Connection": "close"}).whole)
    peer.close()
