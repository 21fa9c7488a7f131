"""Runs many calls concurrently, with limits for memory, cost, requests and calls in flight."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sized,
)
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Literal, NamedTuple, Protocol, Self, TypeAlias, cast

from rerank_integrations._cache import told_of_forks
from rerank_integrations._rate_limit import WAKE_SECONDS
from rerank_integrations._rows import Numbered, Row, checked_row, id_of
from rerank_integrations.errors import (
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    RerankError,
)
from rerank_integrations.models import RerankResponse, T_co, Usage
from rerank_integrations.providers._validation import finite

OnRowError: TypeAlias = Literal["raise", "keep"]
"""What happens to a run when a row fails."""

_ROUNDING = 1 + 1e-9  # a sum of equal costs may be a little more than their product
_BACKLOG = 2  # finished results that wait to be taken, for each call at once
_END: Any = object()
FORKED = (
    "this run was made by another process, of which this one is a fork; make one in this process"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider charges, in US dollars, if its responses do not report the cost.

    Args:
        per_1000_search_units: the price of 1,000 search units.
        per_million_tokens: the price of a million tokens.

    Raises:
        ConfigurationError: neither is passed, or one is below 0.
    """

    per_1000_search_units: float | None = None
    per_million_tokens: float | None = None

    def __post_init__(self) -> None:
        given = [p for p in (self.per_1000_search_units, self.per_million_tokens) if p is not None]
        if not given or any((finite(p) or 0.0) < 0 or finite(p) is None for p in given):
            raise ConfigurationError(
                "Price: give per_1000_search_units= or per_million_tokens=, in US dollars"
            )

    def of(self, usage: Usage) -> float | None:
        """Return the cost of a call in US dollars.

        Args:
            usage: the usage of the call.

        Returns:
            The cost; None if the usage does not have the counts that the price needs.
        """
        if self.per_1000_search_units is not None and usage.search_units is not None:
            return usage.search_units / 1000 * self.per_1000_search_units
        tokens = usage.prompt_tokens if usage.total_tokens is None else usage.total_tokens
        if self.per_million_tokens is not None and tokens is not None:
            return tokens / 1_000_000 * self.per_million_tokens
        return None


class RowResult(NamedTuple, Generic[T_co]):
    """The result of a row: a response or an error.

    `RowResult[str]` is the type of a result whose documents are strings.

    Attributes:
        id: the id of the row, else its number, from 1; for a file its line number.
        response: the response; None if the row failed.
        error: the error; None if the row succeeded.
        row: the row as you passed it; the text of a line that is not JSON.
        is_stored: whether the response comes from the checkpoint, so that nothing was sent.
        seconds: how long the call took, with retries but without waits for a rate limit; None if
            it failed, or if the response comes from the checkpoint.
    """

    id: str | int
    response: RerankResponse[T_co] | None
    error: RerankError | None
    row: Any
    is_stored: bool = False
    seconds: float | None = None


class Store(Protocol):
    """Stores finished rows, so that a second run does not pay for them again.

    Attributes:
        holds_ids: whether all ids are held in memory.
    """

    holds_ids: bool

    def digest(self, row: Row) -> str:
        """Return a hash of the query and the documents."""

    def find(self, row: Row) -> RerankResponse | None:
        """Return the stored response of a row; None if there is none.

        Raises:
            InvalidRequestError: the id is stored with another query or other documents.
        """

    def keep(self, row: Row, response: RerankResponse, cost: float | None) -> None:
        """Store a response and its cost; after `close`, do nothing.

        Raises:
            InvalidRequestError: the id is stored with another query or other documents.
        """

    def fail(self, row_id: str | int, error: RerankError) -> None:
        """Record a row that failed; the next run sends it again."""

    def close(self) -> None:
        """Write what is not written yet; a second call does nothing."""


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
        done: the number of rows with a response, including those from the checkpoint.
        failed: the number of rows with an error.
        requests: the number of requests sent, including retries.
        cost: the cost so far in US dollars; None if it is unknown.
        seconds: seconds since the run began.
    """

    done: int
    failed: int
    requests: int
    cost: float | None
    seconds: float


def _priced(usage: Usage) -> str:
    """Return a hint which price fits the counts in a response."""
    counts = usage.counts()
    fits = {
        "per_1000_search_units": usage.search_units is not None,
        "per_million_tokens": usage.total_tokens is not None or usage.prompt_tokens is not None,
    }
    prices = " or ".join(f"price=Price({name}=...)" for name, does in fits.items() if does)
    return (
        f"they count {', '.join(counts) or 'nothing'}: "
        f"{f'pass {prices}' if prices else 'no price fits that, so use max_requests'}"
    )


@dataclass
class Ledger:
    """Counts what a run has spent, and enforces its budget; not thread-safe by itself.

    The cost of a call is known only from its response. So the largest cost so far is reserved for
    each call in flight, and calls run one at a time until the first cost is known. The number of
    requests of a call is handled in the same way: it is above one if a list is split or a request
    is retried.
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
    _without_cost: int = 0  # responses that do not say it, though others did
    _most_requests: int | None = None
    _began: float = field(default_factory=time.monotonic)

    def may_begin(self) -> bool:
        """Return whether one more call fits; if not, a call in flight must end first.

        Raises:
            BudgetExceededError: no call is in flight, so another call can never fit.
        """
        fits = True
        if self.max_requests is not None:
            fits = self.requests + self._reserved(self._most_requests, 1) <= self.max_requests
        if fits and self.max_cost is not None:
            cost = (self.cost or 0.0) + self._reserved(self._largest_cost, 0.0)
            cost += self._without_cost * (self._largest_cost or 0.0)
            fits = cost <= self.max_cost * _ROUNDING
        if fits or self.in_flight:
            return fits
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

    def _reserved(self, largest: float | None, least: float) -> float:
        """Return what the calls in flight and one more may need; the first call runs alone."""
        if largest is None:
            return float("inf") if self.in_flight else least
        return (self.in_flight + 1) * largest

    def end(self, result: RerankResponse | RerankError) -> None:
        """Record the result of a call that was in flight.

        Raises:
            ConfigurationError: `max_cost` is set, but the cost cannot be known.
        """
        self.in_flight -= 1
        sent = sum(not (one.error or "").startswith("not asked") for one in result.attempts)
        self.requests += sent
        self._most_requests = max(self._most_requests or 1, sent)
        if isinstance(result, RerankError):
            return
        for name, number in result.usage.counts().items():
            self.counts[name] = self.counts.get(name, 0) + number
        cost = self.cost_of(result)
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost
            self._largest_cost = max(self._largest_cost or 0.0, cost)
        elif self.max_cost is None or not sent:
            return
        elif self._largest_cost is not None:  # of a fallback, perhaps
            self._without_cost += 1
        else:
            raise ConfigurationError(
                f"max_cost needs to know the cost, and responses of {result.provider} do not say "
                f"it; {_priced(result.usage)}"
            )

    def cost_of(self, response: RerankResponse) -> float | None:
        """Return the cost of a call: as the response reports it, else from the price."""
        said = response.usage.cost
        return self.price.of(response.usage) if said is None and self.price is not None else said

    def progress(self) -> Progress:
        """Return the progress of the run."""
        seconds = time.monotonic() - self._began
        return Progress(self.done, self.failed, self.requests, self.cost, seconds)


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        ledger: counts what is spent.
        max_concurrency: how many calls are in flight at once.
        preserve_order: whether results come in the order of the rows.
        on_error: whether a row that fails ends the run.
        store: stores finished rows; None stores nothing.
        report: is called with the progress after each row.
    """

    ledger: Ledger
    max_concurrency: int = 64
    preserve_order: bool = False
    on_error: OnRowError = "raise"
    store: Store | None = None
    report: Callable[[Progress], Any] | None = None

    def close(self) -> None:
        """Close what a run has opened; a second call does nothing."""
        if self.store is not None:
            self.store.close()
        if isinstance(self.report, _Bar):
            self.report.close()


class _Bar:
    """A progress bar of tqdm.

    Raises:
        ConfigurationError: tqdm is not installed.
    """

    def __init__(self, total: int | None) -> None:
        try:
            from tqdm.auto import tqdm  # type: ignore[import-untyped]  # noqa: PLC0415  # optional, and slow to load
        except ImportError as cause:
            raise ConfigurationError("progress=True needs tqdm: pip install tqdm") from cause
        self._bar = tqdm(total=total, unit=" rows")

    def __call__(self, now: Progress) -> None:
        cost = "" if now.cost is None else f", ${now.cost:.4f}"
        shown = f"failed {now.failed}, requests {now.requests}{cost}"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(now.done + now.failed - self._bar.n)

    def close(self) -> None:
        self._bar.close()


def check_many(arguments: Mapping[str, Any]) -> None:
    """Validate the arguments that only a run of many calls takes.

    Raises:
        ConfigurationError: an argument is invalid.
    """
    for name in ("max_concurrency", "max_requests"):
        value = arguments[name]
        if (value is not None or name == "max_concurrency") and (
            type(value) is not int or value < 1
        ):
            raise ConfigurationError(f"{name} must be an int of at least 1, not {value!r}")
    cost = arguments.get("max_cost")
    if cost is not None and (isinstance(cost, bool) or finite(cost) is None or cost <= 0):
        raise ConfigurationError(f"max_cost must be US dollars above 0, or None, not {cost!r}")
    if arguments.get("on_error") not in ("raise", "keep"):
        raise ConfigurationError(
            f"on_error must be 'raise' or 'keep', not {arguments.get('on_error')!r}"
        )
    if not isinstance(arguments.get("price"), Price | None):
        raise ConfigurationError("price must be a Price(...) or None")


def reporter(progress: Any, rows: Any) -> Callable[[Progress], Any] | None:
    """Return what is called with the progress: the caller's function, or a progress bar.

    Raises:
        ConfigurationError: `progress` has another type, or tqdm is not installed.
    """
    if progress is False or progress is None:
        return None
    if progress is True:
        return _Bar(len(rows) if isinstance(rows, Sized) and not isinstance(rows, str) else None)
    if callable(progress):
        report: Callable[[Progress], Any] = progress
        return report
    raise ConfigurationError("progress must be True, False or a function of a Progress")


class _Taken(NamedTuple):
    """A row that was read: with a `row` to send, or with a `known` result that needs no call."""

    place: int
    numbered: Numbered
    row: Row | None
    known: RowResult | None

    @property
    def given(self) -> Any:
        """The row as it was passed."""
        return self.numbered.given


class _Feed:
    """Validates rows and collects results; threads take rows under a lock.

    Attributes:
        ended: how many threads or tasks have ended.
        is_of_parent: whether the process was forked after the run was created.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._places = count()
        self._broken: Exception | None = None
        self._error: Exception | None = None
        self._early: dict[int, RowResult] = {}  # results that wait for those before them
        # by id the number of its first row, and the start of its digest, in one int
        self._firsts: dict[str | int, int] = {}
        self._next = 0
        self.ended = 0
        self.is_of_parent = False
        told_of_forks(self)

    def leave_to_parent(self) -> None:
        """Record that this is a forked child, which has no thread or event loop of the run."""
        self.is_of_parent = True

    def check_process(self) -> None:
        """Raise ConfigurationError in a child that was forked after the run was created."""
        if self.is_of_parent:
            raise ConfigurationError(FORKED)

    def check(self) -> None:
        """Raise ConfigurationError if finished rows can no longer be stored."""
        self.check_process()
        if self._broken is not None:
            raise ConfigurationError(
                f"the checkpoint cannot be used: {self._broken}; the results so far were given "
                "out, and those that are in the file are not asked for again"
            ) from self._broken

    @contextmanager
    def _using_store(self) -> Iterator[None]:
        """Record that the store has failed; results that were paid for are still yielded."""
        try:
            yield
        except InvalidRequestError:  # it is about the row
            raise
        except Exception as error:  # noqa: BLE001  # raised before the next row
            self._broken = self._broken or error

    def taken(self, numbered: Numbered) -> _Taken:
        """Validate a row and look it up in the store."""
        taken = _Taken(next(self._places), numbered, None, None)
        store = self._plan.store
        try:
            row = checked_row(numbered)
            if store is None:
                return taken._replace(row=row)
            row = row._replace(digest=store.digest(row))  # the caller may change the row later
            if store.holds_ids:
                self._check_id(row, numbered)
            found = None
            with self._using_store():
                found = store.find(row)
        except InvalidRequestError as error:
            return taken._replace(known=self._failure(id_of(numbered), error, taken))
        self.check()
        if found is None:
            return taken._replace(row=row)
        self._plan.ledger.done += 1
        return taken._replace(known=RowResult(row.id, found, None, taken.given, is_stored=True))

    def _check_id(self, row: Row, numbered: Numbered) -> None:
        """Record the id of a row; the first row with an id keeps it, even if it is ready later.

        Raises:
            InvalidRequestError: an earlier row has the id, with another query or other documents.
        """
        number, start = numbered.number, int(row.digest[:8], 16)
        first, same = divmod(self._firsts.setdefault(row.id, number << 32 | start), 1 << 32)
        if same != start:
            place = f"{numbered.where.removesuffix(str(number))}{first}"
            raise InvalidRequestError(
                f"{numbered.where}: id {row.id!r} is that of {place} already, with another query "
                "or other documents; the first row counts, and each needs an id of its own"
            )

    def finished(
        self, taken: _Taken, came: RerankResponse | RerankError, seconds: float | None
    ) -> RowResult:
        """Store and return the result of a row that was sent."""
        row, where = taken.row, taken.numbered.where
        assert row is not None  # noqa: S101  # only such are asked for
        failure = came if isinstance(came, RerankError) else None
        if isinstance(came, RerankResponse) and self._plan.store is not None:
            try:
                with self._using_store():
                    # before the budget is looked at: it is paid
                    self._plan.store.keep(row, came, self._plan.ledger.cost_of(came))
            except InvalidRequestError as error:
                failure = error
        if failure is None:
            self._plan.ledger.done += 1  # it is paid, also where the ledger ends the run
        self._plan.ledger.end(came)
        if failure is None:
            return RowResult(
                row.id, cast("RerankResponse", came), None, taken.given, seconds=seconds
            )
        if isinstance(failure, InvalidRequestError):  # it is about the row
            failure.args = (f"{where}: {failure}",)
        else:
            failure.add_note(f"{where}, id {row.id!r}")
        return self._failure(row.id, failure, taken)

    def _failure(self, row_id: str | int, error: RerankError, taken: _Taken) -> RowResult:
        self._plan.ledger.failed += 1
        if self._plan.store is not None:
            with self._using_store():
                self._plan.store.fail(row_id, error)
        return RowResult(row_id, None, error, taken.given)

    def ready(self, came: Any) -> Iterator[RowResult]:
        """Yield the results that can be yielded after a thread or a task has finished `came`.

        Raises:
            RerankError: the error of a row, with `on_error="raise"`.
            BaseException: one that is not an `Exception`, immediately.
        """
        if came is _END:
            self.ended += 1
            return
        if isinstance(came, Exception):
            self._error = self._error or came
            return
        if isinstance(came, BaseException):
            raise came
        if self._plan.report is not None:
            self._plan.report(self._plan.ledger.progress())
        place, result = came
        if self._plan.preserve_order:
            self._early[place] = result
        else:
            yield self._checked(result)
        while self._next in self._early:
            yield self._checked(self._early.pop(self._next))
            self._next += 1

    def end(self) -> None:
        """Raise the error that has ended the run early: a used-up budget, or an error of `rows`."""
        if self._error is not None:
            raise self._error

    def _checked(self, result: RowResult) -> RowResult:
        """Return a result, or raise its error with `on_error="raise"`."""
        if result.error is not None and self._plan.on_error == "raise":
            raise result.error
        return result


class ThreadRun:
    """A run whose calls are made by threads, which also read the rows, one thread at a time.

    The threads are daemons, so they do not keep the interpreter alive.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Generator[Numbered, None, None],
        call: Callable[[Row], tuple[RerankResponse, float]],
    ) -> None:
        self._plan, self._source, self._call = plan, rows, call
        self._feed = _Feed(plan)
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(_BACKLOG * plan.max_concurrency)
        self._pulling = threading.Lock()
        self._changed = threading.Condition()  # guards the ledger and the store
        self._stop = threading.Event()  # no call begins any more
        self._threads: list[threading.Thread] = []
        self._context = copy_context()

    def results(self) -> Generator[RowResult, None, None]:
        """Yield the results of all rows.

        If the budget is used up or a row cannot be read, the results of calls in flight are yielded
        before the error is raised.

        Raises:
            RerankError: the error of a row, with `on_error="raise"`, or a used-up budget.
        """
        feed = self._feed
        try:
            self._start()
            while feed.ended < len(self._threads):
                for result in feed.ready(self._next()):
                    self._room.release()
                    yield result
            feed.end()
        finally:
            if not feed.is_of_parent:  # where a thread may have held a lock
                self._end()
                with suppress(ValueError):  # a thread is in the middle of a row
                    self._source.close()
                self._plan.close()

    def _next(self) -> Any:
        """Wait for the next item that a thread has finished."""
        while True:
            self._feed.check_process()
            with suppress(queue.Empty):
                return self._results.get(timeout=WAKE_SECONDS)

    def _start(self) -> None:
        """Start a thread; if the system has no more, the running threads do the work."""
        # each thread sees the caller's context variables, as tasks do: traces nest by them
        target = self._context.copy().run
        thread = threading.Thread(target=target, args=(self._work,), name="rerank", daemon=True)
        self._threads.append(thread)  # before it can end
        try:
            thread.start()
        except RuntimeError:
            self._threads.remove(thread)
            if not self._threads:
                raise

    def _end(self) -> None:
        """Let no further call start, and wake the threads that wait to start one."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._room.release()  # a thread that ends wakes the next

    def _take(self) -> _Taken | None:
        """Return the next row when its call may start; None at the end."""
        with self._pulling:
            try:
                self._feed.check()
                numbered = None if self._stop.is_set() else next(self._source, None)
                if numbered is None:
                    return None
                with self._changed:
                    taken = self._feed.taken(numbered)
                    if taken.row is None:
                        return taken
                    while not self._plan.ledger.may_begin():
                        self._changed.wait()
                        if self._stop.is_set():
                            return None
                    self._plan.ledger.in_flight += 1
            except BaseException:
                self._stop.set()  # before another thread pulls a row
                raise
            if len(self._threads) < self._plan.max_concurrency:
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
                    came: RerankResponse | RerankError
                    seconds: float | None = None
                    try:
                        came, seconds = self._call(taken.row)
                    except RerankError as error:
                        came = error
                    with self._changed:
                        result = self._feed.finished(taken, came, seconds)
                        self._changed.notify_all()
                self._results.put((taken.place, result))
        except BaseException as error:  # noqa: BLE001  # raised where results are taken
            self._end()
            self._results.put(error)
        self._results.put(_END)
        self._room.release()


class TaskRun:
    """A run whose calls are made by tasks on the running event loop."""

    def __init__(
        self,
        plan: Plan,
        rows: AsyncGenerator[Numbered, None],
        call: Callable[[Row], Awaitable[tuple[RerankResponse, float]]],
    ) -> None:
        self._plan, self._source, self._call = plan, rows, call
        self._feed = _Feed(plan)
        self._results: asyncio.Queue[Any] = asyncio.Queue()
        self._room = asyncio.Semaphore(_BACKLOG * plan.max_concurrency)
        self._pulling = asyncio.Lock()
        self._changed = asyncio.Event()  # a call has ended
        self._stops = False  # no call begins any more
        self._tasks: list[asyncio.Task[None]] = []

    async def results(self) -> AsyncGenerator[RowResult, None]:
        """Async version of `ThreadRun.results`."""
        feed = self._feed
        try:
            self._start()
            while feed.ended < len(self._tasks):
                for result in feed.ready(await self._results.get()):
                    self._room.release()
                    yield result
            feed.end()
        finally:
            try:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await self._source.aclose()
            finally:
                self._plan.close()

    def _start(self) -> None:
        self._tasks.append(asyncio.create_task(self._work()))

    def _end(self) -> None:
        """Let no further call start, and wake the tasks that wait to start one."""
        self._stops = True
        self._changed.set()
        self._room.release()  # a task that ends wakes the next

    async def _take(self) -> _Taken | None:
        """Return the next row when its call may start; None at the end."""
        async with self._pulling:
            self._feed.check()
            numbered = None if self._stops else await anext(self._source, None)
            if numbered is None:
                return None
            try:
                taken = self._feed.taken(numbered)
                while taken.row is not None and not self._plan.ledger.may_begin():
                    self._changed.clear()
                    await self._changed.wait()
                    if self._stops:
                        return None
            except Exception:
                self._stops = True  # before another task pulls a row
                raise
            if taken.row is not None:
                self._plan.ledger.in_flight += 1
                if len(self._tasks) < self._plan.max_concurrency:
                    self._start()
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
                    came: RerankResponse | RerankError
                    seconds: float | None = None
                    try:
                        came, seconds = await self._call(taken.row)
                    except RerankError as error:
                        came = error
                    result = self._feed.finished(taken, came, seconds)
                    self._changed.set()
                self._results.put_nowait((taken.place, result))
        except BaseException as error:  # raised where results are taken
            self._end()
            self._results.put_nowait(error)
            if not isinstance(error, Exception):
                raise
        self._results.put_nowait(_END)
        self._room.release()


class _Run:
    """The totals of a run so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def usage(self) -> Usage:
        """The usage so far, without responses from the checkpoint."""
        counts: dict[str, Any] = dict(self._plan.ledger.counts)
        return Usage(**counts)

    @property
    def cost(self) -> float | None:
        """The cost so far in US dollars; None if it is unknown."""
        return self._plan.ledger.cost

    @property
    def requests(self) -> int:
        """The number of requests sent so far, including retries."""
        return self._plan.ledger.requests

    @property
    def progress(self) -> Progress:
        """The progress of the run."""
        return self._plan.ledger.progress()


class ManyResults(_Run, Iterator[RowResult[T_co]], Generic[T_co]):
    """The results of `rerank_many`: an iterator that can be read once, with the totals so far."""

    def __init__(self, plan: Plan, results: Generator[RowResult[T_co], None, None]) -> None:
        super().__init__(plan)
        self._results = results

    def __next__(self) -> RowResult[T_co]:
        return next(self._results)

    def close(self) -> None:
        """End the run, without waiting for calls in flight, whose results are lost."""
        self._results.close()
        self._plan.close()  # of a run that has not begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncManyResults(_Run, AsyncIterator[RowResult[T_co]], Generic[T_co]):
    """The results of `arerank_many`: an async iterator that can be read once, with the totals.

    If a wait for a result is cancelled, the run ends, and reading further raises a
    `ConfigurationError`.
    """

    def __init__(self, plan: Plan, results: AsyncGenerator[RowResult[T_co], None]) -> None:
        super().__init__(plan)
        self._results = results
        self._is_cut = False

    async def __anext__(self) -> RowResult[T_co]:
        if self._is_cut:  # else it would look as if there were no more rows
            raise ConfigurationError(
                "the run ended when the wait for a result was cancelled, as a timeout does; make "
                "another one, and pass checkpoint= to go on where this one stopped"
            )
        try:
            return await anext(self._results)
        except asyncio.CancelledError:
            self._is_cut = True
            raise

    async def aclose(self) -> None:
        """End the run, and cancel the calls in flight."""
        await self._results.aclose()
        self._plan.close()  # of a run that has not begun

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
