"""Runs many calls concurrently, with limits for memory, cost, requests and calls in flight."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Literal, NamedTuple, Protocol, Self, TypeAlias, cast

from rerank_integrations._cache import told_of_forks
from rerank_integrations._ledger import Bar, Ledger, Progress
from rerank_integrations._rate_limit import WAKE_SECONDS
from rerank_integrations._rows import Numbered, Row, checked_row, id_of
from rerank_integrations.errors import ConfigurationError, InvalidRequestError, RerankError
from rerank_integrations.models import RerankResponse, T_co, Usage

OnRowError: TypeAlias = Literal["raise", "keep"]
"""What happens to a run when a row fails."""

_BACKLOG = 2  # finished results that wait to be taken, for each call at once
_RETRY_SECONDS = 0.02  # until a locked file is tried again
_END: Any = object()
FORKED = (
    "this run was made by another process, of which this one is a fork; make one in this process"
)


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

    def keep(
        self, row: Row, response: RerankResponse, cost: float | None
    ) -> Callable[[], bool] | None:
        """Store a response and its cost; after `close`, do nothing.

        Returns:
            A function that writes it, with all others stored until then; None if it is written.
            The function returns False if it has to be called again, soon, because another process
            has locked the file.

        Raises:
            InvalidRequestError: now or when it is written: the id is stored with another query or
                other documents.
        """

    def fail(self, row_id: str | int, error: RerankError) -> None:
        """Record a row that failed; the next run sends it again."""

    def close(self) -> None:
        """Write what is not written yet; a second call does nothing."""


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
        has_cache: whether a row may cost nothing, because the cache has all its scores.
    """

    ledger: Ledger
    max_concurrency: int = 64
    preserve_order: bool = False
    on_error: OnRowError = "raise"
    store: Store | None = None
    report: Callable[[Progress], Any] | None = None
    has_cache: bool = False

    def close(self) -> None:
        """Close what a run has opened; a second call does nothing."""
        if self.store is not None:
            self.store.close()
        if isinstance(self.report, Bar):
            self.report.close()


def check_many(arguments: Mapping[str, Any]) -> None:
    """Check how a run of many calls is to be done.

    Raises:
        ConfigurationError: a value out of range.
    """
    at_once, on_error = arguments["max_concurrency"], arguments["on_error"]
    if type(at_once) is not int or at_once < 1:
        raise ConfigurationError(f"max_concurrency must be an int of at least 1, not {at_once!r}")
    if on_error not in ("raise", "keep"):
        raise ConfigurationError(f"on_error must be 'raise' or 'keep', not {on_error!r}")


class PreparedCall(NamedTuple):
    """The call of a row, encoded.

    Attributes:
        run: makes it; gives the response and the seconds, on an event loop an awaitable of them.
        is_free: whether nothing is sent, because the cache has all scores.
    """

    run: Callable[[], Any]
    is_free: bool


class _Taken(NamedTuple):
    """A row that was read: with a `row` to send, or with a `known` result that needs no call."""

    place: int
    numbered: Numbered
    row: Row | None
    known: RowResult | None
    call: PreparedCall | None = None


class _Feed:
    """Takes rows in and gives results out.

    Attributes:
        ended: how many workers have put their end.
        is_of_parent: whether the process was forked after the run was made.
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
    def using_store(self) -> Iterator[None]:
        """Record that the store has failed; results that were paid for are still yielded."""
        try:
            yield
        except InvalidRequestError:  # it is about the row
            raise
        except Exception as error:  # noqa: BLE001  # raised before the next row
            self._broken = self._broken or error

    def taken(self, numbered: Numbered) -> _Taken:
        """Validate a row and look it up in the store."""
        place, store, found = next(self._places), self._plan.store, None
        try:
            row = checked_row(numbered)
            if store is not None:
                row = row._replace(digest=store.digest(row))  # the caller may change it later
                if store.holds_ids:
                    self._check_id(row, numbered)
                with self.using_store():
                    found = store.find(row)
        except InvalidRequestError as error:
            known = self._failure(id_of(numbered), error, numbered)
            return _Taken(place, numbered, None, known)
        self.check()
        if found is None:
            return _Taken(place, numbered, row, None)
        known = RowResult(row.id, found, None, numbered.given, is_stored=True)
        return _Taken(place, numbered, None, known)

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

    def result(
        self, taken: _Taken, came: RerankResponse | RerankError, seconds: float | None
    ) -> RowResult:
        """What came of a row that was asked for."""
        row, numbered = cast("Row", taken.row), taken.numbered
        if isinstance(came, RerankResponse):
            return RowResult(row.id, came, None, numbered.given, seconds=seconds)
        if isinstance(came, InvalidRequestError):  # it is about the row
            came.args = (f"{numbered.where}: {came}",)
        else:
            came.add_note(f"{numbered.where}, id {row.id!r}")
        return self._failure(row.id, came, numbered)

    def _failure(self, row_id: str | int, error: RerankError, numbered: Numbered) -> RowResult:
        if self._plan.store is not None:
            with self.using_store():
                self._plan.store.fail(row_id, error)
        return RowResult(row_id, None, error, numbered.given)

    def ready(self, came: Any) -> Iterator[RowResult]:
        """What may be given out now that a worker has put this.

        Raises:
            RerankError: a row's, with `on_error="raise"`.
            BaseException: what is no Exception, as it comes.
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


def _incomplete(response: RerankResponse) -> RerankError:
    """Return why a response is not stored as finished, so that the next run asks again."""
    missing = ", ".join(map(str, response.missing))
    why = "; ".join(response.warnings)
    return RerankError(
        f"incomplete: documents {missing} are missing, the next run asks again: {why}"
    )


class _Crew(ABC):
    """Workers, of which each pulls a row, makes its call and puts its result, again and again.

    They are coroutines that threads and event loops have in common, down to the await: in a thread
    whatever would be awaited has blocked, so that the coroutine runs from its start to its end.

    A subclass sets what they wait for: `_results`, a queue; `_room`, a semaphore with a place for
    each result in memory; `_pulling`, held by the one that pulls a row; `_guard`, held while the
    ledger is used.
    """

    _results: asyncio.Queue[Any] | queue.SimpleQueue[Any]
    _room: asyncio.Semaphore | threading.Semaphore
    _pulling: asyncio.Lock | threading.Lock
    _guard: AbstractContextManager[Any]

    def __init__(self, plan: Plan, prepare: Callable[[Row], PreparedCall]) -> None:
        self._plan, self._prepare = plan, prepare
        self._feed = _Feed(plan)
        self._stops = False  # no call begins any more
        self._workers: list[Any] = []

    @abstractmethod
    def _pull(self) -> Any:
        """The next row; None at the end."""

    @abstractmethod
    async def _waited(self, came: Any) -> Any:
        """What was waited for: the same where it has blocked, else what is awaited."""

    @abstractmethod
    def _others(self) -> Any:
        """Wait until all whose calls have ended at the same time have come as far."""

    @abstractmethod
    def _pause(self) -> Any:
        """Wait a moment, while another process has locked the file of the store."""

    @abstractmethod
    def _change(self) -> Any:
        """Wait until a call has ended."""

    @abstractmethod
    def _changed(self) -> None:
        """Wake the worker that waits for that."""

    @abstractmethod
    def _start(self) -> None:
        """Start a worker."""

    def _end(self) -> None:
        """Let no further call start, and wake the workers that wait to start one."""
        self._stops = True
        with self._guard:
            self._changed()
        self._room.release()  # a worker that ends wakes the next

    async def _work(self) -> None:
        try:
            while (taken := await self._take()) is not None:
                result = await self._asked(taken) if taken.known is None else taken.known
                self._results.put_nowait((taken.place, result))
        except BaseException as error:  # raised where results are taken
            self._end()
            self._results.put_nowait(error)
            if not isinstance(error, Exception):
                raise
        self._results.put_nowait(_END)
        self._room.release()

    async def _take(self) -> _Taken | None:
        """Return the next row when its call may start; None at the end."""
        await self._waited(self._room.acquire())
        await self._waited(self._pulling.acquire())
        try:
            taken = await self._next_row()
            if (
                taken is not None
                and taken.row is not None
                and len(self._workers) < self._plan.max_concurrency
            ):
                self._start()
        except BaseException:
            self._stops = True  # before another worker pulls a row
            raise
        finally:
            self._pulling.release()
        return taken

    async def _next_row(self) -> _Taken | None:
        ledger = self._plan.ledger
        self._feed.check()
        numbered = None if self._stops else await self._waited(self._pull())
        if numbered is None:
            return None
        taken = self._feed.taken(numbered)
        with self._guard:
            if taken.known is not None:
                ledger.count_row(failed=taken.known.error is not None)
                return taken
            while not self._stops and not ledger.fits():
                call = self._free_call(taken)
                if call is not None:
                    taken = taken._replace(call=call)
                    break
                if not ledger.in_flight:
                    raise ledger.used_up()
                await self._waited(self._change())
            if self._stops:
                return None
            ledger.in_flight += 1
        return taken

    def _free_call(self, taken: _Taken) -> PreparedCall | None:
        """Return the call of a row whose documents are all in the cache; None for any other."""
        with suppress(RerankError):
            call = self._prepare(cast("Row", taken.row)) if self._plan.has_cache else None
            return call if call is not None and call.is_free else None
        return None

    async def _asked(self, taken: _Taken) -> RowResult:
        """Make the call of a row; store and return its result."""
        row = cast("Row", taken.row)
        came: RerankResponse | RerankError
        seconds: float | None = None
        try:
            call = taken.call or self._prepare(row)
            came, seconds = await self._waited(call.run())
        except RerankError as error:
            came = error
        refused = await self._kept(row, came)
        with self._guard:
            # before the budget is looked at, which may end the run: it is paid
            self._plan.ledger.count_row(failed=isinstance(refused or came, RerankError))
            try:
                self._plan.ledger.end(came)
            except RerankError:
                self._stops = True  # before another worker looks at the budget
                raise
            self._changed()
        return self._feed.result(taken, refused or came, seconds)

    async def _kept(self, row: Row, came: RerankResponse | RerankError) -> RerankError | None:
        """Store a response; return what is wrong with its row, if anything."""
        store = self._plan.store
        if store is None or isinstance(came, RerankError):
            return None
        try:
            with self._feed.using_store():
                if came.missing:
                    store.fail(row.id, _incomplete(came))
                    return None
                write = store.keep(row, came, self._plan.ledger.cost_of(came))
                if write is not None:
                    await self._waited(self._others())  # so that they are written together
                    while not write():
                        await self._waited(self._pause())
        except InvalidRequestError as error:
            return error
        return None


class ThreadRun(_Crew):
    """A run whose calls are made by threads, which also read the rows, one thread at a time.

    The threads are daemons, so they do not keep the interpreter alive.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Generator[Numbered, None, None],
        prepare: Callable[[Row], PreparedCall],
    ) -> None:
        super().__init__(plan, prepare)
        self._source, self._context = rows, copy_context()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(_BACKLOG * plan.max_concurrency)
        self._pulling = threading.Lock()
        self._guard = self._condition = threading.Condition()

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
            while feed.ended < len(self._workers):
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
        thread = threading.Thread(target=target, args=(self._run,), name="rerank", daemon=True)
        self._workers.append(thread)  # before it can end
        try:
            thread.start()
        except RuntimeError:
            self._workers.remove(thread)
            if not self._workers:
                raise

    def _run(self) -> None:
        with suppress(StopIteration, BaseException):  # any other was put where results are taken
            self._work().send(None)

    async def _waited(self, came: Any) -> Any:
        return came

    def _pull(self) -> Numbered | None:
        return next(self._source, None)

    def _others(self) -> None:
        """Nothing: threads that end while one writes have come as far when it has written."""

    def _pause(self) -> None:
        time.sleep(_RETRY_SECONDS)

    def _change(self) -> None:
        self._condition.wait()

    def _changed(self) -> None:
        self._condition.notify_all()


class TaskRun(_Crew):
    """A run whose calls are made by tasks on the running event loop."""

    def __init__(
        self,
        plan: Plan,
        rows: AsyncGenerator[Numbered, None],
        prepare: Callable[[Row], PreparedCall],
    ) -> None:
        super().__init__(plan, prepare)
        self._source = rows
        self._results: asyncio.Queue[Any] = asyncio.Queue()
        self._room = asyncio.Semaphore(_BACKLOG * plan.max_concurrency)
        self._pulling = asyncio.Lock()
        self._guard = nullcontext()
        self._event = asyncio.Event()

    async def results(self) -> AsyncGenerator[RowResult, None]:
        """Async version of `ThreadRun.results`."""
        feed = self._feed
        try:
            self._start()
            while feed.ended < len(self._workers):
                feed.check_process()
                for result in feed.ready(await self._results.get()):
                    self._room.release()
                    yield result
            feed.end()
        finally:
            if not feed.is_of_parent:  # whose loop has the tasks
                try:
                    for task in self._workers:
                        task.cancel()
                    await asyncio.gather(*self._workers, return_exceptions=True)
                    await self._source.aclose()
                    if self._plan.store is not None:
                        with suppress(RuntimeError):  # the interpreter ends: it has no threads
                            await asyncio.to_thread(self._plan.store.close)  # waits for the disk
                finally:
                    self._plan.close()

    def _start(self) -> None:
        self._workers.append(asyncio.create_task(self._work()))

    async def _waited(self, came: Any) -> Any:
        return await came

    def _pull(self) -> Any:
        return anext(self._source, None)

    def _others(self) -> Any:
        return asyncio.sleep(0)

    def _pause(self) -> Any:
        return asyncio.sleep(_RETRY_SECONDS)

    def _change(self) -> Any:
        self._event.clear()
        return self._event.wait()

    def _changed(self) -> None:
        self._event.set()


class _Spent:
    """The totals of a run so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def usage(self) -> Usage:
        """The usage so far, without responses from the checkpoint."""
        return self._plan.ledger.usage

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


class ManyResults(_Spent, Iterator[RowResult[T_co]], Generic[T_co]):
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


class AsyncManyResults(_Spent, AsyncIterator[RowResult[T_co]], Generic[T_co]):
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
