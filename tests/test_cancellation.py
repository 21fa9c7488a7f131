"""Calls that are cancelled or interrupted: they stop at once and leave nothing open behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from calls import QUERY, TEXTS, client_of
from cases import cases
from fakes import Clock, chain, override
from loopback import Fault, LoopServer, Reply, Server, looping, ranking, ranks_all
from rerank_integrations import RerankClient

AT_ONCE = 50
SPLIT: dict[str, Any] = {"max_documents_per_request": 1, "max_concurrency": 3}


def calls(client: RerankClient, count: int, **options: Any) -> list[asyncio.Task[Any]]:
    """So many calls, begun."""
    return [asyncio.create_task(client.arerank(QUERY, TEXTS, **options)) for _ in range(count)]


async def cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and see that each ends with CancelledError."""
    for task in tasks:
        task.cancel()
    outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}


async def works(client: RerankClient, server: LoopServer) -> None:
    """See that a client works; the server's block ends only when the client has closed all."""
    server.hangs, server.respond = "", ranks_all
    assert len(await client.arerank(QUERY, TEXTS)) == 3


@cases("hangs", ["before", "inside"])
@cases("options", [{}, SPLIT], ids=["whole", "split"])
async def test_hundreds_of_cancelled_calls(hangs: str, options: dict[str, Any]) -> None:
    """Hundreds of calls that are cancelled on their way leave no connection open."""
    each = 3 if options else 1
    async with (
        looping(hangs=hangs) as server,
        client_of(server, deadline=None, **options) as client,
    ):
        for _ in range(2):
            tasks = calls(client, AT_ONCE)
            await server.until_asked(server.asked + each * AT_ONCE)
            await cancelled(tasks)
            await server.until_open(0)
        await works(client, server)


@cases("kept_before", [0, 5])
@cases("options", [{}, SPLIT], ids=["whole", "split"])
async def test_cancelled_at_any_moment(options: dict[str, Any], kept_before: int) -> None:
    """Wherever a call is when it is cancelled, what stays open is what the client keeps."""
    ends: list[str] = []
    async with looping() as server, client_of(server, deadline=None, **options) as client:
        await asyncio.gather(*calls(client, kept_before))
        while ends[-5:].count("RerankResponse") < 5:  # then no later moment is one of a call
            (task,) = calls(client, 1)
            for _ in ends:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            ends.append("cancelled" if task.cancelled() else type(task.result()).__name__)
            await works(client, server)
    assert set(ends) == {"cancelled", "RerankResponse"}


@cases("hangs", ["before", "inside"])
async def test_an_expired_timeout(hangs: str) -> None:
    """A call inside an asyncio.timeout that expires ends with TimeoutError, and cleanly."""

    async def limited(client: RerankClient, server: LoopServer) -> None:
        async with asyncio.timeout(None) as scope:
            (task,) = calls(client, 1)
            await server.until_asked(3)
            scope.reschedule(0)
            await task

    async with looping(hangs=hangs) as server, client_of(server, deadline=None, **SPLIT) as client:
        with pytest.raises(TimeoutError) as caught:
            await limited(client, server)
        assert type(caught.value) is TimeoutError
        await server.until_open(0)
        await works(client, server)


async def test_a_users_client_is_left_clean() -> None:
    """Cancelled calls leave no connection of a user's HTTP client busy either."""
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with (
        looping(hangs="before") as server,
        httpx.AsyncClient(limits=limits, timeout=9) as theirs,
    ):
        client = client_of(server, async_http_client=theirs, deadline=None)
        for _ in range(3):
            tasks = calls(client, AT_ONCE)
            await server.until_asked(server.asked + AT_ONCE)
            await cancelled(tasks)
        server.hangs = ""
        await asyncio.gather(*calls(client, AT_ONCE))


async def test_parts_that_have_not_begun_never_do() -> None:
    """A split call that is cancelled sends none of the requests that were to follow."""
    async with (
        looping(hangs="before") as server,
        client_of(server, deadline=None, **SPLIT) as client,
    ):
        task = asyncio.create_task(client.arerank(QUERY, ["text"] * 50))
        await server.until_asked(3)
        await cancelled([task])
        await server.until_open(0)
        assert server.asked == 3


async def test_kept_parts_are_cancelled_too() -> None:
    """Keeping partial answers keeps no cancelled call alive."""
    async with (
        looping(hangs="before") as server,
        client_of(server, deadline=None, **SPLIT) as client,
    ):
        tasks = calls(client, 1, on_partial="keep", max_retries=0)
        await server.until_asked(3)
        await cancelled(tasks)
        await works(client, server)


class Asleep:
    """Says when a call sleeps; nobody wakes before the test says so."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.began = asyncio.Event()
        self.wakes = False

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        self.began.set()
        if self.wakes:
            await self.clock.asleep(seconds)
        else:
            await asyncio.Event().wait()


@pytest.fixture(name="asleep")
async def asleep_fixture(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Asleep:
    """The sleep of every call."""
    asleep = Asleep(clock)
    override(monkeypatch, async_sleep=asleep.sleep)
    return asleep


async def test_cancelled_between_retries(asleep: Asleep) -> None:
    """A call that is cancelled while it pauses sends nothing again, and keeps its connection."""
    async with looping() as server, client_of(server) as client:
        server.respond = lambda received: Reply(status=503)
        tasks = calls(client, 1)
        await asleep.began.wait()
        await cancelled(tasks)
        assert (server.asked, server.opened, server.open) == (1, 1, 1)
        asleep.wakes = True
        await works(client, server)
        assert server.opened == 1


async def test_cancelled_before_its_turn(asleep: Asleep) -> None:
    """A call that is cancelled while it waits for its turn never sends."""
    options: dict[str, Any] = {"requests_per_minute": 1, "deadline": None}
    async with looping() as server, client_of(server, **options) as client:
        await client.arerank(QUERY, TEXTS)
        tasks = calls(client, 20)
        await asleep.began.wait()
        await cancelled(tasks)
        assert server.asked == 1


async def test_a_cancelled_turn_is_given_back(asleep: Asleep) -> None:
    """Calls that were cancelled while they waited for their turns keep nobody back."""
    options: dict[str, Any] = {"requests_per_minute": 1, "deadline": None}
    async with looping() as server, client_of(server, **options) as client:
        await client.arerank(QUERY, TEXTS)
        tasks = calls(client, 20)
        await asleep.began.wait()
        await cancelled(tasks)
        asleep.wakes = True
        await client.arerank(QUERY, TEXTS)
        assert asleep.clock.slept == [60.0]


async def test_cancelled_in_a_fallback(server: Server) -> None:
    """A call that is cancelled while a fallback answers ends there."""
    server.plays(Reply(status=503))
    async with looping(hangs="before") as second, client_of(second) as other:
        tasks = calls(chain(server, other, "local:bm25"), 10)
        await second.until_asked(10)
        await cancelled(tasks)
        await second.until_open(0)


class Interrupting:
    """Raises KeyboardInterrupt instead of a call, the first time."""

    def __init__(self, usual: Any) -> None:
        self._parse_fast = usual
        self.happened = False

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Interrupt, or do as usual."""
        if not self.happened:
            self.happened = True
            raise KeyboardInterrupt
        return self._parse_fast(*given, **named)


@cases(
    ("step", "before"),
    [("send", 0), ("recv", 0), ("send", 1), ("recv", 1)],
)
def test_an_interrupted_call_closes_its_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, step: str, before: int
) -> None:
    """A sync call that is interrupted closes the connection in use, and the next one works."""
    with chain(server) as client:
        for _ in range(before):
            client.rerank(QUERY, TEXTS)
        with monkeypatch.context() as patch:
            interrupting = Interrupting(getattr(socket.socket, step))
            patch.setattr(socket.socket, step, interrupting)
            with pytest.raises(KeyboardInterrupt):
                client.rerank(QUERY, TEXTS)
        assert interrupting.happened
        assert len(client.rerank(QUERY, TEXTS)) == 3
        assert len(client.rerank(QUERY, TEXTS)) == 3
        assert server.connections == 2  # the interrupted one is not used again


def test_an_interrupted_pause(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync call that is interrupted between retries keeps its connection for the next."""
    server.plays(Reply(status=503), ranking(0.5))
    with chain(server, max_retries=1) as client:
        with monkeypatch.context() as patch:
            override(patch, sleep=Interrupting(None))
            with pytest.raises(KeyboardInterrupt):
                client.rerank(QUERY, TEXTS)
        assert len(client.rerank(QUERY, TEXTS)) == 1
    assert (server.connections, len(server.received)) == (1, 2)


def test_an_interrupted_turn_is_given_back(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync call that is interrupted while it waits for its turn keeps nobody back."""
    with chain(server, requests_per_minute=1, deadline=None) as client:
        client.rerank(QUERY, TEXTS)
        with monkeypatch.context() as patch:
            patch.setattr(clock, "sleep", Interrupting(None))
            with pytest.raises(KeyboardInterrupt):
                client.rerank(QUERY, TEXTS)
        client.rerank(QUERY, TEXTS)
    assert clock.slept == [60.0]


def test_an_interrupted_split_call(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A split call that is interrupted sends nothing that had not begun, and the next one works."""
    server.plays(Fault.STALL)

    def interrupted(*_: Any, **__: Any) -> Any:
        server.asked.wait(10)
        raise KeyboardInterrupt

    client = chain(server, max_documents_per_request=1, max_concurrency=1)
    with monkeypatch.context() as patch:
        override(patch, wait=interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.rerank(QUERY, ["a"] * 20)
    server.released.set()
    server.plays(ranking(0.5))
    assert len(client.rerank(QUERY, ["a"] * 2)) == 2
    client.close()
    assert len(server.received) == 3
