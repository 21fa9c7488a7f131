"""The connections of the default client: which serves a call, how many, and whose bytes."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, TypeAlias

import httpx
import pytest
import trustme

from cases import cases
from rerank_integrations import RerankClient, RerankError, RerankResponse, RerankTimeoutError
from server import LOOPS, QUERY, TEXTS, AsyncCalls, SyncCalls, client_of

CAP = 20
READ_SIZE = 65536  # bytes that httpcore takes at once
NEXT = ("second", "third", "fourth")
Outcome: TypeAlias = RerankResponse | BaseException
Ended: TypeAlias = Callable[[Any], object]


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    connection: int
    head: bytes
    query: str


Respond: TypeAlias = Callable[[Seen], bytes | Iterable[bytes]]


def framed(query: str, padding: int = 0) -> bytes:
    """A response whose id is the query, with a content-length."""
    body = content(query, padding)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def chunked(query: str) -> bytes:
    """The same in chunks."""
    body = content(query)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body)


def content(query: str, padding: int = 0) -> bytes:
    """A ranking whose id is the query."""
    results = [{"index": index, "relevance_score": 0.5} for index in range(len(TEXTS))]
    return json.dumps({"id": query, "results": results, "more": "x" * padding}).encode()


class Wire(ThreadingTCPServer):
    """Writes what `respond` makes of each request, in one piece or several; keeps connections open.

    Attributes:
        seen: the requests, in order.
        closed: the connections that have ended.
        released: for responses that wait; set at the latest when the server stops.
    """

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 1024

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = context
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server_address[1]}"
        self.respond: Respond = lambda seen: framed(seen.query)
        self.seen: list[Seen] = []
        self.sockets: list[socket.socket] = []
        self.closed: list[int] = []
        self.changed = threading.Condition()
        self.released = threading.Event()

    def begin(self, opened: socket.socket) -> int:
        """Note a connection; its number."""
        with self.changed:
            self.sockets.append(opened)
            return len(self.sockets) - 1

    def end(self, connection: int) -> None:
        """Note that a connection has ended."""
        with self.changed:
            self.closed.append(connection)
            self.changed.notify_all()

    def until_closed(self, connections: int) -> None:
        """Wait until so many connections have ended."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.closed) >= connections, 10)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, in the TLS handshake or later, is none of our concern."""


class _Handler(BaseRequestHandler):
    server: Wire

    def handle(self) -> None:
        opened: socket.socket = self.request
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no piece waits for another
        if self.server.context is not None:
            opened = self.server.context.wrap_socket(opened, server_side=True)
        connection = self.server.begin(opened)
        try:
            with opened, opened.makefile("rb") as file:
                self._serve(connection, opened, file)
        finally:
            self.server.end(connection)

    def _serve(self, connection: int, opened: socket.socket, file: Any) -> None:
        while line := file.readline():
            lines = [line]
            while (line := file.readline()) not in (b"\r\n", b""):
                lines.append(line)
            fields = dict(line.lower().split(b":", 1) for line in lines[1:])
            query = json.loads(file.read(int(fields[b"content-length"])))["query"]
            seen = Seen(connection, b"".join(lines), query)
            self.server.seen.append(seen)
            response = self.server.respond(seen)
            for piece in [response] if isinstance(response, bytes) else response:
                opened.sendall(piece)


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """Such a server in a thread of its own, stopped at the end."""
    wire = Wire(context)
    thread = threading.Thread(target=wire.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield wire
    finally:
        wire.released.set()
        wire.shutdown()
        for opened in wire.sockets:
            with suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)
        wire.server_close()
        thread.join()


@asynccontextmanager
async def looped(
    context: ssl.SSLContext | None = None, respond: Callable[[str], bytes] = framed
) -> AsyncIterator[str]:
    """The address of a server on the loop of the client: each response comes in one piece.

    The connection of a query "last" is closed after the response.
    """
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().partition(b"content-length:")[2].split()[0])
                query = json.loads(await reader.readexactly(size))["query"]
                writer.write(respond(query))
                if query == "last":
                    await asyncio.sleep(0.001)  # uvloop writes after the present step
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.transport.abort()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context)
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def trusted_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A context for a server on loopback, and the file of the authority that vouches for it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return context, folder / "authority.pem"


@pytest.fixture(name="context")
def context_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A context for a server that the environment trusts."""
    context, file = trusted_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return context


@pytest.fixture(name="plain")
def plain_fixture() -> Iterator[Wire]:
    """A server without TLS."""
    with listening() as wire:
        yield wire


@pytest.fixture(name="wire", params=["http", "https"])
def wire_fixture(request: pytest.FixtureRequest, context: ssl.SSLContext) -> Iterator[Wire]:
    """A server without and with TLS."""
    with listening(context if request.param == "https" else None) as wire:
        yield wire


class Threads(SyncCalls):
    """Makes many sync calls at once."""

    def many(self, calls: Sequence[Callable[[], Any]], ended: Ended = id) -> list[Outcome]:
        """What each call returns or raises, in order; `ended` hears of each."""
        with ThreadPoolExecutor(len(calls)) as pool:
            futures = [pool.submit(call) for call in calls]
            for future in futures:
                future.add_done_callback(ended)
        return [future.exception() or future.result() for future in futures]

    def bound(self, client: RerankClient, query: str, **options: Any) -> Callable[[], Any]:
        """A call that can be made later."""
        return lambda: client.rerank(query, TEXTS, **options)


class Tasks(AsyncCalls):
    """Makes many async calls at once."""

    def many(self, calls: Sequence[Callable[[], Any]], ended: Ended = id) -> list[Outcome]:
        """What each call returns or raises, in order; `ended` hears of each."""

        async def gathered() -> list[Outcome]:
            tasks = [asyncio.create_task(call()) for call in calls]
            for task in tasks:
                task.add_done_callback(ended)
            found: list[Outcome] = await asyncio.gather(*tasks, return_exceptions=True)
            return found

        return self._runner.run(gathered())

    def bound(self, client: RerankClient, query: str, **options: Any) -> Callable[[], Any]:
        """A call that can be made later."""
        return lambda: client.arerank(query, TEXTS, **options)


@pytest.fixture(name="ways", params=["sync", *LOOPS])
def ways_fixture(request: pytest.FixtureRequest) -> Iterator[Threads | Tasks]:
    """Calls a client, one by one or many at once, in threads and on each kind of event loop."""
    if request.param == "sync":
        yield Threads()
        return
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield Tasks(runner)


Ways: TypeAlias = Threads | Tasks


def at_once(ways: Ways, client: RerankClient, calls: int, **options: Any) -> list[Outcome]:
    """Call so many times at once; each response has the query of its call as its id."""
    queries = [f"call {number}" for number in range(calls)]
    outcomes = ways.many([ways.bound(client, query, **options) for query in queries])
    for query, outcome in zip(queries, outcomes, strict=True):
        if isinstance(outcome, RerankResponse):
            assert outcome.id == query
        else:
            assert isinstance(outcome, RerankError), outcome
    return outcomes


def held(wire: Wire) -> Respond:
    """Answers nothing until the server is released."""

    def respond(seen: Seen) -> bytes:
        wire.released.wait(10)
        return framed(seen.query)

    return respond


def all_answered(ways: Ways, client: RerankClient, wire: Wire, calls: int) -> None:
    """See that so many calls can be in flight at once: none is answered before all were sent."""
    barrier = threading.Barrier(calls)

    def respond(seen: Seen) -> bytes:
        barrier.wait(10)
        return framed(seen.query)

    wire.respond = respond
    try:
        outcomes = at_once(ways, client, calls, timeout=httpx.Timeout(10, pool=0.2))
    finally:
        barrier.abort()
    assert [one for one in outcomes if not isinstance(one, RerankResponse)] == []


# which connection


def test_the_connection_used_last_is_used_next(ways: Ways, plain: Wire) -> None:
    """Of several idle connections, the one used last serves the next call."""
    with client_of(plain.url, max_retries=0) as client:
        all_answered(ways, client, plain, 3)
        plain.respond = lambda seen: framed(seen.query)
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        ways.close(client)
    assert len({seen.connection for seen in plain.seen[3:]}) == 1
    assert len(plain.sockets) == 3


def test_a_response_in_pieces_leaves_its_connection_usable(ways: Ways, wire: Wire) -> None:
    """A connection is used again however the bytes of a response were cut into reads."""

    def respond(seen: Seen) -> Iterator[bytes]:
        whole = framed(seen.query) if seen.query == "first" else chunked(seen.query)
        for piece in (whole[:20], whole[20:40], whole[40:-4], whole[-4:]):
            yield piece
            time.sleep(0.005)  # so that the client reads it alone

    wire.respond = respond
    with client_of(wire.url, max_retries=0) as client:
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        ways.close(client)
    assert len(wire.sockets) == 1


def test_a_connection_that_the_server_closed_is_not_used(ways: Ways, wire: Wire) -> None:
    """A connection that was closed while it was idle fails no call, and costs no retry."""

    def respond(seen: Seen) -> Iterator[bytes]:
        yield framed(seen.query)
        raise ConnectionResetError  # ends the connection

    wire.respond = respond
    with client_of(wire.url, max_retries=0) as client:
        for number, query in enumerate(("first", *NEXT), start=1):
            assert ways(client, query).id == query
            wire.until_closed(number)
        ways.close(client)
    assert [seen.connection for seen in wire.seen] == [0, 1, 2, 3]


def test_an_old_connection_is_not_used(
    ways: Ways, plain: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was idle for longer than the limit is closed, and a new one is made."""
    monkeypatch.setattr("rerank_integrations._pool.IDLE_SECONDS", -1.0)
    with client_of(plain.url, max_retries=0) as client:
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        plain.until_closed(3)
        ways.close(client)
    assert [seen.connection for seen in plain.seen] == [0, 1, 2, 3]


def test_few_connections_stay_idle(
    ways: Ways, plain: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a burst, no more idle connections than the limit are kept open."""
    monkeypatch.setattr("rerank_integrations._pool.MAX_IDLE", 5)
    with client_of(plain.url, max_retries=0) as client:
        all_answered(ways, client, plain, CAP)
        plain.until_closed(CAP - 5)
        assert len(plain.closed) == CAP - 5
        ways.close(client)
    plain.until_closed(CAP)


def test_a_connection_that_failed_is_not_used_again(ways: Ways, wire: Wire) -> None:
    """A late response to a call that timed out is never the response to another call."""
    wire.respond = held(wire)
    with client_of(wire.url, max_retries=0) as client:
        with pytest.raises(RerankTimeoutError):
            ways(client, "first", timeout=httpx.Timeout(10, read=0.05))
        wire.released.set()
        for query in NEXT:
            assert ways(client, query).id == query
        ways.close(client)
    assert [seen.connection for seen in wire.seen] == [0, 1, 1, 1]


# how many


def test_more_calls_than_connections(
    ways: Ways, plain: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls above the cap wait for their turn, and all of them are served."""
    monkeypatch.setattr("rerank_integrations._pool.MAX_CONNECTIONS", CAP)
    with client_of(plain.url, max_retries=0) as client:
        outcomes = at_once(ways, client, 5 * CAP)
        ways.close(client)
    assert [one for one in outcomes if not isinstance(one, RerankResponse)] == []
    assert len(plain.seen) == 5 * CAP
    assert len(plain.sockets) <= CAP


def test_waiting_for_a_connection_has_its_own_timeout(
    ways: Ways, plain: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that waits for a connection beyond the pool timeout fails, and no slot is lost."""
    monkeypatch.setattr("rerank_integrations._pool.MAX_CONNECTIONS", CAP)
    plain.respond = held(plain)
    late: list[Any] = []

    def ended(call: Any) -> None:
        late.append(call)
        if len(late) == 5:
            plain.released.set()

    with client_of(plain.url, max_retries=0) as client:
        timeout = httpx.Timeout(10, pool=0.05)
        calls = [ways.bound(client, QUERY, timeout=timeout) for _ in range(CAP + 5)]
        outcomes = ways.many(calls, ended)
        assert [getattr(call.exception(), "phase", None) for call in late[:5]] == ["pool"] * 5
        assert sum(isinstance(one, RerankTimeoutError) for one in outcomes) == 5
        assert len(plain.seen) == CAP
        all_answered(ways, client, plain, CAP)
        ways.close(client)


def test_a_wait_for_a_connection_ends_at_the_deadline(
    ways: Ways, plain: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline bounds the wait for a connection too, and no slot is lost."""
    monkeypatch.setattr("rerank_integrations._pool.MAX_CONNECTIONS", 1)
    plain.respond = held(plain)
    with client_of(plain.url, max_retries=0) as client:
        outcomes = at_once(ways, client, 5, deadline=0.05)
        plain.released.set()
        assert {getattr(one, "phase", one) for one in outcomes} == {"deadline"}
        all_answered(ways, client, plain, 1)
        ways.close(client)


@cases("step", ["connect", "send", "recv"])
def test_an_interrupted_call_frees_its_slot(
    plain: Wire, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A sync call that KeyboardInterrupt ends leaves the pool as large as it was."""
    monkeypatch.setattr("rerank_integrations._pool.MAX_CONNECTIONS", 1)

    def interrupted(ours: socket.socket, *_: Any) -> Any:
        if step == "connect":
            ours.close()  # socket.create_connection leaves it open
        raise KeyboardInterrupt

    with client_of(plain.url, max_retries=0) as client:
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, step, interrupted)
                if step == "connect":  # no idle connection is to be used
                    patch.setattr("rerank_integrations._pool.IDLE_SECONDS", -1.0)
                with pytest.raises(KeyboardInterrupt):
                    client.rerank(QUERY, TEXTS)
            all_answered(Threads(), client, plain, 1)


def test_an_interrupted_handshake_frees_its_slot(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync call that KeyboardInterrupt ends in the TLS handshake closes its connection."""
    monkeypatch.setattr("rerank_integrations._pool.MAX_CONNECTIONS", 1)

    usual = ssl.SSLContext.wrap_socket

    def interrupted(*given: Any, **named: Any) -> Any:
        if named.get("server_side"):
            return usual(*given, **named)
        raise KeyboardInterrupt

    with listening(context) as wire, client_of(wire.url, max_retries=0) as client:
        with monkeypatch.context() as patch:
            patch.setattr(ssl.SSLContext, "wrap_socket", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.rerank(QUERY, TEXTS)
        all_answered(Threads(), client, wire, 1)


# whose bytes

POISON = framed("POISON")
BEHIND = {
    "a response": POISON,
    "a response in chunks": chunked("POISON"),
    "two responses": POISON * 2,
    "a part of a head": POISON[:30],
    "a part of a response": POISON[:-5],
    "an empty response": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "an interim response": b"HTTP/1.1 103 Early Hints\r\ncontent-length: 0\r\n\r\n" + POISON,
    "garbage": b"\x00garbage 0\r\n\r\n",
    "a line end": b"\r\n",
}
framings = pytest.mark.parametrize("framing", [framed, chunked])


@framings
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_bytes_behind_a_response(
    ways: Ways, wire: Wire, behind: bytes, framing: Callable[[str], bytes]
) -> None:
    """What a server sends behind a response, in the same write, reaches no later call."""
    first = framing("first") + behind
    wire.respond = lambda seen: first if seen.query == "first" else framed(seen.query)
    with client_of(wire.url, max_retries=0) as client:
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        ways.close(client)


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_bytes_that_come_while_idle(ways: Ways, wire: Wire, behind: bytes) -> None:
    """What a server sends while no request is on its way reaches no later call."""
    has_arrived = threading.Event()

    def respond(seen: Seen) -> Iterator[bytes]:
        yield framed(seen.query)
        if seen.query == "first":
            wire.released.wait(10)
            yield behind
            has_arrived.set()

    wire.respond = respond
    with client_of(wire.url, max_retries=0) as client:
        assert ways(client, "first").id == "first"
        wire.released.set()
        has_arrived.wait(10)
        for query in NEXT:
            assert ways(client, query).id == query
        ways.close(client)
    assert [seen.connection for seen in wire.seen] == [0, 1, 1, 1]


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="two writes cannot be sent as one")
@pytest.mark.parametrize("behind", [POISON, POISON[:30]], ids=["a response", "a part of a head"])
def test_bytes_behind_a_response_in_a_tls_record_of_their_own(
    ways: Ways, context: ssl.SSLContext, behind: bytes
) -> None:
    """A TLS record that arrives together with that of a response reaches no later call."""
    with listening(context) as wire:

        def respond(seen: Seen) -> Iterator[bytes]:
            opened = wire.sockets[seen.connection]
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            yield framed(seen.query)
            if seen.query == "first":
                yield behind
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

        wire.respond = respond
        with client_of(wire.url, max_retries=0) as client:
            for query in ("first", *NEXT):
                assert ways(client, query).id == query
            ways.close(client)


async def test_bytes_behind_a_response_that_fills_a_read() -> None:
    """What follows a response of exactly the size of a read reaches no later call."""
    exact = framed("exact", 10_000)
    exact = framed("exact", 10_000 + READ_SIZE - len(exact)) + POISON

    def respond(query: str) -> bytes:
        padding = 500_000 if query == "large" else 0  # lets the window of TCP grow
        return exact if query == "exact" else framed(query, padding)

    async with looped(respond=respond) as url, client_of(url, max_retries=0) as client:
        for query in ("large", "large", "exact", *NEXT):
            assert (await client.arerank(query, TEXTS)).id == query


# cancelled

loops = pytest.mark.parametrize("loop", LOOPS)
CANCELLING = f"""
import asyncio, gc, random, sys
import httpx
from rerank_integrations import OpenRouter, RerankClient, _pool

url, loop, cap = sys.argv[1], sys.argv[2], int(sys.argv[3])
_pool.MAX_CONNECTIONS = cap
moments = random.Random(13)
provider = OpenRouter(api_key="the-key", base_url=url)

async def main():
    client = RerankClient("m", provider=provider, max_retries=0)
    turns = asyncio.Semaphore(300)

    async def all_slots():
        timeout = httpx.Timeout(20, pool=0.5)
        calls = (client.arerank("gate", {list(TEXTS)}, timeout=timeout) for _ in range(cap))
        assert {{response.id for response in await asyncio.gather(*calls)}} == {{"gate"}}

    async def cancelled(number):
        async with turns:
            task = asyncio.create_task(client.arerank("call", {list(TEXTS)}))
            await asyncio.sleep(moments.uniform(0, 0.4))
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled() or task.exception()

    for _ in range(2):
        outcomes = await asyncio.gather(*map(cancelled, range(500)))
        assert set(outcomes) <= {{True, None}}, set(outcomes)
        await all_slots()
    await client.aclose()

factory = __import__(loop).new_event_loop
with asyncio.Runner(loop_factory=factory, debug=False) as runner:
    runner.run(main())
gc.collect()
"""


@loops
def test_a_thousand_cancelled_calls(tmp_path: Path, loop: str) -> None:
    """Calls that are cancelled at any moment lose no slot of the pool, and leave no socket open."""
    cap = 60
    gate = threading.Barrier(cap)  # opens when all slots are in use at once
    context, file = trusted_context(tmp_path)

    def respond(seen: Seen) -> bytes:
        if seen.query == "gate":
            gate.wait(20)
        return framed(seen.query)

    with listening(context) as wire:
        wire.respond = respond
        found = subprocess.run(
            [sys.executable, "-Xdev", "-Werror", "-c", CANCELLING, wire.url, loop, f"{cap}"],
            env={**os.environ, "SSL_CERT_FILE": str(file)},
            capture_output=True,
            text=True,
            check=False,
        )
        gate.abort()
    assert (found.returncode, found.stderr) == (0, "")


async def nothing(client: RerankClient) -> None:
    """The pool is empty."""


async def one_call(client: RerankClient) -> None:
    """The pool has an idle connection."""
    await client.arerank("before", TEXTS)


async def one_closed(client: RerankClient) -> None:
    """The pool has two idle connections, and the server has closed the one used last."""
    await asyncio.gather(one_call(client), one_call(client))
    await client.arerank("last", TEXTS)
    await asyncio.sleep(0.005)


async def one_stale(client: RerankClient) -> None:
    """The pool has an idle connection on which there is a response already."""
    await client.arerank("stale", TEXTS)


def stale(query: str) -> bytes:
    """A response, and what looks like its end behind it where the query asks for that."""
    return chunked(query) + BEHIND["an empty response"] if query == "stale" else framed(query)


async def cancelled_at(steps: int, client: RerankClient) -> bool:
    """Cancel a call after so many steps, then make another; whether there were so many."""
    task = asyncio.create_task(client.arerank("cancelled", TEXTS))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (await client.arerank("next", TEXTS)).id == "next", steps
    return task.cancelled()


@loops
@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("prepare", [nothing, one_call, one_closed, one_stale])
def test_a_call_cancelled_at_any_step(
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    loop: str,
    secured: bool,  # noqa: FBT001
    prepare: Callable[[RerankClient], Coroutine[Any, Any, None]],
) -> None:
    """A call that is cancelled at any of its steps loses no slot, and leaves no socket open."""
    cap = 2 if prepare is one_closed else 1
    monkeypatch.setattr("rerank_integrations._pool.MAX_CONNECTIONS", cap)
    timeout = httpx.Timeout(10, pool=0.1)

    async def calls() -> int:
        async with looped(context if secured else None, stale) as url:
            for steps in count():
                async with client_of(url, max_retries=0, timeout=timeout) as client:
                    await prepare(client)
                    if not await cancelled_at(steps, client):
                        return steps
        raise AssertionError

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(calls()) > 5
    gc.collect()
