"""One pace for all threads, tasks and copies of a client, over real sockets and without waiting."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from fakes import Clock, attempts_of, ended
from loopback import Reply, Server, ranking
from rerank_integrations import OpenRouter, RateLimitError, RerankClient, RerankTimeoutError

GOOD = ranking(0.9, 0.8, 0.7)
BUSY = Reply(status=503)
PACED: dict[str, Any] = {"deadline": None, "requests_per_minute": 10}


def slow_down(seconds: float) -> Reply:
    """A 429 that asks for so many seconds."""
    return Reply(status=429, headers={"Retry-After": str(seconds)})


def in_threads(clients: list[RerankClient], *, keep_errors: bool = False) -> list[Any]:
    """A call of each, in a thread of its own; the errors, where they are kept."""
    with ThreadPoolExecutor(len(clients)) as pool:
        futures = [pool.submit(client.rerank, QUERY, TEXTS) for client in clients]
        errors = [error for error in (future.exception() for future in futures) if error]
    assert keep_errors or not errors, errors
    return errors


def in_tasks(clients: list[RerankClient], *, keep_errors: bool = False) -> list[Any]:
    """The same, all on one event loop."""

    async def calls() -> list[Any]:
        each = (client.arerank(QUERY, TEXTS) for client in clients)
        return await asyncio.gather(*each, return_exceptions=keep_errors)

    return [came for came in asyncio.run(calls()) if isinstance(came, Exception)]


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
    """The requests of one call keep to the pace as those of several do.

    A call whose last slot comes after its deadline sends none of them.
    """
    clock.is_frozen = True
    options = PACED | {"requests_per_minute": 2, "max_documents_per_request": 1}
    with client_of(server, **options) as client:
        assert len(call(client, "q", list("abcdef"))) == 6
        assert sorted(clock.slept) == [60.0] * 2 + [120.0] * 2
        clock.now += 200
        server.received.clear()
        with pytest.raises(
            RerankTimeoutError, match=r"5 requests of the call in 120\.0 s"
        ) as caught:
            call(client, "q", list("abcde"), deadline=60.0)
        assert (server.received, caught.value.attempts) == ([], ())  # none is sent in vain
        assert len(call(client, "q", list("abcd"), deadline=60.0)) == 4
        clock.now += 200
        response = call(client, "q", list("abcde"), deadline=60.0, on_partial="keep")
        assert len(response.missing) == 1


def test_every_retry_counts(call: Calls, clock: Clock, server: Server) -> None:
    """A request that is sent again takes a place of its own."""
    server.plays(BUSY, BUSY, GOOD)
    with client_of(server, **PACED | {"requests_per_minute": 1}) as client:
        call(client)
    assert clock.now == pytest.approx(1000.0 + 120.0)


def test_blank_documents_do_not_count(call: Calls, clock: Clock, server: Server) -> None:
    """Documents that are not sent take no place, and a call without any takes none."""
    with client_of(server, **PACED, documents_per_minute=2) as client:
        for documents in (["a", " "], [" "], ["b", ""]):
            call(client, "q", documents)
    assert not clock.slept


def test_a_call_that_cannot_wait_fails_at_once(call: Calls, clock: Clock, server: Server) -> None:
    """A slot later than the deadline is an error at once; it says the wait and what to change."""
    with client_of(server, requests_per_minute=1, deadline=59.0, max_retries=5) as client:
        call(client)
        with pytest.raises(RerankTimeoutError) as caught:
            call(client)
        assert (caught.value.attempts, caught.value.phase) == ((), "wait")
        words = ("rate limit", "requests_per_minute=1", "60.0 s", "59.0 s", "raise deadline=")
        assert all(word in str(caught.value) for word in words)
        clock.now += 2
        call(client)
    assert clock.slept == [58.0]
    assert len(server.received) == 2


def test_a_slot_within_the_deadline_is_waited_for(
    call: Calls, clock: Clock, server: Server
) -> None:
    """A call may wait for slots as long as its deadline, and that time is not taken from it."""
    server.plays(GOOD, slow_down(58), GOOD)
    with client_of(server, requests_per_minute=1, max_retries=1) as client:
        call(client)
        response = call(client, deadline=62.0)
    assert attempts_of(response) == [("openrouter", "RateLimitError"), ("openrouter", "")]
    assert clock.slept == pytest.approx([60.0, 58.0, 2.0])


@cases("way", [in_tasks, in_threads], ids=["tasks", "threads"])
def test_many_calls_at_once_with_the_defaults(clock: Clock, server: Server, way: Any) -> None:
    """Of 50 calls with 20 a minute, 20 go at once, 20 after a minute, and 10 are refused at once.

    A call that is refused has sent nothing, and lists no attempt.
    """
    clock.is_frozen = True
    with client_of(server, requests_per_minute=20) as client:
        errors = way([client] * 50, keep_errors=True)
    assert sorted(clock.slept) == [60.0] * 20
    assert len(server.received) == 40
    assert len(errors) == 10
    assert all(isinstance(e, RerankTimeoutError) and not e.attempts for e in errors)
    assert all("120.0 s" in str(error) for error in errors)


def test_a_retry_in_backoff_holds_no_slot(call: Calls, clock: Clock, server: Server) -> None:
    """While a call waits to retry, the others go; it takes its slot when its wait is over."""
    server.plays(BUSY, GOOD)
    others: list[Any] = []

    def meanwhile() -> None:
        others.extend(client.rerank(QUERY, TEXTS, deadline=0.2) for _ in range(9))

    with client_of(server, **PACED) as client:
        clock.meanwhile.append(meanwhile)
        clock.is_frozen = True
        call(client)
    assert len(others) == 9
    assert len(clock.slept) == 2  # the backoff, and then a slot of the next minute
    assert clock.slept[1] == pytest.approx(60.0)


def test_a_wait_that_can_only_fail_is_not_begun(call: Calls, clock: Clock, server: Server) -> None:
    """After a Retry-After of a minute or more, a call with the default deadline fails at once.

    So does a call for whose retry no slot comes in time: with the error that it has.
    """
    server.plays(BUSY)
    with client_of(server, requests_per_minute=1, deadline=30.0) as client:
        assert attempts_of(ended(call, client)) == [("openrouter", "ServiceUnavailableError")]
    assert not clock.slept

    server.plays(slow_down(3600), GOOD)
    with client_of(server) as client:
        assert isinstance(ended(call, client), RateLimitError)
        with pytest.raises(
            RateLimitError, match=r"nothing was sent: .*Retry-After.*60\.0 s"
        ) as told:
            call(client)
        assert (told.value.attempts, told.value.retry_after) == ((), 3600.0)
        clock.now += 1
        assert len(call(client)) == 3
    assert clock.slept == [59.0]


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


@cases("status", [429, 503, 529])
def test_a_hold_beyond_the_deadline(call: Calls, clock: Clock, server: Server, status: int) -> None:
    """A call whose deadline comes before the end of a hold fails at once and sends nothing.

    The error is of the class of the response that asked for it, with the time that remains; a
    fallback answers in its place. A wait for the caller's own rate limit is no such error.
    """
    words = {"error": {"message": "too fast", "code": "busy"}}
    server.plays(Reply(words, status, {"Retry-After": "30"}), GOOD)
    with client_of(server, max_retries=0, fallbacks=["local:bm25"]) as client:
        alone = client._alone()
        first = ended(call, alone)
        clock.now += 10
        with pytest.raises(type(first), match="Retry-After") as caught:
            call(alone, deadline=19.0)
        told = caught.value
        assert (told.retry_after, told.attempts, told.retries) == (20.0, (), 0)
        names = ("status_code", "provider", "message", "code", "is_retryable")
        assert all(getattr(told, name) == getattr(first, name) for name in names)
        assert told.__traceback__ is not first.__traceback__
        response = call(client, deadline=19.0)
        assert (response.provider, attempts_of(response)) == (
            "local",
            [("openrouter", "not asked"), ("local", "")],
        )
        call(alone, deadline=25.0, requests_per_minute=1)
        with pytest.raises(RerankTimeoutError, match="requests_per_minute=1") as own:
            call(alone, deadline=25.0, requests_per_minute=1)
        assert own.value.phase == "wait"
    assert clock.slept == pytest.approx([20.0], abs=0.011)
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
        server.plays(slow_down(20), GOOD)

        def meanwhile() -> None:
            with pytest.raises(RateLimitError):
                client.rerank(QUERY, TEXTS, max_retries=0, requests_per_minute=None)

        clock.meanwhile.append(meanwhile)
        call(client)
    assert clock.now >= 1060.0 + 20.0


@cases("other", ["provider", "key", "key in the query", "header", "model"])
def test_another_endpoint_key_or_model_is_not_held(
    call: Calls, clock: Clock, server: Server, second: Server, other: str
) -> None:
    """Who asks another endpoint, with another key, or for another model, need not wait."""
    server.plays(slow_down(30), GOOD)
    url = f"{server.url}?api-key=tenant-"
    changes: dict[str, dict[str, Any]] = {
        "provider": {"provider": client_of(second, "together").provider},
        "key": {"provider": OpenRouter(api_key="tenant-b", base_url=f"{url}a")},
        "key in the query": {"provider": OpenRouter(api_key="the-key", base_url=f"{url}b")},
        "header": {"extra_headers": {"Authorization": "Bearer tenant-b"}},
        "model": {"model": "another"},
    }
    with client_of(f"{url}a", max_retries=0) as client:
        ended(call, client)
        call(client.with_options(**changes[other]))
        assert not clock.slept
        call(client, extra_headers={"X-Trace": "1"})
    assert clock.slept == [30.0]


@cases("status", [400, 401, 404, 408, 413, 500])
def test_a_retry_after_of_another_status_is_for_one_call(
    call: Calls, clock: Clock, server: Server, status: int
) -> None:
    """Only 429, 503 and 529 speak for all calls; others may ask this one to wait."""
    told = Reply(status=status, headers={"Retry-After": "7"})
    server.plays(told, GOOD)
    with client_of(server, max_retries=0) as client:
        ended(call, client)
        call(client)
        assert not clock.slept
        server.plays(told, GOOD)
        ended(call, client, max_retries=1)
    assert all(7.0 <= seconds <= 7.7 for seconds in clock.slept)
    assert len(clock.slept) == (1 if status in (408, 500) else 0)


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
