"""Many calls: rows in, results out, with a bound on memory, cost and what is in flight."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias

from pydantic_core import from_json

from rerank_integrations.errors import (
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    RerankError,
)
from rerank_integrations.models import RerankResponse, Usage, as_list
from rerank_integrations.providers._validation import finite

OnRowError: TypeAlias = Literal["raise", "keep"]
"""What becomes of a run when a row fails."""

_BACKLOG = 2  # finished results that wait to be taken, for each call at once
_END: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider charges, in US dollars, where its responses do not say the cost.

    Args:
        per_1000_search_units: for a thousand search units.
        per_million_tokens: for a million tokens.

    Raises:
        ConfigurationError: neither is given, or one is below 0.
    """

    per_1000_search_units: float | None = None
    per_million_tokens: float | None = None

    def __post_init__(self) -> None:
        given = [p for p in (self.per_1000_search_units, self.per_million_tokens) if p is not None]
        if not given or any(isinstance(p, bool) or not 0 <= p < float("inf") for p in given):
            raise ConfigurationError(
                "Price: give per_1000_search_units= or per_million_tokens=, in US dollars"
            )

    def of(self, usage: Usage) -> float | None:
        """The cost of a call; None where the counts that the price needs are not there."""
        if self.per_1000_search_units is not None and usage.search_units is not None:
            return usage.search_units / 1000 * self.per_1000_search_units
        tokens = usage.prompt_tokens if usage.total_tokens is None else usage.total_tokens
        if self.per_million_tokens is not None and tokens is not None:
            return tokens / 1_000_000 * self.per_million_tokens
        return None


class RowResult(NamedTuple):
    """What came of a row: a response or an error.

    Attributes:
        id: the row's own, else its number, from 1; for a file the number of its line.
        response: None where the row failed.
        error: None where it succeeded.
        row: the row as it was given.
        is_stored: whether the response comes from the checkpoint, so that nothing was sent.
    """

    id: str | int
    response: RerankResponse | None
    error: RerankError | None
    row: Any
    is_stored: bool = False


class Row(NamedTuple):
    """A row that is well formed."""

    id: str | int
    query: Any
    documents: Sequence[Any]


class Store(Protocol):
    """Where finished rows are kept, so that a second run does not pay for them again."""

    def find(self, row: Row) -> RerankResponse | None:
        """The response of a row that has one."""

    def keep(self, row: Row, response: RerankResponse) -> None:
        """Keep a response."""

    def fail(self, row_id: str | int, error: RerankError) -> None:
        """Note a row that failed; it is asked again in the next run."""

    def close(self) -> None:
        """Write what is not written yet."""


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        done: rows with a response, those from the checkpoint included.
        failed: rows with an error.
        requests: what was sent.
        cost: US dollars so far; None where no response said it.
        seconds: since the run began.
    """

    done: int
    failed: int
    requests: int
    cost: float | None
    seconds: float


@dataclass
class Ledger:
    """What a run has spent, and whether it may go on; for one thread, or under a lock.

    The cost of a call is known from its response only, so the largest cost seen is reserved for
    each call in flight, and there is one call at a time until the first cost is known.
    """

    max_cost: float | None = None
    max_requests: int | None = None
    price: Price | None = None
    requests: int = 0
    cost: float | None = None
    done: int = 0
    failed: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    in_flight: int = 0
    _largest_cost: float | None = None
    _most_requests: int = 1
    _began: float = field(default_factory=time.monotonic)

    def may_begin(self) -> bool:
        """Whether one more call fits; if not, one of those in flight must end first.

        Raises:
            BudgetExceededError: none is in flight, so it never will.
        """
        fits = True
        if self.max_requests is not None:
            fits = self.requests + (self.in_flight + 1) * self._most_requests <= self.max_requests
        if fits and self.max_cost is not None:
            if self._largest_cost is None:
                fits = not self.in_flight
            else:
                reserved = (self.in_flight + 1) * self._largest_cost
                fits = (self.cost or 0.0) + reserved <= self.max_cost
        if not fits and not self.in_flight:
            spent = f"${self.cost or 0.0:.4g} of max_cost={self.max_cost}"
            sent = f"{self.requests} of max_requests={self.max_requests}"
            used = [spent] if self.max_cost is not None else []
            used += [sent] if self.max_requests is not None else []
            raise BudgetExceededError(
                f"the budget is used up: {' and '.join(used)}; one more call could exceed it. "
                "Raise it, and pass checkpoint= to go on where a run stopped",
                current_cost=self.cost,
                max_cost=self.max_cost,
                requests=self.requests,
                max_requests=self.max_requests,
            )
        return fits

    def end(self, result: RerankResponse | RerankError) -> None:
        """Note what came of a call that was in flight.

        Raises:
            ConfigurationError: there is a `max_cost`, and no way to know the cost.
        """
        self.in_flight -= 1
        self.requests += len(result.attempts)
        self._most_requests = max(self._most_requests, len(result.attempts))
        if isinstance(result, RerankError):
            self.failed += 1
            return
        self.done += 1
        for name, number in result.usage.counts().items():
            self.counts[name] = self.counts.get(name, 0) + number
        cost = result.usage.cost
        if cost is None and self.price is not None:
            cost = self.price.of(result.usage)
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost
            self._largest_cost = max(self._largest_cost or 0.0, cost)
        elif self.max_cost is not None and result.attempts:
            raise ConfigurationError(
                f"max_cost needs to know the cost, and responses of {result.provider} do not say "
                "it; pass price=Price(per_1000_search_units=...) or Price(per_million_tokens=...)"
                + ("" if self.price is None else " for the counts that they do have")
            )

    def progress(self) -> Progress:
        """How far the run is."""
        seconds = time.monotonic() - self._began
        return Progress(self.done, self.failed, self.requests, self.cost, seconds)


@dataclass(frozen=True)
class Plan:
    """How a run is done.

    Attributes:
        ledger: what is spent.
        max_concurrency: how many calls are in flight at once.
        preserve_order: whether results come in the order of the rows.
        on_error: whether a row that fails ends the run.
        store: where finished rows are kept; None for nowhere.
        report: is told of the progress after each row.
    """

    ledger: Ledger
    max_concurrency: int = 64
    preserve_order: bool = False
    on_error: OnRowError = "raise"
    store: Store | None = None
    report: Callable[[Progress], Any] | None = None


def check_many(arguments: Mapping[str, Any]) -> None:
    """Check what only a run of many calls takes.

    Raises:
        ConfigurationError: a value out of range.
    """
    for name, least in (("max_concurrency", 1), ("max_requests", 1)):
        value = arguments.get(name)
        if value is not None and (type(value) is not int or value < least):
            raise ConfigurationError(f"{name} must be an int of at least {least}, not {value!r}")
    cost = arguments.get("max_cost")
    if cost is not None and (isinstance(cost, bool) or finite(cost) is None or cost <= 0):
        raise ConfigurationError(f"max_cost must be US dollars above 0, or None, not {cost!r}")
    if arguments.get("on_error") not in ("raise", "keep"):
        raise ConfigurationError(
            f"on_error must be 'raise' or 'keep', not {arguments.get('on_error')!r}"
        )
    if not isinstance(arguments.get("price"), Price | None):
        raise ConfigurationError("price must be a Price(...) or None")


def reporter(progress: Any) -> Callable[[Progress], Any] | None:
    """What is told of the progress: the caller's function, or a bar.

    Raises:
        ConfigurationError: neither, or a bar without tqdm.
    """
    if progress is False or progress is None:
        return None
    if progress is not True:
        if callable(progress):
            report: Callable[[Progress], Any] = progress
            return report
        raise ConfigurationError("progress must be True, False or a function of a Progress")
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]  # noqa: PLC0415  # optional, and slow to load
    except ImportError as cause:
        raise ConfigurationError("progress=True needs tqdm: pip install tqdm") from cause
    bar = tqdm(unit=" rows")

    def show(now: Progress) -> None:
        cost = "" if now.cost is None else f"${now.cost:.4f}"
        bar.set_postfix_str(f"failed {now.failed}, requests {now.requests} {cost}", refresh=False)
        bar.update(now.done + now.failed - bar.n)

    return show


def read_rows(rows: Any) -> Generator[tuple[int, str, Any], None, None]:
    """The number of each row, where it stands, and the row; a file is read line by line.

    A line that is no JSON comes as an error.
    """
    if isinstance(rows, str | os.PathLike):
        yield from _lines(rows)
        return
    if type(rows).__name__ == "DataFrame":
        raise InvalidRequestError(
            "rows must be rows, not a DataFrame, whose iteration gives the names of its columns; "
            "pass frame.to_dict('records') (pandas), frame.iter_rows(named=True) (polars), or use "
            "RerankBatch"
        )
    if isinstance(rows, Mapping | bytes) or not isinstance(rows, Iterable):
        raise InvalidRequestError(
            "rows must be an iterable of {'id': ..., 'query': ..., 'documents': [...]}, or the "
            f"path of a JSONL file, not {type(rows).__name__}"
        )
    for number, row in enumerate(rows, 1):
        yield number, f"row {number}", row


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, Any]]:
    try:
        file = open(path, "rb")  # noqa: SIM115, PTH123  # closed below; a str is a path as well
    except OSError as cause:
        raise InvalidRequestError(f"cannot read {os.fspath(path)!r}: {cause.strerror}") from cause
    with file:
        for number, line in enumerate(file, 1):
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                continue
            where = f"{os.fspath(path)}, line {number}"
            try:
                yield number, where, from_json(text)
            except ValueError as cause:
                yield number, where, InvalidRequestError(f"{where}: it is no JSON: {cause}")


def checked_row(number: int, where: str, row: Any) -> Row:
    """The row, well formed.

    Raises:
        InvalidRequestError: what is wrong, and where.
    """
    if isinstance(row, InvalidRequestError):
        raise row
    if not isinstance(row, Mapping):
        raise InvalidRequestError(
            f"{where}: a row is {{'query': ..., 'documents': [...]}}, not {type(row).__name__}"
        )
    for name in ("query", "documents"):
        if name not in row:
            has = ", ".join(map(repr, row)) or "nothing"
            raise InvalidRequestError(f"{where}: there is no {name!r}; the row has {has}")
    own = row.get("id")
    row_id = number if own is None else own
    if isinstance(row_id, bool) or not isinstance(row_id, str | int):
        raise InvalidRequestError(f"{where}: id is a str or an int, not {type(row_id).__name__}")
    try:
        return Row(row_id, row["query"], as_list(row["documents"]))
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{where}: {error}") from None


class _Taken(NamedTuple):
    """A row that was pulled: to be asked for, or with what is known of it already."""

    place: int
    given: Any
    row: Row | None
    known: RowResult | None


class _Feed:
    """Takes rows in and gives results out; under a lock where there are threads."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._places = count()

    def taken(self, numbered: tuple[int, str, Any]) -> _Taken:
        """The row; one that is wrong or in the store is not asked for."""
        number, where, given = numbered
        place, store, ledger = next(self._places), self._plan.store, self._plan.ledger
        shown = None if isinstance(given, InvalidRequestError) else given
        try:
            row = checked_row(number, where, given)
            found = None if store is None else store.find(row)
        except InvalidRequestError as error:
            own = given.get("id") if isinstance(given, Mapping) else None
            ledger.failed += 1
            row_id = own if isinstance(own, str | int) else number
            return _Taken(place, shown, None, self._failure(row_id, error, shown))
        if found is None:
            return _Taken(place, shown, row, None)
        ledger.done += 1
        return _Taken(place, shown, None, RowResult(row.id, found, None, shown, is_stored=True))

    def finished(self, taken: _Taken, came: RerankResponse | RerankError) -> RowResult:
        """What came of a row that was asked for, stored."""
        assert taken.row is not None  # noqa: S101  # only such are asked for
        if isinstance(came, RerankResponse) and self._plan.store is not None:
            self._plan.store.keep(taken.row, came)  # before the budget is looked at: it is paid
        self._plan.ledger.end(came)
        if isinstance(came, RerankError):
            return self._failure(taken.row.id, came, taken.given)
        return RowResult(taken.row.id, came, None, taken.given)

    def _failure(self, row_id: str | int, error: RerankError, given: Any) -> RowResult:
        if self._plan.store is not None:
            self._plan.store.fail(row_id, error)
        return RowResult(row_id, None, error, given)

    def checked(self, result: RowResult) -> RowResult:
        """The result; raises its error where a row that fails ends the run."""
        if result.error is not None and self._plan.on_error == "raise":
            raise result.error
        return result

    def told(self) -> None:
        """Report the progress."""
        if self._plan.report is not None:
            self._plan.report(self._plan.ledger.progress())


class _InOrder:
    """Holds results back until all before them have come, if order is asked for."""

    def __init__(self, *, keeps_order: bool) -> None:
        self._keeps_order = keeps_order
        self._waiting: dict[int, RowResult] = {}
        self._next = 0

    def ready(self, place: int, result: RowResult) -> Iterator[RowResult]:
        """What may be given out now that this result has come."""
        if not self._keeps_order:
            yield result
            return
        self._waiting[place] = result
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._next += 1

    def rest(self) -> list[RowResult]:
        """What is still held back, in order."""
        return [self._waiting[place] for place in sorted(self._waiting)]


class ThreadRun:
    """A run whose calls are made by threads."""

    def __init__(self, plan: Plan, rows: Any, call: Callable[[Row], RerankResponse]) -> None:
        self._plan, self._call = plan, call
        self._source = read_rows(rows)
        self._feed = _Feed(plan)
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(_BACKLOG * plan.max_concurrency)
        self._pulling = threading.Lock()  # rows are pulled by one thread at a time
        self._changed = threading.Condition()  # guards the ledger and the store
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def results(self) -> Generator[RowResult, None, None]:
        """The results of all rows.

        Raises:
            RerankError: a row's, with `on_error="raise"`; or a budget that is used up.
        """
        order = _InOrder(keeps_order=self._plan.preserve_order)
        ended = 0
        failure: BaseException | None = None
        try:
            self._start()
            while ended < len(self._threads):
                came = self._results.get()
                if came is _END:
                    ended += 1
                elif isinstance(came, BaseException):
                    failure = failure or came
                    self._end()
                    if not isinstance(failure, BudgetExceededError):
                        break
                else:
                    self._feed.told()
                    for result in order.ready(*came):
                        self._room.release()
                        yield self._feed.checked(result)
            if failure is not None:
                raise _with_rest(failure, order)
        finally:
            self._end()
            with suppress(ValueError):  # a thread is in the middle of a row
                self._source.close()
            if self._plan.store is not None:
                self._plan.store.close()

    def _start(self) -> None:
        self._threads.append(threading.Thread(target=self._work, daemon=True))
        self._threads[-1].start()

    def _end(self) -> None:
        """Let no call begin any more, and wake the threads that wait to begin one."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._room.release(_BACKLOG * self._plan.max_concurrency)

    def _take(self) -> _Taken | None:
        """The next row, once it may begin; None at the end."""
        with self._pulling:
            numbered = None if self._stop.is_set() else next(self._source, None)
            if numbered is None:
                return None
            with self._changed:
                taken = self._feed.taken(numbered)
                while taken.row is not None and not self._plan.ledger.may_begin():
                    self._changed.wait()
                    if self._stop.is_set():
                        return None
                if taken.row is not None:
                    self._plan.ledger.in_flight += 1
            if taken.row is not None and len(self._threads) < self._plan.max_concurrency:
                self._start()
            return taken

    def _work(self) -> None:
        try:
            while True:
                self._room.acquire()
                taken = self._take()
                if taken is None:
                    break
                result = taken.known
                if taken.row is not None:
                    try:
                        came: RerankResponse | RerankError = self._call(taken.row)
                    except RerankError as error:
                        came = error
                    with self._changed:
                        result = self._feed.finished(taken, came)
                        self._changed.notify_all()
                self._results.put((taken.place, result))
        except BaseException as error:  # noqa: BLE001  # raised where results are taken
            self._results.put(error)
        self._results.put(_END)


class TaskRun:
    """A run whose calls are made by tasks on the running event loop."""

    def __init__(
        self, plan: Plan, rows: Any, call: Callable[[Row], Awaitable[RerankResponse]]
    ) -> None:
        self._plan, self._call = plan, call
        self._source = _aread_rows(rows)
        self._feed = _Feed(plan)
        self._results: asyncio.Queue[Any] = asyncio.Queue()
        self._room = asyncio.Semaphore(_BACKLOG * plan.max_concurrency)
        self._pulling = asyncio.Lock()
        self._changed = asyncio.Event()  # a call has ended

    async def results(self) -> AsyncGenerator[RowResult, None]:
        """The results of all rows.

        Raises:
            RerankError: a row's, with `on_error="raise"`; or a budget that is used up.
        """
        order = _InOrder(keeps_order=self._plan.preserve_order)
        tasks = [asyncio.create_task(self._work()) for _ in range(self._plan.max_concurrency)]
        ended = 0
        failure: BaseException | None = None
        try:
            while ended < len(tasks):
                came = await self._results.get()
                if came is _END:
                    ended += 1
                elif isinstance(came, BaseException):
                    failure = failure or came
                    if not isinstance(failure, BudgetExceededError):
                        break
                    self._room.release()
                else:
                    self._feed.told()
                    for result in order.ready(*came):
                        self._room.release()
                        yield self._feed.checked(result)
            if failure is not None:
                raise _with_rest(failure, order)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(RuntimeError):  # it is in the middle of a row
                await self._source.aclose()
            if self._plan.store is not None:
                self._plan.store.close()

    async def _take(self) -> _Taken | None:
        """The next row, once it may begin; None at the end."""
        async with self._pulling:
            numbered = await anext(self._source, None)
            if numbered is None:
                return None
            taken = self._feed.taken(numbered)
            while taken.row is not None and not self._plan.ledger.may_begin():
                self._changed.clear()
                await self._changed.wait()
            if taken.row is not None:
                self._plan.ledger.in_flight += 1
            return taken

    async def _work(self) -> None:
        try:
            while True:
                await self._room.acquire()
                taken = await self._take()
                if taken is None:
                    break
                result = taken.known
                if taken.row is not None:
                    try:
                        came: RerankResponse | RerankError = await self._call(taken.row)
                    except RerankError as error:
                        came = error
                    result = self._feed.finished(taken, came)
                    self._changed.set()
                self._results.put_nowait((taken.place, result))
        except Exception as error:  # noqa: BLE001  # raised where results are taken
            self._results.put_nowait(error)
        self._results.put_nowait(_END)


async def _aread_rows(rows: Any) -> AsyncGenerator[tuple[int, str, Any], None]:
    if isinstance(rows, AsyncIterable):
        number = 0
        async for row in rows:
            number += 1
            yield number, f"row {number}", row
        return
    for numbered in read_rows(rows):
        yield numbered


def _with_rest(failure: BaseException, order: _InOrder) -> BaseException:
    """The failure, with the results that were finished and held back."""
    if isinstance(failure, BudgetExceededError):
        failure.results = order.rest()
    return failure


class _Run:
    """What a run has spent so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def usage(self) -> Usage:
        """What the provider counted so far, without what came from the checkpoint."""
        counts: dict[str, Any] = dict(self._plan.ledger.counts)
        return Usage(**counts)

    @property
    def cost(self) -> float | None:
        """US dollars so far; None where no response said it and there is no price."""
        return self._plan.ledger.cost

    @property
    def requests(self) -> int:
        """How many requests were sent so far, retries included."""
        return self._plan.ledger.requests

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        return self._plan.ledger.progress()


class ManyResults(_Run, Iterator[RowResult]):
    """The results of `rerank_many`, and what they have cost so far; to be read once."""

    def __init__(self, plan: Plan, results: Generator[RowResult, None, None]) -> None:
        super().__init__(plan)
        self._results = results

    def __next__(self) -> RowResult:
        return next(self._results)

    def close(self) -> None:
        """End the run; what is in flight is not waited for."""
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncManyResults(_Run, AsyncIterator[RowResult]):
    """The results of `arerank_many`, and what they have cost so far; to be read once."""

    def __init__(self, plan: Plan, results: AsyncGenerator[RowResult, None]) -> None:
        super().__init__(plan)
        self._results = results

    async def __anext__(self) -> RowResult:
        return await anext(self._results)

    async def aclose(self) -> None:
        """End the run; what is in flight is cancelled."""
        await self._results.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
