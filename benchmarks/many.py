"""Runs of many calls against plain asyncio, `gather` with a semaphore over `arerank`.

    python -m benchmarks.many [--calls 1000] [--rounds 9]

Everyone has 64 calls in flight at a server that answers after 20 ms, takes turns within a round,
and keeps the connections of the round before. Ratios above 1 are more than plain asyncio.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.clients import KEY, QUERY, texts
from benchmarks.measure import ratios
from benchmarks.server import serving
from rerank_integrations import OpenRouter, RerankBatch, RerankClient

IN_FLIGHT = 64
DOCUMENTS = 20
PLAIN = "gather with a semaphore"
Rows = list[dict[str, Any]]
Run = Callable[[Rows], int]  # how many rows have a response


def everyone(runner: asyncio.Runner, url: str, folder: Path) -> dict[str, Run]:
    """Every way to rank many rows; a run with a checkpoint has a new file each time."""
    client = RerankClient("m", provider=OpenRouter(api_key=KEY, base_url=url))
    batch = RerankBatch(client=client)
    numbers = count()

    def plain(rows: Rows) -> int:
        turns = asyncio.Semaphore(IN_FLIGHT)

        async def in_turn(row: dict[str, Any]) -> object:
            async with turns:
                return await client.arerank(row["query"], row["documents"])

        async def all_rows() -> int:
            return len(await asyncio.gather(*map(in_turn, rows)))

        return runner.run(all_rows())

    def in_threads(rows: Rows, **options: Any) -> int:
        return sum(one.response is not None for one in client.rerank_many(rows, **options))

    def on_a_loop(rows: Rows, **options: Any) -> int:
        async def all_rows() -> int:
            found = [one.response async for one in client.arerank_many(rows, **options)]
            return len(found) - found.count(None)

        return runner.run(all_rows())

    def kept(name: str) -> Run:
        return lambda rows: on_a_loop(rows, checkpoint=folder / f"{next(numbers)}.{name}")

    def columns(rows: Rows) -> int:
        found = batch({name: [row[name] for row in rows] for name in rows[0]})
        return found["error"].count(None)

    return {
        PLAIN: plain,
        "arerank_many": on_a_loop,
        "the same, checkpoint of SQLite": kept("sqlite"),
        "the same, checkpoint of JSONL": kept("jsonl"),
        "rerank_many": in_threads,
        "RerankBatch, a batch": columns,
        "RerankBatch.rows": lambda rows: sum(row["error"] is None for row in batch.rows(rows)),
    }


def measured(
    runs: Mapping[str, Run], rows: Rows, rounds: int
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Calls a second and seconds of CPU of everyone, in each round."""
    speeds, costs = [], []
    for number in range(rounds + 1):
        speed, cost = {}, {}
        for name, run in runs.items():
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            assert run(rows) == len(rows), name
            speed[name] = len(rows) / (time.perf_counter() - wall)
            cost[name] = time.process_time() - cpu
        if number:  # the first opens the connections
            speeds.append(speed)
            costs.append(cost)
    return speeds, costs


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description="Runs of many calls against plain asyncio.")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    documents = texts(DOCUMENTS)
    rows: Rows = [{"query": QUERY, "documents": documents} for _ in range(given.calls)]
    with (
        serving(DOCUMENTS, latency=0.02) as url,
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner() as runner,
    ):
        speeds, costs = measured(everyone(runner, url, Path(folder)), rows, given.rounds)
    each = [{name: seconds / given.calls for name, seconds in one.items()} for one in costs]
    print(f"{'':32}{'throughput':24}{'CPU':24}ms of CPU a call")
    speed, cost = ratios(speeds, PLAIN), ratios(costs, PLAIN)
    for name in speed:
        own = sorted(one[name] for one in each)[len(each) // 2] * 1000
        print(f"{name:32}{speed[name]!s:24}{cost[name]!s:24}{own:.2f}")


if __name__ == "__main__":
    main()
