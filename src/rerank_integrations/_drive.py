"""Takes a call through its steps: in threads, or on an event loop."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from rerank_integrations._flow import Flow, Fork, Heard, PartFlow, Send
from rerank_integrations._lane import Lane
from rerank_integrations.errors import (
    RerankError,
    RerankTimeoutError,
    ResponseError,
    TransportError,
)
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers.base import Answer


def run(flow: Flow, lane: Lane) -> RerankResponse:
    """Take a flow through its steps, in this thread; its forks in several.

    Raises:
        RerankError: what the flow raises.
    """
    lane.sender()  # opening the first connection does not count
    return _driven(flow, lane, time.monotonic())


async def arun(flow: Flow, lane: Lane) -> RerankResponse:
    """The same, on the running event loop."""
    await lane.loop_sender()
    return await _adriven(flow, lane, time.monotonic())


def _driven(flow: Flow, lane: Lane, started: float) -> RerankResponse:
    try:
        step = next(flow)
        while True:
            try:
                came = (
                    _forked(step, lane, started)
                    if isinstance(step, Fork)
                    else Heard(_sent(lane, step, started), time.monotonic() - started)
                )
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def _adriven(flow: Flow, lane: Lane, started: float) -> RerankResponse:
    try:
        step = next(flow)
        while True:
            try:
                came = (
                    await _aforked(step, lane, started)
                    if isinstance(step, Fork)
                    else Heard(await _asent(lane, step, started), time.monotonic() - started)
                )
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _forked(fork: Fork, lane: Lane, started: float) -> list[RerankResponse]:
    pool = ThreadPoolExecutor(min(fork.at_once, len(fork.flows)), "rerank")
    try:
        futures = [pool.submit(_driven, flow, lane, started) for flow in fork.flows]
        ended = wait(futures, return_when=FIRST_EXCEPTION).done
        failed = [future for future in futures if future in ended and future.exception()]
        return [future.result() for future in failed or futures]
    finally:  # after a failure nobody waits for what is on its way
        pool.shutdown(wait=False, cancel_futures=True)


async def _aforked(fork: Fork, lane: Lane, started: float) -> list[RerankResponse]:
    turns = asyncio.Semaphore(fork.at_once)

    async def in_turn(flow: PartFlow) -> RerankResponse:
        async with turns:
            return await _adriven(flow, lane, started)

    tasks = [asyncio.create_task(in_turn(flow)) for flow in fork.flows]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sent(lane: Lane, step: Send, started: float) -> Answer | RerankError:
    if step.pause:
        time.sleep(step.pause)
    _check_time(step, started)
    request = step.request
    ends = None if step.deadline is None else started + step.deadline
    try:
        if request.handler is not None:
            return request.handler(b"".join(request.content.reveal()))
        return lane.sender().send(request, step.phases, ends)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


async def _asent(lane: Lane, step: Send, started: float) -> Answer | RerankError:
    if step.pause:
        await asyncio.sleep(step.pause)
    left = _check_time(step, started)
    request = step.request
    try:
        async with asyncio.timeout(left):
            if request.handler is not None:
                content = b"".join(request.content.reveal())
                return await asyncio.to_thread(request.handler, content)
            sender = await lane.loop_sender()
            return await sender.send(request, step.phases, left)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return _translated(cause, step)


def _check_time(step: Send, started: float) -> float | None:
    """The seconds that the call still has."""
    if step.deadline is None:
        return None
    left = started + step.deadline - time.monotonic()
    if left <= 0:
        raise RerankTimeoutError("the deadline passed before the request could be sent")
    return left


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
        passing = kinds & {"TransportError", "NetworkError", "RemoteProtocolError"}
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
