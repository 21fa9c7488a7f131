"""Runs a call: a sync runner and an async one, which differ by the await alone."""

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

_BUSY = 0.005  # seconds until a shared rate limit that is busy is asked again, at most
_TIMER_STEP = 0.001  # seconds by which a timer of the system may end early

ResultT = TypeVar("ResultT")
MakeCall: TypeAlias = Callable[[Clock], Generator[Send | Gather, Any, ResultT]]
"""Makes the generator of a call, which reads the time from a clock."""


class StoppedError(Exception):
    """The call has failed in another thread."""


def run_sync(
    make_call: MakeCall[ResultT],
    subject: Subject | None = None,
    *,
    patient: bool = False,
    shared: Reserve | None = None,
) -> ResultT:
    """Run a call in this thread; the requests of a split call in several.

    A patient call waits for slots of its rate limit without bound; with a limit that is shared
    between processes, its slots are those. With a subject, which a rerank call has, it is traced.

    Raises:
        RerankError: what the call raises.
    """
    clock = _CallClock(patient=patient, shared=shared)
    record = None if subject is None else begin(subject)
    if record is None:
        return _run_sync(make_call(clock), clock)
    try:
        answer = _run_sync(make_call(clock), clock)
    except BaseException as error:
        record.fail(error)
        raise
    record.end(answer)
    return answer


async def run_async(
    make_call: MakeCall[ResultT],
    subject: Subject | None = None,
    *,
    patient: bool = False,
    shared: Reserve | None = None,
) -> ResultT:
    """Run a call on the running event loop; the requests of a split call in several tasks.

    A patient call waits for slots of its rate limit without bound; with a limit that is shared
    between processes, its slots are those. With a subject, which a rerank call has, it is traced.

    Raises:
        RerankError: what the call raises.
    """
    clock = _CallClock(patient=patient, shared=shared)
    record = None if subject is None else begin(subject)
    if record is None:
        return await _run_async(make_call(clock), clock)
    try:
        answer = await _run_async(make_call(clock), clock)
    except BaseException as error:
        record.fail(error)
        raise
    record.end(answer)
    return answer


def timed(make_call: MakeCall[ResultT], told: Callable[[float], Any]) -> MakeCall[ResultT]:
    """The same call; at its end it is told the seconds that it took, without waits for slots."""

    def make(clock: Clock) -> Generator[Send | Gather, Any, ResultT]:
        result = yield from make_call(clock)
        told(clock())
        return result

    return make


class _CallClock:
    """Seconds since a call began, without those spent waiting for slots of the rate limit.

    Attributes:
        waited: the seconds spent waiting for slots.
        patient: whether the wait for slots has no bound.
        shared: takes slots of a limit that is shared between processes; None where there is none.
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
        """A clock for one of several requests at once, which wait for slots on their own."""
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
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
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
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        result = _error(cause, send, clock, began, caller)
    now = clock()
    return Outcome(result, now, now - began)


async def _handled(handler: Handler, content: bytes) -> HTTPResponse:
    """What a handler gives: in a thread, or on this event loop where it is async."""
    is_async: bool = iscoroutinefunction(handler)
    answer = handler(content) if is_async else await asyncio.to_thread(handler, content)
    return answer if isinstance(answer, HTTPResponse) else await answer


def _awaited(answer: Awaitable[HTTPResponse], ends: float | None) -> HTTPResponse:
    """What an awaitable gives, on an event loop of its own.

    Where a loop runs in this thread, the other one runs in a thread of its own.
    """

    async def wait_for(answer: Awaitable[HTTPResponse]) -> HTTPResponse:
        async with asyncio.timeout(None if ends is None else ends - time.monotonic()):
            return await answer

    def run(answer: Awaitable[HTTPResponse]) -> HTTPResponse:
        # with a factory the thread's current event loop, which others may use, is left alone
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
    """Tells the threads of a split call that it has ended: they wake up, and send nothing more."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()

    def set(self) -> None:
        """The call has ended; what `begin` has let pass until now was sent."""
        with self._lock:
            self._event.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the call runs."""
        self._event.wait(seconds)

    def check(self) -> None:
        """Raise StoppedError if the call has ended."""
        if self._event.is_set():
            raise StoppedError

    def begin(self, send: Send) -> None:
        """Note that a request is being sent.

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
    """The results of several generators, each run in a thread."""
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
    finally:  # after a failure nobody waits for the requests in flight
        stop.set()
        for future in futures:
            future.cancel()
        clock.waited = max(one.waited for one in clocks)


def _wait_for(futures: Sequence[Future[Any]], return_when: str = ALL_COMPLETED) -> set[Future[Any]]:
    """The futures that have ended, once all have, or with FIRST_EXCEPTION one has failed."""
    while True:
        ended, left = wait(futures, WAKE_SECONDS, return_when)
        if not left or (
            return_when == FIRST_EXCEPTION
            and any(not future.cancelled() and future.exception() for future in ended)
        ):
            return ended


def _start_threads(work: Callable[[_CallClock], None], clocks: Sequence[_CallClock]) -> None:
    """Work in one daemon thread for each clock; those of a pool would delay the exit.

    Where no thread can be started, as in an `atexit` function, work in this one.
    """
    for place, clock in enumerate(clocks):
        # each thread sees the caller's context variables, as tasks do: traces nest by them
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
    """The results of several generators, each run in a task."""
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
    """The seconds to sleep, one after another, until the request may be sent.

    First the delay of the request and the Retry-After of its endpoint, which count against the
    deadline; then the wait for a slot of the rate limit, which does not. So a request that is not
    to be sent yet holds no slot that others could use.

    Raises:
        RerankTimeoutError: the request could not be sent, or not be answered, in time.
        StatusError: the same, because the endpoint asked to wait.
    """
    availability = send.availability
    limiter = send.limiter if any(send.rate_limit) and clock.shared is None else None
    room = _room(send, clock)
    known, blocked = availability.wait(0, room) if availability else (0, 0.0)
    # it was found to fit when less time had passed
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
            if blocked:  # another request was told so meanwhile
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
            limiter.cancel(slot)  # others may have it while this request waits


def _own_waits(
    limiter: RateLimiter, send: Send, clock: _CallClock
) -> Generator[float, None, Reservation]:
    """The seconds to sleep until a slot of the client's own rate limit."""
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
    """The seconds to sleep until a slot of a limit that is shared between processes."""
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
    """The seconds that a request may be delayed, and still be answered before the deadline."""
    return None if send.deadline is None else send.deadline - clock() - send.least_time


def _longest_wait(deadline: float | None, clock: _CallClock) -> float | None:
    """The seconds that a call may wait for slots: as many as the deadline, in addition to it."""
    return None if deadline is None or clock.patient else max(0.0, deadline - clock.waited)


def _check_time(send: Send, clock: _CallClock) -> None:
    """Raise RerankTimeoutError if no response could come before the deadline."""
    left = _time_left(send, clock)
    # half of it: a sleep that was found to fit may end a little late
    if left is not None and (left <= 0 or left < send.least_time / 2):
        raise RerankTimeoutError("the deadline passed before the request could be sent")


def _check_blocked(
    send: Send, availability: Availability | None, seconds: float, room: float | None
) -> None:
    """Raise the error with which the endpoint asked to wait, if the call cannot wait so long."""
    if availability is not None and room is not None and seconds > room:
        raise availability.why.error(seconds, room + send.least_time)


def _check_slot(
    limit: RateLimit, deadline: float | None, clock: _CallClock, seconds: float, count: int = 1
) -> None:
    """Raise RerankTimeoutError if the call may not wait so long for the last of its slots."""
    longest = _longest_wait(deadline, clock)
    if longest is not None and seconds > longest + ROUNDING:
        which = "its next slot" if count == 1 else f"slots for the {count} requests of the call"
        fewer = "make fewer calls at once" if count == 1 else "pass fewer documents"
        raise RerankTimeoutError(
            f"the rate limit ({limit}) has {which} in {seconds:.1f} s, and the deadline lets the "
            f"call wait {longest:.1f} s for it; raise deadline=, raise the limit, or {fewer}",
            phase="wait",
        )


def _check_slots(gather: Gather, clock: _CallClock) -> None:
    """Raise RerankTimeoutError if not all requests of a split call have a slot in time."""
    if any(gather.rate_limit) and not gather.keep_errors:
        seconds = gather.limiter.seconds_until_last(gather.rate_limit, gather.documents)
        _check_slot(gather.rate_limit, gather.deadline, clock, seconds, len(gather.calls))


def _time_left(send: Send, clock: _CallClock) -> float | None:
    """The seconds that the call still has."""
    return None if send.deadline is None else send.deadline - clock()


def _error(
    cause: Exception, send: Send, clock: _CallClock, began: float, caller: BaseException | None
) -> RerankError:
    """The error of an HTTP library as one of ours; any other is raised."""
    if isinstance(cause, ScorerError) and of_signal(cause) is None:
        return cause  # with all frames of the user's code, and of its libraries
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
    if send.request.handler is not None:  # it has no address that says anything
        error.args = (str(error).replace(f"Request to {send.request.url}", "The scorer"),)
    return error
