"""One pace for all threads, tasks and copies of a client, over real sockets and without waiting."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from calls import QUERY, TEXTS, Calls, client_of
from fakes import Clock, attempts_of, ended
from loopback import Reply, Server, ranking
from rerank_integrations import RateLimitError, RerankClient, RerankTimeoutError

GOOD = ranking(0.9, 0.8, 0.7)
BUSY = Reply(status=503)
PACED: dict[str, Any] = {"deadline": None, "requests_per_minute": 10}


def slow_down(seconds: float) -> Reply:
    """A 429 that asks for so many seconds."""
    return Reply(status=429, headers={"Retry-After": str(seconds)})


def in_threads(clients: list[RerankClient]) -> None:
    """A call of each, in a thread of its own."""
    with ThreadPoolExecutor(len(clients)) as pool:
        for future in [pool.submit(client.rerank, QUERY, TEXTS) for client in clients]:
            future.result()


def in_tasks(clients: list[RerankClient]) -> None:
    """A call of each, all on one event loop."""

    async def calls() -> None:
        await asyncio.gather(*(client.arerank(QUERY, TEXTS) for client in clients))

    asyncio.run(calls())


def in_both(clients: list[RerankClient]) -> None:
    """Half of the calls in threads, and half on an event loop in another thread."""
    with ThreadPoolExecutor(2) as pool:
        for way, part in ((in_threads, clients[::2]), (in_tasks, clients[1::2])):
            pool.submit(way, part)


WAYS = (in_threads, in_tasks, in_both)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("copied", [False, True], ids=["itself", "copies"])
def test_requests_a_minute_are_shared(
    clock: Clock, server: Server, way: Any, *, copied: bool
) -> None:
    """However many threads, tasks and copies call, only so many requests go in a minute."""
    clock.is_frozen = True
    with client_of(server, **PACED) as client:
        way([client.with_options(top_n=n + 1) if copied else client for n in range(30)])
    assert sorted(clock.slept) == [60.0] * 10 + [120.0] * 10
    assert len(server.received) == 30


@pytest.mark.parametrize("way", WAYS)
def test_documents_a_minute_are_shared(clock: Clock, server: Server, way: Any) -> None:
    """However many call, only so many documents go in a minute."""
    clock.is_frozen = True
    with client_of(server, deadline=None, documents_per_minute=2 * len(TEXTS)) as client:
        way([client] * 6)
    assert sorted(clock.slept) == [60.0] * 2 + [120.0] * 2


def test_every_request_of_a_split_call_counts(call: Calls, clock: Clock, server: Server) -> None:
    """The requests of one call keep to the pace as those of several do."""
    clock.is_frozen = True
    options = PACED | {"requests_per_minute": 2, "max_documents_per_request": 1}
    with client_of(server, **options) as client:
        assert len(call(client, "q", list("abcdef"))) == 6
    assert sorted(clock.slept) == [60.0] * 2 + [120.0] * 2


def test_every_retry_counts(call: Calls, clock: Clock, server: Server) -> None:
    """A request that is sent again takes a place of its own."""
    server.plays(BUSY, BUSY, GOOD)
    with client_of(server, **PACED | {"requests_per_minute": 1}) as client:
        call(client)
    assert clock.slept == [60.0, 60.0]


def test_blank_documents_do_not_count(call: Calls, clock: Clock, server: Server) -> None:
    """Documents that are not sent take no place, and a call without any takes none."""
    with client_of(server, **PACED, documents_per_minute=2) as client:
        for documents in (["a", " "], [" "], ["b", ""]):
            call(client, "q", documents)
    assert not clock.slept


def test_a_call_that_cannot_wait_fails_at_once(call: Calls, clock: Clock, server: Server) -> None:
    """A turn beyond the deadline is an error at once, and nothing is sent."""
    with client_of(server, requests_per_minute=1, deadline=59.0, max_retries=5) as client:
        call(client)
        with pytest.raises(RerankTimeoutError, match="rate limit") as caught:
            call(client)
        assert caught.value.attempts == ()
        clock.now += 2
        call(client)
    assert clock.slept == [58.0]
    assert len(server.received) == 2


def test_one_is_told_and_all_wait(call: Calls, clock: Clock, server: Server) -> None:
    """After one 429 with Retry-After nobody sends before the time, and then one after another."""
    server.plays(slow_down(7), GOOD)
    clock.is_frozen = True
    with client_of(server, max_retries=0) as client:
        with pytest.raises(RateLimitError):
            call(client)
        for way in WAYS:
            way([client, client.with_options(top_n=1), client])
    waits = sorted(clock.slept)
    assert len(waits) == len(set(waits)) == 3 * len(WAYS)
    assert waits[0] == pytest.approx(7.0)
    assert waits[-1] < 8.0


@pytest.mark.parametrize("status", [429, 503, 529])
def test_the_hold_ends(call: Calls, clock: Clock, server: Server, status: int) -> None:
    """When the time that was asked for is over, calls go at once."""
    server.plays(Reply(status=status, headers={"Retry-After": "7"}), GOOD)
    with client_of(server, max_retries=0) as client:
        ended(call, client)
        clock.now += 7
        call(client)
    assert not clock.slept


def test_a_hold_beyond_the_deadline(call: Calls, clock: Clock, server: Server) -> None:
    """A call whose deadline comes before the end of a hold fails at once and sends nothing."""
    server.plays(slow_down(30), GOOD)
    with client_of(server, max_retries=0) as client:
        ended(call, client)
        with pytest.raises(RerankTimeoutError, match="Retry-After"):
            call(client, deadline=29.0)
        assert len(call(client, deadline=31.0)) == 3
    assert clock.slept == pytest.approx([30.0], abs=0.011)
    assert len(server.received) == 2


def test_a_day_is_not_waited_for(call: Calls, clock: Clock, server: Server) -> None:
    """A Retry-After of a day holds the others for a minute, and not for the day."""
    server.plays(slow_down(86400), GOOD)
    with client_of(server, max_retries=0) as client:
        ended(call, client)
        clock.now += 60
        call(client)
    assert not clock.slept


def test_many_who_cannot_wait_keep_nobody_back(call: Calls, clock: Clock, server: Server) -> None:
    """Calls that were refused during a hold do not delay the one that could wait."""
    server.plays(slow_down(30), GOOD)
    with client_of(server, max_retries=0) as client:
        for _ in range(100):
            ended(call, client, deadline=29.0)
        call(client)
    assert clock.slept == pytest.approx([30.0])


def test_who_waits_already_waits_on(call: Calls, clock: Clock, server: Server) -> None:
    """A call that pauses while another is told to wait does not send before the time either."""
    server.plays(BUSY, slow_down(20), GOOD)
    with client_of(server, max_retries=1) as client:
        other = client.with_options(max_retries=0)

        def meanwhile() -> None:
            with pytest.raises(RateLimitError):
                other.rerank(QUERY, TEXTS)

        clock.meanwhile.append(meanwhile)
        call(client)
    assert clock.now >= 1000.0 + 20.0


def test_who_waits_for_a_turn_waits_on(call: Calls, clock: Clock, server: Server) -> None:
    """A call that waits for its turn while another is told to wait does not send either."""
    server.plays(GOOD)
    with client_of(server, **PACED | {"requests_per_minute": 1}) as client:
        call(client)
        clock.meanwhile.append(
            lambda: client._transport.limiter(client.provider.url).block_for(20.0)
        )
        call(client)
    assert clock.now >= 1060.0 + 20.0


def test_another_endpoint_is_not_held(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """A copy that asks another provider does not wait for what the first was told."""
    server.plays(slow_down(30))
    with client_of(server, max_retries=0) as client:
        ended(call, client)
        call(client.with_options(provider=client_of(second, "together").provider))
    assert not clock.slept


def test_clients_of_their_own_have_their_own_pace(
    call: Calls, clock: Clock, server: Server
) -> None:
    """Two clients do not share a pace, also where they ask the same server."""
    options = PACED | {"requests_per_minute": 1}
    with client_of(server, **options) as one, client_of(server, **options) as other:
        call(one)
        call(other)
    assert not clock.slept


def test_a_fallback_has_its_own_pace(
    call: Calls, clock: Clock, server: Server, second: Server
) -> None:
    """What the provider was told does not hold its fallback."""
    server.plays(slow_down(86400))
    with client_of(server, max_retries=0, fallbacks=["together:m"]) as client:
        assert [attempts_of(call(client))[-1] for _ in range(3)] == [("together", "")] * 3
    assert not clock.slept
