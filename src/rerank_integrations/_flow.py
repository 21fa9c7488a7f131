"""The order of steps in one call: send, judge, pause, send again; several parts at once.

No I/O, no clock: whoever takes a flow through its steps brings both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias

from rerank_integrations._answers import joined, read, secrets_of
from rerank_integrations._failures import cut_out
from rerank_integrations._options import Options
from rerank_integrations._traffic import Pace
from rerank_integrations._wire import Call, Part, Request
from rerank_integrations.errors import RerankError, StatusError
from rerank_integrations.models import Attempt, RerankResponse
from rerank_integrations.providers.base import Answer

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_LONGEST_ASKED = 60.0  # seconds; a server that asks for more is not waited for


class Send(NamedTuple):
    """Wait `pause` seconds, or longer where the pace asks for it, then send the request.

    The answer is a `Heard`. `phases` are the timeouts of its connecting, writing and reading,
    None for the HTTP client's own; `deadline` is the seconds from the call's beginning to its
    end, None without an end. Where it would be passed before the request could go, nothing is
    sent and a `RerankTimeoutError` is thrown in.
    """

    pause: float
    request: Request
    phases: dict[str, float | None] | None
    deadline: float | None
    pace: Pace = Pace()
    documents: int = 0


class Heard(NamedTuple):
    """What a request brought, and the seconds since the call began."""

    outcome: Answer | RerankError
    elapsed: float


class Hold(NamedTuple):
    """Nobody sends to this endpoint for so many seconds."""

    url: str
    seconds: float


PartFlow: TypeAlias = Generator[Send | Hold, Any, RerankResponse]


class Fork(NamedTuple):
    """Take flows through their steps, so many at once; the answer lists what came, in order.

    The first error of any is thrown in, and flows that have not begun are left; unless errors are
    to be kept, which are then in the list.
    """

    flows: Sequence[PartFlow]
    at_once: int
    keep_errors: bool


Flow: TypeAlias = Generator[Send | Hold | Fork, Any, RerankResponse]


def rerank_flow(
    call: Call, jitter: Callable[[], float] = random.random, *, deadline: float | None = None
) -> Flow:
    """Yields what to do, is sent what came of it, and returns the response.

    A `deadline` goes before that of the call's options.

    Raises:
        RerankError: that of the last attempt, with all attempts in its `attempts`.
    """
    options = call.options
    ends = options.deadline if deadline is None else deadline
    flows = [_part_flow(part, jitter, ends) for part in call.parts]
    outcomes: list[RerankResponse | RerankError] = []
    if len(flows) > 1:
        outcomes = yield Fork(flows, options.max_concurrency, options.on_partial == "keep")
    elif flows:
        outcomes = [(yield from flows[0])]
    return joined(call, outcomes)


def _part_flow(part: Part, jitter: Callable[[], float], ends: float | None) -> PartFlow:
    options = part.options
    attempts: tuple[Attempt, ...] = ()
    last: RerankError | None = None
    pause, request = 0.0, part.request()
    while True:
        try:
            heard: Heard = yield Send(
                pause, request, options.phases(), ends, options.pace(), len(part.sent)
            )
        except RerankError as late:
            raise last or late from None
        try:
            return _judged(part, heard.outcome, (*attempts, _attempt(options)))
        except RerankError as error:
            attempts += (_attempt(options, f"{type(error).__name__}: {error}"),)
            last, error.attempts = error, attempts
            error.retries = len(attempts) - 1
            pause = _pause(error, jitter())
            if isinstance(error, StatusError) and error.retry_after:
                yield Hold(request.url, min(error.retry_after, _LONGEST_ASKED))
            used_up = len(attempts) > options.max_retries
            too_late = ends is not None and heard.elapsed + pause >= ends
            if used_up or too_late or not error.is_retryable or pause > _LONGEST_ASKED:
                raise


def _judged(
    part: Part, outcome: Answer | RerankError, attempts: tuple[Attempt, ...]
) -> RerankResponse:
    if isinstance(outcome, RerankError):
        cut_out(outcome, secrets_of(part))
        raise outcome
    return read(part, outcome, attempts)


def _attempt(options: Options, error: str | None = None) -> Attempt:
    return Attempt(options.provider.name, options.model, error)


def _pause(error: RerankError, jitter: float) -> float:
    """Seconds before the next attempt: longer each time, and never less than was asked for."""
    doublings = min(len(error.attempts) - 1, 10)
    usual = min(_FIRST_PAUSE * 2.0**doublings, _LONGEST_PAUSE)
    asked = (error.retry_after or 0.0) if isinstance(error, StatusError) else 0.0
    return max(usual * (0.5 + jitter / 2), asked)
