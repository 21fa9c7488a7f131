"""Runs of many calls, without an event loop and on each kind of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from calls import LOOPS
from loopback import TIME
from rerank_integrations import AsyncManyResults, ManyResults, RerankClient, RowResult

WAYS = ("sync", *LOOPS)
_PAUSE = 0.002  # seconds


class Enough(Exception):  # noqa: N818  # it is no error
    """Raised by a consumer that wants no more."""


@dataclass
class Came:
    """What a run gave.

    Attributes:
        results: in the order in which they came.
        error: what it raised at the end.
        run: what was iterated over.
        tasks_left: how many tasks a run on a loop has left behind.
    """

    results: list[RowResult] = field(default_factory=list)
    error: Exception | None = None
    run: ManyResults | AsyncManyResults | None = None
    tasks_left: int = 0

    @property
    def ids(self) -> list[str | int]:
        """The ids of the results."""
        return [result.id for result in self.results]

    @property
    def requests(self) -> int:
        """How many requests the run has sent."""
        assert self.run is not None
        return self.run.requests


def many(
    way: str,
    client: RerankClient,
    rows: Any,
    *,
    each: Callable[[Came], None] | None = None,
    until: Callable[[], bool] | None = None,
    **options: Any,
) -> Came:
    """Rank many rows to the end; a consumer may look at what has come after each result.

    Args:
        way: one of `WAYS`.
        client: the client.
        rows: the rows.
        each: is told what has come; what it raises ends the run.
        until: what the consumer waits for before it is told.
        options: of the run.
    """
    came = Came()
    if way == "sync":
        try:
            with client.rerank_many(rows, **options) as run:
                came.run = run
                for result in run:
                    came.results.append(result)
                    for _ in _pauses(until):
                        time.sleep(_PAUSE)
                    if each is not None:
                        each(came)
        except Exception as error:  # noqa: BLE001  # the test looks at it
            came.error = error
        return came

    async def on_the_loop() -> None:
        try:
            async with client.arerank_many(rows, **options) as run:
                came.run = run
                async for result in run:
                    came.results.append(result)
                    for _ in _pauses(until):
                        await asyncio.sleep(_PAUSE)
                    if each is not None:
                        each(came)
        except Exception as error:  # noqa: BLE001  # the test looks at it
            came.error = error
        came.tasks_left = len(asyncio.all_tasks()) - 1

    with asyncio.Runner(loop_factory=LOOPS[way]) as runner:
        runner.run(on_the_loop())
    return came


def _pauses(until: Callable[[], bool] | None) -> Iterator[None]:
    """As many as it takes until something holds."""
    for _ in range(int(TIME / _PAUSE)):
        if until is None or until():
            return
        yield
    raise AssertionError("it never came to that")


async def asynchronous(rows: Iterable[Any]) -> AsyncIterator[Any]:
    """The rows as an async iterable."""
    for row in rows:
        await asyncio.sleep(0)
        yield row
