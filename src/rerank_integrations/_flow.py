"""The order of steps in one call: send, judge, pause, send again. No I/O, no clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import NamedTuple

from rerank_integrations._options import Options
from rerank_integrations._wire import Call, Request, nothing_sent, read
from rerank_integrations.errors import RerankError, StatusError
from rerank_integrations.models import Attempt, RerankResponse
from rerank_integrations.providers.base import Answer

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_LONGEST_ASKED = 60.0  # seconds; a server that asks for more is not waited for


class Send(NamedTuple):
    """Wait `pause` seconds, then send the request.

    `phases` are the timeouts of its connecting, writing and reading, None for the HTTP client's
    own; `seconds` is all that is left of the call after the pause, None without a deadline.
    """

    pause: float
    request: Request
    phases: dict[str, float | None] | None
    seconds: float | None


class Heard(NamedTuple):
    """What a request brought, and the seconds since the call began."""

    outcome: Answer | RerankError
    elapsed: float


def rerank_flow(
    call: Call, jitter: Callable[[], float] = random.random
) -> Generator[Send, Heard, RerankResponse]:
    """Yields what to send, is sent what was heard, and returns the response.

    Raises:
        RerankError: that of the last attempt, with all attempts in its `attempts`.
    """
    if call.request is None:
        return nothing_sent(call)
    options = call.options
    attempts: tuple[Attempt, ...] = ()
    pause, left = 0.0, options.deadline
    while True:
        heard = yield Send(pause, call.request, options.phases(), left)
        try:
            return _judged(call, heard.outcome, (*attempts, _attempt(options)))
        except RerankError as error:
            attempts += (_attempt(options, f"{type(error).__name__}: {error}"),)
            error.attempts = attempts
            pause = _pause(error, jitter())
            if options.deadline is not None:
                left = options.deadline - heard.elapsed - pause
            used_up = len(attempts) > options.max_retries or (left is not None and left <= 0)
            if used_up or not error.is_retryable or pause > _LONGEST_ASKED:
                raise


def _judged(
    call: Call, outcome: Answer | RerankError, attempts: tuple[Attempt, ...]
) -> RerankResponse:
    if isinstance(outcome, RerankError):
        raise outcome
    return read(call, outcome, attempts)


def _attempt(options: Options, error: str | None = None) -> Attempt:
    return Attempt(options.provider.name, options.model, error)


def _pause(error: RerankError, jitter: float) -> float:
    """Seconds before the next attempt: longer each time, and never less than was asked for."""
    doublings = min(len(error.attempts) - 1, 10)
    usual = min(_FIRST_PAUSE * 2.0**doublings, _LONGEST_PAUSE)
    asked = (error.retry_after or 0.0) if isinstance(error, StatusError) else 0.0
    return max(usual * (0.5 + jitter / 2), asked)
