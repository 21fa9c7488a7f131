"""Who answers in a provider's place: the next of a list, when the one before has failed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from rerank_integrations._flow import Flow, log, rerank_flow
from rerank_integrations._options import Options
from rerank_integrations._traffic import Traffic
from rerank_integrations._transport import Transport
from rerank_integrations._wire import Call
from rerank_integrations.errors import (
    Attempt,
    RerankError,
    ResponseError,
    StatusError,
    TransportError,
)
from rerank_integrations.models import RerankResponse

_NO_MODEL = "model_not_available"  # Together's code for a model that needs an endpoint of its own
_ELSEWHERE = frozenset({401, 402, 403, 404, 408, 429})


class Take(NamedTuple):
    """Take a flow through its steps with another transport; the answer is its response.

    Its error is thrown in.
    """

    flow: Flow
    transport: Transport


class Now(NamedTuple):
    """The answer is the seconds since the call began."""


ChainFlow: TypeAlias = Generator[Take | Now, Any, RerankResponse]


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """One who may answer.

    Attributes:
        options: what it is asked with.
        transport: sends to it.
        prepare: makes the call for it.
    """

    options: Options
    transport: Transport
    prepare: Callable[[], Call]

    def traffic(self) -> Traffic:
        """How its endpoint has fared."""
        return self.transport.traffic(self.options.provider.url)


class _Chain:
    """What has come of those who were asked so far."""

    def __init__(self) -> None:
        self.attempts: tuple[Attempt, ...] = ()
        self.retries = 0
        self.refusals: list[RerankError] = []
        self.errors: list[RerankError] = []

    def pass_over(self, one: Candidate, why: str) -> None:
        log.debug("%s is skipped; the next fallback is tried", one.options.provider.name)
        attempt = Attempt(one.options.provider.name, one.options.model, f"not asked: {why}")
        self.attempts += (attempt,)

    def fail(self, one: Candidate, error: RerankError) -> None:
        self.errors.append(error)
        self.retries += error.retries
        if error.attempts:
            self.attempts += error.attempts
        else:
            self.pass_over(one, _words(error))


def fallback_flow(candidates: Sequence[Candidate]) -> ChainFlow:
    """Asks one after another until one answers; time is shared among those still to be asked.

    One that has failed several times in a row is passed over for a while, unless nobody else
    can take the call.

    Raises:
        RerankError: that of the first who was asked, with the attempts of all.
    """
    chain = _Chain()
    out = [one for one in candidates if one.traffic().looks_out()]
    for one in candidates if len(out) < len(candidates) else ():
        if one in out or one.traffic().is_out():
            chain.pass_over(one, "it has failed several times in a row")
            continue
        left = sum(other not in out for other in candidates[candidates.index(one) :])
        response = yield from _asked(chain, one, left)
        if response is not None:
            return response
    if not chain.errors:
        for place, one in enumerate(out):
            response = yield from _asked(chain, one, len(out) - place)
            if response is not None:
                return response
    error = (chain.errors or chain.refusals)[0]
    error.attempts, error.retries = chain.attempts, chain.retries
    raise error


def _asked(
    chain: _Chain, one: Candidate, left: int
) -> Generator[Take | Now, Any, RerankResponse | None]:
    """The response of one, or None where the next is to be asked."""
    try:
        call = one.prepare()
    except RerankError as error:
        chain.refusals.append(error)
        chain.pass_over(one, _words(error))
        return None
    elapsed = yield Now()
    ends = _share(one.options.deadline, elapsed, left)
    try:
        response: RerankResponse = yield Take(rerank_flow(call, deadline=ends), one.transport)
    except RerankError as error:
        chain.fail(one, error)
        if not falls_back(error) and len(chain.errors) == 1:  # a fault of the call itself
            error.attempts, error.retries = chain.attempts, chain.retries
            raise
        log.debug("%s failed with %s", one.options.provider.name, type(error).__name__)
        if falls_back(error) and error.attempts:  # and not only the caller's own pace
            one.traffic().failed()
            if one.traffic().looks_out():
                log.debug("%s: the circuit breaker is open", one.options.provider.name)
        return None
    one.traffic().succeeded()
    return replace(
        response,
        attempts=chain.attempts + response.attempts,
        retries=chain.retries + response.retries,
    )


def falls_back(error: RerankError) -> bool:
    """Whether another provider may do better: not where the call itself is wrong."""
    if isinstance(error, StatusError):
        elsewhere = error.status_code in _ELSEWHERE or error.status_code >= 500
        return elsewhere or error.code == _NO_MODEL
    return isinstance(error, TransportError | ResponseError)


def _share(deadline: float | None, elapsed: float, left: int) -> float | None:
    """The end for one of those who are left, in seconds since the call began."""
    if deadline is None:
        return None
    return elapsed + max(deadline - elapsed, 0.001) / left


def _words(error: RerankError) -> str:
    return f"{type(error).__name__}: {error}"
