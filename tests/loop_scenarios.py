"""What a program does with event loops, until it ends; what it prints then can be looked at."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from calls import LOOPS
from loopback import looping
from rerank_integrations import OpenRouter, RerankClient

TEXTS = ("apple pie", "a red bicycle", "a blue car")
AT_ONCE = 6

NewLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


def client_of(url: str, **options: Any) -> RerankClient:
    """A client of the server at a URL."""
    return RerankClient("m", provider=OpenRouter(api_key="the-key", base_url=url), **options)


def run(new_loop: NewLoop, main: Coroutine[Any, Any, Any]) -> None:
    """What `asyncio.run` and `uvloop.run` do."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)


async def calls(client: RerankClient, count: int = AT_ONCE) -> None:
    """Call many times at once, and see that each call gets its own answer."""
    queries = [f"query {number}" for number in range(count)]
    tasks = [client.arerank(query, [*TEXTS, query]) for query in queries]
    responses = await asyncio.gather(*tasks)
    assert [response[0].document for response in responses] == queries


def never_closed(new_loop: NewLoop, url: str) -> None:
    """Use a client on a loop and without one, and close nothing."""
    client = client_of(url)
    client.rerank("query", TEXTS)
    run(new_loop, calls(client))


def one_after_another(new_loop: NewLoop, url: str) -> None:
    """Use a client on three loops, one after another."""
    client = client_of(url)
    for _ in range(3):
        run(new_loop, calls(client))
    client.close()


def dropped(new_loop: NewLoop, url: str) -> None:
    """Drop a client while its loop runs, just before its loop ends, and after that."""

    async def drops() -> None:
        client = client_of(url)
        await calls(client)
        del client
        gc.collect()
        await asyncio.sleep(0)  # the connections begin to close, and the end cancels that

    run(new_loop, drops())
    run(new_loop, calls(client_of(url)))
    client = client_of(url)
    run(new_loop, calls(client))
    del client
    gc.collect()


def dropped_at_the_end(new_loop: NewLoop, url: str) -> None:
    """Drop a client in each of the last turns of its loop, while it closes its generators."""

    async def main(turns: int) -> None:
        loop, held = asyncio.get_running_loop(), [client_of(url)]
        await calls(held[0], 1)

        def drop(left: int) -> None:
            if left:
                loop.call_soon(drop, left - 1)
            else:
                held.clear()

        loop.call_soon(drop, turns)

    for turns in range(6):
        run(new_loop, main(turns))


def cancelled(new_loop: NewLoop, url: str) -> None:
    """Cancel calls that wait for their response, and go on."""

    async def cancels() -> None:
        async with (
            looping(hangs="before") as server,
            client_of(server.url, deadline=None) as client,
        ):
            tasks = [asyncio.create_task(client.arerank("q", TEXTS)) for _ in range(AT_ONCE)]
            await server.until_asked(AT_ONCE)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
            await server.until_open(0)
            server.hangs = ""
            await client.arerank("q", TEXTS)

    run(new_loop, cancels())


def cancelled_close(new_loop: NewLoop, url: str) -> None:
    """Cancel `aclose` of a client with connections to two servers, just before its loop ends."""

    async def cancels() -> None:
        client = client_of(url)
        other = client_of(url.replace("127.0.0.1", "localhost"))
        await calls(client)
        await calls(client.with_options(provider=other.provider))
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])

    run(new_loop, cancels())


def not_shut_down(new_loop: NewLoop, url: str) -> None:
    """Close loops without `shutdown_asyncgens`, which leaves their sockets to the collector."""
    client = client_of(url)
    for _ in range(2):
        loop = new_loop()
        loop.run_until_complete(calls(client))
        loop.close()
    run(new_loop, calls(client))
    loop = new_loop()
    loop.run_until_complete(calls(client))
    loop.close()


def loops_at_once(new_loop: NewLoop, url: str) -> None:
    """Use a client on the loops of two threads at once, and close it while they run."""
    client = client_of(url)
    called = threading.Barrier(3)

    async def until_closed() -> None:
        await calls(client)
        await asyncio.to_thread(called.wait, 10)
        await asyncio.to_thread(called.wait, 10)

    threads = [threading.Thread(target=lambda: run(new_loop, until_closed())) for _ in range(2)]
    for thread in threads:
        thread.start()
    called.wait(10)
    client.close()
    called.wait(10)
    for thread in threads:
        thread.join()


def in_flight_at_exit(new_loop: NewLoop, url: str) -> None:
    """End the program while daemon threads wait for responses, with and without a loop."""
    client = client_of(url)
    asked = threading.Event()

    async def waits() -> None:
        async with (
            looping(hangs="before") as server,
            client_of(server.url, deadline=None) as waiting,
        ):
            tasks = [asyncio.create_task(waiting.arerank("q", TEXTS)) for _ in range(3)]
            threading.Thread(target=waiting.rerank, args=("q", TEXTS), daemon=True).start()
            await server.until_asked(4)
            asked.set()
            await asyncio.wait(tasks)

    client.rerank("query", TEXTS)
    threading.Thread(target=lambda: run(new_loop, waits()), daemon=True).start()
    assert asked.wait(10)


SCENARIOS: dict[str, Callable[[NewLoop, str], None]] = {
    one.__name__: one
    for one in (
        never_closed,
        one_after_another,
        dropped,
        dropped_at_the_end,
        cancelled,
        cancelled_close,
        not_shut_down,
        loops_at_once,
        in_flight_at_exit,
    )
}


def play(scenario: str, loops: str, url: str) -> None:
    """Run a scenario on a kind of loop."""
    new_loop = LOOPS[loops]

    def patient_loop() -> asyncio.AbstractEventLoop:
        """A loop that does not complain of the time that the import of httpx takes."""
        loop = new_loop()
        loop.slow_callback_duration = 60
        return loop

    SCENARIOS[scenario](patient_loop, url)
    print("done")
