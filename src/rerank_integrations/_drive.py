"""Takes a call through its steps, in threads; what is the same on an event loop too."""

from __future__ import annotations

import threading
import time
from typing import Any, TypeAlias

from rerank_integrations._fallback import ChainFlow, Now, Take
from rerank_integrations._flow import Flow, Fork, Heard, Hold, PartFlow, Send, log
from rerank_integrations._network_errors import Limits, rerank_error
from rerank_integrations._traffic import Turn
from rerank_integrations._transport import Transport
from rerank_integrations.errors import RerankError, RerankTimeoutError
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers.base import Answer

AnyFlow: TypeAlias = Flow | PartFlow | ChainFlow
Step: TypeAlias = Send | Hold | Fork | Take | Now
_CLOCK_STEP = 0.001  # seconds by which a timer of the system may end early


def run(flow: AnyFlow, transport: Transport) -> RerankResponse:
    """Take a flow through its steps, in this thread; its forks in several.

    Raises:
        RerankError: what the flow raises.
    """
    return _driven(flow, transport, time.monotonic())


def _driven(
    flow: AnyFlow, transport: Transport, started: float, stop: threading.Event | None = None
) -> RerankResponse:
    try:
        step: Step = next(flow)
        while True:
            try:
                came = _done(step, transport, started, stop)
            except RerankError as error:
                step = flow.throw(error)
            else:
                step = flow.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _done(step: Step, transport: Transport, started: float, stop: threading.Event | None) -> Any:
    """What the flow is sent for a step."""
    match step:
        case Send():
            turn = turn_of(step, transport, started)
            pause = float(turn)
            try:
                while pause:
                    log_wait(step, pause)
                    time.sleep(pause)
                    pause = held_on(step, transport, started, turn)
            except BaseException:
                give_back(step, transport, turn)
                raise
            _check_stop(stop)
            began = time.monotonic()
            outcome = _sent(transport, step, started)
            now = time.monotonic()
            return Heard(outcome, now - started, now - began)
        case Fork():
            from rerank_integrations._threads import forked  # noqa: PLC0415  # slow, and rare

            return forked(step, lambda flow, stop: _driven(flow, transport, started, stop))
        case Take():
            return _driven(step.flow, step.transport, started)
        case _:
            return noted(step, transport, started)


def noted(step: Hold | Now, transport: Transport, started: float) -> float | None:
    if isinstance(step, Now):
        return time.monotonic() - started
    transport.traffic(step.url).hold(step.seconds)
    return None


def _sent(transport: Transport, step: Send, started: float) -> Answer | RerankError:
    request = step.request
    ends = None if step.deadline is None else started + step.deadline
    try:
        if request.handler is not None:
            return request.handler(b"".join(request.content.reveal()))
        return transport.sender().send(request, step.phases, ends)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return translated(cause, step, started)


def turn_of(step: Send, transport: Transport, started: float) -> Turn:
    """The place of a request among all that go to the endpoint."""
    left = time_left(step, started)
    if left is not None and left <= 0:
        raise RerankTimeoutError("the deadline passed before the request could be sent")
    traffic = transport.traffic(step.request.url)
    turn = traffic.turn(step.pace, step.documents, step.pause, left)
    if turn is None:
        raise _too_late()
    return turn


def held_on(step: Send, transport: Transport, started: float, turn: Turn) -> float:
    """What is to be waited after the turn's own wait."""
    wait = transport.traffic(step.request.url).held_since(turn, time_left(step, started))
    if wait is None:
        raise _too_late()
    return wait


def log_wait(step: Send, seconds: float) -> None:
    log.debug("waiting %.2f s before a request to %s", seconds, step.request.url)


def give_back(step: Send, transport: Transport, turn: Turn) -> None:
    transport.traffic(step.request.url).give_back(turn, step.documents)


def _too_late() -> RerankTimeoutError:
    return RerankTimeoutError(
        "the deadline would pass before the request may be sent: the rate limit, or the "
        "provider's Retry-After, asks to wait longer"
    )


def _check_stop(stop: threading.Event | None) -> None:
    """Send nothing for a call that has failed, and of which this thread has not heard."""
    if stop is not None and stop.is_set():
        from rerank_integrations._threads import StoppedError  # noqa: PLC0415  # loaded by now

        raise StoppedError


def time_left(step: Send, started: float) -> float | None:
    """The seconds that the call still has."""
    return None if step.deadline is None else started + step.deadline - time.monotonic()


def translated(cause: Exception, step: Send, started: float) -> RerankError:
    """The error of an HTTP library as one of ours; a defect of this package is raised."""
    left = time_left(step, started)
    passed = left is not None and left <= _CLOCK_STEP
    limits = Limits(step.phases, step.deadline, passed)
    url, retry = step.request.url, step.retry_on_timeout
    return rerank_error(cause, url, limits, retry_on_timeout=retry)
