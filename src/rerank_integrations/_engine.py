"""Runs a call: a sync runner and an async one, which differ by the await alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from contextvars import copy_context
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar

from rerank_integrations._http_result import Limits, rerank_error
from rerank_integrations._rate_limit import Reservation
from rerank_integrations._retry import Call, ChunkCall, Clock, Gather, Outcome, Send, log
from rerank_integrations.errors import RerankError, RerankTimeoutError, ScorerError
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers._validation import shown_address
from rerank_integrations.providers.base import Handler, HTTPResponse

T = TypeVar("T")
U = TypeVar("U")
_TIMER_STEP = 0.001  # seconds by which a timer of the system may end early

MakeCall: TypeAlias = Callable[[Clock], Call]
"""Makes the generator of a call, which reads the time from a clock."""


class StoppedError(Exception):
    """The call has failed in another thread."""


def run_sync(make_call: MakeCall) -> RerankResponse:
    """Run a call in this thread; the requests of a split call in several.

    Raises:
        RerankError: what the call raises.
    """
    clock = _clock()
    return _run_sync(make_call(clock), clock)


async def run_async(make_call: MakeCall) -> RerankResponse:
    """Run a call on the running event loop; the requests of a split call in several tasks.

    Raises:
        RerankError: what the call raises.
    """
    clock = _clock()
    return await _run_async(make_call(clock), clock)


def _clock() -> Clock:
    started = time.monotonic()
    return lambda: time.monotonic() - started


def _run_sync(
    call: Call | ChunkCall, clock: Clock, stop: threading.Event | None = None
) -> RerankResponse:
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


async def _run_async(call: Call | ChunkCall, clock: Clock) -> RerankResponse:
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


def _send_sync(send: Send, clock: Clock, stop: threading.Event | None) -> Outcome:
    reservation = _reserve(send, clock)
    wait = float(reservation)
    try:
        while wait:
            _log_wait(send, wait)
            time.sleep(wait)
            wait = _extra_wait(send, clock, reservation)
    except BaseException:
        send.limiter.cancel(reservation, send.documents)
        raise
    if stop is not None and stop.is_set():
        raise StoppedError  # send nothing for a call that has failed
    began = clock()
    request = send.request
    ends = None if send.deadline is None else time.monotonic() - began + send.deadline
    result: HTTPResponse | RerankError
    try:
        if request.handler is not None:
            answer = request.handler(b"".join(request.content))
            result = answer if isinstance(answer, HTTPResponse) else _awaited(answer, ends)
        else:
            result = send.transport.sender().send(request, send.timeouts, ends)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        result = _error(cause, send, clock, began)
    now = clock()
    return Outcome(result, now, now - began)


async def _send_async(send: Send, clock: Clock) -> Outcome:
    reservation = _reserve(send, clock)
    wait = float(reservation)
    try:
        while wait:
            _log_wait(send, wait)
            await asyncio.sleep(wait)
            wait = _extra_wait(send, clock, reservation)
    except BaseException:
        send.limiter.cancel(reservation, send.documents)
        raise
    began = clock()
    request = send.request
    result: HTTPResponse | RerankError
    try:
        async with asyncio.timeout(_time_left(send, clock)):
            if request.handler is not None:
                result = await _handled(request.handler, b"".join(request.content))
            else:
                sender = await send.transport.async_sender()
                result = await sender.send(request, send.timeouts)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        result = _error(cause, send, clock, began)
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
    _start_threads(1, run, [answer], [future])
    return future.result()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _gather_sync(gather: Gather, clock: Clock) -> list[RerankResponse | RerankError]:
    """The results of several generators, each run in a thread."""
    stop = threading.Event()

    def run(call: ChunkCall) -> RerankResponse:
        try:
            return _run_sync(call, clock, stop)
        except BaseException:
            if not gather.keep_errors:
                stop.set()
            raise

    futures: list[Future[RerankResponse]] = [Future() for _ in gather.calls]
    try:
        _start_threads(min(gather.at_once, len(gather.calls)), run, gather.calls, futures)
        if gather.keep_errors:
            return [_result_or_error(future) for future in futures]
        ended = wait(futures, return_when=FIRST_EXCEPTION).done
        failed = [f for f in futures if f in ended and not f.cancelled() and f.exception()]
        own = [f for f in failed if not isinstance(f.exception(), StoppedError)]
        return [future.result() for future in own or futures]
    finally:  # after a failure nobody waits for the requests in flight
        stop.set()
        for future in futures:
            future.cancel()


def _start_threads(
    count: int,
    run: Callable[[T], U],
    calls: Sequence[T],
    futures: Sequence[Future[U]],
) -> None:
    """Run each call in one of so many daemon threads; those of a pool would delay the exit."""
    waiting = deque(zip(calls, futures, strict=True))

    def work() -> None:
        with suppress(IndexError):
            while True:
                call, future = waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    result = run(call)
                except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                    future.set_exception(error)
                else:
                    future.set_result(result)

    for _ in range(count):
        # each thread sees the caller's context variables, as tasks do: traces nest by them
        target = copy_context().run
        threading.Thread(target=target, args=(work,), name="rerank", daemon=True).start()


def _result_or_error(future: Future[RerankResponse]) -> RerankResponse | RerankError:
    try:
        return future.result()
    except RerankError as error:
        return error


async def _gather_async(gather: Gather, clock: Clock) -> list[RerankResponse | RerankError]:
    """The results of several generators, each run in a task."""
    slots = asyncio.Semaphore(gather.at_once)
    stop = asyncio.Event()

    async def run(call: ChunkCall) -> RerankResponse | RerankError:
        async with slots:
            if stop.is_set():  # cancelled in a moment: the call has failed
                raise asyncio.CancelledError
            try:
                return await _run_async(call, clock)
            except RerankError as error:
                if gather.keep_errors:
                    return error
                stop.set()
                raise

    tasks = [asyncio.create_task(run(call)) for call in gather.calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _reserve(send: Send, clock: Clock) -> Reservation:
    """The slot of a request among all that go to the endpoint.

    Raises:
        RerankTimeoutError: the deadline has passed, or would pass before the slot.
    """
    left = _time_left(send, clock)
    if left is not None and left <= 0:
        raise RerankTimeoutError("the deadline passed before the request could be sent")
    reservation = send.limiter.reserve(send.rate_limit, send.documents, send.delay, left)
    if reservation is None:
        raise _too_late()
    return reservation


def _extra_wait(send: Send, clock: Clock, reservation: Reservation) -> float:
    """Seconds to wait after the wait of the reservation: the endpoint was blocked meanwhile."""
    wait = send.limiter.extra_wait(reservation, _time_left(send, clock))
    if wait is None:
        raise _too_late()
    return wait


def _log_wait(send: Send, seconds: float) -> None:
    address = shown_address(send.request.url)
    log.debug("waiting %.2f s before a request to %s", seconds, address)


def _too_late() -> RerankTimeoutError:
    return RerankTimeoutError(
        "the deadline would pass before the request may be sent: the rate limit, or the "
        "provider's Retry-After, asks to wait longer"
    )


def _time_left(send: Send, clock: Clock) -> float | None:
    """The seconds that the call still has."""
    return None if send.deadline is None else send.deadline - clock()


def _error(cause: Exception, send: Send, clock: Clock, began: float) -> RerankError:
    """The error of an HTTP library as one of ours; any other is raised."""
    if isinstance(cause, ScorerError):  # with all frames of the user's code, and of its libraries
        return cause
    left = _time_left(send, clock)
    is_late = left is not None and left <= _TIMER_STEP
    seconds = clock() - (0.0 if is_late else began)
    limits = Limits(send.timeouts, send.deadline, is_late, seconds)
    retry = send.retry_on_timeout
    return rerank_error(cause, send.request.url, limits, retry_on_timeout=retry)
