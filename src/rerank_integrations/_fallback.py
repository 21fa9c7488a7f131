"""Who answers in a provider's place: the next of a list, when the one before has failed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from rerank_integrations._flow import Flow, rerank_flow
from rerank_integrations._lane import Lane
from rerank_integrations._options import Options
from rerank_integrations._wire import Call
from rerank_integrations.errors import (
    RerankError,
    ResponseError,
    StatusError,
    TransportError,
)
from rerank_integrations.models import Attempt, RerankResponse

_NO_MODEL = "model_not_available"  # Together's code for a model that needs an endpoint of its own
_ELSEWHERE = frozenset({401, 402, 403, 404, 408, 429})


class Take(NamedTuple):
    """Take a flow through its steps along another lane; the answer is its response.

    Its error is thrown in.
    """

    flow: Flow
    lane: Lane


class Now(NamedTuple):
    """The answer is the seconds since the call began."""


ChainFlow: TypeAlias = Generator[Take | Now, Any, RerankResponse]


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """One who may answer.

    Attributes:
        options: what it is asked with.
        lane: what sends to it.
        prepare: makes the call for it.
    """

    options: Options
    lane: Lane
    prepare: Callable[[Options], Call]


def fallback_flow(candidates: Sequence[Candidate]) -> ChainFlow:
    """Asks one after another until one answers; time is shared among those not asked yet.

    One that has failed several times in a row is passed over for a while, unless all have.

    Raises:
        RerankError: the first candidate's, with the attempts of all.
    """
    attempts: tuple[Attempt, ...] = ()
    errors: list[RerankError] = []
    asked = [one for one in candidates if not one.lane.traffic.is_out()] or list(candidates)
    for place, one in enumerate(candidates):
        if one not in asked:
            attempts += (_passed_over(one, "it has failed several times in a row"),)
            continue
        elapsed = yield Now()
        options = replace(
            one.options, deadline=_share(one.options.deadline, elapsed, len(candidates) - place)
        )
        try:
            response: RerankResponse = yield Take(rerank_flow(one.prepare(options)), one.lane)
        except RerankError as error:
            attempts += error.attempts or (_passed_over(one, f"{type(error).__name__}: {error}"),)
            errors.append(error)
            if falls_back(error):
                one.lane.traffic.failed()
            elif len(errors) == 1:  # the others would find the same fault with the call
                break
        else:
            one.lane.traffic.succeeded()
            return replace(response, attempts=attempts + response.attempts)
    errors[0].attempts = attempts
    raise errors[0]


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


def _passed_over(one: Candidate, why: str) -> Attempt:
    return Attempt(one.options.provider.name, one.options.model, f"not asked: {why}")
