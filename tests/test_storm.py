"""Many callers at once, and a server that refuses half of them: all succeed, at a known price."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import pytest

from calls import client_of
from fakes import Clock
from loopback import Fault, Received, Reply, Server, ranks_all
from rerank_integrations import RerankClient, RerankResponse

CALLERS = 100
MOST = 3 * CALLERS  # requests; half of them refused makes two a call, give or take chance
RETRIES = 40

Storm: TypeAlias = Callable[[RerankClient], list[RerankResponse]]


def documents_of(caller: int) -> list[str]:
    """Documents that nobody else sends, the last of which fits the caller's query."""
    return [f"{caller}-first", f"{caller}-second", f"{caller}"]


def in_threads(client: RerankClient) -> list[RerankResponse]:
    """All callers at once, each in a thread."""
    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(client.rerank, f"{n}", documents_of(n)) for n in range(CALLERS)]
        return [call.result() for call in calls]


def in_tasks(client: RerankClient) -> list[RerankResponse]:
    """All callers at once on one event loop."""

    async def calls() -> list[RerankResponse]:
        each = (client.arerank(f"{n}", documents_of(n)) for n in range(CALLERS))
        return await asyncio.gather(*each)

    return asyncio.run(calls())


storms = pytest.mark.parametrize("storm", [in_threads, in_tasks])


def half(seed: int, refusal: Reply) -> Callable[[Received], Reply]:
    """Refuses half of the requests, by the throw of a coin that falls the same in every run."""
    coin = random.Random(seed)  # noqa: S311

    def step(received: Received) -> Reply:
        return refusal if coin.random() < 0.5 else ranks_all(received)

    return step


def check(responses: list[RerankResponse], server: Server) -> None:
    """See that each caller got its own answer, and that no request was sent in vain."""
    for caller, response in enumerate(responses):
        assert response[0].document == f"{caller}"
        assert {result.document for result in response} == set(documents_of(caller))
    attempts = Counter(attempt.error is None for each in responses for attempt in each.attempts)
    assert attempts[True] == CALLERS
    assert attempts.total() == len(server.received)


@storms
@pytest.mark.parametrize(
    ("seed", "headers"),
    [
        (1, {}),
        (2, {"Retry-After": "0"}),
        (3, {"Retry-After": "2"}),
        (7, {"retry-after-ms": "20"}),
    ],
    ids=str,
)
def test_half_are_refused(
    storm: Storm, clock: Clock, server: Server, seed: int, headers: dict[str, str]
) -> None:
    """Where half of the requests are refused all callers succeed, with three requests each."""
    server.plays(half(seed, Reply(status=429, headers=headers)))
    with client_of(server, max_retries=RETRIES, deadline=None) as client:
        responses = storm(client)
    check(responses, server)
    assert len(server.received) <= MOST


@storms
def test_faults_of_every_kind(storm: Storm, clock: Clock, server: Server) -> None:
    """Where half of the requests fail in every way that passes, all callers succeed as well."""
    coin = random.Random(4)  # noqa: S311
    kinds = [Reply(status=status) for status in (408, 429, 500, 502, 503, 504, 529)]
    faults = [*kinds, Fault.DROP, Fault.HALF]
    steps: list[Any] = []
    for _ in range(MOST):
        steps += [coin.choice(faults)] if coin.random() < 0.5 else [ranks_all]
    server.plays(*steps, ranks_all)
    with client_of(server, max_retries=RETRIES, deadline=None) as client:
        responses = storm(client)
    check(responses, server)
    assert len(server.received) <= MOST


@storms
def test_a_storm_keeps_to_the_pace(storm: Storm, clock: Clock, server: Server) -> None:
    """Also where half of the requests are refused, retries keep to the pace that was set."""
    clock.is_frozen = True
    server.plays(half(5, Reply(status=429)))
    options: dict[str, Any] = {"max_retries": RETRIES, "deadline": None}
    with client_of(server, requests_per_minute=CALLERS, **options) as client:
        check(storm(client), server)
    late = sum(seconds >= 60.0 for seconds in clock.slept)
    assert late >= len(server.received) - CALLERS


@storms
def test_connections_of_a_storm(storm: Storm, clock: Clock, server: Server) -> None:
    """A refused request leaves its connection for the next, so that there is one a caller."""
    server.plays(half(6, Reply(status=429)))
    with client_of(server, max_retries=RETRIES, deadline=None) as client:
        storm(client)
    assert server.connections <= CALLERS


@storms
def test_a_storm_that_goes_elsewhere(
    storm: Storm, clock: Clock, server: Server, second: Server
) -> None:
    """Where the provider refuses all, its fallback answers all, and soon it alone is asked."""
    server.plays(Reply(status=429))
    options: dict[str, Any] = {"max_retries": 0, "deadline": None, "fallbacks": ["together:m"]}
    with client_of(server, **options) as client:
        storm(client)
        before = len(server.received)
        responses = storm(client)
    assert {response.provider for response in responses} == {"together"}
    assert (len(server.received) - before, len(second.received)) == (0, 2 * CALLERS)
