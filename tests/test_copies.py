"""Copies and pickles of a client, and one client on many event loops and threads."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import httpx
import pytest

from calls import KEYS, QUERY, TEXTS, Calls, client_of
from cases import cases
from loopback import Server
from programs import run_programs
from rerank_integrations import ConfigurationError, RerankClient, RerankResponse

Copier: TypeAlias = Callable[[RerankClient], RerankClient]

ROUNDS = 10
THREADS = 8


def pickled(client: RerankClient) -> RerankClient:
    """The client after a pickle round trip."""
    found = pickle.loads(pickle.dumps(client))  # noqa: S301
    assert isinstance(found, RerankClient)
    return found


def unused(client: RerankClient) -> None:
    """Leave the client as it was made."""


def used(client: RerankClient) -> None:
    """Use the client in this thread."""
    client.rerank(QUERY, TEXTS)


def used_on_two_loops(client: RerankClient) -> None:
    """Use the client in two event loops that end."""
    for _ in range(2):
        asyncio.run(client.arerank(QUERY, TEXTS))


def closed(client: RerankClient) -> None:
    """Use the client and close it."""
    used(client)
    client.close()


copiers = cases("copied", [copy.copy, copy.deepcopy, pickled])


@copiers
@cases("before", [unused, used, used_on_two_loops, closed])
@cases("gateway", KEYS)
def test_a_copy_works(
    call: Calls,
    server: Server,
    copied: Copier,
    *,
    before: Callable[[RerankClient], None],
    gateway: str,
) -> None:
    """A copy works like the original, whatever was done with that before."""
    extras: dict[str, Any] = {"extra_headers": {"X-A": "1"}, "extra_body": {"a": 1}}
    with client_of(server, gateway, top_n=2, **extras) as client:
        before(client)
        with copied(client) as other:
            assert repr(other) == repr(client)
            client.with_options(top_n=1).close()
            assert len(call(other)) == 2
    last = server.received[-1]
    assert last.headers["x-a"] == "1"
    assert "the-key" in {*last.headers.values()} | {last.headers.get("authorization", "")[7:]}
    assert last.body["a"] == 1


@copiers
def test_closing_a_copy_closes_nothing_else(call: Calls, server: Server, copied: Copier) -> None:
    """A copy has connections of its own, so closing it leaves the original open."""
    with client_of(server) as client:
        call(client)
        other = copied(client)
        call(other)
        call.close(other)
        call(client)
        with pytest.raises(ConfigurationError, match="closed"):
            call(other)
    assert server.connections == 2


@cases("is_async", [False, True])
def test_closing_copies_that_share(server: Server, *, is_async: bool) -> None:
    """A copy by with_options leaves the connections open, which close with the original.

    Where the original is gone, they close with the last copy.
    """

    async def scenario() -> None:
        async def rank(client: RerankClient) -> None:
            _ = await client.arerank(QUERY, TEXTS) if is_async else client.rerank(QUERY, TEXTS)

        async def close(client: RerankClient) -> None:
            _ = await client.aclose() if is_async else client.close()  # type: ignore[func-returns-value]

        async def is_closed(client: RerankClient) -> None:
            with pytest.raises(ConfigurationError, match="closed"):
                await rank(client)

        original = client_of(server)
        first, second = original.with_options(top_n=1), original.with_options(top_n=2)
        of_first = first.with_options(top_n=3)
        await rank(first)
        await close(first)
        await is_closed(first)
        await is_closed(first.with_options(top_n=2))
        for client in (original, second, of_first):
            await rank(client)
        assert server.connections == 1
        await close(original)
        for client in (original, second, of_first):
            await is_closed(client)

        first, second = (client_of(server).with_options(top_n=1) for _ in range(2))
        last = second.with_options(top_n=2)
        gc.collect()
        await rank(second)
        await close(second)
        await rank(last)
        await close(last)
        with pytest.raises(ConfigurationError, match="closed"):
            last._transport.check_open()
        await close(first)

    asyncio.run(scenario())


class Mine(RerankClient):
    """A subclass with an attribute of its own."""

    def __init__(self, model: str, tenants: list[str], **settings: Any) -> None:
        super().__init__(model, **settings)
        self.tenants = tenants


@cases(
    ("copied", "is_same"),
    [
        (lambda client: client.with_options(top_n=1), True),
        (copy.copy, True),
        (copy.deepcopy, False),
        (pickled, False),
    ],
)
def test_copies_of_a_subclass(copied: Copier, *, is_same: bool) -> None:
    """A copy is of the same class, and has the attributes of the subclass."""
    with Mine("local:bm25", ["a"]) as client, copied(client) as other:
        assert isinstance(other, Mine)
        assert other.tenants == ["a"]
        assert (other.tenants is client.tenants) is is_same
        assert len(other.rerank(QUERY, TEXTS, top_n=2)) == 2


@copiers
async def test_a_copy_can_be_made_while_a_loop_runs(server: Server, copied: Copier) -> None:
    """A client in use on the running event loop can be copied, and both go on working."""
    async with client_of(server) as client:
        await client.arerank(QUERY, TEXTS)
        async with copied(client) as other:
            await other.arerank(QUERY, TEXTS)
            await client.arerank(QUERY, TEXTS)
    assert server.connections == 2


@cases("copied", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_a_users_client(server: Server, copied: Copier) -> None:
    """A copy sends through the HTTP client that the user handed in."""
    with httpx.Client(headers={"X-Mine": "1"}) as theirs:
        copied(client_of(server, http_client=theirs)).rerank(QUERY, TEXTS)
    assert server.received[0].headers["x-mine"] == "1"


def test_a_pickle_drops_a_users_client(server: Server) -> None:
    """A pickle leaves the user's HTTP client behind and opens its own."""
    with httpx.Client(headers={"X-Mine": "1"}) as theirs:
        other = pickled(client_of(server, http_client=theirs))
    with other:
        other.rerank(QUERY, TEXTS)
    assert "x-mine" not in server.received[0].headers


def best(response: RerankResponse) -> Any:
    """The document that the response puts first."""
    return response[0].document


def own(number: int) -> tuple[str, list[str]]:
    """A query and documents that no other call has, the query's equal not first."""
    query = f"query {number}"
    return query, [*(f"other {number} {place}" for place in range(number % 7)), query]


def test_threads_share_a_client(server: Server) -> None:
    """Calls from many threads at once each get the answer to their own query."""
    with client_of(server) as client:

        def rank(number: int) -> None:
            query, documents = own(number)
            assert best(client.rerank(query, documents)) is documents[-1]

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(rank, range(THREADS * ROUNDS)))
    assert len(server.received) == THREADS * ROUNDS
    assert server.connections <= THREADS


async def rank_many(client: RerankClient, first: int) -> None:
    """Rank several queries at once, and check that each got its own answer."""
    pairs = [own(number) for number in range(first, first + ROUNDS)]
    responses = await asyncio.gather(*(client.arerank(*pair) for pair in pairs))
    for (_, documents), response in zip(pairs, responses, strict=True):
        assert best(response) is documents[-1]


async def test_tasks_share_a_client(server: Server) -> None:
    """Calls from many tasks at once each get the answer to their own query."""
    async with client_of(server) as client:
        for first in (0, 10, 20):
            await rank_many(client, first)
    assert server.connections <= ROUNDS


def test_loops_in_threads_share_a_client(server: Server) -> None:
    """Event loops that run at the same time in several threads can use one client."""
    with client_of(server) as client, ThreadPoolExecutor(THREADS) as pool:
        numbers = range(0, THREADS * ROUNDS, ROUNDS)
        for _ in range(2):
            list(pool.map(lambda first: asyncio.run(rank_many(client, first)), numbers))
    assert len(server.received) == 2 * THREADS * ROUNDS


def test_loops_one_after_another_share_a_client(server: Server) -> None:
    """A client works on any number of event loops one after another, and between them without."""
    with client_of(server) as client:
        for first in range(0, 50, 10):
            asyncio.run(rank_many(client, first))
            client.rerank(QUERY, TEXTS)
    gc.collect()


def test_loops_made_by_hand_share_a_client(server: Server) -> None:
    """A loop that was closed without ending its async generators does not stop the next one."""
    with client_of(server) as client:
        for _ in range(3):
            loop = asyncio.new_event_loop()
            assert best(loop.run_until_complete(client.arerank(QUERY, TEXTS))) == QUERY
            loop.close()
        asyncio.run(client.arerank(QUERY, TEXTS))
    gc.collect()


PREAMBLE = """
import asyncio, copy, gc, logging, pickle, sys, threading
from rerank_integrations import OpenRouter, RerankClient
logging.getLogger("asyncio").setLevel(logging.ERROR)  # slow callbacks are no concern here
client = RerankClient("m", provider=OpenRouter(api_key="k", base_url=sys.argv[1]))
def rank(client=client):
    return client.rerank("q", ["a", "q"])
def arank(client=client):
    return client.arerank("q", ["a", "q"])
async def twice():
    await asyncio.gather(arank(), arank())
def by_hand():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(twice())
    loop.close()
"""
SCRIPTS = {
    "sync, dropped": "rank(); del client, rank, arank",
    "sync, until exit": "rank()",
    "sync, closed": "rank(); client.close()",
    "sync, with": "with client: rank()",
    "loop, until exit": "asyncio.run(twice())",
    "loop, dropped": "asyncio.run(twice()); del client, rank, arank",
    "loops, until exit": "for _ in range(5): asyncio.run(twice())",
    "loops, closed": "for _ in range(5): asyncio.run(twice())\nclient.close()",
    "loops and sync": "for _ in range(3): asyncio.run(twice()); rank()",
    "closed on its loop": (
        "async def main():\n async with client: await twice()\nasyncio.run(main())"
    ),
    "closed between loops": "asyncio.run(twice()); asyncio.run(client.aclose())",
    "dropped on its loop": (
        "async def main():\n"
        " mine = copy.copy(client)\n"
        " await arank(mine); del mine; gc.collect()\n"
        " await asyncio.sleep(0)\n"
        "asyncio.run(main())"
    ),
    "many dropped on one loop": (
        "async def main():\n"
        " for _ in range(5): await arank(pickle.loads(pickle.dumps(client)))\n"
        " gc.collect()\n"
        "asyncio.run(main())"
    ),
    "by hand": "for _ in range(3): by_hand()",
    "by hand, dropped": "by_hand(); del client, rank, arank",
    "by hand, closed": "by_hand(); client.close()",
    "by hand, then run": "by_hand(); asyncio.run(twice())",
    "by hand, then sync": "by_hand(); rank()",
    "by hand, ended": (
        "loop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(twice())\n"
        "loop.run_until_complete(loop.shutdown_asyncgens())\n"
        "loop.close()"
    ),
    "threads with loops": (
        "threads = [threading.Thread(target=asyncio.run, args=(twice(),)) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()"
    ),
    "a failure": "try: asyncio.run(client.arerank('', ['a']))\nexcept ValueError: pass",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the programs run in forks")
def test_nothing_is_left_open(server: Server) -> None:
    """No socket, loop or generator is left open with a warning, however a client ends."""
    programs = {name: f"{PREAMBLE}{script}\ngc.collect()\n" for name, script in SCRIPTS.items()}
    flags = ["-X", "dev", "-W", "error"]
    ends = run_programs("", programs, server.url, flags=flags)
    assert ends == dict.fromkeys(SCRIPTS, (0, ""))
