"""The order of steps in one call: send, judge, pause, send again; several parts at once.

No I/O, no clock: whoever takes a flow through its steps brings both.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias

from rerank_integrations._answers import joined, read, secrets_of
from rerank_integrations._failures import cut_out
from rerank_integrations._options import Options
from rerank_integrations._traffic import Pace
from rerank_integrations._wire import Call, Part, Request
from rerank_integrations.errors import Attempt, ConfigurationError, RerankError, StatusError
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers.base import Answer

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_LONGEST_ASKED = 60.0  # seconds; a server that asks for more is not waited for
log = logging.getLogger("rerank_integrations")


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
    retry_on_timeout: bool = True


class Heard(NamedTuple):
    """What a request brought, the seconds since the call began, and those of the request."""

    outcome: Answer | RerankError
    elapsed: float
    seconds: float = 0.0


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
        log.debug(
            "%s: the call is split into %d requests, at most %d at once",
            options.provider.name,
            len(flows),
            options.max_concurrency,
        )
        outcomes = yield Fork(flows, options.max_concurrency, options.on_partial == "keep")
    elif flows:
        outcomes = [(yield from flows[0])]
    return joined(call, outcomes)


def _part_flow(part: Part, jitter: Callable[[], float], ends: float | None) -> PartFlow:
    options = part.options
    attempts: tuple[Attempt, ...] = ()
    last: RerankError | None = None
    heard: Heard | None
    pause, request = 0.0, part.request()
    try:
        while True:
            try:
                heard = yield Send(
                    pause,
                    request,
                    options.phases(),
                    ends,
                    options.pace(),
                    len(part.sent),
                    options.retry_on_timeout,
                )
            except RerankError as late:
                raise last or late from None
            try:
                response = _judged(part, heard.outcome, (*attempts, _attempt(options)))
            except ConfigurationError:  # nothing was sent
                raise
            except RerankError as error:
                _log_request(part, heard, error)
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
                log.debug(
                    "%s: retry %d of %d in %.2f s, after %s",
                    options.provider.name,
                    len(attempts),
                    options.max_retries,
                    pause,
                    type(error).__name__,
                )
            else:
                _log_request(part, heard, response)
                return response
    finally:
        last = heard = None  # an error refers to this frame by its traceback


def _log_request(part: Part, heard: Heard, came: RerankResponse | RerankError) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    outcome = heard.outcome
    status = outcome.status_code if isinstance(outcome, Answer) else type(came).__name__
    log.info(
        "%s %s: %d documents, %s, %.0f ms, request id %s",
        part.options.provider.name,
        part.options.model,
        len(part.sent),
        status,
        heard.seconds * 1000,
        getattr(came, "request_id", None),
    )


def _judged(
    part: Part, outcome: Answer | RerankError, attempts: tuple[Attempt, ...]
) -> RerankResponse:
    if isinstance(outcome, RerankError):
        cut_out(outcome, secrets_of(part))
        try:
            raise outcome
        finally:
            del outcome  # it refers to this frame by its traceback
    try:
        return read(part, outcome, attempts)
    except RerankError as error:
        # the frames that read it hold the text of the response, which may repeat a key
        raise error.with_traceback(None) from error.__cause__


def _attempt(options: Options, error: str | None = None) -> Attempt:
    return Attempt(options.provider.name, options.model, error)


def _pause(error: RerankError, jitter: float) -> float:
    """Seconds before the next attempt: longer each time, and never less than was asked for."""
    doublings = min(len(error.attempts) - 1, 10)
    usual = min(_FIRST_PAUSE * 2.0**doublings, _LONGEST_PAUSE)
    asked = (error.retry_after or 0.0) if isinstance(error, StatusError) else 0.0
    return max(usual * (0.5 + jitter / 2), asked)
