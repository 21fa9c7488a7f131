"""Event loops: asyncio and uvloop are the same to a client, and trio is refused."""

from __future__ import annotations

import asyncio
import os

import httpx
import pytest
import trio

from calls import LOOPS, QUERY, TEXTS, client_of
from cases import cases
from loop_scenarios import SCENARIOS
from loopback import Server, looping
from programs import run_programs
from rerank_integrations import ConfigurationError, RerankResponse

AT_ONCE = 50


async def test_one_call(server: Server) -> None:
    """A call on any loop is answered, and its connection is used again."""
    async with client_of(server) as client:
        for _ in range(2):
            assert (await client.arerank(QUERY, TEXTS))[0].document == QUERY
    assert server.connections == 1


async def test_fifty_calls_at_once(server: Server) -> None:
    """Calls at the same time each get their own answer, on any loop."""
    async with client_of(server) as client:
        for turn in range(2):
            queries = [f"query {turn} {number}" for number in range(AT_ONCE)]
            tasks = [client.arerank(query, [*TEXTS, query]) for query in queries]
            responses = await asyncio.gather(*tasks)
            assert [response[0].document for response in responses] == queries
    assert server.connections <= AT_ONCE


async def test_cancelled_calls() -> None:
    """Calls that are cancelled end as cancelled, leave no connection, and others go on."""
    async with looping(hangs="before") as server, client_of(server, deadline=None) as client:
        tasks = [asyncio.create_task(client.arerank(QUERY, TEXTS)) for _ in range(AT_ONCE)]
        await server.until_asked(AT_ONCE)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        await server.until_open(0)
        server.hangs = ""
        assert len(await client.arerank(QUERY, TEXTS)) == len(TEXTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the programs run in forks")
@cases("loop", LOOPS)
def test_nothing_is_printed(server: Server, loop: str) -> None:
    """Whenever loops end and clients go, no warning and no error is printed, on any loop."""
    programs = {name: f"play({name!r}, {loop!r}, sys.argv[1])" for name in SCENARIOS}
    # uvloop warns of every open connection, whoever made it
    loud = {name: programs.pop(name) for name in ("not_shut_down",) if loop == "uvloop"}
    imports = "from loop_scenarios import play"
    ends = run_programs(imports, programs, server.url, flags=["-X", "dev", "-W", "error"])
    ends |= run_programs(imports, loud, server.url)
    assert ends == dict.fromkeys(SCENARIOS, (0, "done\n"))


class Unused:
    """A callable that nobody should call."""

    def __init__(self) -> None:
        self.is_called = False

    def __call__(self) -> httpx.AsyncClient:
        """Make a client nevertheless."""
        self.is_called = True
        return httpx.AsyncClient()


@cases("query", [QUERY, ""], ids=["call", "wrong call"])
def test_trio_is_refused(server: Server, query: str) -> None:
    """Under trio `arerank` says that asyncio is needed, before anything else is looked at."""
    factory = Unused()
    client = client_of(server, async_http_client=factory)
    with pytest.raises(ConfigurationError, match="asyncio"):
        trio.run(client.arerank, query, TEXTS)
    assert not factory.is_called
    assert not server.received


def test_trio_in_a_thread(server: Server) -> None:
    """Under trio `rerank` can be called in a thread, as the message of `arerank` says."""

    async def main() -> RerankResponse:
        return await trio.to_thread.run_sync(client.rerank, QUERY, TEXTS)

    with client_of(server) as client:
        assert trio.run(main)[0].document == QUERY
