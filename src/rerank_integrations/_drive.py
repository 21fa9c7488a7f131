"""Takes a call through its steps, in threads; what is the same on an event loop too."""

from __future__ import annotations

import threading
import time
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

_NOT_TRUSTED = "SSLCertVerificationError"


def run(flow: AnyFlow, lane: Lane) -> RerankResponse:
    """Take a flow through its steps, in this thread; its forks in several.

    Raises:
        RerankError: what the flow raises.
    """
    lane.sender()  # opening the first connection does not count
    return _driven(flow, lane, time.monotonic())


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


def _done(step: Step, lane: Lane, started: float, stop: threading.Event | None) -> Any:
    """What the flow is sent for a step."""
    match step:
        case Send():
            turn = turn_of(step, lane, started)
            pause = float(turn)
            try:
                while pause:
                    time.sleep(pause)
                    pause = held_on(step, lane, started, turn)
            except BaseException:
                give_back(step, lane, turn)
                raise
            _check_stop(stop)
            return Heard(_sent(lane, step, started), time.monotonic() - started)
        case Fork():
            from rerank_integrations._threads import forked  # noqa: PLC0415  # slow, and rare

            return forked(step, lambda flow, stop: _driven(flow, lane, started, stop))
        case Take():
            return _driven(step.flow, step.lane, started)
        case _:
            return noted(step, lane, started)


def noted(step: Hold | Now, lane: Lane, started: float) -> float | None:
    if isinstance(step, Now):
        return time.monotonic() - started
    lane.traffic(step.url).hold(step.seconds)
    return None


def _sent(lane: Lane, step: Send, started: float) -> Answer | RerankError:
    request = step.request
    ends = None if step.deadline is None else started + step.deadline
    try:
        if request.handler is not None:
            return request.handler(b"".join(request.content.reveal()))
        return lane.sender().send(request, step.phases, ends)
    except Exception as cause:  # noqa: BLE001  # a user's client raises what it likes
        return translated(cause, step)


def turn_of(step: Send, lane: Lane, started: float) -> Turn:
    """The place of a request among all that go to the endpoint."""
    left = time_left(step, started)
    if left is not None and left <= 0:
        raise RerankTimeoutError("the deadline passed before the request could be sent")
    traffic = lane.traffic(step.request.url)
    turn = traffic.turn(step.pace, step.documents, step.pause, left)
    if turn is None:
        raise _too_late()
    return turn


def held_on(step: Send, lane: Lane, started: float, turn: Turn) -> float:
    """What is to be waited after the turn's own wait."""
    wait = lane.traffic(step.request.url).held_since(turn, time_left(step, started))
    if wait is None:
        raise _too_late()
    return wait


def give_back(step: Send, lane: Lane, turn: Turn) -> None:
    lane.traffic(step.request.url).give_back(turn, step.documents)


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


def translated(cause: Exception, step: Send) -> RerankError:
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
        lasting = kinds & {"UnsupportedProtocol", "LocalProtocolError", _NOT_TRUSTED}
        cure = "; set SSL_CERT_FILE to the certificates to trust" if _NOT_TRUSTED in kinds else ""
        error = TransportError(
            f"no answer from {where}: {type(cause).__name__}: {cause}{cure}",
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
