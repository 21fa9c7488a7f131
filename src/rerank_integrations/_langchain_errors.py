"""Our errors as LangChain's own types too, which its retry middleware knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from langchain_core import exceptions

from rerank_integrations import errors
from rerank_integrations.errors import RerankError

# the first match wins, so subclasses stand before their bases
_FAMILIES = (
    (errors.AuthenticationError, "ModelAuthenticationError"),
    (errors.PermissionDeniedError, "ModelPermissionDeniedError"),
    (errors.BadRequestError, "ModelInvalidRequestError"),
    (errors.PayloadTooLargeError, "ModelInvalidRequestError"),
    (errors.InvalidRequestError, "ModelInvalidRequestError"),
    (errors.NotFoundError, "ModelNotFoundError"),
    (errors.RateLimitError, "ModelRateLimitError"),
    (errors.ProviderTimeoutError, "ModelTimeoutError"),
    (errors.RerankTimeoutError, "ModelTimeoutError"),
    (errors.TransportError, "ModelConnectionError"),
    (errors.ServerError, "ModelAPIError"),
    (errors.ResponseError, "ModelAPIError"),
    (errors.RerankError, "ModelError"),
)


@contextmanager
def errors_of_both_families() -> Iterator[None]:
    """A RerankError that passes is also the `Model...Error` of LangChain that fits it."""
    try:
        yield
    except RerankError as error:
        error.__class__ = _with_langchains_type(type(error))  # type: ignore[arg-type]
        raise


@cache
def _with_langchains_type(kind: type[RerankError]) -> type[RerankError]:
    name = next(name for own, name in _FAMILIES if issubclass(kind, own))
    theirs = getattr(exceptions, name, None)  # langchain-core has them from 1.6 on
    if theirs is None or issubclass(kind, theirs):
        return kind
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": _as_our_own}
    return type(kind.__name__, (kind, theirs), names)


def _as_our_own(error: RerankError) -> tuple[Any, ...]:
    """A pickle holds our own class: one that is made at run time cannot be found again."""
    return type(error).__bases__[0], error.args, error.__dict__
