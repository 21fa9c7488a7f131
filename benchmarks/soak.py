"""A soak: very many calls against a server that fails in every way, none lost and nothing leaked.

Each call ranks documents that nobody else sends, and checks every score of its answer. Memory and
sockets are counted after each tenth of the calls, when none is on its way.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.faulty import FAULTS, STALL, score
from rerank_integrations import OpenRouter, RerankClient, RerankError, RerankResponse

ROUNDS = 10
MOST_TRACED = 1024  # KiB by which live objects may grow from the first tenth to the last
MOST_RESIDENT = 16 * 1024  # the same for the process, whose allocator keeps what it likes
MOST_SECONDS = 900.0  # for either way of calling

Documents: TypeAlias = list[str]
Round: TypeAlias = Callable[[list[int]], None]


@dataclass
class Sample:
    """What there was after a tenth of the calls."""

    seconds: float
    traced: int  # KiB
    resident: int  # KiB
    server_open: int


@dataclass
class Soak:
    """The calls of one way of calling, and what came of them."""

    client: RerankClient
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    samples: list[Sample] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def documents(self, number: int) -> Documents:
        """The documents of a call, with its number in each."""
        count = random.Random(self.seed * 1_000_003 + number).randint(1, 40)  # noqa: S311
        return [f"call {number} document {place}" for place in range(count)]

    def note(self, documents: Documents, outcome: RerankResponse | RerankError) -> None:
        """Count how a call ended, and check its answer."""
        self.attempts += len(outcome.attempts)
        if isinstance(outcome, RerankError):
            self.outcomes[type(outcome).__name__] += 1
            return
        right = sorted(((score(text), place) for place, text in enumerate(documents)), reverse=True)
        came = [(result.relevance_score, result.index) for result in outcome]
        same = all(result.document is documents[result.index] for result in outcome)
        self.outcomes["right" if came == right and same else "WRONG"] += 1


def in_threads(soak: Soak, concurrency: int) -> tuple[Round, Callable[[], None]]:
    """Takes a round of calls in threads; and what ends it all."""
    pool, taking = ThreadPoolExecutor(concurrency), threading.Lock()

    def following(numbers: Iterator[int]) -> int | None:
        with taking:
            return next(numbers, None)

    def work(numbers: Iterator[int]) -> None:
        while (number := following(numbers)) is not None:
            documents = soak.documents(number)
            outcome: RerankResponse | RerankError
            try:
                outcome = soak.client.rerank("a query", documents)
            except RerankError as error:
                outcome = error
            with taking:
                soak.note(documents, outcome)

    def taken(numbers: list[int]) -> None:
        shared = iter(numbers)
        for worker in [pool.submit(work, shared) for _ in range(concurrency)]:
            worker.result()

    return taken, pool.shutdown


def on_a_loop(
    soak: Soak, concurrency: int, loop: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> tuple[Round, Callable[[], None]]:
    """Takes a round of calls on one event loop; and what ends it all."""
    runner = asyncio.Runner(loop_factory=loop)

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            documents = soak.documents(number)
            try:
                soak.note(documents, await soak.client.arerank("a query", documents))
            except RerankError as error:
                soak.note(documents, error)

    async def all_at_once(numbers: list[int]) -> None:
        following = iter(numbers)
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work(following))

    return lambda numbers: runner.run(all_at_once(numbers)), runner.close


WAYS = {"threads": in_threads, "event loop": on_a_loop}
with suppress(ImportError):
    import uvloop

    WAYS["uvloop"] = partial(on_a_loop, loop=uvloop.new_event_loop)


def soaked(way: str, given: argparse.Namespace) -> Soak:
    """The calls of one way, against a server of their own."""
    with served(given.seed, given.faults) as url:
        provider = OpenRouter(api_key="no-key", base_url=url)
        client = RerankClient(
            "m", provider=provider, timeout=6 * STALL, deadline=60.0, max_retries=8
        )
        soak = Soak(client, given.seed)
        taken, end = WAYS[way](soak, given.concurrency)
        began, share = time.monotonic(), given.calls // ROUNDS
        for place in range(ROUNDS):
            last = given.calls if place == ROUNDS - 1 else (place + 1) * share
            taken(list(range(place * share, last)))
            soak.samples.append(sample(url, time.monotonic() - began))
            if time.monotonic() - began > MOST_SECONDS:
                break
        client.close()
        end()
        soak.done = told(url)["done"]
    return soak


@contextmanager
def served(seed: int, share: float) -> Iterator[str]:
    """The address of a faulty server in a process of its own, which ends with the block."""
    command = [sys.executable, "-m", "benchmarks.faulty", str(seed), str(share)]
    process = subprocess.Popen(  # noqa: S603  # this very Python
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout  # noqa: S101  # for type checkers
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def told(url: str) -> dict[str, Any]:
    """What the server has done, and how many connections it has open."""
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  # on loopback
        found: dict[str, Any] = json.load(response)
    return found


def sample(url: str, seconds: float) -> Sample:
    """What there is now."""
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] // 1024
    return Sample(seconds, traced, resident(), told(url)["open"])


def resident() -> int:
    """KiB of memory that the process has; 0 where nobody says."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    (line,) = (line for line in text.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def breaches(soak: Soak, given: argparse.Namespace) -> list[str]:
    """What must not be and is."""
    first, last = soak.samples[0], soak.samples[-1]
    ended, wrong = soak.outcomes.total(), soak.done.get("wrong", 0)
    found = {
        f"{given.calls - ended} calls have no end": ended != given.calls,
        f"{soak.outcomes['WRONG']} answers are wrong": soak.outcomes["WRONG"] > 0,
        f"{soak.outcomes['ResponseError']} answers could not be used, of {wrong} that were wrong": (
            soak.outcomes["ResponseError"] != wrong
        ),
        f"calls failed that others passed: {dict(soak.outcomes)}": bool(
            soak.outcomes.keys() - {"right", "WRONG", "ResponseError"}
        ),
        f"{soak.attempts} attempts, {sum(soak.done.values())} requests": (
            soak.attempts != sum(soak.done.values())
        ),
        f"objects grew by {last.traced - first.traced} KiB": (
            last.traced - first.traced > MOST_TRACED
        ),
        f"the process grew by {last.resident - first.resident} KiB": (
            last.resident - first.resident > MOST_RESIDENT
        ),
        "more connections than callers": any(
            each.server_open > given.concurrency for each in soak.samples
        ),
    }
    return [words for words, holds in found.items() if holds]


def table(way: str, soak: Soak) -> str:
    """All figures of one way, to be read."""
    ended, last = soak.outcomes.total(), soak.samples[-1]
    faults = ", ".join(f"{name} {soak.done.get(name, 0)}" for name in FAULTS)
    rows = {
        "calls": f"{ended} in {last.seconds:.1f} s, {ended / last.seconds:.0f} a second",
        "outcomes": ", ".join(f"{name} {count}" for name, count in soak.outcomes.items()),
        "requests": f"{sum(soak.done.values())}, of which {faults}",
        "live objects, KiB": " ".join(str(each.traced) for each in soak.samples),
        "process, KiB": " ".join(str(each.resident) for each in soak.samples),
        "sockets at the server": " ".join(str(each.server_open) for each in soak.samples),
    }
    lines = [way, *(f"  {name:<22} {figures}" for name, figures in rows.items())]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Soak both ways, print what came of it, and say whether anything was breached."""
    parser = argparse.ArgumentParser(description="Very many calls against a faulty server.")
    parser.add_argument("--calls", type=int, default=10_000, help="for each way of calling")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=float, default=0.01, help="the share of each fault")
    given = parser.parse_args()
    tracemalloc.start()
    found = []
    for way in WAYS:
        soak = soaked(way, given)
        sys.stdout.write(table(way, soak))
        found += [f"{way}: {words}" for words in breaches(soak, given)]
    sys.stdout.write("".join(f"BREACH {words}\n" for words in found) or "no breach\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
