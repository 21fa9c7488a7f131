"""Decides when to send a request, when to retry it and when to fall back, without I/O and clock.

A call is a generator. It yields a `Send` or a `Gather` step, and receives the result of the step.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from rerank_integrations._options import Options, Retry
from rerank_integrations._rate_limit import (
    Availability,
    RateLimit,
    RateLimiter,
    key_of,
    spread,
)
from rerank_integrations._request import Chunk, ListRequest, RequestPlan, identifying_headers
from rerank_integrations._response import (
    ListPage,
    merge_responses,
    parse_list,
    parse_response,
    redact_error,
    secrets_of,
)
from rerank_integrations._secrets import Secret
from rerank_integrations._tracing import add_event
from rerank_integrations._transport import Transport
from rerank_integrations.errors import (
    Attempt,
    ConfigurationError,
    RateLimitError,
    RerankError,
    ResponseError,
    ScorerError,
    ServerError,
    StatusError,
    TransportError,
)
from rerank_integrations.models import RerankResponse
from rerank_integrations.providers._model_list import ModelInfo
from rerank_integrations.providers.base import HTTPRequest, HTTPResponse, Provider

MAX_RETRY_AFTER = 60.0  # seconds; a request with a longer Retry-After is not retried
# with less time left before the deadline, nothing is sent, since no response could be read:
# seconds, or a part of a short deadline
LEAST_TIME = 0.1
_LEAST_PART = 0.1
_SHARED_WAIT = frozenset({429, 503, 529})  # their Retry-After applies to other calls too
_IN_FLIGHT = "cancelled: the call ended before the response came"
_FALLBACK_STATUSES = frozenset({401, 402, 403, 404, 408, 429})
_MOST_PAGES = 100  # of a list of models
log = logging.getLogger("rerank_integrations")
ParsedT = TypeVar("ParsedT", RerankResponse, ListPage)

Clock: TypeAlias = Callable[[], float]
"""Seconds since the call began, without those spent waiting for slots of the rate limit."""


@dataclass(slots=True)
class Sent:
    """The requests of a chunk that were sent so far; the last one may still be in flight."""

    provider: str = ""
    model: str = ""
    attempts: tuple[Attempt, ...] = ()

    def begin(self) -> None:
        """Record that a request is being sent."""
        self.attempts += (Attempt(self.provider, self.model, _IN_FLIGHT),)


class Send(NamedTuple):
    """A step: wait `delay` seconds and for a slot of the rate limit, then send the request.

    The result of the step is an `Outcome`. If the request cannot be sent before the deadline,
    nothing is sent, and a `RerankTimeoutError` is thrown into the generator.

    Attributes:
        delay: seconds to wait.
        request: the request.
        transport: sends it.
        options: the options of the call.
        sent: where the runner records that the request is sent.
        timeouts: the seconds for the phases connect, write, read and pool; None for the HTTP
            client's own.
        deadline: seconds from the start of the call to its end; None for no limit.
        rate_limit: how much may be sent in any minute.
        documents: the number of documents in the request.
        retry_on_timeout: whether a read timeout may be retried.
    """

    delay: float
    request: HTTPRequest
    transport: Transport
    options: Options
    sent: Sent
    timeouts: dict[str, float | None] | None
    deadline: float | None
    rate_limit: RateLimit = RateLimit()
    documents: int = 0
    retry_on_timeout: bool = True

    @property
    def limiter(self) -> RateLimiter:
        """The rate limiter of the endpoint."""
        return self.transport.limiter(self.options.address())

    @property
    def availability(self) -> Availability | None:
        """The Retry-After and circuit breaker of the endpoint; None if there are none yet."""
        return _availability(self.transport, self.options, self.request.url)

    @property
    def least_time(self) -> float:
        """The seconds that must be left before the deadline when the request is sent."""
        return 0.0 if self.request.handler is not None else least_time(self.deadline)


class Outcome(NamedTuple):
    """The result of a request.

    Attributes:
        result: the response or the error.
        elapsed: seconds since the start of the call.
        seconds: how long the request took.
    """

    result: HTTPResponse | RerankError
    elapsed: float
    seconds: float = 0.0


class Refusal(NamedTuple):
    """The error response that had a Retry-After, without the traceback of the error itself.

    `beyond` is the part of the Retry-After that exceeds the time in which nothing is sent.
    """

    kind: type[StatusError]
    said: Mapping[str, Any]
    beyond: float

    @classmethod
    def of(cls, error: RerankError, beyond: float) -> Refusal:
        """Return the refusal for the error of such a response."""
        assert isinstance(error, StatusError)  # noqa: S101  # no other has a Retry-After
        names = ("status_code", "provider", "message", "code", "type", "is_retryable")
        return cls(type(error), {name: getattr(error, name) for name in names}, beyond)

    def error(self, seconds: float, left: float) -> StatusError:
        """Return the error of a call that would have to wait `seconds` and has `left`."""
        said = f": {self.said['message']}" if self.said["message"] else ""
        return self.kind(
            f"nothing was sent: {self.said['provider']} answered {self.said['status_code']} with "
            f"Retry-After to an earlier request{said}; the next one may be sent in "
            f"{seconds:.1f} s, but the deadline leaves {max(left, 0.0):.1f} s for the wait and the "
            "response; raise deadline=, or call again later",
            retry_after=seconds + self.beyond,
            **self.said,
        )


def least_time(deadline: float | None) -> float:
    """Return the seconds that must be left to send a request over the network."""
    return LEAST_TIME if deadline is None else min(LEAST_TIME, _LEAST_PART * deadline)


ChunkCall: TypeAlias = Generator[Send, Outcome, RerankResponse]


class Gather(NamedTuple):
    """A step: run several generators, at most `at_once` at a time.

    The result of the step is the list of their results, in order. With `keep_errors`, errors are
    in the list. Without it, the first error is thrown into the generator, and calls that have not
    started are dropped; and no call starts unless all requests, with the `documents` of each, can
    have a slot of the rate limit in time.
    """

    calls: Sequence[ChunkCall]
    at_once: int
    keep_errors: bool
    documents: Sequence[int]
    rate_limit: RateLimit
    limiter: RateLimiter
    deadline: float | None


Call: TypeAlias = Generator[Send | Gather, Any, RerankResponse]


def rerank_call(
    plan: RequestPlan,
    transport: Transport,
    jitter: Callable[[], float] = random.random,
    *,
    deadline: float | None = None,
) -> Call:
    """Send the requests of a plan and merge their responses.

    Args:
        plan: the requests.
        transport: sends them.
        jitter: returns random numbers from 0 up to 1.
        deadline: seconds from the start of the call, in place of the deadline of the options.

    Raises:
        RerankError: the error of the last attempt; all attempts are in its `attempts`.
    """
    options = plan.options
    ends = options.deadline if deadline is None else deadline
    sent = [Sent(options.provider.name, options.model) for _ in plan.chunks]
    calls = [
        _request_call(chunk, partial(parse_response, chunk), transport, jitter, ends=ends, sent=own)
        for chunk, own in zip(plan.chunks, sent, strict=True)
    ]
    outcomes: list[RerankResponse | RerankError] = []
    try:
        if len(calls) > 1:
            log.debug(
                "%s: the call is split into %d requests, at most %d at once",
                options.provider.name,
                len(calls),
                options.max_concurrency,
            )
            outcomes = yield Gather(
                calls,
                options.max_concurrency,
                options.on_partial == "keep",
                [len(chunk.sent) for chunk in plan.chunks],
                options.rate_limit(),
                transport.limiter(options.address()),
                ends,
            )
        elif calls:
            outcomes = [(yield from calls[0])]
        return merge_responses(plan, outcomes)
    except RerankError as error:
        error.skipped = plan.skipped
        if len(calls) > 1:
            error.attempts = tuple(attempt for own in sent for attempt in own.attempts)
            error.retries = sum(max(0, len(own.attempts) - 1) for own in sent)
        raise
    finally:
        outcomes = []  # breaks a reference cycle: the traceback of an error refers to this frame


ListCall: TypeAlias = Generator[Send, Outcome, tuple[ModelInfo, ...]]


def models_call(
    options: Options, transport: Transport, jitter: Callable[[], float] = random.random
) -> ListCall:
    """Request the provider's list of models, page by page, and cache it for `known_models`.

    Raises:
        RerankError: the error of the last attempt; all attempts are in its `attempts`.
    """
    provider = options.provider
    found: dict[str, ModelInfo] = {}
    attempts: tuple[Attempt, ...] = ()
    asked: list[str] = []
    query: Mapping[str, str] | None = {}
    while query is not None:
        one = ListRequest(options, provider.models_address(query))
        sent = Sent(provider.name, options.model)
        parse = partial(parse_list, one)
        try:
            if one.url in asked or len(asked) == _MOST_PAGES:
                raise ResponseError(
                    f"the list of models of {provider.name} does not end: a page is repeated, or "
                    f"there are more than {_MOST_PAGES}"
                )
            page = yield from _request_call(
                one, parse, transport, jitter, ends=options.deadline, sent=sent
            )
        except RerankError as error:
            error.attempts = attempts + error.attempts
            raise
        attempts += sent.attempts
        asked.append(one.url)
        for info in page.models:
            found.setdefault(info.id, info)
        query = page.next_query
    models = tuple(found.values())
    transport.keep_models(_list_key(options), models)
    return models


def known_models(options: Options, transport: Transport) -> Sequence[ModelInfo] | None:
    """Return the provider's models if they are cached or need no request, else None.

    Raises:
        ConfigurationError: the provider has no list of models.
    """
    own = options.provider.own_models()
    return transport.kept_models(_list_key(options)) if own is None else own


def _list_key(options: Options) -> bytes:
    """Return the cache key of a list of models, for the credentials in the options."""
    return _availability_key(options, options.provider.models_address({}), model="")


def _request_call(
    chunk: Chunk | ListRequest,
    parse: Callable[[HTTPResponse, tuple[Attempt, ...]], ParsedT],
    transport: Transport,
    jitter: Callable[[], float],
    *,
    ends: float | None,
    sent: Sent,
) -> Generator[Send, Outcome, ParsedT]:
    """Send one request, retry it according to the policy, and parse the response."""
    options = chunk.options
    policy = options.retry_policy()
    attempts: tuple[Attempt, ...] = ()
    last: RerankError | None = None
    outcome: Outcome | None
    send = Send(
        0.0,
        chunk.request(),
        transport,
        options,
        sent,
        options.timeouts(),
        ends,
        options.rate_limit(),
        len(chunk.sent),
        policy.on_timeout,
    )
    try:
        while True:
            try:
                outcome = yield send
            except RerankError as too_late:
                raise last or too_late from None
            try:
                response = _parsed(chunk, parse, outcome.result, (*attempts, _attempt(options)))
            except ConfigurationError:  # nothing was sent
                raise
            except RerankError as error:
                _log_request(chunk, outcome, error)
                attempts += (_attempt(options, f"{type(error).__name__}: {error}"),)
                last, error.attempts, sent.attempts = error, attempts, attempts
                error.retries = len(attempts) - 1
                least, delay = _delays(policy, error, jitter())
                asked = getattr(error, "retry_after", None)
                if asked and _is_shared(error):
                    state = transport.availability(_availability_key(options, send.request.url))
                    held = min(asked, MAX_RETRY_AFTER)
                    state.block_for(held, Refusal.of(error, asked - held))
                ready = outcome.elapsed + least
                used_up = len(attempts) > policy.max_retries or (
                    policy.max_elapsed is not None and ready > policy.max_elapsed
                )
                room = None if ends is None else ends - outcome.elapsed - send.least_time
                too_late_then = room is not None and least >= room
                too_long = asked is not None and asked > MAX_RETRY_AFTER
                if used_up or too_late_then or too_long or not policy.allows(error):
                    raise
                delay = delay if room is None else min(delay, room)
                log.debug(
                    "%s: retry %d of %d in %.2f s, after %s",
                    options.provider.name,
                    len(attempts),
                    policy.max_retries,
                    delay,
                    type(error).__name__,
                )
                add_event(
                    "rerank.retry", {**_error_attributes(options, error), "rerank.seconds": delay}
                )
                send = send._replace(delay=delay)
            else:
                sent.attempts = (*attempts, _attempt(options))
                _log_request(chunk, outcome, response)
                return response
    finally:
        # breaks a reference cycle: the traceback of an error refers to this frame
        last = outcome = None


def _log_request(
    chunk: Chunk | ListRequest, outcome: Outcome, came: RerankResponse | ListPage | RerankError
) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    result = outcome.result
    status = result.status_code if isinstance(result, HTTPResponse) else type(came).__name__
    log.info(
        "%s %s, %s, %.0f ms, request id %s",
        chunk.options.provider.name,
        _one_line(chunk.subject()),
        status,
        outcome.seconds * 1000,
        _one_line(getattr(came, "request_id", None)),
    )


def _one_line(text: str | None) -> str | None:
    """Remove line breaks, so that a server's id cannot forge a log record."""
    return text and " ".join(text.split())


def _parsed(
    chunk: Chunk | ListRequest,
    parse: Callable[[HTTPResponse, tuple[Attempt, ...]], ParsedT],
    result: HTTPResponse | RerankError,
    attempts: tuple[Attempt, ...],
) -> ParsedT:
    if isinstance(result, RerankError):
        redact_error(result, secrets_of(chunk))
        try:
            raise result
        finally:
            del result  # breaks a reference cycle: its traceback refers to this frame
    try:
        return parse(result, attempts)
    except RerankError as error:
        # the frames of the parser hold the text of the response, which may repeat a key
        raise error.with_traceback(None) from error.__cause__


def _error_attributes(options: Options, error: RerankError | str) -> dict[str, Any]:
    """Return the trace attributes of a failed request; they hold no text of the server."""
    return {
        "gen_ai.provider.name": options.provider.name,
        "gen_ai.request.model": options.model,
        "error.type": error if isinstance(error, str) else type(error).__name__,
        "http.response.status_code": getattr(error, "status_code", None) or None,
        "rerank.request_id": getattr(error, "request_id", None),
    }


def _attempt(options: Options, error: str | None = None) -> Attempt:
    return Attempt(options.provider.name, options.model, error)


def _delays(policy: Retry, error: RerankError, jitter: float) -> tuple[float, float]:
    """Return the shortest wait before a retry, and the wait to use if the deadline allows it.

    Exponential backoff with jitter, but never less than Retry-After. Jitter is added to that too,
    because other clients may have received the same; for a shared wait `Availability` adds it.
    """
    backoff = policy.delay(len(error.attempts), jitter)
    asked = (error.retry_after or 0.0) if isinstance(error, StatusError) else 0.0
    added = 0.0 if not asked or _is_shared(error) else spread(asked, jitter)
    return max(backoff, asked), max(backoff, asked + added)


def _is_shared(error: RerankError) -> bool:
    """Return whether Retry-After applies to all calls to the endpoint with this key and model."""
    return isinstance(error, StatusError) and error.status_code in _SHARED_WAIT


def _availability(
    transport: Transport, options: Options, url: str | None = None
) -> Availability | None:
    """Return the Retry-After and circuit breaker of an endpoint; None if there are none yet."""
    if not transport.has_availabilities:
        return None  # the most common case; computing the key would take longest here
    return transport.availability(_availability_key(options, url))


def _availability_key(options: Options, url: str | None = None, model: str | None = None) -> bytes:
    """Return the key of an `Availability`: the endpoint, credentials and model of the options."""
    return key_of(
        url or options.address(),
        options.model if model is None else model,
        Secret([*identifying_headers(options)]),
    )


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """A provider that may serve the call.

    Attributes:
        options: the options of the call for this provider.
        transport: sends its requests.
        plan: encodes the call for it.
    """

    options: Options
    transport: Transport
    plan: Callable[[], RequestPlan]

    def availability(self) -> Availability | None:
        """Return Retry-After and circuit breaker of its endpoint; None if there are none yet."""
        return _availability(self.transport, self.options)

    def is_cached(self) -> bool:
        """Return whether the call needs no request, because all scores are in the cache."""
        with suppress(RerankError):
            return self.options.cache is not None and not self.plan().chunks
        return False

    def record(self, *, failed: bool) -> None:
        """Record a success or a failure in the circuit breaker of the endpoint, key and model."""
        state = self.availability()
        if failed:
            state = state or self.transport.availability(_availability_key(self.options))
            state.record_failure()
            if state.is_open():
                log.debug("%s: the circuit breaker is open", self.options.provider.name)
        elif state is not None:
            state.record_success()


class _Progress:
    """The results of the candidates so far."""

    def __init__(self) -> None:
        self.attempts: tuple[Attempt, ...] = ()
        self.retries = 0
        self.refusals: list[RerankError] = []
        self.errors: list[RerankError] = []
        self.failures: list[tuple[str, RerankError]] = []  # with the name of the candidate

    def skip(self, one: Candidate, why: str) -> None:
        log.debug("%s is skipped; the next fallback is tried", one.options.provider.name)
        attempt = Attempt(one.options.provider.name, one.options.model, f"not asked: {why}")
        self.attempts += (attempt,)

    def refuse(self, one: Candidate, error: RerankError) -> None:
        self.refusals.append(error)
        self.failures.append((_named(one.options), error))
        self.skip(one, _describe(error))

    def fail(self, one: Candidate, error: RerankError) -> None:
        self.errors.append(error)
        self.failures.append((_named(one.options), error))
        self.retries += error.retries
        if error.attempts:
            self.attempts += error.attempts
        else:
            self.skip(one, _describe(error))


def fallback_call(candidates: Sequence[Candidate], clock: Clock) -> Call:
    """Try the candidates in order until one succeeds; the remaining ones share the remaining time.

    A candidate whose circuit breaker is open is skipped, unless no other candidate can serve the
    call, or all scores are in its cache.

    Raises:
        RerankError: the error of the first candidate that was tried, with the attempts of all.
    """
    progress = _Progress()
    states = [one.availability() for one in candidates]
    out = [one for one, its in zip(candidates, states, strict=True) if its and its.is_open()]
    for one in candidates if len(out) < len(candidates) else ():
        state = one.availability()
        is_open = one in out or (state is not None and state.blocks_call())
        if is_open and not one.is_cached():
            progress.skip(one, "its circuit breaker is open after several failures in a row")
            add_event("rerank.fallback", _error_attributes(one.options, "circuit_breaker_open"))
            continue
        left = sum(other not in out for other in candidates[candidates.index(one) :])
        response = yield from _try(progress, one, max(left, 1), clock)
        if response is not None:
            return _as_fallback(candidates, one, response)
    if not progress.errors:
        for place, one in enumerate(out):
            response = yield from _try(progress, one, len(out) - place, clock)
            if response is not None:
                return _as_fallback(candidates, one, response)
    error = (progress.errors or progress.refusals)[0]
    error.attempts, error.retries = progress.attempts, progress.retries
    for name, other in progress.failures:
        if other is not error:
            error.add_note(f"{name} failed too: {_describe(other)}")
    raise error


def _try(
    progress: _Progress, one: Candidate, left: int, clock: Clock
) -> Generator[Send | Gather, Any, RerankResponse | None]:
    """Return the response of a candidate, or None to try the next one."""
    try:
        plan = one.plan()
    except RerankError as error:
        progress.refuse(one, error)
        add_event("rerank.fallback", _error_attributes(one.options, error))
        return None
    ends = _share(one.options.deadline, clock(), left)
    try:
        response = yield from rerank_call(plan, one.transport, deadline=ends)
    except RerankError as error:
        _record_error(one, error)
        progress.fail(one, error)
        if (
            not _falls_back(one.options.provider, error) and len(progress.errors) == 1
        ):  # the call itself is wrong
            error.attempts, error.retries = progress.attempts, progress.retries
            raise
        log.debug("%s failed with %s", one.options.provider.name, type(error).__name__)
        add_event("rerank.fallback", _error_attributes(one.options, error))
        return None
    if response.attempts:
        one.record(failed=False)
    return replace(
        response,
        attempts=progress.attempts + response.attempts,
        retries=progress.retries + response.retries,
    )


def _record_error(one: Candidate, error: RerankError) -> None:
    """Record in the circuit breaker whether an error shows that the endpoint works or not."""
    if not error.attempts or getattr(error, "phase", None) == "wait":
        return  # nothing was sent: the caller's own rate limit or deadline
    if isinstance(error, TransportError | ServerError | RateLimitError):
        one.record(failed=True)
    elif isinstance(error, StatusError):
        one.record(failed=False)


# settings that a fallback does not take over, and why not
_ITS_OWN = "to set it for a fallback, pass RerankClient(..., {}=...) as the fallback"
_OF_A_MODEL = {
    "instruction": "without an instruction",
    "score_transform": "whose scores have another scale; " + _ITS_OWN.format("score_transform"),
    "score_threshold": "whose scores have another scale; " + _ITS_OWN.format("score_threshold"),
}


def _as_fallback(
    candidates: Sequence[Candidate], one: Candidate, response: RerankResponse
) -> RerankResponse:
    """Add warnings to the response of a fallback: that it is one, and what was not applied."""
    place = candidates.index(one)
    if not place:
        return response
    why = next((attempt.error for attempt in response.attempts if attempt.error), "not asked")
    warning = f"{_named(one.options)} answered in place of {_named(candidates[0].options)}: {why}"
    response = replace(response, warnings=(*response.warnings, warning))
    warnings = list(_left_out(candidates[:place], one))
    return replace(response, warnings=(*response.warnings, *warnings)) if warnings else response


def _left_out(before: Sequence[Candidate], one: Candidate) -> Iterator[str]:
    """Yield warnings about settings of earlier candidates that were not applied to this one."""
    answered = _named(one.options)
    for name, why in _OF_A_MODEL.items():
        values = (getattr(other.options, name) for other in before)
        pairs = zip(before, values, strict=True)
        found = next(((other, value) for other, value in pairs if value is not None), None)
        if getattr(one.options, name) is None and found is not None:
            other, value = found
            shown = f"={value:g}" if isinstance(value, float) else ""
            yield (
                f"{name}{shown} was not applied: it was set for {_named(other.options)}, and "
                f"{answered} answered, {why}"
            )


def _named(options: Options) -> str:
    return f"{options.provider.name}:{options.model}"


def _falls_back(provider: Provider, error: RerankError) -> bool:
    """Return whether another provider may succeed; not if the call itself is wrong."""
    if isinstance(error, StatusError):
        elsewhere = error.status_code in _FALLBACK_STATUSES or error.status_code >= 500
        return elsewhere or error.code in provider.fallback_codes
    return isinstance(error, TransportError | ResponseError | ScorerError)


def _share(deadline: float | None, elapsed: float, left: int) -> float | None:
    """Return when one of the remaining candidates must end, in seconds since the call began."""
    if deadline is None:
        return None
    return elapsed + max(deadline - elapsed, 0.001) / left


def _describe(error: RerankError) -> str:
    return f"{type(error).__name__}: {error}"
