"""What a program does that forks; run as a script, so that pytest's threads do not matter.

    python fork_scenarios.py SCENARIO URL

Prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import copy
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import httpx

from rerank_integrations import OpenRouter, RerankCache, RerankClient

WORKERS = 4
CALLS = 80
TIME = 30.0  # seconds until a call, or a pool of processes, that hangs fails

Outcome: TypeAlias = float | str
Call: TypeAlias = Callable[[int], Outcome]

call: Call  # of the scenario; a forked process inherits it


def client_of(url: str, **options: Any) -> RerankClient:
    """A client of the server at a URL, which gives each query its own number as the score."""
    provider = OpenRouter(api_key="the-key", base_url=url)
    return RerankClient("m", provider=provider, max_retries=0, deadline=TIME, **options)


def sync(client: RerankClient) -> Call:
    """Call without an event loop."""
    return lambda number: client.rerank(str(number), ["text"])[0].relevance_score


def on_loop(client: RerankClient) -> Call:
    """Call on a new event loop."""
    return lambda number: asyncio.run(client.arerank(str(number), ["text"]))[0].relevance_score


def outcome(number: int) -> Outcome:
    """The score of a call, or the error that it raised."""
    try:
        return call(number)
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


def wrong(numbers: Sequence[int], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What is not the answer to its own query."""
    return [got for number, got in zip(numbers, outcomes, strict=True) if got != number]


def in_children(numbers: Sequence[int]) -> list[Outcome]:
    """The outcomes of calls in forked processes."""
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        return pool.map_async(outcome, numbers, chunksize=1).get(TIME)


def calls(url: str, kind: Callable[[RerankClient], Call]) -> object:
    """Call in this process, in forked ones, of which one closes its client, and in this again."""
    global call  # noqa: PLW0603
    client = client_of(url)
    call = kind(client)
    before = wrong([1, 2], [outcome(1), outcome(2)])
    closing = multiprocessing.get_context("fork").Process(target=client.close)
    closing.start()
    closing.join(TIME)
    numbers = range(1000, 1000 + CALLS)
    return [*before, *wrong(numbers, in_children(numbers)), *wrong([3], [outcome(3)])]


def calls_while_threads_call(url: str) -> object:
    """Fork again and again while four threads call, after a first call.

    A fork while a thread imports httpx, as a first call does, leaves the lock of the import held.
    """
    global call  # noqa: PLW0603
    call = sync(client_of(url))
    done = threading.Event()
    wrong_here = wrong([1], [outcome(1)])

    def calls_on(first: int) -> None:
        number = first
        while not done.is_set():
            number += 1
            wrong_here.extend(wrong([number], [outcome(number)]))

    threads = [threading.Thread(target=calls_on, args=(n * 100_000,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    rounds = [range(start, start + CALLS // 5) for start in range(1000, 6000, 1000)]
    try:
        for numbers in rounds:
            wrong_here.extend(wrong(numbers, in_children(numbers)))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return wrong_here


def factories(url: str) -> object:
    """Use callables that say in a header which process called them, here and in forked ones."""
    global call  # noqa: PLW0603

    def make() -> httpx.Client:
        return httpx.Client(headers={"X-Process": str(os.getpid())})

    def make_async() -> httpx.AsyncClient:
        return httpx.AsyncClient(headers={"X-Process": str(os.getpid())})

    client = client_of(url, http_client=make, async_http_client=make_async)
    kinds = (sync(client), on_loop(client))

    def either(number: int) -> Outcome:
        return kinds[number % 2](number)

    call = either
    numbers = range(1000, 1000 + CALLS)
    return [*wrong([1, 2], [outcome(1), outcome(2)]), *wrong(numbers, in_children(numbers))]


def one_child(kind: Callable[[RerankClient], Call], client: RerankClient) -> Outcome:
    """The outcome of one call in a forked process."""
    global call  # noqa: PLW0603
    call = kind(client)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(outcome, (5,)).get(TIME)


def instances(url: str) -> object:
    """Use clients that were given here and in forked processes, in several ways."""
    with httpx.Client() as theirs:
        client = client_of(url, http_client=theirs)
        other = client_of(url, http_client=theirs)
        found = {"unused": one_child(sync, client), "used": sync(client)(1)}
        found["in the child"] = one_child(sync, client)
        found["with_options"] = one_child(sync, client.with_options(top_n=1))
        found["a copy"] = one_child(sync, copy.copy(client))
        found["another RerankClient"] = one_child(sync, other)
        found["in the parent"] = sync(client)(2)
    answer = {"results": [{"index": 0, "relevance_score": 6}]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    client = client_of(url, async_http_client=httpx.AsyncClient(transport=transport))
    found["async"] = on_loop(client)(6)
    found["async, in the child"] = one_child(on_loop, client)
    return found


def cached(url: str) -> object:
    """Share a cache with a thread that uses it, with forked processes, and with one that is killed.

    Every process asks for the queries 1 to 20, and for ten of its own.
    """
    global call  # noqa: PLW0603
    folder = tempfile.mkdtemp()
    found = []
    for cache in (RerankCache(), RerankCache(f"{folder}/scores.db")):
        client = client_of(url, cache=cache)
        call = sync(client)
        shared, done = range(1, 21), threading.Event()
        before = wrong(shared, [outcome(number) for number in shared])

        def calls_on(done: threading.Event = done) -> None:
            while not done.is_set():
                outcome(1)

        thread = threading.Thread(target=calls_on)
        thread.start()
        try:
            numbers = [*shared, *range(1000, 1010)]
            before += wrong(numbers, in_children(numbers))
        finally:
            done.set()
            thread.join()
        killed = multiprocessing.get_context("fork").Process(target=_killed)
        killed.start()
        killed.join(TIME)
        hits = cache.hits
        after = [outcome(number) for number in (1000, 2000, 1)]
        found.append([before, wrong([1000, 2000, 1], after), cache.hits - hits])
    shutil.rmtree(folder)
    return found


def _killed() -> None:
    outcome(2000)
    os.kill(os.getpid(), signal.SIGKILL)


SCENARIOS: dict[str, Callable[[str], object]] = {
    "sync": lambda url: calls(url, sync),
    "async": lambda url: calls(url, on_loop),
    "threads": calls_while_threads_call,
    "factories": factories,
    "instances": instances,
    "cached": cached,
}

if __name__ == "__main__":
    scenario, address = sys.argv[1:]
    print(json.dumps(SCENARIOS[scenario](address)))
