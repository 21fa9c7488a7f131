"""The connections of the default client: which serves a call, how many, and whose bytes."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from calls import LOOPS, QUERY, TEXTS, AsyncCalls, SyncCalls, client_of
from cases import cases
from fakes import override
from loopback import Received, Responds, Server, chunked, echoes, framed, looping, running
from rerank_integrations import RerankClient, RerankError, RerankResponse, RerankTimeoutError

CAP = 20
READ_SIZE = 65536  # bytes that httpcore takes at once
NEXT = ("second", "third", "fourth")
Outcome: TypeAlias = RerankResponse | BaseException
Ended: TypeAlias = Callable[[Any], object]


@pytest.fixture(name="wire", params=["http", "https"])
def wire_fixture(request: pytest.FixtureRequest, context: ssl.SSLContext) -> Iterator[Server]:
    """A server without and with TLS."""
    with running(echoes, context=context if request.param == "https" else None) as wire:
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


def held(wire: Server) -> Responds:
    """Answers nothing until the server is released."""

    def respond(received: Received) -> bytes:
        wire.released.wait(10)
        return framed(received.query)

    return respond


def all_answered(ways: Ways, client: RerankClient, wire: Server, calls: int) -> None:
    """See that so many calls can be in flight at once: none is answered before all were sent."""
    barrier = threading.Barrier(calls)

    def respond(received: Received) -> bytes:
        barrier.wait(10)
        return framed(received.query)

    wire.plays(respond)
    try:
        outcomes = at_once(ways, client, calls, timeout=httpx.Timeout(10, pool=0.2))
    finally:
        barrier.abort()
        wire.plays(echoes)
    assert [one for one in outcomes if not isinstance(one, RerankResponse)] == []


# which connection


def test_the_connection_used_last_is_used_next(ways: Ways, plain: Server) -> None:
    """Of several idle connections, the one used last serves the next call."""
    with client_of(plain.url, max_retries=0) as client:
        all_answered(ways, client, plain, 3)
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        ways.close(client)
    assert len({received.connection for received in plain.received[3:]}) == 1
    assert plain.connections == 3


def test_a_response_in_pieces_leaves_its_connection_usable(ways: Ways, wire: Server) -> None:
    """A connection is used again however the bytes of a response were cut into reads."""

    def respond(received: Received) -> Iterator[bytes]:
        whole = framed(received.query) if received.query == "first" else chunked(received.query)
        for piece in (whole[:20], whole[20:40], whole[40:-4], whole[-4:]):
            yield piece
            time.sleep(0.005)  # so that the client reads it alone

    wire.plays(respond)
    with client_of(wire.url, max_retries=0) as client:
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        ways.close(client)
    assert wire.connections == 1


def test_a_connection_that_the_server_closed_is_not_used(ways: Ways, wire: Server) -> None:
    """A connection that was closed while it was idle fails no call, and costs no retry."""

    def respond(received: Received) -> Iterator[bytes]:
        yield framed(received.query)
        raise ConnectionResetError  # ends the connection

    wire.plays(respond)
    with client_of(wire.url, max_retries=0) as client:
        for number, query in enumerate(("first", *NEXT), start=1):
            assert ways(client, query).id == query
            wire.until_closed(number)
        ways.close(client)
    assert [received.connection for received in wire.received] == [0, 1, 2, 3]


def test_an_old_connection_is_not_used(
    ways: Ways, plain: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was idle for longer than the limit is closed, and a new one is made."""
    override(monkeypatch, idle_seconds=-1.0)
    with client_of(plain.url, max_retries=0) as client:
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        plain.until_closed(3)
        ways.close(client)
    assert [received.connection for received in plain.received] == [0, 1, 2, 3]


def test_few_connections_stay_idle(
    ways: Ways, plain: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a burst, no more idle connections than the limit are kept open."""
    override(monkeypatch, max_idle=5)
    with client_of(plain.url, max_retries=0) as client:
        all_answered(ways, client, plain, CAP)
        plain.until_closed(CAP - 5)
        assert len(plain.closed) == CAP - 5
        ways.close(client)
    plain.until_closed(CAP)


def test_a_connection_that_failed_is_not_used_again(ways: Ways, wire: Server) -> None:
    """A late response to a call that timed out is never the response to another call."""
    wire.plays(held(wire))
    with client_of(wire.url, max_retries=0) as client:
        with pytest.raises(RerankTimeoutError):
            ways(client, "first", timeout=httpx.Timeout(10, read=0.05))
        wire.released.set()
        for query in NEXT:
            assert ways(client, query).id == query
        ways.close(client)
    assert [received.connection for received in wire.received] == [0, 1, 1, 1]


# how many


def test_more_calls_than_connections(
    ways: Ways, plain: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls above the cap wait for their turn, and all of them are served."""
    override(monkeypatch, max_connections=CAP)
    with client_of(plain.url, max_retries=0) as client:
        outcomes = at_once(ways, client, 5 * CAP)
        ways.close(client)
    assert [one for one in outcomes if not isinstance(one, RerankResponse)] == []
    assert len(plain.received) == 5 * CAP
    assert plain.connections <= CAP


def test_waiting_for_a_connection_has_its_own_timeout(
    ways: Ways, plain: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that waits for a connection beyond the pool timeout fails, and no slot is lost."""
    override(monkeypatch, max_connections=CAP)
    plain.plays(held(plain))
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
        assert len(plain.received) == CAP
        all_answered(ways, client, plain, CAP)
        ways.close(client)


def test_a_wait_for_a_connection_ends_at_the_deadline(
    ways: Ways, plain: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline bounds the wait for a connection too, and no slot is lost."""
    override(monkeypatch, max_connections=1)
    plain.plays(held(plain))
    with client_of(plain.url, max_retries=0) as client:
        outcomes = at_once(ways, client, 5, deadline=0.05)
        plain.released.set()
        assert {getattr(one, "phase", one) for one in outcomes} == {"deadline"}
        all_answered(ways, client, plain, 1)
        ways.close(client)


@cases("step", ["connect", "send", "recv"])
def test_an_interrupted_call_frees_its_slot(
    plain: Server, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A sync call that KeyboardInterrupt ends leaves the pool as large as it was."""
    override(monkeypatch, max_connections=1)

    def interrupted(ours: socket.socket, *_: Any) -> Any:
        if step == "connect":
            ours.close()  # socket.create_connection leaves it open
        raise KeyboardInterrupt

    with client_of(plain.url, max_retries=0) as client:
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, step, interrupted)
                if step == "connect":  # no idle connection is to be used
                    override(patch, idle_seconds=-1.0)
                with pytest.raises(KeyboardInterrupt):
                    client.rerank(QUERY, TEXTS)
            all_answered(Threads(), client, plain, 1)


def test_an_interrupted_handshake_frees_its_slot(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync call that KeyboardInterrupt ends in the TLS handshake closes its connection."""
    override(monkeypatch, max_connections=1)

    usual = ssl.SSLContext.wrap_socket

    def interrupted(*given: Any, **named: Any) -> Any:
        if named.get("server_side"):
            return usual(*given, **named)
        raise KeyboardInterrupt

    with running(echoes, context=context) as wire, client_of(wire.url, max_retries=0) as client:
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
@cases("behind", BEHIND.values(), ids=BEHIND)
def test_bytes_behind_a_response(
    ways: Ways, wire: Server, behind: bytes, framing: Callable[[str], bytes]
) -> None:
    """What a server sends behind a response, in the same write, reaches no later call."""
    first = framing("first") + behind
    wire.plays(lambda received: first if received.query == "first" else framed(received.query))
    with client_of(wire.url, max_retries=0) as client:
        for query in ("first", *NEXT):
            assert ways(client, query).id == query
        ways.close(client)


@cases("behind", BEHIND.values(), ids=BEHIND)
def test_bytes_that_come_while_idle(ways: Ways, wire: Server, behind: bytes) -> None:
    """What a server sends while no request is on its way reaches no later call."""
    has_arrived = threading.Event()

    def respond(received: Received) -> Iterator[bytes]:
        yield framed(received.query)
        if received.query == "first":
            wire.released.wait(10)
            yield behind
            has_arrived.set()

    wire.plays(respond)
    with client_of(wire.url, max_retries=0) as client:
        assert ways(client, "first").id == "first"
        wire.released.set()
        has_arrived.wait(10)
        for query in NEXT:
            assert ways(client, query).id == query
        ways.close(client)
    assert [received.connection for received in wire.received] == [0, 1, 1, 1]


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="two writes cannot be sent as one")
@pytest.mark.parametrize("behind", [POISON, POISON[:30]], ids=["a response", "a part of a head"])
def test_bytes_behind_a_response_in_a_tls_record_of_their_own(
    ways: Ways, context: ssl.SSLContext, behind: bytes
) -> None:
    """A TLS record that arrives together with that of a response reaches no later call."""
    with running(echoes, context=context) as wire:

        def respond(received: Received) -> Iterator[bytes]:
            opened = wire.sockets[received.connection]
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            yield framed(received.query)
            if received.query == "first":
                yield behind
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

        wire.plays(respond)
        with client_of(wire.url, max_retries=0) as client:
            for query in ("first", *NEXT):
                assert ways(client, query).id == query
            ways.close(client)


async def test_bytes_behind_a_response_that_fills_a_read() -> None:
    """What follows a response of exactly the size of a read reaches no later call."""
    exact = framed("exact", 10_000)
    exact = framed("exact", 10_000 + READ_SIZE - len(exact)) + POISON

    def respond(received: Received) -> bytes:
        query = received.query
        padding = 500_000 if query == "large" else 0  # lets the window of TCP grow
        return exact if query == "exact" else framed(query, padding)

    async with looping(respond) as server, client_of(server, max_retries=0) as client:
        for query in ("large", "large", "exact", *NEXT):
            assert (await client.arerank(query, TEXTS)).id == query


# cancelled

loops = pytest.mark.parametrize("loop", LOOPS)
CANCELLING = f"""
import asyncio, gc, random, sys
import httpx
import pytest
from fakes import override
from rerank_integrations import OpenRouter, RerankClient

url, loop, cap = sys.argv[1], sys.argv[2], int(sys.argv[3])
override(pytest.MonkeyPatch(), max_connections=cap)
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
        outcomes = await asyncio.gather(*map(cancelled, range(200)))
        assert set(outcomes) <= {{True, None}}, set(outcomes)
        await all_slots()
    await client.aclose()

factory = __import__(loop).new_event_loop
with asyncio.Runner(loop_factory=factory, debug=False) as runner:
    runner.run(main())
gc.collect()
"""


@loops
def test_hundreds_of_cancelled_calls(context: ssl.SSLContext, loop: str) -> None:
    """Calls that are cancelled at any moment lose no slot of the pool, and leave no socket open."""
    cap = 60
    gate = threading.Barrier(cap)  # opens when all slots are in use at once

    def respond(received: Received) -> bytes:
        if received.query == "gate":
            gate.wait(20)
        return framed(received.query)

    with running(echoes, context=context) as wire:
        wire.plays(respond)
        found = subprocess.run(
            [sys.executable, "-Xdev", "-Werror", "-c", CANCELLING, wire.url, loop, f"{cap}"],
            cwd=Path(__file__).parent,
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


def stale(received: Received) -> bytes:
    """A response, and what looks like its end behind it where the query asks for that."""
    query = received.query
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
    override(monkeypatch, max_connections=cap)
    timeout = httpx.Timeout(10, pool=0.1)

    async def calls() -> int:
        used = context if secured else None
        async with looping(stale, closes_after="last", context=used) as server:
            for steps in count():
                async with client_of(server, max_retries=0, timeout=timeout) as client:
                    await prepare(client)
                    if not await cancelled_at(steps, client):
                        return steps
        raise AssertionError

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(calls()) > 5
    gc.collect()
