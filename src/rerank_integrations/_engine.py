"""Runs a call: a sync runner and an async one, which differ only by await."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, Future, wait
from contextlib import closing, suppress
from contextvars import copy_context
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar

from rerank_integrations._http_result import Limits, of_signal, rerank_error
from rerank_integrations._rate_limit import (
    ROUNDING,
    WAKE_SECONDS,
    Availability,
    RateLimit,
    RateLimiter,
    Reservation,
)
from rerank_integrations._retry import Clock, Gather, Outcome, Send, log
from rerank_integrations._shared_limit import Reserve
from rerank_integrations._tracing import Subject, add_wait, begin
from rerank_integrations.errors import RerankError, RerankTimeoutError, ScorerError
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers._validation import shown_address
from rerank_integrations.providers.base import Handler, HTTPResponse

_BUSY = 0.005  # longest wait in seconds before a busy shared rate limit is tried again
_TIMER_STEP = 0.001  # seconds by which a timer of the operating system may end early

ResultT = TypeVar("ResultT")
MakeCall: TypeAlias = Callable[[Clock], Generator[Send | Gather, Any, ResultT]]
"""Creates the generator of a call, which reads the time from the clock."""


class StoppedError(Exception):
    """The call has already failed in another thread."""


def run_sync(
    make_call: MakeCall[ResultT],
    subject: Subject | None = None,
    *,
    patient: bool = False,
    shared: Reserve | None = None,
) -> ResultT:
    """Run a call in this thread; the requests of a split call run in several threads.

    Args:
        make_call: creates the generator of the call.
        subject: what to trace; None traces nothing.
        patient: whether the call waits for slots of its rate limit without a bound.
        shared: takes slots of a rate limit that processes share, in place of the client's own.

    Raises:
        RerankError: the error of the call.
    """
    clock = _CallClock(patient=patient, shared=shared)
    record = None if subject is None else begin(subject)
    if record is None:
        return _run_sync(make_call(clock), clock)
    try:
        result = _run_sync(make_call(clock), clock)
    except BaseException as error:
        record.fail(error)
        raise
    record.end(result)
    return result


async def run_async(
    make_call: MakeCall[ResultT],
    subject: Subject | None = None,
    *,
    patient: bool = False,
    shared: Reserve | None = None,
) -> ResultT:
    """Run a call on the running event loop; the requests of a split call run in several tasks.

    The arguments are those of `run_sync`.

    Raises:
        RerankError: the error of the call.
    """
    clock = _CallClock(patient=patient, shared=shared)
    record = None if subject is None else begin(subject)
    if record is None:
        return await _run_async(make_call(clock), clock)
    try:
        result = await _run_async(make_call(clock), clock)
    except BaseException as error:
        record.fail(error)
        raise
    record.end(result)
    return result


def timed(make_call: MakeCall[ResultT], report: Callable[[float], Any]) -> MakeCall[ResultT]:
    """Wrap a call so that `report` receives its duration in seconds, without waits for slots."""

    def make(clock: Clock) -> Generator[Send | Gather, Any, ResultT]:
        result = yield from make_call(clock)
        report(clock())
        return result

    return make


class _CallClock:
    """Counts the seconds since a call began, without waits for slots of the rate limit.

    Attributes:
        waited: the seconds spent waiting for slots.
        patient: whether the wait for slots has no bound.
        shared: takes slots of a rate limit that processes share; None without one.
    """

    def __init__(
        self,
        started: float | None = None,
        waited: float = 0.0,
        *,
        patient: bool = False,
        shared: Reserve | None = None,
    ) -> None:
        self._started = time.monotonic() if started is None else started
        self.waited = waited
        self.patient = patient
        self.shared = shared

    def copy(self) -> _CallClock:
        """Return a clock for one of several concurrent requests, each with waits of its own."""
        return _CallClock(self._started, self.waited, patient=self.patient, shared=self.shared)

    def __call__(self) -> float:
        return time.monotonic() - self._started - self.waited


def _run_sync(
    call: Generator[Send | Gather, Any, ResultT], clock: _CallClock, stop: _Stop | None = None
) -> ResultT:
    try:
        step: Send | Gather = next(call)
        while True:
            try:
                came: Any
                if isinstance(step, Gather):
                    came = _gather_sync(step, clock)
                else:
                    came = _send_sync(step, clock, stop)
            except RerankError as error:
                step = call.throw(error)
            else:
                step = call.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _run_async(call: Generator[Send | Gather, Any, ResultT], clock: _CallClock) -> ResultT:
    try:
        step: Send | Gather = next(call)
        while True:
            try:
                came: Any
                if isinstance(step, Gather):
                    came = await _gather_async(step, clock)
                else:
                    came = await _send_async(step, clock)
            except RerankError as error:
                step = call.throw(error)
            else:
                step = call.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _send_sync(send: Send, clock: _CallClock, stop: _Stop | None) -> Outcome:
    with closing(_waits(send, clock)) as waits:
        for seconds in waits:
            _tell_wait(send, seconds)
            _sleep(seconds, stop)
            if stop is not None:
                stop.check()
    if stop is None:
        send.sent.begin()
    else:
        stop.begin(send)
    began = clock()
    request = send.request
    ends = None if send.deadline is None else time.monotonic() - began + send.deadline
    result: HTTPResponse | RerankError
    caller = sys.exception()
    try:
        if request.handler is not None:
            answer = request.handler(b"".join(request.content))
            result = answer if isinstance(answer, HTTPResponse) else _awaited(answer, ends)
        else:
            result = send.transport.sender().send(request, send.timeouts, ends)
    except Exception as cause:  # noqa: BLE001  # a user's client may raise anything
        result = _error(cause, send, clock, began, caller)
    now = clock()
    return Outcome(result, now, now - began)


async def _send_async(send: Send, clock: _CallClock) -> Outcome:
    with closing(_waits(send, clock)) as waits:
        for seconds in waits:
            _tell_wait(send, seconds)
            await asyncio.sleep(seconds)
    send.sent.begin()
    began = clock()
    request = send.request
    result: HTTPResponse | RerankError
    caller = sys.exception()
    try:
        async with asyncio.timeout(_time_left(send, clock)):
            if request.handler is not None:
                result = await _handled(request.handler, b"".join(request.content))
            else:
                sender = await send.transport.async_sender()
                result = await sender.send(request, send.timeouts)
    except Exception as cause:  # noqa: BLE001  # a user's client may raise anything
        result = _error(cause, send, clock, began, caller)
    now = clock()
    return Outcome(result, now, now - began)


async def _handled(handler: Handler, content: bytes) -> HTTPResponse:
    """Return the response of a handler, run in a thread, or on this event loop if it is async."""
    is_async: bool = iscoroutinefunction(handler)
    answer = handler(content) if is_async else await asyncio.to_thread(handler, content)
    return answer if isinstance(answer, HTTPResponse) else await answer


def _awaited(answer: Awaitable[HTTPResponse], ends: float | None) -> HTTPResponse:
    """Return the response of an awaitable, run on a new event loop.

    If an event loop already runs in this thread, the new one runs in another thread.
    """

    async def wait_for(answer: Awaitable[HTTPResponse]) -> HTTPResponse:
        async with asyncio.timeout(None if ends is None else ends - time.monotonic()):
            return await answer

    def run(answer: Awaitable[HTTPResponse]) -> HTTPResponse:
        # with a factory, Runner does not replace the thread's current event loop
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(wait_for(answer))

    if not _loop_runs_here():
        return run(answer)
    future: Future[HTTPResponse] = Future()

    def work() -> None:
        try:
            future.set_result(run(answer))
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            future.set_exception(error)

    target = copy_context().run
    threading.Thread(target=target, args=(work,), name="rerank", daemon=True).start()
    _wait_for([future])
    return future.result()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Stop:
    """Signals the threads of a split call that it has ended: they wake up and send nothing more."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()

    def set(self) -> None:
        """End the call; requests that have passed `begin` count as sent."""
        with self._lock:
            self._event.set()

    def wait(self, seconds: float) -> None:
        """Sleep, at most until the call ends."""
        self._event.wait(seconds)

    def check(self) -> None:
        """Raise StoppedError if the call has ended."""
        if self._event.is_set():
            raise StoppedError

    def begin(self, send: Send) -> None:
        """Record that a request is being sent.

        Raises:
            StoppedError: the call has ended.
        """
        with self._lock:
            self.check()
            send.sent.begin()


def _tell_wait(send: Send, seconds: float) -> None:
    address = shown_address(send.request.url)
    log.debug("waiting %.2f s before a request to %s", seconds, address)
    add_wait(seconds)


def _sleep(seconds: float, stop: _Stop | None) -> None:
    if stop is None:
        time.sleep(seconds)
    else:
        stop.wait(seconds)


def _gather_sync(gather: Gather, clock: _CallClock) -> list[RerankResponse | RerankError]:
    """Return the results of several generators, which run in threads."""
    _check_slots(gather, clock)
    stop = _Stop()
    futures: list[Future[RerankResponse]] = [Future() for _ in gather.calls]
    waiting = deque(zip(gather.calls, futures, strict=True))
    clocks = [clock.copy() for _ in range(min(gather.at_once, len(gather.calls)))]

    def work(own: _CallClock) -> None:
        with suppress(IndexError):
            while True:
                call, future = waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    result = _run_sync(call, own, stop)
                except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                    future.set_exception(error)
                    if not (gather.keep_errors and isinstance(error, RerankError)):
                        stop.set()
                else:
                    future.set_result(result)

    try:
        _start_threads(work, clocks)
        if gather.keep_errors:
            _wait_for(futures)
            return [_result_or_error(future) for future in futures]
        ended = _wait_for(futures, FIRST_EXCEPTION)
        failed = [f for f in futures if f in ended and not f.cancelled() and f.exception()]
        own = [f for f in failed if not isinstance(f.exception(), StoppedError)]
        return [future.result() for future in own or futures]
    finally:  # after a failure, requests in flight are not waited for
        stop.set()
        for future in futures:
            future.cancel()
        clock.waited = max(one.waited for one in clocks)


def _wait_for(futures: Sequence[Future[Any]], return_when: str = ALL_COMPLETED) -> set[Future[Any]]:
    """Wait for all futures, or with FIRST_EXCEPTION for a failed one; return those that ended."""
    while True:
        ended, left = wait(futures, WAKE_SECONDS, return_when)
        if not left or (
            return_when == FIRST_EXCEPTION
            and any(not future.cancelled() and future.exception() for future in ended)
        ):
            return ended


def _start_threads(work: Callable[[_CallClock], None], clocks: Sequence[_CallClock]) -> None:
    """Run `work` in one daemon thread for each clock; threads of a pool would delay the exit.

    If no thread can be started, as in an `atexit` function, run it in this thread.
    """
    for place, clock in enumerate(clocks):
        # each thread gets the caller's context variables, as tasks do, so that spans are nested
        target = copy_context().run
        thread = threading.Thread(target=target, args=(work, clock), name="rerank", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if place == 0:
                work(clock)
            return


def _result_or_error(future: Future[RerankResponse]) -> RerankResponse | RerankError:
    try:
        return future.result()
    except RerankError as error:
        return error


async def _gather_async(gather: Gather, clock: _CallClock) -> list[RerankResponse | RerankError]:
    """Return the results of several generators, which run in tasks."""
    _check_slots(gather, clock)
    waiting = deque(enumerate(gather.calls))
    results: list[Any] = [None] * len(gather.calls)
    clocks = [clock.copy() for _ in range(min(gather.at_once, len(gather.calls)))]

    async def work(own: _CallClock) -> None:
        while waiting:
            place, call = waiting.popleft()
            try:
                results[place] = await _run_async(call, own)
            except BaseException as error:
                if not (gather.keep_errors and isinstance(error, RerankError)):
                    waiting.clear()
                    raise
                results[place] = error

    tasks = [asyncio.create_task(work(own)) for own in clocks]
    try:
        await asyncio.gather(*tasks)
    finally:
        waiting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        clock.waited = max(one.waited for one in clocks)
    return results


def _waits(send: Send, clock: _CallClock) -> Generator[float]:
    """Yield each number of seconds to sleep before the request may be sent.

    First come the delay of the request and the Retry-After of its endpoint, which count against
    the deadline. Then comes the wait for a slot of the rate limit, which does not. In this order a
    delayed request does not hold a slot that others could use.

    Raises:
        RerankTimeoutError: the request cannot be sent, or its response not be received, in time.
        StatusError: the same, because an earlier response had a Retry-After.
    """
    availability = send.availability
    limiter = send.limiter if any(send.rate_limit) and clock.shared is None else None
    room = _room(send, clock)
    known, blocked = availability.wait(0, room) if availability else (0, 0.0)
    # at most the time left: the delay fitted when it was chosen, and time has passed since
    delay = max(blocked, send.delay if room is None else min(send.delay, max(room, 0.0)))
    _check_blocked(send, availability, blocked, room)
    if limiter is not None:
        free = limiter.seconds_until_free(send.rate_limit, send.documents, delay)
        _check_slot(send.rate_limit, send.deadline, clock, free - delay)
    if delay:
        yield delay
    while True:
        availability = availability or send.availability
        if availability is not None:
            room = _room(send, clock)
            known, blocked = availability.wait(known, room)
            if blocked:  # another request has received a Retry-After meanwhile
                _check_blocked(send, availability, blocked, room)
                yield blocked
                continue
        _check_time(send, clock)
        if clock.shared is not None:
            slot = yield from _shared_waits(clock.shared, send, clock)
        elif limiter is not None:
            slot = yield from _own_waits(limiter, send, clock)
        else:
            return
        if not slot:
            return
        availability = availability or send.availability
        if availability is None or not availability.wait(known, 0.0)[1]:
            return
        if isinstance(slot, Reservation) and limiter is not None:
            limiter.cancel(slot)  # others may use it while this request waits


def _own_waits(
    limiter: RateLimiter, send: Send, clock: _CallClock
) -> Generator[float, None, Reservation]:
    """Yield the seconds to sleep until a slot of the client's own rate limit; return the slot."""
    longest = _longest_wait(send.deadline, clock)
    while (slot := limiter.reserve(send.rate_limit, send.documents, longest)) is None:
        free = limiter.seconds_until_free(send.rate_limit, send.documents)
        _check_slot(send.rate_limit, send.deadline, clock, free)
    if slot:
        before = time.monotonic()
        try:
            yield float(slot)
        except BaseException:
            limiter.cancel(slot)
            raise
        finally:
            clock.waited += time.monotonic() - before
    return slot


def _shared_waits(reserve: Reserve, send: Send, clock: _CallClock) -> Generator[float, None, float]:
    """Yield the seconds to sleep until a slot of a rate limit that processes share."""
    before = time.monotonic()
    address = send.options.address()
    try:
        while (seconds := reserve(address, send.rate_limit, send.documents)) is None:
            yield _BUSY * random.uniform(0.2, 1)  # noqa: S311  # no secret
        if seconds > 0:
            yield seconds
    finally:
        clock.waited += time.monotonic() - before
    return seconds


def _room(send: Send, clock: _CallClock) -> float | None:
    """Return how long a request may be delayed so that a response can come before the deadline."""
    return None if send.deadline is None else send.deadline - clock() - send.least_time


def _longest_wait(deadline: float | None, clock: _CallClock) -> float | None:
    """Return how long a call may wait for slots: as long as the deadline, in addition to it."""
    return None if deadline is None or clock.patient else max(0.0, deadline - clock.waited)


def _check_time(send: Send, clock: _CallClock) -> None:
    """Raise RerankTimeoutError if no response could come before the deadline."""
    left = _time_left(send, clock)
    # half of it, because a sleep may end a little late
    if left is not None and (left <= 0 or left < send.least_time / 2):
        raise RerankTimeoutError("the deadline passed before the request could be sent")


def _check_blocked(
    send: Send, availability: Availability | None, seconds: float, room: float | None
) -> None:
    """Raise the error of the response that had the Retry-After, if the call cannot wait for it."""
    if availability is not None and room is not None and seconds > room:
        raise availability.why.error(seconds, room + send.least_time)


def _check_slot(
    limit: RateLimit, deadline: float | None, clock: _CallClock, seconds: float, count: int = 1
) -> None:
    """Raise RerankTimeoutError if the last slot of the call comes too late."""
    longest = _longest_wait(deadline, clock)
    if longest is not None and seconds > longest + ROUNDING:
        which = "its next slot" if count == 1 else f"slots for the {count} requests of the call"
        fewer = "make fewer calls at once" if count == 1 else "pass fewer documents"
        raise RerankTimeoutError(
            f"the rate limit ({limit}) has {which} in {seconds:.1f} s, but the deadline allows a "
            f"wait of {longest:.1f} s; raise deadline=, raise the limit, or {fewer}",
            phase="wait",
        )


def _check_slots(gather: Gather, clock: _CallClock) -> None:
    """Raise RerankTimeoutError if a request of a split call has no slot in time."""
    if any(gather.rate_limit) and not gather.keep_errors:
        seconds = gather.limiter.seconds_until_last(gather.rate_limit, gather.documents)
        _check_slot(gather.rate_limit, gather.deadline, clock, seconds, len(gather.calls))


def _time_left(send: Send, clock: _CallClock) -> float | None:
    """Return the seconds left before the deadline; None for no deadline."""
    return None if send.deadline is None else send.deadline - clock()


def _error(
    cause: Exception, send: Send, clock: _CallClock, began: float, caller: BaseException | None
) -> RerankError:
    """Convert an error of an HTTP library to a RerankError; any other error is raised."""
    if isinstance(cause, ScorerError) and of_signal(cause) is None:
        return cause  # with all frames of the user's code and its libraries
    left = _time_left(send, clock)
    is_late = left is not None and left <= _TIMER_STEP
    seconds = clock() - (0.0 if is_late else began)
    limits = Limits(send.timeouts, send.deadline, is_late, seconds)
    error = rerank_error(
        cause,
        send.request.url,
        limits,
        retry_on_timeout=send.retry_on_timeout,
        caller=caller,
    )
    if send.request.handler is not None:  # a handler has no meaningful URL
        error.args = (str(error).replace(f"Request to {send.request.url}", "The scorer"),)
    return error
