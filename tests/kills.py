"""A run with a checkpoint that is killed again and again, and what the server served meanwhile.

`make kills` does it 200 times for each store and prints how often; tests do it a few times.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loopback import Received, Reply, running
from rerank_integrations import OpenRouter, RerankBatch, RerankClient

AT_ONCE = 16
LATENCY = 0.006  # seconds at most
STORES = ("run.jsonl", "run.sqlite")
WAYS = ("sync", "async")
# forks a process for each line that it reads: importing the package takes longer than a run
_FORKS = """
import os, sys
import httpx
import kills, rerank_integrations
for way in kills.WAYS:  # load what a first call loads
    try:
        kills.whole_run("http://127.0.0.1:1", None, "1", way)
    except rerank_integrations.TransportError:
        pass
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        kills.whole_run(*line.split("\\t")[:-1])
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def rows(count: int) -> Iterator[dict[str, Any]]:
    """So many rows; an id is its query."""
    for number in range(count):
        yield {"id": f"q{number}", "query": f"q{number}", "documents": ["a", "b"]}


def score(query: str) -> float:
    """The score of the first document, which tells queries apart."""
    return 0.5 + zlib.crc32(query.encode()) / 2**34


def client_of(url: str) -> RerankClient:
    """The client of the run."""
    return RerankClient("m", provider=OpenRouter(api_key="the-key", base_url=url), max_retries=0)


def whole_run(url: str, path: str | None, count: str, way: str) -> None:
    """Rank all rows.

    Where there are other threads, one of them takes Ctrl-C after the first result, so that it ends
    no wait of the main thread. The same happens when it comes just before a wait begins.
    """
    client, given = client_of(url), rows(int(count))
    options: dict[str, Any] = {"checkpoint": path, "max_concurrency": AT_ONCE}

    async def on_a_loop() -> None:
        async for _ in client.arerank_many(given, **options):
            pass

    run: Iterable[Any] = ()
    if way == "async":
        asyncio.run(on_a_loop())
    elif way == "batch":
        run = RerankBatch(client=client, **options).rows(given)
    else:
        run = client.rerank_many(given, **options)
    for _ in run:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


@dataclass
class Life:
    """One run, until it ends or is killed.

    Attributes:
        ends_after: responses after which it is killed; None for never.
        served: the queries that the server answered.
    """

    ends_after: int | None
    served: list[str] = field(default_factory=list)
    pid: int = 0
    has_begun: threading.Event = field(default_factory=threading.Event)


class Serving:
    """Answers after a random time, and kills the run after a number of answers."""

    def __init__(self, chance: random.Random) -> None:
        self._chance, self._lock = chance, threading.Lock()
        self.life = Life(None)

    def __call__(self, received: Received) -> Reply:
        """Answer."""
        life = self.life
        with self._lock:
            seconds = self._chance.random() * LATENCY
        time.sleep(seconds)
        with self._lock:
            life.served.append(received.query)
            if len(life.served) == life.ends_after:
                life.has_begun.wait()
                os.kill(life.pid, signal.SIGKILL)
        results = [{"index": index, "relevance_score": score(received.query)} for index in (0, 1)]
        return Reply({"results": results, "usage": {"search_units": 1, "cost": 0.001}})


@dataclass
class Figures:
    """What came of a run that was killed.

    Attributes:
        lost: for each kill, how many rows were served and are not in the checkpoint.
        served: how often each query was served.
        kept: the ids in the checkpoint at the end, as often as they are there.
        wrong: ids that are restored with another score.
        kills: how often the run was killed.
    """

    lost: list[int] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    kept: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    kills: int = 0


def kept_in(path: Path) -> list[str]:
    """The ids in a checkpoint; a line that is not finished is none."""
    if not path.exists():
        return []
    if path.suffix == ".jsonl":
        lines = path.read_bytes().split(b"\n")[:-1]
        return [json.loads(line)["id"] for line in lines]
    with closing(sqlite3.connect(path)) as db:
        try:
            return [json.loads(key) for (key,) in db.execute("SELECT id FROM rows")]
        except sqlite3.OperationalError:  # killed before there was a table
            return []


@contextmanager
def forking() -> Iterator[subprocess.Popen[str]]:
    """The process that forks the runs."""
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as forks:
        yield forks
        assert forks.stdin is not None
        forks.stdin.close()


def killed_run(
    forks: subprocess.Popen[str], path: Path, kills: int, seed: int, count: int
) -> Figures:
    """Rank so many rows with a checkpoint, in a process that is killed so many times."""
    assert forks.stdin is not None
    assert forks.stdout is not None
    chance = random.Random(seed)  # noqa: S311  # for a test
    serving, figures = Serving(chance), Figures()
    known: set[str] = set()
    with running(serving) as server:
        while True:
            left = count - len(known)
            is_last = figures.kills == kills or left < 2
            # the rows that are left are for the kills that are left
            most = max(1, 2 * left // (kills - figures.kills + 1)) if not is_last else 0
            serving.life = life = Life(None if is_last else chance.randint(1, min(most, left)))
            way = chance.choice(WAYS)
            print(server.url, path, count, way, "", sep="\t", file=forks.stdin, flush=True)
            life.pid = int(forks.stdout.readline())
            life.has_begun.set()
            status = int(forks.stdout.readline())
            assert status == (0 if is_last else -signal.SIGKILL), status
            server.until_closed(server.connections)  # what came in was paid, answered or not
            kept = kept_in(path)
            figures.served.update(life.served)
            if is_last:
                break
            figures.kills += 1
            figures.lost.append(len(set(life.served) - set(kept)))
            known = set(kept)
        figures.kept = kept
        with client_of(server.url).rerank_many(rows(count), checkpoint=path) as run:
            figures.wrong = [
                str(result.id)
                for result in run
                if not result.is_stored
                or result.response is None
                or result.response[0].relevance_score != score(str(result.id))
            ]
    return figures


def main(kills: int = 200, seeds: int = 4) -> None:
    """Kill runs of each store, with different seeds, and print what was paid twice for each."""
    for store in STORES:
        all_lost: list[int] = []
        for seed in range(seeds):
            each = kills // seeds
            with tempfile.TemporaryDirectory() as folder, forking() as forks:
                figures = killed_run(forks, Path(folder) / store, each, seed, 40 * each)
            every = [row["id"] for row in rows(40 * each)]
            assert sorted(figures.kept) == sorted(every), "lost, or twice in the output"
            assert not figures.wrong, figures.wrong
            all_lost += figures.lost
        counts = ", ".join(f"{n}: {times}" for n, times in sorted(Counter(all_lost).items()))
        print(
            f"{store}: {len(all_lost)} kills, nothing lost, nothing twice in the output; paid "
            f"twice {sum(all_lost)}, at most {max(all_lost)} a kill of {AT_ONCE} in flight\n"
            f"  paid twice: kills   {counts}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
