"""Takes a call through its steps: in threads, or on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import (
    FIRST_EXCEPTION,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from typing import Any, TypeAlias

from rerank_integrations._fallback import ChainFlow, Now, Take
from rerank_integrations._flow import Flow, Fork, Heard, Hold, PartFlow, Send
from rerank_integrations._lane import Lane
from rerank_integrations._traffic import Turn
from rerank_integrations.errors import (
    RerankError,
    RerankTimeoutError,
    ResponseError,
    TransportError,
)
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers.base import Answer

AnyFlow: TypeAlias = Flow | PartFlow | ChainFlow
Step: TypeAlias = Send | Hold | Fork | Take | Now


def run(flow: AnyFlow, lane: Lane) -> RerankResponse:
    """Take a flow through its steps, in this thread; its forks in several.

    Raises:
        RerankError: what the flow raises.
    """
    lane.sender()  # opening the first connection does not count
    return _driven(flow, lane, time.monotonic())


async def arun(flow: AnyFlow, lane: Lane) -> RerankResponse:
    """The same, on the running event loop."""
    await lane.loop_sender()
    return await _adriven(flow, lane, time.monotonic())


def _driven(
    flow: AnyFlow, lane: Lane, started: float, stop: threading.Event | None = None
) -> RerankResponse:
    try:
        step: Step = next(flow)
        while True:
            try:
                came = _done(step, lane, started, stop)
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _adriven(flow: AnyFlow, lane: Lane, started: float) -> RerankResponse:
    try:
        step: Step = next(flow)
        while True:
            try:
                came = await _adone(step, lane, started)
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _done(step: Step, lane: Lane, started: float, stop: threading.Event | None) -> Any:
    """What the flow is sent for a step."""
    match step:
        case Send():
            turn = _turn(step, lane, started)
            pause = float(turn)
            try:
                while pause:
                    time.sleep(pause)
                    pause = _held_on(step, lane, started, turn)
            except BaseException:
                _give_back(step, lane, turn)
                raise
            _check_stop(stop)
            return Heard(_sent(lane, step, started), time.monotonic() - started)
        case Fork():
            return _forked(step, lane, started)
        case Take():
            return _driven(step.flow, step.lane, started)
        case _:
            return _noted(step, lane, started)


async def _adone(step: Step, lane: Lane, started: float) -> Any:
    match step:
        case Send():
            turn = _turn(step, lane, started)
            pause = float(turn)
            try:
                while pause:
                    await asyncio.sleep(pause)
                    pause = _held_on(step, lane, started, turn)
            except BaseException:
                _give_back(step, lane, turn)
                raise
            return Heard(await _asent(lane, step, started), time.monotonic() - started)
        case Fork():
            return await _aforked(step, lane, started)
        case Take():
            return await _adriven(step.flow, step.lane, started)
        case _:
            return _noted(step, lane, started)


def _noted(step: Hold | Now, lane: Lane, started: float) -> float | None:
    if isinstance(step, Now):
        return time.monotonic() - started
    lane.traffic(step.url).hold(step.seconds)
    return None


def _forked(fork: Fork, lane: Lane, started: float) -> list[RerankResponse | RerankError]:
    pool = ThreadPoolExecutor(min(fork.at_once, len(fork.flows)), "rerank")
    stop = threading.Event()

    def in_turn(flow: PartFlow) -> RerankResponse:
        try:
            return _driven(flow, lane, started, stop)
        except BaseException:
            if not fork.keep_errors:
                stop.set()
            raise

    try:
        futures = [pool.submit(in_turn, flow) for flow in fork.flows]
        if fork.keep_errors:
            return [_kept(future) for future in futures]
        ended = wait(futures, return_when=FIRST_EXCEPTION).done
        failed = [f for f in futures if f in ended and not f.cancelled() and f.exception()]
        own = [f for f in failed if not isinstance(f.exception(), CancelledError)]
        return [future.result() for future in own or futures]
    finally:  # after a failure nobody waits for what is on its way
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _kept(future: Future[RerankResponse]) -> RerankResponse | RerankError:
    try:
        return future.result()
    except RerankError as error:
        return error


async def _aforked(fork: Fork, lane: Lane, started: float) -> list[RerankResponse | RerankError]:
    turns = asyncio.Semaphore(fork.at_once)
    stop = asyncio.Event()

    async def in_turn(flow: PartFlow) -> RerankResponse | RerankError:
        async with turns:
            if stop.is_set():  # cancelled in a moment: the call has failed
                raise asyncio.CancelledError
            try:
                return await _adriven(flow, lane, started)
            except RerankError as error:
                if fork.keep_errors:
                    return error
                stop.set()
                raise

    tasks = [asyncio.create_task(in_turn(flow)) for flow in fork.flows]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sent(lane: Lane, step: Send, started: float) -> Answer | RerankError:
    request = step.request
    ends = None if step.deadline is None else started + step.deadline
    try:
        if request.handler is not None:
            return request.handler(b"".join(request.content.reveal()))
        return lane.sender().send(request, step.phases, ends)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


async def _asent(lane: Lane, step: Send, started: float) -> Answer | RerankError:
    request = step.request
    left = _left(step, started)
    try:
        async with asyncio.timeout(left):
            if request.handler is not None:
                content = b"".join(request.content.reveal())
                return await asyncio.to_thread(request.handler, content)
            sender = await lane.loop_sender()
            return await sender.send(request, step.phases, left)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


def _turn(step: Send, lane: Lane, started: float) -> Turn:
    """The place of a request among all that go to the endpoint."""
    left = _left(step, started)
    if left is not None and left <= 0:
        raise RerankTimeoutError("the deadline passed before the request could be sent")
    traffic = lane.traffic(step.request.url)
    turn = traffic.turn(step.pace, step.documents, step.pause, left)
    if turn is None:
        raise _too_late()
    return turn


def _held_on(step: Send, lane: Lane, started: float, turn: Turn) -> float:
    """What is to be waited after the turn's own wait."""
    wait = lane.traffic(step.request.url).held_since(turn, _left(step, started))
    if wait is None:
        raise _too_late()
    return wait


def _give_back(step: Send, lane: Lane, turn: Turn) -> None:
    lane.traffic(step.request.url).give_back(turn, step.documents)


def _too_late() -> RerankTimeoutError:
    return RerankTimeoutError(
        "the deadline would pass before the request may be sent: the rate limit, or the "
        "provider's Retry-After, asks to wait longer"
    )


def _check_stop(stop: threading.Event | None) -> None:
    """Send nothing for a call that has failed, and of which this thread has not heard."""
    if stop is not None and stop.is_set():
        raise CancelledError


def _left(step: Send, started: float) -> float | None:
    """The seconds that the call still has."""
    return None if step.deadline is None else started + step.deadline - time.monotonic()


def _translated(cause: Exception, step: Send) -> RerankError:
    """The error of an HTTP library as ours; by name, for a user's client may be httpx2's."""
    if isinstance(cause, RerankError):
        _without_frames(cause)
        return cause
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    where = step.request.url
    error: RerankError
    if kinds & {"TimeoutException", "TimeoutError"}:
        error = RerankTimeoutError(f"no answer from {where} in time; timeout= or deadline= passed")
    elif "DecodingError" in kinds:
        error = ResponseError(f"the answer from {where} cannot be decoded: {cause}")
    else:
        passing = kinds & {"TransportError", "NetworkError", "RemoteProtocolError", "OSError"}
        lasting = kinds & {"UnsupportedProtocol", "LocalProtocolError"}
        error = TransportError(
            f"no answer from {where}: {type(cause).__name__}: {cause}",
            is_retryable=bool(passing) and not lasting,
        )
    error.__cause__ = _without_frames(cause)
    return error


def _without_frames(cause: BaseException) -> BaseException:
    """The cause without its frames, whose local variables hold headers and bodies."""
    seen: BaseException | None = cause
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
    return cause
