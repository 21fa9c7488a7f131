"""Checks the calculator of `benchmarks.scale` against the real client, and measures its constants.

    python -m benchmarks.scale_check [constants] [loopback] [virtual]

`constants`: CPU and calls a second of `arerank_many`, over sockets.
`loopback`: runs over sockets, one bound by latency and one by a rate limit, against the prediction.
`virtual`: published limits and whole minutes on a virtual clock, against a server in memory that
refuses what its limit does not allow.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import selectors
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scale import LATENCY, MINUTE, Machine, Workload, seconds_of
from benchmarks.server import answer, serving

if TYPE_CHECKING:
    import httpx

    from rerank_integrations import RerankClient

PARTS = ("constants", "loopback", "virtual")
DOCUMENTS = 20
ROWS = 2000
ROUNDS = 3

SPACED = 6000  # requests per minute, evenly spaced
# requests per minute and seconds of an answer: Cohere's production key, ZeroEntropy, Jina premium
LIMITS = ((1000, 0.39), (64, 0.39), (5000, 0.39))


def rows(count: int, length: int = DOCUMENTS) -> Iterator[dict[str, Any]]:
    """Rows of so many documents with 200 characters each, and a query of 40."""
    documents = [f"{number} ".ljust(200, "x") for number in range(length)]
    return (
        {"query": f"{number} ".ljust(40, "q"), "documents": documents} for number in range(count)
    )


async def finished(
    client: RerankClient, count: int, length: int = DOCUMENTS, **options: Any
) -> float:
    """Seconds until so many rows are ranked, each with one request that succeeded."""
    async with client:
        started = time.monotonic()
        async with client.arerank_many(rows(count, length), **options) as run:
            got = [result async for result in run]
        seconds = time.monotonic() - started
    assert len(got) == run.requests == count, (len(got), run.requests)
    return seconds


def client_of(url: str, **settings: Any) -> RerankClient:
    """A client of a server on loopback."""
    from rerank_integrations import OpenRouter, RerankClient

    provider = OpenRouter(api_key="k", base_url=url)
    return RerankClient("m", provider=provider, timeout=60, **settings)


def constants() -> None:
    """CPU of one call and calls a second, by documents and calls in flight, in turn."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = {
        (20, 64): [],
        (20, 256): [],
        (100, 64): [],
    }
    with serving(DOCUMENTS, latency=0.02) as url:
        asyncio.run(finished(client_of(url), 200))
        for _ in range(ROUNDS):
            for (length, in_flight), costs in found.items():
                cpu = time.process_time()
                run = finished(client_of(url), ROWS, length, max_concurrency=in_flight)
                seconds = asyncio.run(run)
                costs.append(((time.process_time() - cpu) / ROWS * 1000, ROWS / seconds))
    print(f"Python {sys.version.split()[0]}; {ROUNDS} rounds of {ROWS} calls; {state()}")
    for (length, in_flight), costs in found.items():
        for name, values in zip(("CPU ms", "calls/s"), zip(*costs, strict=True), strict=True):
            spread = f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            print(f"  {length} documents, {in_flight} in flight, {name}: {spread}")


def state() -> str:
    """When and where this runs."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{now}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def loopback() -> None:
    """Over sockets: a server of 390 ms without a limit, then evenly spaced slots."""
    print(state())
    machine = Machine()
    with serving(DOCUMENTS, latency=LATENCY) as url:
        for pairs in (1_000, 10_000, 100_000):
            count = Workload(pairs).requests
            started = waited()
            seconds = asyncio.run(finished(client_of(url), count))
            predicted = seconds_of(count, None, machine)
            report("no limit", pairs, predicted, seconds, waited() - started)
        for pairs in (1_000, 10_000, 100_000):
            count = Workload(pairs).requests
            started = waited()
            with tempfile.TemporaryDirectory() as folder:
                client = client_of(url, requests_per_minute=SPACED)
                limit = f"sqlite:///{folder}/limit.db"
                seconds = asyncio.run(finished(client, count, rate_limit=limit))
            predicted = seconds_of(count, SPACED, machine, evenly=True)
            report(f"{SPACED} a minute, evenly", pairs, predicted, seconds, waited() - started)


def waited() -> float:
    """Seconds for which this thread was ready to run and other processes had the cores (Linux)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except OSError:
        return 0.0


def report(what: str, pairs: int, predicted: float, seconds: float, lost: float = 0.0) -> None:
    """One line: predicted, found, and the error of the prediction; all in seconds.

    Args:
        lost: while other processes had the cores.
    """
    error = (predicted - seconds) / seconds
    less = f" | {lost:.1f} of it waiting for a core" if lost else ""
    print(f"{what} | {pairs:,} | {predicted:.1f} | {seconds:.1f} | {error:+.1%}{less}", flush=True)


class Clock(selectors.DefaultSelector):
    """Lets an event loop jump to its next timer where it would wait for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; with nothing ready, the time has passed."""
        ready = super().select(0 if timeout else timeout)
        if timeout and not ready:
            Clock.now += timeout
        return ready

    @classmethod
    def read(cls) -> float:
        """Seconds since the start."""
        return cls.now


def limited(limit: int, latency: float) -> httpx.AsyncBaseTransport:
    """A server in memory: 429 for each request above its limit in any minute."""
    import httpx

    body = answer(DOCUMENTS, 0).partition(b"\r\n\r\n")[2]
    arrived: deque[float] = deque()

    class Server(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.aread()
            now = time.monotonic()
            while arrived and arrived[0] <= now - MINUTE + 1e-6:
                arrived.popleft()
            if len(arrived) >= limit:
                return httpx.Response(429, json={"error": {"message": "too many", "code": 429}})
            arrived.append(now)
            await asyncio.sleep(latency)
            return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    return Server()


def virtual() -> None:
    """Whole minutes of published limits; the clock of this process is a number from here on."""
    import httpx

    from rerank_integrations import OpenRouter, RerankClient
    from rerank_integrations._rate_limit import RateLimiter

    time.monotonic = Clock.read
    RateLimiter.__init__.__defaults__ = (Clock.read,)  # it has taken the real clock
    for limit, latency in LIMITS:
        machine = Machine(latency=latency, cpu=0.0)  # the clock does not run while Python works
        for pairs in (1_000, 10_000, 100_000):
            count = Workload(pairs).requests
            transport = limited(limit, latency)
            client = RerankClient(
                "m",
                provider=OpenRouter(api_key="k"),
                requests_per_minute=limit,
                async_http_client=partial(httpx.AsyncClient, transport=transport),
            )
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Clock())) as runner:
                seconds = runner.run(finished(client, count))
            report(f"{limit} a minute", pairs, seconds_of(count, limit, machine), seconds)


def main() -> None:
    """Run the parts that are asked for, the one with a virtual clock last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", default=list(PARTS))
    asked = parser.parse_args().parts
    if unknown := set(asked) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    for part in (constants, loopback, virtual):
        if part.__name__ in asked:
            part()


if __name__ == "__main__":
    main()
