"""Takes a call through its steps, on the running event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rerank_integrations._drive import (
    AnyFlow,
    Step,
    give_back,
    held_on,
    log_wait,
    noted,
    time_left,
    translated,
    turn_of,
)
from rerank_integrations._fallback import Take
from rerank_integrations._flow import Fork, Heard, PartFlow, Send
from rerank_integrations._transport import Transport
from rerank_integrations.errors import RerankError
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers.base import Answer


async def arun(flow: AnyFlow, transport: Transport) -> RerankResponse:
    """Take a flow through its steps; its forks in several tasks.

    Raises:
        RerankError: what the flow raises.
    """
    return await _adriven(flow, transport, time.monotonic())


async def _adriven(flow: AnyFlow, transport: Transport, started: float) -> RerankResponse:
    try:
        step: Step = next(flow)
        while True:
            try:
                came = await _adone(step, transport, started)
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _adone(step: Step, transport: Transport, started: float) -> Any:
    match step:
        case Send():
            turn = turn_of(step, transport, started)
            pause = float(turn)
            try:
                while pause:
                    log_wait(step, pause)
                    await asyncio.sleep(pause)
                    pause = held_on(step, transport, started, turn)
            except BaseException:
                give_back(step, transport, turn)
                raise
            began = time.monotonic()
            outcome = await _asent(transport, step, started)
            now = time.monotonic()
            return Heard(outcome, now - started, now - began)
        case Fork():
            return await _aforked(step, transport, started)
        case Take():
            return await _adriven(step.flow, step.transport, started)
        case _:
            return noted(step, transport, started)


async def _aforked(
    fork: Fork, transport: Transport, started: float
) -> list[RerankResponse | RerankError]:
    turns = asyncio.Semaphore(fork.at_once)
    stop = asyncio.Event()

    async def in_turn(flow: PartFlow) -> RerankResponse | RerankError:
        async with turns:
            if stop.is_set():  # cancelled in a moment: the call has failed
                raise asyncio.CancelledError
            try:
                return await _adriven(flow, transport, started)
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


async def _asent(transport: Transport, step: Send, started: float) -> Answer | RerankError:
    request = step.request
    left = time_left(step, started)
    try:
        async with asyncio.timeout(left):
            if request.handler is not None:
                content = b"".join(request.content.reveal())
                return await asyncio.to_thread(request.handler, content)
            sender = await transport.async_sender()
            return await sender.send(request, step.phases)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return translated(cause, step, started)
