"""Tests of the order of steps in one call: no clock runs, the test says how late it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from cases import cases
from rerank_integrations._request import RequestPlan
from rerank_integrations._retry import Outcome, Send, rerank_call
from rerank_integrations._transport import Transport
from rerank_integrations.errors import (
    Attempt,
    BadRequestError,
    RateLimitError,
    RerankError,
    RerankTimeoutError,
    ResponseError,
    ServiceUnavailableError,
    StatusError,
    TransportError,
)
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers.base import HTTPResponse
from support import call, http_response, ranking, request_of

GOOD = http_response(ranking((0, 0.9)))
BUSY = http_response({"message": "busy"}, 503)


def busy(**headers: str) -> HTTPResponse:
    """A 503 with headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http_response({"message": "busy"}, 503, named)


def driven(
    outcomes: Iterable[HTTPResponse | RerankError],
    *,
    elapsed: float = 0.0,
    jitter: float = 1.0,
    **given: Any,
) -> tuple[list[Send], RerankResponse | RerankError]:
    """What was to be sent, and how the call ended; each outcome is heard at `elapsed`."""
    flow = rerank_call(call("a", "b", **given), Transport(), lambda: jitter)
    sends: list[Send] = []
    try:
        step = next(flow)
        assert isinstance(step, Send)
        sends.append(step)
        for outcome in outcomes:
            step = flow.send(Outcome(outcome, elapsed))
            assert isinstance(step, Send)
            sends.append(step)
    except StopIteration as stop:
        response: RerankResponse = stop.value
        return sends, response
    except RerankError as error:
        return sends, error
    raise AssertionError("the flow asks for more than the test has")


def first(prepared: RequestPlan, transport: Transport | None = None) -> Send:
    """The first step of a call with one request."""
    step = next(rerank_call(prepared, transport or Transport()))
    assert isinstance(step, Send)
    return step


def waits(outcomes: Iterable[HTTPResponse | RerankError], **given: Any) -> list[float]:
    """The pauses before the requests."""
    return [send.delay for send in driven(outcomes, **given)[0]]


def raised(outcomes: Iterable[HTTPResponse | RerankError], **given: Any) -> RerankError:
    """The error that the call ended with."""
    ended = driven(outcomes, **given)[1]
    assert isinstance(ended, RerankError)
    return ended


def test_success_at_once() -> None:
    """A good first answer is the response, and one request was sent."""
    sends, response = driven([GOOD])
    assert isinstance(response, RerankResponse)
    assert (len(sends), response[0].document) == (1, "a")


def test_first_step() -> None:
    """The first request goes out without a pause, with the timeouts and the whole deadline."""
    prepared = call("a", deadline=9.0, timeout=2.0)
    phases: dict[str, float | None] = {"connect": 2.0, "read": 2.0, "write": 2.0, "pool": 2.0}
    transport = Transport()
    send = first(prepared, transport)
    assert (send.delay, send.request) == (0.0, request_of(prepared))
    assert (send.transport, send.timeouts, send.deadline) == (transport, phases, 9.0)
    assert (send.documents, send.sent.attempts) == (1, ())


def test_without_limits() -> None:
    """Without timeout and deadline the HTTP client's own limits hold."""
    send = first(call("a", deadline=None))
    assert (send.timeouts, send.deadline) == (None, None)


@cases("documents", [(), (" ", "")])
def test_nothing_to_send(documents: tuple[str, ...]) -> None:
    """Without a document to send the call ends before the first step."""
    with pytest.raises(StopIteration) as stop:
        next(rerank_call(call(*documents), Transport()))
    response: RerankResponse = stop.value.value
    assert (len(response), response.skipped) == (0, tuple(range(len(documents))))


@cases("max_retries", [0, 1, 2, 5])
def test_number_of_retries(max_retries: int) -> None:
    """A request is sent once and then max_retries times more, and not again."""
    sends, error = driven([BUSY] * 9, max_retries=max_retries)
    assert (len(sends), type(error)) == (1 + max_retries, ServiceUnavailableError)


def test_every_step_sends_the_same() -> None:
    """Every attempt sends the same request with the same timeouts."""
    sends, _ = driven([BUSY, BUSY, GOOD], timeout=3.0)
    assert len({(id(send.request), str(send.timeouts)) for send in sends}) == 1


@cases("status", [408, 409, 429, 500, 502, 503, 504, 524, 529])
def test_passing_status(status: int) -> None:
    """After a status that may pass the request is sent again."""
    _, response = driven([http_response({"message": "no"}, status), GOOD])
    assert isinstance(response, RerankResponse)


@cases("status", [302, 400, 401, 402, 403, 404, 413, 422, 446])
def test_lasting_status(status: int) -> None:
    """After a status that lasts nothing is sent again."""
    assert len(driven([http_response({"message": "no"}, status), GOOD])[0]) == 1


@cases("error", [TransportError("dropped"), RerankTimeoutError("late")])
def test_lost_answer(error: RerankError) -> None:
    """After a lost answer the request is sent again."""
    assert isinstance(driven([error, GOOD])[1], RerankResponse)


@cases("error", [TransportError("no host", is_retryable=False), ResponseError("too large")])
def test_lasting_error(error: RerankError) -> None:
    """After an error that lasts nothing is sent again, and it comes out as it is."""
    assert raised([error, GOOD]) is error


def test_untrusted_answer() -> None:
    """An answer that cannot be trusted is not asked for again."""
    assert isinstance(raised([http_response({}), GOOD]), ResponseError)


@cases(
    ("jitter", "expected"),
    [
        (0.0, [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0]),
        (1.0, [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (0.5, [0.0, 0.375, 0.75, 1.5, 3.0, 6.0, 6.0]),
    ],
)
def test_pauses(jitter: float, expected: list[float]) -> None:
    """Pauses double from half a second to eight, and chance takes off at most a half."""
    assert waits([BUSY] * 6 + [GOOD], jitter=jitter, max_retries=6) == expected


def test_pause_after_a_lost_answer() -> None:
    """A lost answer, which asks for nothing, is followed by the usual pause."""
    assert waits([TransportError("dropped"), GOOD]) == [0.0, 0.5]


def test_chance_by_default() -> None:
    """The pause is left to chance where nobody says otherwise."""
    flow = rerank_call(call("a"), Transport())
    next(flow)
    step = flow.send(Outcome(BUSY, 0.0))
    assert isinstance(step, Send)
    assert 0.25 <= step.delay <= 0.5


@cases(("retry_after", "expected"), [("3", 3.0), ("0.1", 0.5), ("0", 0.5), ("60", 60.0)])
def test_retry_after(retry_after: str, expected: float) -> None:
    """The pause is as long as the far side asks for, and never shorter than usual."""
    assert waits([busy(retry_after=retry_after), GOOD], deadline=None) == [0.0, expected]


def test_jitter_after_a_retry_after() -> None:
    """Calls that were told to wait do not retry at once, and still before the deadline."""
    told = http_response({"message": "late"}, 408, {"retry-after": "20"})
    assert waits([told, GOOD]) == [0.0, 22.0]
    assert waits([told, GOOD], jitter=0.0) == [0.0, 20.0]
    assert waits([told, GOOD], deadline=21.0) == [0.0, pytest.approx(20.9)]


@cases("retry_after", ["60.1", "3600"])
def test_retry_after_too_long(retry_after: str) -> None:
    """More than a minute is not waited for: the error comes at once, with the time."""
    sends, error = driven([busy(retry_after=retry_after), GOOD], deadline=None)
    assert isinstance(error, StatusError)
    assert (len(sends), error.retry_after) == (1, float(retry_after))


@cases(("deadline", "sent"), [(10.0, 1), (13.0, 1), (13.05, 1), (13.15, 2), (None, 2)])
def test_retry_after_beyond_the_deadline(deadline: float | None, sent: int) -> None:
    """A pause after which no time is left for a request raises at once."""
    sends, _ = driven([busy(retry_after="8"), GOOD], elapsed=5.0, deadline=deadline)
    assert len(sends) == sent


def test_every_step_names_the_end_of_the_call() -> None:
    """A retry has the same deadline, which counts from the start of the call."""
    sends, _ = driven([busy(retry_after="3"), GOOD], elapsed=2.0, deadline=10.0)
    assert [send.deadline for send in sends] == [10.0, 10.0]


def test_too_late_to_send() -> None:
    """Where it is too late to send again, the last error comes out with what was sent."""
    flow = rerank_call(call("a", deadline=10.0), Transport(), lambda: 1.0)
    next(flow)
    flow.send(Outcome(BUSY, 1.0))
    with pytest.raises(ServiceUnavailableError) as caught:
        flow.throw(RerankTimeoutError("late"))
    assert len(caught.value.attempts) == 1


def test_too_late_to_send_at_all() -> None:
    """Where it is too late for the first request, that is the error."""
    flow = rerank_call(call("a"), Transport(), lambda: 1.0)
    next(flow)
    with pytest.raises(RerankTimeoutError) as caught:
        flow.throw(RerankTimeoutError("late"))
    assert caught.value.attempts == ()


@cases("elapsed", [10.0, 11.0])
def test_deadline_passed(elapsed: float) -> None:
    """After the deadline nothing is sent again, and the last error comes out."""
    assert isinstance(raised([BUSY, GOOD], elapsed=elapsed, deadline=10.0), ServiceUnavailableError)


def test_late_success() -> None:
    """An answer that came is used, however late."""
    assert isinstance(driven([GOOD], elapsed=99.0, deadline=10.0)[1], RerankResponse)


def test_attempts_of_a_response() -> None:
    """A response lists every request, oldest first, and only the last without an error."""
    _, response = driven([BUSY, TransportError("dropped"), GOOD])
    assert isinstance(response, RerankResponse)
    assert response.attempts == (
        Attempt(
            "openrouter",
            "some/model",
            "ServiceUnavailableError: openrouter answered 503: busy",
        ),
        Attempt("openrouter", "some/model", "TransportError: dropped"),
        Attempt("openrouter", "some/model"),
    )


def test_attempts_of_an_error() -> None:
    """An error lists every request, its own last."""
    error = raised(
        [BUSY, http_response({"message": "slow"}, 429), http_response({"message": "bad"}, 400)]
    )
    words = [attempt.error for attempt in error.attempts]
    assert words == [
        "ServiceUnavailableError: openrouter answered 503: busy",
        "RateLimitError: openrouter answered 429: slow",
        "BadRequestError: openrouter answered 400: bad",
    ]


def test_last_error_is_raised() -> None:
    """The error of the last attempt comes out, not that of the first."""
    assert (
        type(raised([BUSY, http_response({"message": "slow"}, 429)], max_retries=1))
        is RateLimitError
    )


def test_error_after_a_retry() -> None:
    """An error that lasts ends the call also after a retry."""
    assert type(raised([BUSY, http_response({"message": "bad"}, 400), GOOD])) is BadRequestError


def test_cause_is_kept() -> None:
    """A transport error comes out as the object that went in, with its cause."""
    error = TransportError("dropped")
    error.__cause__ = OSError("reset")
    assert raised([error], max_retries=0).__cause__ is error.__cause__


def test_very_many_attempts() -> None:
    """The pause stays bounded however many attempts there are."""
    pauses = waits([BUSY] * 1100 + [GOOD], max_retries=2000)
    assert (len(pauses), pauses[-1]) == (1101, 8.0)
