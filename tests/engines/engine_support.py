"""What the checks of all engines share: rows, what a plain client makes of them, and a gateway."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from loopback import Received, Reply, Server, ranks_all
from rerank_integrations import OpenRouter, RerankBatch, RerankClient

COUNT = 300
IN_FLIGHT = 8
ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "query": f"text {number % 5}",
        "documents": [f"text {place}" for place in range(6)],
    }
    for number in range(COUNT)
]


class Gateway:
    """Ranks, and counts what it was asked.

    Attributes:
        requests: how many came.
        kill: is called once half of the rows were asked for.
    """

    def __init__(self) -> None:
        self._server = Server(self._rank)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._lock = threading.Lock()
        self.requests = 0
        self.seconds = 0.005
        self.kill: Callable[[], None] | None = None

    def provider(self) -> OpenRouter:
        """A provider that is this gateway."""
        return OpenRouter(api_key="the-key", base_url=self._server.url)

    def settings(self, **more: Any) -> dict[str, Any]:
        """The arguments of a RerankBatch."""
        return {
            "model": "m",
            "provider": self.provider(),
            "max_concurrency": IN_FLIGHT,
            "max_retries": 0,
            **more,
        }

    def plainly(self) -> dict[int, list[int]]:
        """What a plain client makes of the rows, by id; not counted."""
        with RerankClient("m", provider=self.provider()) as client:
            found = client.rerank_many(ROWS, max_concurrency=IN_FLIGHT)
            plain = {int(one.id): [r.index for r in one.response or ()] for one in found}
        self.requests = 0
        return plain

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()

    def _rank(self, received: Received) -> Reply:
        with self._lock:
            self.requests += 1
            kill = self.kill if self.requests == COUNT // 2 else None
        if kill is not None:
            kill()
        threading.Event().wait(self.seconds)
        return ranks_all(received)


@pytest.fixture(name="gateway")
def gateway_fixture() -> Iterator[Gateway]:
    """A gateway that ranks, counts, and can kill a worker."""
    with Gateway() as gateway:
        yield gateway


class AsyncRank:
    """An async actor of Ray, which hands it several batches at once.

    It is here because a worker imports the module of a class.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.batch = RerankBatch(**settings)

    async def __call__(self, columns: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Rank the rows of a batch."""
        names = list(columns)
        rows = [dict(zip(names, one, strict=True)) for one in zip(*columns.values(), strict=True)]
        found = [row async for row in self.batch.arows(rows)]
        yield {name: [row[name] for row in found] for name in (*names, "indices", "error")}


def by_id(rows: Iterable[Mapping[str, Any]]) -> dict[int, list[int]]:
    """The indices of each row; a row that comes twice, or has an error, fails."""
    found: dict[int, list[int]] = {}
    for row in rows:
        assert row["error"] is None, row
        assert row["id"] not in found, row
        found[int(row["id"])] = [int(index) for index in row["indices"]]
    return found


def run_documented(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the block of docs/engines.md that imports an engine; it prints what it promises."""
    page = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [code] = [one for one in blocks if re.search(rf"^(from|import) {engine}\b", one, re.MULTILINE)]
    exec(compile(code, "engines.md", "exec", dont_inherit=True), {"__name__": "page"})  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert promised
    assert [line for line in promised if line not in printed] == []


def processes(words: str) -> list[int]:
    """The processes whose command line has these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    return sorted(found)


def parent_of(process: int) -> int:
    """The process that has started it; 0 where it has ended."""
    try:
        about = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(about.rpartition(")")[2].split()[1])


def kill(process: int) -> None:
    """End a process at once."""
    os.kill(process, signal.SIGKILL)
